"""The FCM double breaks as FCM breaks, and knows what phones get."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from push_proxy.tasks import spawn
from tests.doubles.fcm import (
    Delivery,
    FcmDevice,
    FcmDouble,
    Play,
    bad_gateway,
    drop,
    error,
    errors,
    held,
    refused,
    reset,
    silence,
    slow,
)
from tests.doubles.fcm_errors import CODES
from tests.lab.certificates import TlsIdentity
from tests.lab.process import Process, poll_until
from tests.lab.push_sink import PushSink

from .fcm_sender import DATA, GRANT, Sender, assertion, data_message
from .fcm_sender import refused as said


@pytest.fixture
def phone(fcm: FcmDouble) -> FcmDevice:
    return fcm.device()


@pytest.fixture
async def sender(fcm: FcmDouble) -> AsyncIterator[Sender]:
    async with Sender(fcm) as sender:
        yield sender


async def test_every_documented_error(fcm: FcmDouble, phone: FcmDevice, sender: Sender) -> None:
    """Each comes on demand in Google's form, for the next request only, and reaches no phone."""
    for code, known in CODES.items():
        fcm.next(error(code))
        answer = said(await sender.send(data_message(phone)))
        assert answer == (known.http, known.status, [code])
    assert phone.received == []
    assert (await sender.send(data_message(phone))).status_code == 200
    assert [each.code for each in fcm.requests] == [*CODES, ""]


async def test_per_token(fcm: FcmDouble, phone: FcmDevice, sender: Sender) -> None:
    """A fate can be one token's alone, once or for good."""
    other = fcm.device()
    fcm.for_token(phone.token, error("INTERNAL"))
    fcm.always_for(other.token, error("UNAVAILABLE", retry_after=7))
    assert (await sender.send(data_message(phone))).status_code == 500
    assert (await sender.send(data_message(phone))).status_code == 200
    for _ in range(2):
        response = await sender.send(data_message(other))
        assert (response.status_code, response.headers["retry-after"]) == (503, "7")
    fcm.always_for(other.token, None)
    assert (await sender.send(data_message(other))).status_code == 200


async def test_pages(fcm: FcmDouble, phone: FcmDevice, sender: Sender) -> None:
    """502 is a page for people; a quota of one device says so."""
    fcm.next(bad_gateway(), refused(errors.device_quota()))
    page = await sender.send(data_message(phone))
    assert page.status_code == 502
    assert page.text.startswith("<!DOCTYPE html>")
    details = said(await sender.send(data_message(phone)))[2]
    assert details == ["QUOTA_EXCEEDED", "QuotaFailure"]


async def test_no_answer(fcm: FcmDouble, phone: FcmDevice, sender: Sender) -> None:
    """Silence, a reset and a broken connection: the client gets no answer, the phone nothing
    unless asked for.
    """
    fcm.next(silence(delivers=True), reset(), drop())
    with pytest.raises(httpx.ReadTimeout):
        await sender.http.post(
            f"{fcm.base_url}/v1/projects/lab-project/messages:send",
            json={"message": data_message(phone)},
            headers={"authorization": f"Bearer {sender.token}"},
            timeout=0.2,
        )
    for _ in range(2):
        with pytest.raises(httpx.RemoteProtocolError):
            await sender.send(data_message(phone))
    assert len(phone.received) == 1
    assert [each.status for each in fcm.requests] == [None] * 3


async def test_late_answers(fcm: FcmDouble, phone: FcmDevice, sender: Sender) -> None:
    """An answer comes late, or when it is released; the phone has the push at once."""
    release = asyncio.Event()
    fcm.next(held(release), slow(0.05))
    first = spawn(sender.send(data_message(phone)), name="a push")
    await fcm.wait_delivered(1)
    assert (await sender.send(data_message(phone))).status_code == 200
    assert not first.done()
    release.set()
    assert (await first).status_code == 200


async def test_going_away(fcm: FcmDouble, phone: FcmDevice, sender: Sender) -> None:
    """After GOAWAY what was begun is answered still, then the connection closes."""
    release = asyncio.Event()
    fcm.next(held(release))
    first = spawn(sender.send(data_message(phone)), name="a push")
    await fcm.wait(1)
    assert fcm.go_away() == 1
    release.set()
    assert await poll_until(lambda: not fcm.open_lines, within_s=2)
    await asyncio.gather(first, return_exceptions=True)
    async with Sender(fcm) as another:
        assert (await another.send(data_message(phone))).status_code == 200
    assert [(each.connection, each.status) for each in fcm.requests] == [(1, 200), (2, 200)]


async def test_token_endpoint_on_demand(fcm: FcmDouble, sender: Sender) -> None:
    """The token endpoint refuses, is slow or breaks as the test wants."""
    fcm.oauth_next(
        refused(errors.oauth("internal_failure", "Backend Error", status=503)), Play(after_s=0.01)
    )
    assert (await sender.grant(assertion(fcm.service_account_file))).status_code == 503
    assert (await sender.grant(assertion(fcm.service_account_file))).status_code == 200
    assert [each.status for each in fcm.oauth_requests] == [200, 503, 200]
    assert fcm.oauth_requests[0].claims["iss"] == fcm.first_account.email


async def test_phones(fcm: FcmDouble, sender: Sender) -> None:
    """Offline and dozing phones get what is stored for them when they wake; ttl 0 is never stored,
    high priority goes through Doze.
    """
    phone = fcm.device()
    phone.dozing = True
    await sender.send(data_message(phone))
    assert len(phone.received) == 1
    normal = {"priority": "normal", "ttl": "60s"}
    await sender.send(data_message(phone, android=normal))
    await sender.send(data_message(phone, android={"priority": "normal", "ttl": "0s"}))
    phone.online = False
    await sender.send(data_message(phone))
    assert (len(phone.received), len(phone.stored)) == (1, 1)
    fcm.wake(phone)
    assert [each.priority for each in phone.received] == ["high", "normal"]


async def test_delivery_is_told(fcm: FcmDouble, sender: Sender) -> None:
    """A device's own function gets what the phone gets."""
    got: list[Delivery] = []
    phone = fcm.device(deliver=got.append)
    await sender.send(data_message(phone))
    assert [each.data for each in got] == [DATA]


async def test_program(workdir: Path, push_sink: PushSink) -> None:
    """As a process it writes where it is, and passes on what a device gets."""
    directory, fid = workdir / "fcm", "e" + "0" * 21
    options = ["--directory", str(directory), "--device", "demo-token", push_sink.url]
    options += ["--fid-device", fid, push_sink.url]
    process = Process(
        [sys.executable, "-m", "tests.doubles.fcm", *options],
        name="fcm",
        log=workdir / "fcm.log",
    )
    process.start()
    await process.wait_for('"event": "listening"', within_s=15)
    found = json.loads((directory / "fcm.json").read_text())
    trust = TlsIdentity(Path(found["ca_file"])).client_context()
    grant = {"grant_type": GRANT, "assertion": assertion(Path(found["service_account_file"]))}
    async with httpx.AsyncClient(http2=True, verify=trust) as http:
        granted = await http.post(found["token_uri"], data=grant)
        headers = {"authorization": f"Bearer {granted.json()['access_token']}"}
        url = f"{found['base_url']}/v1/projects/{found['project_id']}/messages:send"
        for target in ({"token": "demo-token"}, {"fid": fid}):
            message = {"message": {**target, "data": DATA}}
            assert (await http.post(url, json=message, headers=headers)).status_code == 200
    assert [each.payload for each in await push_sink.wait(2)] == [DATA, DATA]
    await process.stop()
