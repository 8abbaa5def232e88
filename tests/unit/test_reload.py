"""SIGHUP: the configuration is read again."""

from pathlib import Path

import pytest

from push_proxy.app import Service
from push_proxy.http.callers import Callers
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
