"""Push tokens by HTTP: of which provider, how they do, and which devices give way."""

from dataclasses import replace
from typing import Any

import pytest

from push_proxy.core.ids import AccountId, DeviceId, account_key
from push_proxy.core.model import Device, TokenFault, TokenState
from push_proxy.core.token_fate import dropped

from .conftest import TENANT, Api

KEY = account_key(TENANT, AccountId("101"))
PATH = "/v1/accounts/101/devices/d1"
APNS = {"provider": "apns", "app_id": "com.example.phone", "token": "ab" * 32}
DAY_S = 86_400.0


@pytest.fixture
async def served(api: Api) -> Api:
    """With an account, and every provider configured for its app."""
    for provider in ("apns", "fcm", "webpush", "hms", "rustore"):
        api.served.add((provider, "com.example.phone"))
    await api.account()
    return api


def kept(api: Api, name: str = "d1") -> Device:
    """The device in memory."""
    device = api.directory.device(KEY, DeviceId(name))
    assert device is not None
    return device


async def test_an_iphone_has_two_tokens_and_an_environment(served: Api) -> None:
    """Both tokens are write-only and kept when omitted; null removes the one for alerts."""
    made = await served.call(
        "PUT", PATH, {**APNS, "alert_token": "cd" * 32, "environment": "sandbox"}
    )
    body = made.json()
    assert (body["has_token"], body["has_alert_token"]) == (True, True)
    assert body["environment"] == "sandbox"
    assert "abab" not in made.text
    assert "cdcd" not in made.text
    bare = {"provider": "apns", "app_id": "com.example.phone", "platform": "ios"}
    again = (await served.call("PUT", PATH, bare)).json()
    assert (again["has_alert_token"], again["environment"]) == (True, "sandbox")
    assert (kept(served).token, kept(served).alert_token) == ("ab" * 32, "cd" * 32)
    gone = (await served.call("PUT", PATH, {**bare, "alert_token": None})).json()
    assert gone["has_alert_token"] is False


async def test_what_was_found_out_of_a_token_ends_with_it(served: Api) -> None:
    """An environment that a push has found stays over equal PUTs and goes with the token."""
    await served.call("PUT", PATH, APNS)
    served.directory.put_device_behind(replace(kept(served), environment="sandbox"))
    etag = (await served.call("GET", PATH)).headers["ETag"]
    same = await served.call("PUT", PATH, APNS)
    assert (same.headers["ETag"], same.json()["environment"]) == (etag, "sandbox")
    rotated = await served.call("PUT", PATH, {**APNS, "token": "ef" * 32})
    assert rotated.json()["environment"] is None


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"token": "no hex"}, "token"),
        ({"alert_token": "zz"}, "alert_token"),
        ({"provider": "fcm", "alert_token": "ab" * 32}, "alert_token"),
        ({"provider": "fcm", "environment": "sandbox"}, "environment"),
        ({"environment": "moon"}, "environment"),
        ({"token_kind": "fid"}, "token_kind"),
        ({"provider": "fcm", "token_kind": "fid", "token": "too-short"}, "token"),
        ({"provider": "webpush", "token": "no subscription"}, "token"),
    ],
)
async def test_a_token_that_cannot_be_one_is_refused(
    served: Api, change: dict[str, Any], field: str
) -> None:
    """422 names the field and shows nothing of the token."""
    refused = await served.call("PUT", PATH, {**APNS, **change})
    assert refused.status_code == 422, refused.text
    assert field in [error["field"] for error in refused.json()["errors"]]
    assert "abab" not in refused.text
    assert served.directory.devices(KEY) == ()


async def test_an_equal_put_is_a_sign_of_life_and_no_new_version(served: Api) -> None:
    """ETag and updated_at stay; seen_at, idle_until and the age of the token move."""
    before = (await served.device()).json()
    assert before["token"] == {
        "state": "good",
        "reason": "",
        "since": "2027-01-15T08:00:00.000Z",
    }
    assert before["idle_until"] == "2027-04-15T08:00:00.000Z"
    served.clock.time += 2 * DAY_S
    again = (await served.device()).json()
    assert again["updated_at"] == before["updated_at"]
    assert again["seen_at"] == again["token"]["since"] == "2027-01-17T08:00:00.000Z"
    assert again["idle_until"] == "2027-04-17T08:00:00.000Z"
    served.bind()
    assert (await served.call("GET", PATH)).json()["idle_until"] is None


async def test_a_put_without_token_does_not_name_it(served: Api) -> None:
    """Only a token in the body is confirmed: the app may not know what we have kept."""
    await served.device()
    at = kept(served).token_at
    served.clock.time += DAY_S
    body = {"provider": "webhook", "app_id": "com.example.phone", "platform": "ios"}
    assert (await served.call("PUT", PATH, body)).status_code == 200
    assert kept(served).token_at == at
    assert kept(served).seen_at == served.clock.time


async def test_a_dead_token_is_shown_and_named_again_comes_back(served: Api) -> None:
    """The device stays; a PUT without token says why it needs one; the very same one will do."""
    first = await served.device(token="t1")
    gone = dropped(kept(served), "http_410", served.clock.now())
    served.directory.put_device_behind(gone)
    shown = await served.call("GET", PATH)
    assert shown.json()["has_token"] is False
    assert shown.json()["token"]["state"] == "dead"
    assert shown.json()["token"]["reason"] == "http_410"
    status = (await served.call("GET", "/v1/accounts/101")).json()["status"]["devices"]
    assert [(d["reachability"], d["token"]["reason"]) for d in status] == [
        ("unreachable", "http_410")
    ]
    body = {"provider": "webhook", "app_id": "com.example.phone"}
    refused = await served.call("PUT", PATH, body)
    assert refused.status_code == 422
    assert "http_410" in refused.json()["detail"]
    guarded = await served.call(
        "PUT", PATH, {**body, "token": "t1"}, headers={"If-Match": first.headers["ETag"]}
    )
    assert guarded.status_code == 412
    back = await served.device(token="t1")
    assert back.json()["token"]["state"] == "good"


async def test_a_token_of_another_app_stays_marked_until_it_changes(served: Api) -> None:
    """An equal PUT proves nothing: the mark goes with the token, or with a push that is taken."""
    await served.device(token="t1")
    fault = TokenFault(state=TokenState.WRONG_APP, reason="SenderIdMismatch", at=served.clock.now())
    served.directory.put_device_behind(replace(kept(served), token_fault=fault))
    again = (await served.device(token="t1")).json()
    assert (again["has_token"], again["token"]["state"]) == (True, "wrong_app")
    rotated = (await served.device(token="t2")).json()
    assert rotated["token"]["state"] == "good"


async def test_too_many_devices_push_the_quietest_aside(served: Api) -> None:
    """The PUT says which one went; a bound phone stays while others have no binding."""
    served.directory.max_devices = 2
    await served.device(name="d1")
    served.bind("d1")
    served.clock.time += 60
    await served.device(name="d2")
    served.clock.time += 60
    made = await served.device(name="d3")
    assert (made.status_code, made.json()["evicted"]) == (201, ["d2"])
    assert [d.device for d in served.directory.devices(KEY)] == ["d1", "d3"]
    assert (await served.device(name="d3", platform="ios")).json()["evicted"] == []


async def test_a_put_says_how_many_lost_the_token(served: Api) -> None:
    """`moved` counts; names of other accounts are not told."""
    await served.account("102")
    await served.device("101", token="shared")
    taken = await served.device("102", token="shared")
    assert taken.json()["moved"] == 1
    assert (await served.call("GET", PATH)).status_code == 404
