"""``push-proxy doctor``: what it finds on set-ups, whole and broken, and what it leaves alone."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.doubles.apns import ApnsDouble
from tests.lab.certificates import Authority
from tests.lab.kamailio import Kamailio, KamailioOptions, pbx_tls
from tests.lab.pbx import Pbx
from tests.lab.ports import free_port
from tests.lab.push_sink import PushSink
from tests.lab.service import LabService, ServiceOptions

StartService = Callable[[ServiceOptions], Awaitable[LabService]]
Finding = dict[str, str]


class Told:
    """What a run said."""

    def __init__(self, run: subprocess.CompletedProcess[str]) -> None:
        assert "Traceback" not in run.stderr, run.stderr
        self.status = run.returncode
        answer = json.loads(run.stdout)
        self.ok: bool = answer["ok"]
        self.findings: list[Finding] = answer["findings"]

    def of(self, hop: str, what: str = "") -> list[Finding]:
        return [each for each in self.findings if each["hop"] == hop and what in each["what"]]

    @property
    def failed(self) -> list[Finding]:
        return [each for each in self.findings if each["state"] == "FAIL"]


async def run(config: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if "PUSH_PROXY" not in name}
    return await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "push_proxy", "doctor", *arguments],
        env={**clean, "PUSH_PROXY_CONFIG": str(config)},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


async def examined(config: Path) -> Told:
    return Told(await run(config, "--json"))


@pytest.fixture
def configured(workdir: Path) -> Callable[..., Path]:
    """Writes a configuration of a service that does not run."""
    numbers: Iterator[int] = iter(range(100))

    def write(**sections: Any) -> Path:
        file = workdir / f"config{next(numbers)}.yaml"
        raw = {
            "node": {"data_dir": str(workdir / "data")},
            "sip": {"public_address": "127.0.0.1", "node_address": "127.0.0.1"},
            "http": {"listen": f"127.0.0.1:{free_port()}"},
            **sections,
        }
        file.write_text(yaml.safe_dump(raw))
        return file

    return write


async def test_a_running_service_is_examined_and_left_alone(
    start_service: StartService, pbx: Pbx, push_sink: PushSink
) -> None:
    """All hops are fine; the service, its Valkey and its PBX go on as before, nobody is pushed."""
    service = await start_service(
        ServiceOptions(
            pbxes={"office": {"registrar": f"sip:{pbx.domain}"}},
            webhook_url=push_sink.url,
            webhook_key=push_sink.key,
        )
    )
    await service.put_account("101", "sip:101@pbx.test", pbx="office", password=pbx.password("101"))
    await service.put_device("101")
    await service.is_registered("101")
    valkeys = list(service.directory.glob("data/*"))
    told = await examined(service.config)
    assert (told.failed, told.ok, told.status) == ([], True, 0)
    assert told.of("store", "unix://")[0]["text"] == "answers and takes writes"
    assert told.of("store", "secrets at rest")[0]["text"] == "open with the key ring"
    assert "ready" in told.of("service")[0]["text"]
    assert "OPTIONS: 200" in told.of("pbxes", "office udp")[0]["text"]
    assert told.of("providers", "webhook com.example.phone")[0]["state"] == "ok"
    assert told.of("addresses", "public_address")[0]["state"] == "hint"
    assert list(service.directory.glob("data/*")) == valkeys
    assert push_sink.pushes == []
    await service.expect("POST", "/v1/accounts/101/devices/handset/pushes", {})
    await push_sink.wait(1)


async def test_nothing_works_and_each_line_says_what_to_do(
    configured: Callable[..., Path], workdir: Path
) -> None:
    """A set-up of dead ends: Redis, PBXs, names and a backend that are not there."""
    (workdir / "ring").write_text("1:short")
    port = free_port()
    told = await examined(
        configured(
            redis={"url": f"redis://user:hunter2@127.0.0.1:{port}"},
            secrets={"key_file": str(workdir / "ring")},
            sip={"public_address": "phones.invalid", "node_address": "192.0.2.77"},
            pbxes={
                "closed": {"registrar": f"sip:127.0.0.1:{port}"},
                "closed-tcp": {"registrar": f"sip:127.0.0.1:{port};transport=tcp"},
                "nowhere": {"registrar": "sip:pbx.invalid:5060"},
            },
            providers={"webhook": [{"app_id": "a", "url": f"http://127.0.0.1:{port}/"}]},
            events={"webhooks": [{"url": f"http://127.0.0.1:{port}/", "allow_private": True}]},
        )
    )
    assert (told.ok, told.status) == (False, 1)
    failed = {(each["hop"], each["what"]) for each in told.failed}
    assert failed == {
        ("store", "key ring"),
        ("store", "use"),
        ("addresses", "sip.public_address phones.invalid"),
        ("pbxes", f"closed udp:127.0.0.1:{port}"),
        ("pbxes", f"closed-tcp tcp:127.0.0.1:{port}"),
        ("pbxes", "nowhere"),
        ("providers", "webhook a"),
        ("events", "127.0.0.1"),
    }
    assert told.of("addresses", "192.0.2.77")[0]["state"] == "hint"
    assert all(len(each["text"]) > 20 for each in told.failed)
    assert "hunter2" not in json.dumps(told.findings)
    assert not (workdir / "data").exists()


async def test_a_wrong_configuration_is_the_first_finding(
    configured: Callable[..., Path],
) -> None:
    """Nothing else is examined, for nobody knows what."""
    told = await examined(configured(wake={"deadline_s": 10, "ack_s": 11}))
    (only,) = told.findings
    assert (only["hop"], only["state"], told.status) == ("configuration", "FAIL", 1)
    assert "wake.ack_s" in only["text"]


async def test_a_set_up_before_its_first_start(
    configured: Callable[..., Path], push_sink: PushSink, workdir: Path
) -> None:
    """What the service will make itself is no fault, and the doctor does not make it."""
    told = await examined(
        configured(providers={"webhook": [{"app_id": "a", "url": push_sink.url}]})
    )
    assert told.failed == []
    assert "the service starts it" in told.of("store", "embedded")[0]["text"]
    assert "first start" in told.of("store", "key ring")[0]["text"]
    assert "not running" in told.of("service")[0]["text"]
    assert not (workdir / "data").exists()


async def test_a_key_of_apns_is_not_tried_before_the_service_runs(
    configured: Callable[..., Path], apns: ApnsDouble
) -> None:
    """Apple takes one new provider token in 20 minutes: the service's, which starts next."""
    apns.device("com.example.phone")
    entry = {
        "app_id": "com.example.phone",
        "team_id": apns.team_id,
        "key_id": apns.key_id,
        "key_file": str(apns.key_file),
        "base_url": apns.production.base_url,
        "sandbox_base_url": apns.sandbox.base_url,
        "ca_file": str(apns.ca_file),
    }
    told = await examined(configured(providers={"apns": [entry]}))
    [finding] = told.of("providers", "credentials")
    assert finding["state"] == "hint"
    assert "examine it again" in finding["text"]
    assert len(apns.tokens_seen) == len(apns.requests) == 0


async def test_the_key_ring_of_another_store_is_noticed(
    start_service: StartService, push_sink: PushSink
) -> None:
    """Passwords would not open after the next start: told while the old ring is still known."""
    service = await start_service(ServiceOptions(webhook_url=push_sink.url))
    raw = yaml.safe_load(service.config.read_text())
    other = service.directory / "other.key"
    other.write_text("1:" + "A" * 43 + "=\n")
    raw["secrets"] = {"key_file": str(other)}
    service.config.write_text(yaml.safe_dump(raw))
    told = await examined(service.config)
    (fault,) = told.failed
    assert fault["what"] == "secrets at rest"
    assert "cannot be opened with key '1'" in fault["text"]


async def test_certificates_of_pbxes_are_looked_at(
    configured: Callable[..., Path],
    start_kamailio: Callable[[KamailioOptions], Awaitable[Kamailio]],
    authority: Authority,
    push_sink: PushSink,
) -> None:
    """Until when, when it is trusted; why not, when it is not; no TLS at all on a UDP port."""
    kamailio = await start_kamailio(KamailioOptions(tls=pbx_tls(authority.issue())))
    port = kamailio.tls_port
    uri = f"sips:127.0.0.1:{port}"
    told = await examined(
        configured(
            pbxes={
                "good": {"registrar": uri, "tls": {"ca": str(authority.ca)}},
                "strange": {"registrar": uri},
            },
            providers={"webhook": [{"app_id": "a", "url": push_sink.url}]},
        )
    )
    good = told.of("pbxes", f"good tls:127.0.0.1:{port}")
    assert [each["state"] for each in good] == ["ok", "ok"], good
    assert "good until" in good[1]["text"]
    (strange,) = told.of("pbxes", "strange")
    assert strange["state"] == "FAIL"
    assert "certificate is refused" in strange["text"]


async def test_people_see_lines_as_they_come(configured: Callable[..., Path]) -> None:
    """A line per finding, what goes on meanwhile on stderr, the sum at the end."""
    shown = await run(configured())
    lines = shown.stdout.splitlines()
    assert lines[0] == "  ok    configuration: file: can be used"
    assert (
        "  FAIL  providers: configured: none: no phone can be woken; add one under providers"
        in (lines)
    )
    assert lines[-1].startswith("1 of ")
    assert shown.stderr.splitlines()[:2] == ["configuration …", "store …"]
