"""SIGHUP: the configuration is read again."""

from pathlib import Path

import pytest
from structlog.testing import capture_logs

from push_proxy.app import Service
from push_proxy.errors import ConfigurationError, StoreUnavailable
from push_proxy.http.callers import Callers
from push_proxy.ports import ApiKey
from push_proxy.runtime.clock import SystemClock
from push_proxy.runtime.directory import Directory
from push_proxy.settings_file import check
from push_proxy.store.memory import MemoryStore


async def test_a_key_made_at_reload_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The last configured key is taken away: the one made in its place is not lost unseen."""
    config = tmp_path / "config.yaml"
    config.write_text(f"node: {{data_dir: {tmp_path}}}\n")
    monkeypatch.setenv("PUSH_PROXY_CONFIG", str(config))
    clock = SystemClock()
    store = MemoryStore(clock)
    service = Service(check({}))
    callers = service._callers = Callers(Directory(store, clock))
    service._store = store
    await service.reload()
    shown = capsys.readouterr().err
    assert [word for word in shown.split() if callers.find(word)], shown


class AwayStore(MemoryStore):
    """A store that does not answer."""

    async def api_keys(self) -> tuple[ApiKey, ...]:
        raise StoreUnavailable("cut off")


async def test_a_reload_while_the_store_is_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rest of the new configuration counts, and it is told what does not, and what to do."""
    config = tmp_path / "config.yaml"
    config.write_text(
        f"node: {{data_dir: {tmp_path}}}\npbxes: {{new: {{registrar: 'sip:192.0.2.1'}}}}\n"
        "providers: {webhook: [{app_id: app, url: 'http://127.0.0.1:9/'}]}\n"
    )
    monkeypatch.setenv("PUSH_PROXY_CONFIG", str(config))
    clock = SystemClock()
    service = Service(check({}))
    service._store = store = AwayStore(clock)
    service._callers = Callers(Directory(store, clock))
    with capture_logs() as logs:
        await service.reload()
    assert list(service._settings.pbxes) == ["new"]
    assert service._providers.serves("webhook", "app")
    (fault,) = [line for line in logs if line["log_level"] == "error"]
    assert "API keys" in fault["event"]
    assert "SIGHUP" in fault["event"]
    await service._providers.aclose()


async def test_a_signing_key_that_can_be_guessed_is_refused(tmp_path: Path) -> None:
    """At the start, with the key's full name."""
    short = tmp_path / "hmac.key"
    short.write_text("abc\n")
    webhook = {"app_id": "app", "url": "http://127.0.0.1:9/", "hmac_key_file": str(short)}
    with pytest.raises(ConfigurationError, match=r"providers.webhook\[0\].hmac_key_file: .*few"):
        Service(check({"providers": {"webhook": [webhook]}}))
