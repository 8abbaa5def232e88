"""The FCM double refuses what Google refuses."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.doubles.fcm import FcmDevice, FcmDouble

from .fcm_sender import DATA, SCOPE, Sender, assertion, data_message, refused


@pytest.fixture
def phone(fcm: FcmDouble) -> FcmDevice:
    return fcm.device()


@pytest.fixture
async def sender(fcm: FcmDouble) -> AsyncIterator[Sender]:
    async with Sender(fcm) as sender:
        yield sender


async def test_good_push(fcm: FcmDouble, phone: FcmDevice, sender: Sender) -> None:
    """A data message is taken, named, and handed to the phone; everything is on record."""
    response = await sender.send(data_message(phone))
    assert response.status_code == 200
    [request] = await fcm.wait(1)
    assert response.json() == {"name": request.message_id}
    assert request.message_id.startswith("projects/lab-project/messages/")
    assert (request.http, request.status, request.code) == ("2", 200, "")
    assert (request.token, request.data, request.bearer) == (phone.token, DATA, sender.token)
    [delivery] = phone.received
    assert (delivery.data, delivery.priority, delivery.ttl_s) == (DATA, "high", 0)
    assert fcm.delivered == [delivery]
    assert [each.status for each in fcm.oauth_requests] == [200]
    assert fcm.faults == []


async def test_installation(fcm: FcmDouble, sender: Sender) -> None:
    """A Firebase installation is reached by `fid`; a token given as one is none."""
    phone, other = fcm.device(kind="fid"), fcm.device()
    assert (await sender.send(data_message(phone))).status_code == 200
    assert [each.data for each in phone.received] == [DATA]
    mixed = {**data_message(other), "fid": other.token}
    del mixed["token"]
    assert refused(await sender.send(mixed))[2] == ["INVALID_ARGUMENT"]


async def test_http_1_1(fcm: FcmDouble, phone: FcmDevice) -> None:
    """Clients without HTTP/2 are served, several requests on one connection."""
    async with Sender(fcm, http2=False) as sender:
        for _ in range(2):
            assert (await sender.send(data_message(phone))).status_code == 200
    assert [(each.http, each.connection) for each in fcm.requests] == [("1.1", 1), ("1.1", 1)]


async def test_validate_only(fcm: FcmDouble, phone: FcmDevice, sender: Sender) -> None:
    """With validate_only nothing reaches the phone, and faults are found all the same."""
    response = await sender.send(data_message(phone), validate_only=True)
    assert response.json() == {"name": "projects/lab-project/messages/fake_message_id"}
    assert phone.received == []
    bad = await sender.send({**data_message(phone), "token": "none"}, validate_only=True)
    assert refused(bad) == (400, "INVALID_ARGUMENT", ["INVALID_ARGUMENT"])


@pytest.mark.parametrize(
    "changed",
    [
        {"data": {"a": 1}},
        {"data": {"from": "x"}},
        {"data": {"google.x": "x"}},
        {"android": {"priority": "urgent"}},
        {"android": {"ttl": 0}},
        {"android": {"ttl": "0"}},
        {"android": {"ttl": "2419201s"}},
        {"android": {"Priority": "high"}},
        {"android": {"direct_boot_ok": "yes"}},
        {"fcm_options": {"analytics_label": "a b"}},
        {"topic": "news"},
        {"unknown": "x"},
    ],
    ids=str,
)
async def test_bad_messages(phone: FcmDevice, sender: Sender, changed: dict[str, Any]) -> None:
    """What the reference forbids is INVALID_ARGUMENT with the field's violation."""
    status, kind, details = refused(await sender.send(data_message(phone, **changed)))
    assert (status, kind) == (400, "INVALID_ARGUMENT")
    assert "BadRequest" in details
    assert phone.received == []


async def test_targets(fcm: FcmDouble, phone: FcmDevice, sender: Sender) -> None:
    """No target, one that is none, a stranger's, one of another project, one that is gone."""
    assert refused(await sender.send({"data": DATA}))[2] == ["BadRequest"]
    malformed = {"token": "spaces are none", "data": DATA}
    assert refused(await sender.send(malformed)) == (400, "INVALID_ARGUMENT", ["INVALID_ARGUMENT"])
    unknown = {"token": phone.token[:-4] + "zzzz", "data": DATA}
    assert refused(await sender.send(unknown)) == (404, "NOT_FOUND", ["UNREGISTERED"])
    other = fcm.device("other-project")
    mismatch = (403, "PERMISSION_DENIED", ["SENDER_ID_MISMATCH"])
    assert refused(await sender.send(data_message(other))) == mismatch
    fcm.unregister(phone.token)
    assert refused(await sender.send(data_message(phone))) == (404, "NOT_FOUND", ["UNREGISTERED"])


async def test_size(phone: FcmDevice, sender: Sender) -> None:
    """4096 bytes of payload are taken, one more is too big."""
    fits = {"k": "x" * (4096 - len('{"k":""}'))}
    assert (await sender.send(data_message(phone, data=fits))).status_code == 200
    over = await sender.send(data_message(phone, data={"k": fits["k"] + "x"}))
    assert over.json()["error"]["message"] == "Android message is too big"


async def test_bearer(fcm: FcmDouble, phone: FcmDevice, sender: Sender) -> None:
    """Without a token, with an unknown, an expired or a revoked one: 401. Of another project's
    account, of one without the role, or with the API off: 403.
    """
    good = sender.token
    for token, reason in (
        ("", "CREDENTIALS_MISSING"),
        ("ya29.unknown", "ACCESS_TOKEN_TYPE_UNSUPPORTED"),
    ):
        sender.token = token
        expected = (401, "UNAUTHENTICATED", [reason])
        assert refused(await sender.send(data_message(phone))) == expected
    sender.token = good
    fcm.ahead_s = 3601
    expired = (401, "UNAUTHENTICATED", ["ACCESS_TOKEN_EXPIRED"])
    assert refused(await sender.send(data_message(phone))) == expired
    fcm.ahead_s = 0
    assert (await sender.send(data_message(phone))).status_code == 200
    assert (await sender.send(data_message(phone), project="unknown")).status_code == 403
    fcm.first_account.may_send = False
    assert (await sender.send(data_message(phone))).status_code == 403
    fcm.first_account.may_send = True
    fcm.projects["lab-project"].api_enabled = False
    assert refused(await sender.send(data_message(phone)))[2] == ["SERVICE_DISABLED"]
    fcm.revoke_tokens()
    assert refused(await sender.send(data_message(phone))) == expired


async def test_assertions(fcm: FcmDouble, sender: Sender) -> None:
    """Wrong algorithm, issuer, audience, scope, time or key: invalid_grant, as Google says it."""
    account, now = fcm.first_account, time.time()
    file = account.file
    other = fcm.account(name="other")
    stranger = assertion(other.file, iss=account.email)
    faults = {
        "no.jwt": "invalid_grant",
        stranger: "invalid_grant",
        assertion(file, algorithm="HS256"): "invalid_grant",
        assertion(file, iss="nobody@example.com"): "invalid_grant",
        assertion(file, aud="https://elsewhere.example/token"): "invalid_grant",
        assertion(file, aud=None): "invalid_grant",
        assertion(file, scope=None): "invalid_scope",
        assertion(file, scope="https://www.googleapis.com/auth/drive"): "invalid_scope",
        assertion(file, exp=now + 7200): "invalid_grant",
        assertion(file, iat=now - 7200, exp=now - 3600): "invalid_grant",
        assertion(file, iat=now + 900, exp=now + 4500): "invalid_grant",
        assertion(file, iat=None): "invalid_grant",
    }
    for text, error in faults.items():
        response = await sender.grant(text)
        assert (response.status_code, response.json()["error"]) == (400, error), text
    wrong = await sender.grant(assertion(file), grant_type="password")
    assert wrong.json()["error"] == "unsupported_grant_type"
    both = f"{SCOPE} https://www.googleapis.com/auth/datastore"
    assert (await sender.grant(assertion(file, scope=both))).status_code == 200


async def test_account_troubles(fcm: FcmDouble, sender: Sender) -> None:
    """A disabled or deleted account and a revoked key are told apart."""
    account = fcm.first_account
    file = account.file
    for trouble, said in (
        ("disabled", "Account disabled"),
        ("deleted", "Invalid grant: account not found"),
        ("key_revoked", "Invalid JWT Signature."),
    ):
        setattr(account, trouble, True)
        response = await sender.grant(assertion(file))
        assert response.json() == {"error": "invalid_grant", "error_description": said}
        setattr(account, trouble, False)
    assert (await sender.grant(assertion(file))).status_code == 200


async def test_other_paths(fcm: FcmDouble, sender: Sender) -> None:
    """Elsewhere is a page that nothing was found."""
    for path in ("/", "/fcm/send", "/v1/projects/lab-project/messages"):
        response = await sender.http.post(fcm.base_url + path, json={})
        assert response.status_code == 404
        assert response.headers["content-type"].startswith("text/html")
