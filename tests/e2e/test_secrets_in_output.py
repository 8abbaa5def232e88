"""Whatever happens, no secret is in what the service writes: log, metrics, answers, programs."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.doubles.apns import error as apns_error
from tests.doubles.fcm import error as fcm_error
from tests.doubles.hms import code as hms_code
from tests.doubles.http_platform import Play
from tests.lab.certificates import Authority
from tests.lab.kamailio import Kamailio
from tests.lab.ports import free_port
from tests.lab.push_sink import PushSink, Reply
from tests.lab.service import LabService, ServiceOptions

from .platforms import Platforms, all_platforms

StartService = Callable[[ServiceOptions], Awaitable[LabService]]
PART = 16
"""Characters of a secret's beginning and end that are searched for."""


class Listener:
    """The operator's client: remembers every answer, headers and body."""

    def __init__(self, service: LabService) -> None:
        self._service = service
        self.heard: list[tuple[str, str]] = []

    async def ask(
        self, method: str, path: str, body: Any = None, *, key: str | None = None, secret: str = ""
    ) -> Any:
        """The answer; ``secret``: the field that is shown in this answer, this once."""
        headers = {"Authorization": f"Bearer {key or self._service.api_key}"}
        data = body if isinstance(body, bytes) else None
        async with (
            aiohttp.ClientSession() as session,
            session.request(
                method,
                self._service.url + path,
                json=None if data else body,
                data=data,
                headers=headers,
            ) as response,
        ):
            text = await response.text()
            shown = "\n".join(f"{name}: {value}" for name, value in response.headers.items())
            is_json = "json" in response.content_type and "ndjson" not in response.content_type
        content = json.loads(text) if is_json and text else text
        if secret:
            text = text.replace(content[secret], "")
        self.heard.append((f"answer to {method} {path}", f"{shown}\n{text}"))
        return content


@pytest.fixture
async def platforms(
    workdir: Path, authority: Authority, push_sink: PushSink
) -> AsyncIterator[Platforms]:
    async with all_platforms(workdir, authority, webhook=push_sink) as made:
        yield made


@pytest.fixture
async def event_sink() -> AsyncIterator[PushSink]:
    async with PushSink(key=b"a key for events alone") as sink:
        yield sink


async def test_no_secret_in_anything_that_is_written(
    start_service: StartService,
    kamailio: Kamailio,
    platforms: Platforms,
    push_sink: PushSink,
    event_sink: PushSink,
    workdir: Path,
) -> None:
    """A run with every provider, at log level debug: good calls, dead tokens, refused credentials,
    servers' faults, malformed SIP and HTTP, wrong keys and passwords, a spoilt reload, the doctor.
    Then every secret is searched for in all output; none is there, not even in part.
    """
    key_file = workdir / "events.key"
    key_file.write_bytes(event_sink.key)
    platforms.keep_secret("events' key", event_sink.key.decode())
    service = await start_service(
        ServiceOptions(
            pbxes={"office": {"registrar": f"sip:{kamailio.domain}"}},
            wake={"deadline_s": 5, "repush_after_s": 1},
            extra={
                "node": {"log_level": "debug"},
                "providers": platforms.sections,
                "events": {
                    "webhooks": [
                        {
                            "url": event_sink.url,
                            "hmac_key_file": str(key_file),
                            "allow_private": True,
                        },
                        {"url": f"http://127.0.0.1:{free_port()}/x", "allow_private": True},
                    ]
                },
            },
        )
    )
    platforms.keep_secret("API key", service.api_key)
    operator = Listener(service)
    await _provision(operator, platforms)
    await service.is_registered("iphone")
    await _good_pushes(operator, platforms)
    await _calls(service, kamailio, platforms)
    await _odd_registers(service, platforms)
    await _odd_requests(operator, platforms)
    await _failing_pushes(operator, platforms, push_sink)
    programs = await _programs(service)
    await _spoilt_reload(service, platforms)
    await _look_at_everything(operator)
    await service.stop()
    ring = (service.directory / "data" / "secrets.key").read_text()
    platforms.keep_secret("key ring", ring.strip().partition(":")[2])
    output = [*operator.heard, *programs, ("log", service.process.output())]
    told = dict(platforms.shown_to_platforms())
    assert {name.partition(" token")[0] for name in told} > {"APNs provider", "FCM access"}
    for name, text in (*platforms.secrets.items(), *told.items()):
        for part in {text[:PART], text[-PART:]} if text else ():
            places = [where for where, written in output if part in written]
            assert places == [], f"{name} is shown"
    log = service.process.output()
    assert "Traceback" not in log
    assert '"level": "debug"' in log or "push not taken" in log


async def _provision(operator: Listener, platforms: Platforms) -> None:
    """An account for the device of each provider, one of them enrolled with a key of its own."""
    app_password = secrets.token_urlsafe(24)
    platforms.keep_secret("app's password", app_password)
    for name, body in platforms.devices.items():
        account = {
            "aor": f"sip:{name}@pbx.test",
            "pbx": "office",
            "password": f"pw-{name}",
            "app_auth": {"user": name, "realm": "pbx.test", "password": app_password},
        }
        await operator.ask("PUT", f"/v1/accounts/{name}", account)
        made = await operator.ask("PUT", f"/v1/accounts/{name}/devices/phone", body)
        assert made.get("has_token"), made
    code = await operator.ask("POST", "/v1/accounts/own/enrolments", {}, secret="code")
    platforms.keep_secret("enrolment code", code["code"])
    taken = {"code": code["code"], "device": "phone"}
    device_key = await operator.ask("POST", "/v1/enrol", taken, secret="device_key")
    platforms.keep_secret("device key", device_key["device_key"])
    await operator.ask("POST", "/v1/enrol", taken)
    await operator.ask("GET", "/v1/accounts/own", key=device_key["device_key"])
    await operator.ask("GET", "/v1/accounts/own", key=device_key["device_key"] + "x")


async def _good_pushes(operator: Listener, platforms: Platforms) -> None:
    for name in platforms.devices:
        said = await _push(operator, name, "call")
        assert said["outcome"] == "accepted", (name, said)


async def _push(operator: Listener, name: str, kind: str) -> dict[str, Any]:
    path = f"/v1/accounts/{name}/devices/phone/pushes"
    said: dict[str, Any] = await operator.ask("POST", path, {"type": kind})
    return said


async def _calls(service: LabService, kamailio: Kamailio, platforms: Platforms) -> None:
    """One call that nobody takes, one that a phone takes with its token in its REGISTER."""
    app_password = platforms.secrets["app's password 0"]
    async with (
        service.phone("sip:iphone@pbx.test", password=app_password, device="rfc8599") as phone,
        service_caller(kamailio) as caller,
    ):
        await caller.call("sip:iphone@pbx.test").final(within=10)
        prid = platforms.apns.device("com.example.phone").token
        platforms.keep_secret("token in a REGISTER", prid)
        contact = f"<{phone.contact};pn-provider=apns;pn-param=TEAMID0001.x.voip;pn-prid={prid}>"
        await phone.register(contact=contact)
        team = platforms.apns.team_id
        contact = (
            f"<{phone.contact};pn-provider=apns;pn-param={team}.com.example.phone.voip"
            f";pn-prid={prid}>"
        )
        assert (await phone.register(contact=contact)).status == 200
        call = caller.call("sip:iphone@pbx.test")
        incoming = await phone.incoming(within=10)
        incoming.reject(486, "Busy Here")
        await call.final(within=10)


def service_caller(kamailio: Kamailio) -> Any:
    from tests.lab.phone import Caller

    return Caller("sip:9000@pbx.test", proxy=kamailio.address, password=kamailio.password("9000"))


async def _odd_registers(service: LabService, platforms: Platforms) -> None:
    """Malformed push parameters, and a wrong password."""
    wrong = secrets.token_urlsafe(24)
    platforms.keep_secret("wrong SIP password", wrong)
    async with service.phone("sip:iphone@pbx.test", password=wrong, device="wrong") as phone:
        for number, form in enumerate(
            (
                "pn-provider=apns;pn-prid={}",
                "pn-provider=fcm;pn-param=;pn-prid={}",
                "pn-provider=webpush;pn-prid=https%3A%2F%2Fpush.example%2F{}",
                "pn-provider=x;pn-param=%ff%00;pn-prid={0}%zz{0}",
                'pn-prid="{};pn-provider=apns',
                "app-id=com.example.phone.prod;pn-type=apple;pn-tok={}",
            )
        ):
            token = secrets.token_hex(32)
            platforms.keep_secret(f"token in odd REGISTER {number}", token)
            contact = f"<{phone.contact};{form.format(token)}>"
            try:
                await phone.register(contact=contact)
            except AssertionError:
                continue  # refused without a challenge, or not at all
        data = phone.register_request(contact=f"<{phone.contact}>")
        await phone.agent.request(data, phone.proxy)


async def _odd_requests(operator: Listener, platforms: Platforms) -> None:
    """HTTP that is refused, with secrets in every place."""
    kept = secrets.token_hex(32)
    platforms.keep_secret("secret in a refused request", kept)
    device, account = "/v1/accounts/own/devices/odd", "/v1/accounts/102"
    for method, path, body in (
        ("PUT", device, {"provider": "apns", "app_id": "a", "token": [kept]}),
        ("PUT", device, {"provider": kept, "app_id": "com.example.phone", "token": kept}),
        ("PUT", device, {"provider": "fcm", "app_id": "none", "token": kept}),
        ("PUT", device, {"provider": "webpush", "app_id": "com.example.phone", "token": kept}),
        ("PUT", device, {"provider": "apns", "app_id": "com.example.phone", "token": kept + "!"}),
        ("PUT", account, {"aor": "sip:102@pbx.test", "pbx": "office", "password": {"is": kept}}),
        ("PUT", account, {"aor": "sip:1@pbx.test", "pbx": "none", "password": kept}),
        ("PUT", account, {"aor": "sip:1@pbx.test", "ha1": {"MD5": kept}, "realm": "r"}),
        ("PUT", account, b'{"password": "' + kept.encode() + b'"'),
        ("POST", "/v1/accounts:import", json.dumps({"password": kept}).encode()),
        ("POST", "/v1/enrol", {"code": kept, "device": "x"}),
    ):
        await operator.ask(method, path, body)
    await operator.ask("GET", "/v1/accounts", key=kept)


async def _failing_pushes(operator: Listener, platforms: Platforms, push_sink: PushSink) -> None:
    """Each provider's faults: of the server, of credentials, and last of the token."""
    apns, fcm, hms = platforms.apns, platforms.fcm, platforms.hms
    apns.next(apns_error("InternalServerError"), apns_error("ServiceUnavailable"))
    fcm.next(fcm_error("UNAVAILABLE"), fcm_error("INTERNAL"))
    hms.plays.extend([Play(status=502), hms_code("81000001")])
    platforms.rustore.plays.extend([Play(status=500), Play(status=503, body=b"<html>")])
    platforms.webpush.plays.extend([Play(status=500), Play(status=429)])
    push_sink.replies.extend([Reply(status=500), Reply(status=403)])
    for name in platforms.devices:
        await _push(operator, name, "call")
    fcm.first_account.disabled = True
    fcm.revoke_tokens()
    hms.revoke_access()
    hms.client_secret = secrets.token_hex(32)
    apns.keys[apns.key_id].revoked = True
    platforms.rustore.service_token = secrets.token_hex(32)
    for name in ("android", "huawei", "iphone", "rustore"):
        said = await _push(operator, name, "call")
        assert said["outcome"] == "misconfigured", f"{name}: {said}"
    platforms.webpush.plays.append(Play(status=410))
    push_sink.replies.append(Reply(status=410))
    apns.unregister(platforms.devices["certified"]["token"])
    for name in ("browser", "own", "certified"):
        said = await _push(operator, name, "call")
        assert said["token"] == "dead", (name, said)


async def _programs(service: LabService) -> list[tuple[str, str]]:
    """What the command line shows."""
    environment = {
        **os.environ,
        "PUSH_PROXY_CONFIG": str(service.config),
        "PUSH_PROXY_URL": service.url,
        "PUSH_PROXY_API_KEY": service.api_key,
    }
    shown = []
    for arguments in (
        ["doctor"],
        ["doctor", "--json"],
        ["check-config"],
        ["push", "--account", "own"],
    ):
        process = await asyncio.create_subprocess_exec(
            *[sys.executable, "-m", "push_proxy", *arguments],
            env=environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output, _ = await process.communicate()
        assert b"Traceback" not in output, output.decode()
        shown.append((" ".join(arguments), output.decode()))
    return shown


async def _spoilt_reload(service: LabService, platforms: Platforms) -> None:
    """A file that holds a secret of another kind than was expected."""
    spoilt = secrets.token_urlsafe(40)
    platforms.keep_secret("content of a spoilt key file", spoilt)
    platforms.apns.key_file.write_text(spoilt)
    platforms.fcm.service_account_file.write_text(json.dumps({"private_key": spoilt}))
    since = service.process.output_size()
    assert service.process.pid is not None
    os.kill(service.process.pid, signal.SIGHUP)
    await service.process.wait_for("reload refused", within_s=10, since=since)


async def _look_at_everything(operator: Listener) -> None:
    calls = (await operator.ask("GET", "/v1/calls"))["calls"]
    paths = [f"/v1/calls/{call['id']}" for call in calls]
    for path in (
        "/metrics",
        "/readyz",
        "/healthz",
        "/openapi.json",
        "/v1/accounts",
        "/v1/accounts/own",
        "/v1/accounts:export",
        "/v1/accounts/iphone",
        "/v1/accounts/iphone/devices",
        "/v1/accounts/browser/devices/phone",
        "/v1/events/dead-letters",
        *paths,
    ):
        await operator.ask("GET", path)
