"""Credentials that providers refuse: told as a state, in one line, to whoever looks; no other app
is harmed, and what is mended works again.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.doubles.apns import ApnsDouble
from tests.doubles.apns import held as apns_held
from tests.doubles.fcm import FcmDouble
from tests.doubles.fcm import held as fcm_held
from tests.lab.push_sink import PushSink
from tests.lab.service import APP_ID, LabService, ServiceOptions

from .apple import apns_section

StartService = Callable[[ServiceOptions], Awaitable[LabService]]
DATED, REVOKED = "com.example.dated", "com.example.revoked"
_STATE = re.compile(r'push_proxy_provider_state\{app_id="(.+)",provider="(.+)",state="(.+)"\} 1\.0')


@pytest.fixture
async def service(
    start_service: StartService,
    apns: ApnsDouble,
    fcm: FcmDouble,
    push_sink: PushSink,
    tmp_path: Path,
) -> LabService:
    """An account with a device each of four apps: of a certificate that has ended, a key of its own
    team, a Firebase project, and a webhook.
    """
    apns.app(REVOKED, team_id="TEAM000002")
    key = apns.key("REVOKED001", team_id="TEAM000002", bundles=(REVOKED,))
    certificate = tmp_path / "certificate.pem"
    certificate.write_bytes(apns.certificate(DATED, expired=True).read_bytes())
    without_key = {"team_id": None, "key_id": None, "key_file": None}
    of_key = {"team_id": key.team_id, "key_id": key.key_id, "key_file": str(key.file)}
    sections = [
        apns_section(apns, app_id=DATED, certificate_file=str(certificate), **without_key),
        apns_section(apns, app_id=REVOKED, **of_key),
    ]
    of_fcm = {
        "app_id": APP_ID,
        "service_account_file": str(fcm.service_account_file),
        "base_url": fcm.base_url,
        "ca_file": str(fcm.ca_file),
    }
    started = await start_service(
        ServiceOptions(
            webhook_url=push_sink.url,
            webhook_key=push_sink.key,
            extra={"providers": {"apns": sections, "fcm": [of_fcm]}},
        )
    )
    await started.put_account("101", "sip:101@pbx.test", registrar="sip:127.0.0.1:9", password="x")
    for name, app_id in (("dated", DATED), ("revoked", REVOKED)):
        phone = apns.device(app_id)
        await started.put_device("101", name, provider="apns", app_id=app_id, token=phone.token)
    await started.put_device("101", "android", provider="fcm", token=fcm.device().token)
    await started.put_device("101", "own")
    return started


async def pushed(service: LabService, device: str) -> dict[str, Any]:
    answer: dict[str, Any] = await service.expect(
        "POST", f"/v1/accounts/101/devices/{device}/pushes", {"type": "call"}
    )
    return answer


async def states(service: LabService) -> dict[str, str]:
    """The state of each app, by ``provider app``."""
    text = await service.expect("GET", "/metrics")
    return {f"{found[2]} {found[1]}": found[3] for found in _STATE.finditer(text)}


def told(service: LabService, **fields: str) -> list[dict[str, Any]]:
    """Log lines with these fields."""
    lines = [json.loads(line) for line in service.process.output().splitlines() if line[:1] == "{"]
    return [line for line in lines if fields.items() <= line.items()]


async def test_what_is_refused_is_blocked_and_the_others_go_on(
    service: LabService, apns: ApnsDouble, fcm: FcmDouble
) -> None:
    """An ended certificate is blocked from the start, a revoked key from its first push: no request
    is wasted on them afterwards, calls of other apps are pushed, the node stays ready.
    """
    apns.keys["REVOKED001"].revoked = True
    refused = [await pushed(service, "revoked") for _ in range(3)]
    assert {(each["outcome"], each["reason"]) for each in refused} == {
        ("misconfigured", "InvalidProviderToken")
    }
    assert [each["attempts"] for each in refused] == [1, 0, 0]
    assert "revoked" in refused[0]["advice"]
    dated = await pushed(service, "dated")
    assert (dated["reason"], dated["token"]) == ("certificate_expired", "good")
    for device in ("android", "own"):
        assert (await pushed(service, device))["outcome"] == "accepted"
    assert await states(service) == {
        f"apns {DATED}": "blocked",
        f"apns {REVOKED}": "blocked",
        f"fcm {APP_ID}": "ok",
        f"webhook {APP_ID}": "ok",
    }
    status, ready = await service.request("GET", "/readyz")
    assert (status, ready["status"]) == (200, "ready")
    assert {(each["app_id"], each["reason"]) for each in ready["providers"]} == {
        (DATED, "certificate_expired"),
        (REVOKED, "InvalidProviderToken"),
    }
    (line,) = told(service, reason="InvalidProviderToken")
    assert (line["app_id"], line["level"]) == (REVOKED, "warning")
    assert "Traceback" not in service.process.output()


async def test_a_service_account_that_is_disabled(service: LabService, fcm: FcmDouble) -> None:
    """Google gives no access token: blocked with Google's reason, and nobody else is."""
    fcm.first_account.disabled = True
    fcm.revoke_tokens()
    found = await pushed(service, "android")
    assert found["reason"] == "oauth_account_disabled"
    assert "Google Cloud" in found["advice"]
    assert (await pushed(service, "own"))["outcome"] == "accepted"
    now = await states(service)
    assert now[f"fcm {APP_ID}"] == "blocked"
    assert now[f"webhook {APP_ID}"] == "ok"
    assert "Traceback" not in service.process.output()


async def test_a_renewed_certificate_works_after_a_reload(
    service: LabService, apns: ApnsDouble
) -> None:
    """SIGHUP takes the new file; its end is in the metrics before anything is pushed."""
    raw = yaml.safe_load(service.config.read_text())
    name = raw["providers"]["apns"][0]["certificate_file"]
    before = await service.metric("push_proxy_provider_credential_expiry_timestamp_seconds")
    write(name, apns.certificate(DATED).read_bytes())
    await reload(service, "configuration reloaded")
    assert await service.metric("push_proxy_provider_credential_expiry_timestamp_seconds") > before
    assert (await states(service))[f"apns {DATED}"] == "unknown"
    assert (await pushed(service, "dated"))["outcome"] == "accepted"
    assert (await states(service))[f"apns {DATED}"] == "ok"


async def test_a_key_that_cannot_be_read_leaves_the_running_ones(
    service: LabService, apns: ApnsDouble
) -> None:
    """SIGHUP with a spoilt file: the log names the key, and pushes go on as before."""
    raw = yaml.safe_load(service.config.read_text())
    write(raw["providers"]["apns"][1]["key_file"], b"spoilt")
    await reload(service, "reload refused")
    (line,) = told(service, event="reload refused; the former configuration goes on")
    assert "providers.apns[1].key_file" in line["error"]
    for device in ("revoked", "android", "own"):
        assert (await pushed(service, device))["outcome"] == "accepted"


async def test_a_reload_breaks_off_no_push(
    service: LabService, apns: ApnsDouble, fcm: FcmDouble
) -> None:
    """What is on its way while SIGHUP replaces the providers gets its answer, and is sent once."""
    release = asyncio.Event()
    apns.next(apns_held(release))
    fcm.next(fcm_held(release))
    waiting = asyncio.gather(*(pushed(service, name) for name in ("revoked", "android")))
    await apns.wait(1)
    await fcm.wait(1)
    await reload(service, "configuration reloaded")
    release.set()
    answers = await waiting
    assert [(each["outcome"], each["attempts"]) for each in answers] == [("accepted", 1)] * 2
    assert (len(apns.delivered), len(fcm.delivered)) == (1, 1)


def write(name: str, content: bytes) -> None:
    Path(name).write_bytes(content)


async def reload(service: LabService, said: str) -> None:
    since = service.process.output_size()
    assert service.process.pid is not None
    os.kill(service.process.pid, signal.SIGHUP)
    await service.process.wait_for(said, within_s=10, since=since)


async def test_the_doctor_sees_the_same(service: LabService, apns: ApnsDouble) -> None:
    """By credentials alone: what is refused fails with advice, what is good is ok, no phone hears
    of it, and no second provider token is made.
    """
    apns.keys["REVOKED001"].revoked = True
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "push_proxy", "doctor", "--json",
        env={**os.environ, "PUSH_PROXY_CONFIG": str(service.config)},
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    output, _ = await process.communicate()
    findings = [each for each in json.loads(output)["findings"] if each["hop"] == "providers"]
    by_app = {name: [each for each in findings if name in each["what"]] for name in (
        f"apns {DATED}", f"apns {REVOKED}", f"fcm {APP_ID}", f"webhook {APP_ID}",
    )}  # fmt: skip
    failed = {
        name: [each["text"] for each in found if each["state"] == "FAIL"]
        for name, found in by_app.items()
    }
    assert "renew" in " ".join(failed[f"apns {DATED}"])
    assert any("InvalidProviderToken" in text for text in failed[f"apns {REVOKED}"])
    assert failed[f"fcm {APP_ID}"] == failed[f"webhook {APP_ID}"] == []
    assert all(by_app.values()), findings
    assert apns.delivered == []
    assert len(apns.tokens_seen) <= 1
