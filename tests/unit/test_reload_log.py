"""What SIGHUP says that it changed."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from structlog.testing import capture_logs

from push_proxy.app import Service
from push_proxy.settings_file import check


async def test_the_log_names_the_keys_that_changed_and_those_that_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reload names what counts now, and apart from it what needs a restart."""
    file = tmp_path / "config.yaml"
    monkeypatch.setenv("PUSH_PROXY_CONFIG", str(file))
    raw: dict[str, Any] = {
        "node": {"data_dir": str(tmp_path)},
        "sip": {"node_address": "127.0.0.1", "public_address": "push.example.com"},
        "pbxes": {"office": {"registrar": "sip:192.0.2.10"}},
    }
    service = Service(check(raw))
    raw |= {
        "recorder": {"enabled": True},
        "messages": {"policy": "accept"},
        "wake": {"deadline_s": 20},
    }
    file.write_text(yaml.safe_dump(raw))
    with capture_logs() as first:
        await service.reload()
    with capture_logs() as second:
        await service.reload()
    told = {entry["event"]: entry for entry in first}
    assert told["configuration reloaded"]["changed"] == "messages.policy, recorder.enabled"
    assert told["changes that count after a restart only"]["keys"] == "wake.deadline_s"
    again = {entry["event"]: entry for entry in second}
    assert again["configuration reloaded"]["changed"] == "nothing in the configuration"
