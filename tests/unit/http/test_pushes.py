"""Test pushes by the API: what is sent, what is told, what a phone that believes it learns."""

import pytest

from push_proxy.core.events import PushOutcome
from push_proxy.core.push_advice import push_advice
from push_proxy.ports import PushResult, TokenFate

from .conftest import Api

PATH = "/v1/accounts/101/devices/d1/pushes"


@pytest.fixture(autouse=True)
async def things(api: Api) -> None:
    await api.account()
    await api.device()


async def test_a_refresh_is_what_is_sent_by_default(api: Api) -> None:
    """No call is named in it, and the answer holds what the provider said."""
    api.push_result = PushResult(
        outcome=PushOutcome.ACCEPTED, reason="200", provider_id="abc", elapsed_s=0.0251
    )
    answer = await api.call("POST", PATH, key="devices")
    assert answer.status_code == 200
    (push,) = api.pushes
    assert (push.type, push.call) == ("refresh", None)
    told = answer.json()
    assert "the phone" in told.pop("advice")
    assert told == {
        "provider": "webhook",
        "app_id": "com.example.phone",
        "type": "refresh",
        "call_id": None,
        "outcome": "accepted",
        "reason": "200",
        "provider_id": "abc",
        "attempts": 1,
        "elapsed_ms": 25.1,
        "token": "good",
    }


async def test_a_test_call_is_over_before_it_begins(api: Api) -> None:
    """The app that asks for it learns to stop ringing; searches show it as the test it was."""
    told = (await api.call("POST", PATH, {"type": "call"})).json()
    (push,) = api.pushes
    assert (push.type, push.call, push.caller_name) == ("call", told["call_id"], "Test push")
    key = await api.device_key()
    call = (await api.call("GET", f"/v1/calls/{told['call_id']}", key=key)).json()
    assert (call["state"], call["verdict"], call["ended_by"]) == (
        "ended",
        "caller_cancelled",
        "proxy",
    )
    assert "test" in call["advice"]
    events = [(entry["event"], entry["detail"]) for entry in call["timeline"]]
    assert events == [("test_push_sent", ""), ("test_push_answered", "accepted: 200")]
    reported = await api.call(
        "POST", f"/v1/calls/{told['call_id']}/events", {"event": "push_received"}, key=key
    )
    assert reported.status_code == 202


async def test_a_refusal_comes_with_what_to_do(api: Api) -> None:
    """200 all the same: the provider's verdict, the token's state, and advice."""
    api.push_result = PushResult(
        outcome=PushOutcome.REJECTED, reason="http_410", token=TokenFate.DEAD
    )
    told = (await api.call("POST", PATH, {})).json()
    assert (told["outcome"], told["reason"], told["token"]) == ("rejected", "http_410", "dead")
    assert told["advice"] == push_advice("webhook", "http_410") != ""


async def test_an_app_that_is_not_configured_is_named(api: Api) -> None:
    """A provider that was taken out of the configuration: nothing is sent, and it is said why."""
    api.served.clear()
    told = (await api.call("POST", PATH, {})).json()
    assert (told["outcome"], told["reason"], told["attempts"]) == (
        "misconfigured",
        "unknown_app",
        0,
    )
    assert "providers" in told["advice"]
    assert api.pushes == []


async def test_an_account_gets_few_test_pushes(api: Api) -> None:
    """Phones are no toys: ten at once, then one every five seconds, with Retry-After."""
    statuses = [(await api.call("POST", PATH, {})).status_code for _ in range(11)]
    assert statuses == [200] * 10 + [429]
    refused = await api.call("POST", PATH, {})
    assert refused.headers["Retry-After"] == "5"
    api.clock.time += 5
    assert (await api.call("POST", PATH, {})).status_code == 200


async def test_a_repeated_request_pushes_once(api: Api) -> None:
    """With an Idempotency-Key the first answer comes again."""
    headers = {"Idempotency-Key": "once"}
    first = await api.call("POST", PATH, {"type": "call"}, headers=headers)
    again = await api.call("POST", PATH, {"type": "call"}, headers=headers)
    assert first.json() == again.json()
    assert len(api.pushes) == 1


@pytest.mark.parametrize("body", [{"type": "cancel"}, {"type": "call", "token": "x"}])
async def test_other_pushes_are_refused(api: Api, body: dict[str, str]) -> None:
    """Only what harms nobody can be sent, and only to the device's own token."""
    assert (await api.call("POST", PATH, body)).status_code == 422
    assert api.pushes == []
