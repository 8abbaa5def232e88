"""The APNs double refuses what APNs refuses."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.doubles.apns import STATUS, ApnsDevice, ApnsDouble, error

from .apns_sender import VOIP, Sender

ALERT = {"aps": {"alert": {"loc-key": "MISSED"}}}
BACKGROUND = {"aps": {"content-available": 1}}
BUNDLE = "com.example.phone"


@pytest.fixture
def phone(apns: ApnsDouble) -> ApnsDevice:
    return apns.device(BUNDLE)


@pytest.fixture
async def sender(apns: ApnsDouble) -> AsyncIterator[Sender]:
    async with Sender(apns) as sender:
        yield sender


async def test_good_push(apns: ApnsDouble, phone: ApnsDevice, sender: Sender) -> None:
    """A VoIP push is taken with 200 and an empty body, its id echoed; the phone gets its payload,
    and everything about it is on record.
    """
    response = await sender.push(phone)
    assert (response.status_code, response.content) == (200, b"")
    [request] = await apns.wait(1)
    assert response.headers["apns-id"] == request.headers["apns-id"] == request.apns_id
    assert (request.token, request.payload) == (phone.token, VOIP)
    assert (request.connection, request.stream, request.status) == (1, 1, 200)
    assert request.delivered
    assert request.arrived_at == pytest.approx(time.time(), abs=5)
    assert [each.payload for each in phone.received] == [VOIP]
    assert apns.delivered == phone.received
    assert (apns.connections, apns.tokens_seen) == (1, [sender.token])
    assert apns.faults == []


async def test_alert_and_background(apns: ApnsDouble, sender: Sender) -> None:
    """A token that is not of PushKit takes alerts and background pushes, under the bundle id."""
    alerted = apns.device(BUNDLE, kind="alert")
    alert = {"apns_topic": BUNDLE, "apns_push_type": "alert"}
    background = {"apns_topic": BUNDLE, "apns_push_type": "background", "apns_priority": "5"}
    assert await sender.answer(alerted, ALERT, **alert) == (200, "")
    assert await sender.answer(alerted, BACKGROUND, **background) == (200, "")
    assert [each.push_type for each in alerted.received] == ["alert", "background"]


async def test_id_is_made(phone: ApnsDevice, sender: Sender) -> None:
    """Without apns-id the answer names one."""
    response = await sender.push(phone, apns_id=None)
    assert len(response.headers["apns-id"]) == 36


HEADERS: list[tuple[dict[str, Any], str]] = [
    ({"method": "PUT"}, "MethodNotAllowed"),
    ({"path": "/3/devices/00"}, "BadPath"),
    ({"path": "/3/device/"}, "MissingDeviceToken"),
    ({"path": "/3/device/" + "0" * 64}, "BadDeviceToken"),
    ({"path": "/3/device/not-hex"}, "BadDeviceToken"),
    ({"authorization": None}, "MissingProviderToken"),
    ({"authorization": "bearer a.b.c"}, "InvalidProviderToken"),
    ({"apns_topic": None}, "MissingTopic"),
    ({"apns_topic": "no topic!"}, "BadTopic"),
    ({"apns_topic": "com.example.other.voip"}, "TopicDisallowed"),
    ({"apns_topic": BUNDLE}, "InvalidPushType"),
    ({"apns_push_type": "alert"}, "InvalidPushType"),
    ({"apns_push_type": None}, "InvalidPushType"),
    ({"apns_push_type": "call"}, "InvalidPushType"),
    ({"apns_push_type": "alert", "apns_topic": BUNDLE}, "DeviceTokenNotForTopic"),
    ({"apns_push_type": "background", "apns_topic": BUNDLE}, "BadPriority"),
    ({"apns_priority": "7"}, "BadPriority"),
    ({"apns_expiration": "soon"}, "BadExpirationDate"),
    ({"apns_expiration": "-1"}, "BadExpirationDate"),
    ({"apns_id": "7d1c"}, "BadMessageId"),
    ({"apns_collapse_id": "x" * 65}, "BadCollapseId"),
    ({"extra": [("apns-priority", "5")]}, "DuplicateHeaders"),
    ({"payload": {}}, "PayloadEmpty"),
    ({"payload": b"aps"}, "PayloadEmpty"),
    ({"payload": {"aps": "yes"}}, "PayloadEmpty"),
    ({"payload": {"aps": {}, "x": "y" * 5120}}, "PayloadTooLarge"),
    ({"sandbox": True}, "BadDeviceToken"),
]


@pytest.mark.parametrize(("changed", "reason"), HEADERS, ids=[f"{r}-{c}"[:60] for c, r in HEADERS])
async def test_refused(
    apns: ApnsDouble, phone: ApnsDevice, sender: Sender, changed: dict[str, Any], reason: str
) -> None:
    """One thing wrong with a push gets its documented answer, and the phone gets nothing."""
    assert await sender.answer(phone, **changed) == (STATUS[reason], reason)
    assert [request.reason for request in apns.requests] == [reason]
    assert apns.delivered == []


async def test_sizes(apns: ApnsDouble, phone: ApnsDevice, sender: Sender) -> None:
    """5120 bytes are enough for VoIP, 4096 for the others, and not one more."""

    def sized(size: int) -> bytes:
        return b'{"aps":{},"x":"' + b"y" * (size - 17) + b'"}'

    alert = {"apns_topic": BUNDLE, "apns_push_type": "alert"}
    alerted = apns.device(BUNDLE, kind="alert")
    assert await sender.answer(phone, sized(5120)) == (200, "")
    assert (await sender.answer(phone, sized(5121)))[0] == 413
    assert await sender.answer(alerted, sized(4096), **alert) == (200, "")
    assert (await sender.answer(alerted, sized(4097), **alert))[0] == 413


@pytest.mark.parametrize(
    ("expiration", "delivered"), [("0", True), ("300", False), ("past", False), ("future", True)]
)
async def test_expiration(
    apns: ApnsDouble, phone: ApnsDevice, sender: Sender, expiration: str, delivered: bool
) -> None:
    """Only a literal zero or a time to come reaches the phone; 300 is a time in 1970."""
    times = {"past": str(int(time.time()) - 5), "future": str(int(time.time()) + 30)}
    said = times.get(expiration, expiration)
    assert await sender.answer(phone, apns_expiration=said) == (200, "")
    assert bool(apns.delivered) == apns.requests[0].delivered == delivered


async def test_unregistered(apns: ApnsDouble, phone: ApnsDevice, sender: Sender) -> None:
    """A token that is gone gets 410 with the time in milliseconds, until the app is back."""
    apns.unregister(phone.token, ago_s=60)
    response = await sender.push(phone)
    assert response.status_code == 410
    assert response.json()["reason"] == "Unregistered"
    assert response.json()["timestamp"] == pytest.approx((time.time() - 60) * 1000, abs=5000)
    apns.unregister(phone.token, reason="ExpiredToken")
    assert await sender.answer(phone) == (410, "ExpiredToken")
    phone.register_again()
    assert await sender.answer(phone) == (200, "")


async def test_sandbox(apns: ApnsDouble, sender: Sender) -> None:
    """A sandbox token belongs to the sandbox alone."""
    phone = apns.device(BUNDLE, environment="sandbox")
    assert await sender.answer(phone) == (400, "BadDeviceToken")
    response = await sender.push(phone, sandbox=True)
    assert response.status_code == 200
    assert response.headers["apns-unique-id"]
    assert [each.environment for each in apns.delivered] == ["sandbox"]


@pytest.mark.parametrize("reason", STATUS)
async def test_every_error_on_demand(
    apns: ApnsDouble, phone: ApnsDevice, sender: Sender, reason: str
) -> None:
    """Each documented error can be had for one push, with JSON; the next push is taken."""
    apns.for_token(phone.token, error(reason))
    assert await sender.answer(phone) == (STATUS[reason], reason)
    assert await sender.answer(phone) == (200, "")
    assert len(phone.received) == 1


async def test_payload_reaches_a_callback(apns: ApnsDouble, sender: Sender) -> None:
    """A device's callback gets what the phone would, be it a function or a coroutine."""
    got: list[str] = []

    async def later(delivery: Any) -> None:
        got.append(delivery.payload["call_id"])

    await sender.push(apns.device(BUNDLE, deliver=later))
    await sender.push(apns.device(BUNDLE, deliver=lambda each: got.append(each.apns_id)))
    assert got == ["7d1c", apns.requests[1].apns_id]
