"""The compiled SIP stack and the Python around it belong together."""

from __future__ import annotations

import pytest

from push_proxy.core.model import Address
from push_proxy.errors import ConfigurationError
from push_proxy.signaling.contract import StackSettings
from push_proxy.signaling.native import NativeSignaling


@pytest.mark.parametrize("interface", [1, 99])
async def test_other_version_of_the_module(monkeypatch: pytest.MonkeyPatch, interface: int) -> None:
    """A compiled module of another version is refused before it binds anything, with what to do
    about it.
    """
    monkeypatch.setattr("push_proxy.signaling.native._stack.interface_version", interface)
    settings = StackSettings(
        listen=(Address("127.0.0.1", 0),), public_host="127.0.0.1", token_key=bytes(32)
    )
    with pytest.raises(ConfigurationError, match=rf"interface is\s+{interface}.*\./dev setup"):
        await NativeSignaling().start(settings, lambda _: None)
