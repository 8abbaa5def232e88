"""SIGHUP over certificates and PBXs: what changes, what is refused, what needs a restart."""

from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import yaml
from structlog.testing import capture_logs

from push_proxy.app import Service
from push_proxy.assembly import open_call_path
from push_proxy.configured import client_tls, listener_tls
from push_proxy.observability.metrics import Metrics
from push_proxy.providers.registry import Providers
from push_proxy.reloading import need_restart
from push_proxy.runtime.clock import SystemClock
from push_proxy.runtime.directory import Directory
from push_proxy.settings_file import check
from push_proxy.signaling.fake import FakeSignaling
from push_proxy.store.memory import MemoryStore
from tests.unit.settings.pem import write_identity


class Reloads:
    """A service on a fake stack, whose configuration the test writes."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.directory = directory
        self.file = directory / "config.yaml"
        certificate, key = write_identity(directory)
        self.raw: dict[str, Any] = {
            "node": {"data_dir": str(directory)},
            "sip": {
                "listen": ["udp:127.0.0.1:5060", "tls:127.0.0.1:5061"],
                "public_address": "push.example.com",
                "tls": {"certificate": str(certificate), "key": str(key)},
            },
            "pbxes": {"office": {"registrar": "sip:192.0.2.10"}},
        }
        monkeypatch.setenv("PUSH_PROXY_CONFIG", str(self.file))
        self.sip = FakeSignaling()
        self.service = Service(check(self.raw))

    async def start(self) -> None:
        clock = SystemClock()
        store = MemoryStore(clock)
        self.service._path = await open_call_path(
            self.service._settings,
            signaling=self.sip,
            store=store,
            directory=Directory(store, clock),
            providers=Providers([]),
            clock=clock,
            metrics=Metrics(),
            notices=Mock(),
        )

    async def stop(self) -> None:
        assert self.service._path is not None
        await self.service._path.aclose()

    async def reload(self) -> list[str]:
        """Reads the file; what the log says."""
        self.file.write_text(yaml.safe_dump(self.raw))
        with capture_logs() as logs:
            await self.service.reload()
        return [" ".join(str(value) for value in line.values()) for line in logs]


@pytest.fixture
async def reloads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    reloads = Reloads(tmp_path, monkeypatch)
    await reloads.start()
    yield reloads
    await reloads.stop()


async def test_certificates_are_read_again(reloads: Reloads) -> None:
    """The stack gets the files, those of new PBXs too, whether or not the paths have changed."""
    ca, _ = write_identity(reloads.directory, "ca.example.com")
    reloads.raw["pbxes"]["secure"] = {"registrar": "sips:192.0.2.11", "tls": {"ca": str(ca)}}
    said = await reloads.reload()
    assert "reloaded" in said[-1]
    ((tls, clients),) = reloads.sip.renewed_tls
    settings = check(reloads.raw)
    assert tls == listener_tls(settings)
    assert clients == client_tls(settings)
    assert clients["secure"].ca == str(ca)
    metrics = reloads.service._metrics.render().decode()
    assert 'certificate_expiry_timestamp_seconds{section="sip.tls"} 1' in metrics


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"key": "/nonexistent"}, "cannot be read"),
        ({"certificate": None, "key": None}, "sip.tls.certificate"),
    ],
)
async def test_a_bad_file_is_told_and_changes_nothing(
    reloads: Reloads, change: dict[str, Any], words: str
) -> None:
    """The stack keeps what it has; the API goes on with the former configuration."""
    before = reloads.service._settings
    reloads.raw["sip"]["tls"] |= change
    said = await reloads.reload()
    assert "reload refused" in said[-1]
    assert words in said[-1]
    assert reloads.sip.renewed_tls == []
    assert reloads.service._settings is before


async def test_what_the_stack_refuses_changes_nothing(reloads: Reloads) -> None:
    """OpenSSL may want more of a certificate than we check."""
    before = reloads.service._settings
    reloads.sip.tls_fault = "TLS: sip.tls.certificate: key too small"
    assert "key too small" in (await reloads.reload())[-1]
    assert reloads.service._settings is before


async def test_a_listener_keeps_its_certificate(reloads: Reloads) -> None:
    """Taking tls: out of sip.listen counts after a restart; until then it is listened on."""
    reloads.raw["sip"] = {"listen": ["udp:127.0.0.1:5060"], "public_address": "push.example.com"}
    assert "certificate and key must stay" in (await reloads.reload())[-1]


async def test_what_needs_a_restart_is_named(reloads: Reloads) -> None:
    """It is not taken over in silence, and no secret is shown."""
    reloads.raw["wake"] = {"deadline_s": 20}
    reloads.raw["sip"]["listen"].append("tcp:127.0.0.1:5060")
    reloads.raw["redis"] = {"url": "redis://:hunter2@127.0.0.1/0"}
    said = await reloads.reload()
    assert "redis.url, sip.listen, wake.deadline_s" in said[-2]
    assert "hunter2" not in "".join(said)
    assert reloads.service._settings.wake.deadline_s == 15


async def test_a_reload_that_changes_nothing_says_so_little(reloads: Reloads) -> None:
    """No restart is asked for."""
    said = await reloads.reload()
    assert not [line for line in said if "restart" in line]
    assert need_restart(reloads.service._settings, check(reloads.raw)) == ()
