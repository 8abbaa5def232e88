"""Calls by HTTP."""

import dataclasses

import pytest

from push_proxy.core.events import AppAction, AppEvent
from push_proxy.core.ids import AccountId, CallId, Instant, TenantId, account_key
from push_proxy.core.model import CallState, Fault, Outcome, TimelineEntry, Verdict

from .conftest import Api

DECLINED = Outcome(
    verdict=Verdict.DECLINED,
    fault=Fault.NOBODY,
    phase=CallState.RINGING,
    ended_by="device",
    status=603,
)


async def test_a_call_tells_its_story(api: Api) -> None:
    """State, verdict and a timeline with times and milliseconds since the call began."""
    await api.account()
    start = api.clock.now()
    await api.call_record(
        state=CallState.ENDED,
        outcome=DECLINED,
        ended_at=Instant(start + 2),
        timeline=(
            TimelineEntry(start, "invite_received"),
            TimelineEntry(Instant(start + 0.0125), "push_sent", detail="webhook"),
        ),
    )
    call = (await api.call("GET", "/v1/calls/call-1")).json()
    assert (call["state"], call["verdict"], call["fault"]) == ("ended", "declined", "nobody")
    assert (call["phase"], call["ended_by"], call["status"]) == ("ringing", "device", 603)
    assert call["ended_at"] == "2027-01-15T08:00:02.000Z"
    assert [(entry["event"], entry["ms"]) for entry in call["timeline"]] == [
        ("invite_received", 0.0),
        ("push_sent", 12.5),
    ]


async def test_a_live_call_is_newer_than_the_stored_one(api: Api) -> None:
    """What memory knows counts; a search shows it too."""
    await api.account()
    record = await api.call_record()
    api.calls[record.id] = dataclasses.replace(record, state=CallState.RINGING)
    assert (await api.call("GET", "/v1/calls/call-1")).json()["state"] == "ringing"
    found = (await api.call("GET", "/v1/calls")).json()["calls"]
    assert [one["state"] for one in found] == ["ringing"]


async def test_search_by_each_condition(api: Api) -> None:
    """account, sip_call_id, number, verdict, since; newest first; page by page."""
    await api.account()
    await api.account("102")
    await api.call_record("c1", outcome=DECLINED)
    api.clock.time += 100
    other = account_key(TenantId("acme"), AccountId("102"))
    await api.call_record("c2", account=other, sip_call_id="zzz", caller="+555")

    async def found(query: str) -> list[str]:
        answer = await api.call("GET", f"/v1/calls?{query}")
        assert answer.status_code == 200, answer.text
        return [one["id"] for one in answer.json()["calls"]]

    assert await found("") == ["c2", "c1"]
    assert await found("account=101") == ["c1"]
    assert await found("sip_call_id=zzz") == ["c2"]
    for written in ("555", "%2B555", "+555"):  # the last one reaches us as a blank and 555
        assert await found(f"number={written}") == ["c2"]
    assert await found("verdict=declined") == ["c1"]
    assert await found("since=2027-01-15T08:01:00Z") == ["c2"]
    page = (await api.call("GET", "/v1/calls?limit=1")).json()
    assert await found(f"limit=1&cursor={page['next_cursor']}") == ["c1"]


@pytest.mark.parametrize(
    "query",
    [
        "verdict=unlucky",
        "since=yesterday",
        "since=2027-01-15T08:00:00",
        "limit=x",
        "a=b",
        "since=0.5",
        "since=9999-12-31T23:59:59-23:59",
        "since=1969-01-01T00:00:00Z",
        "limit=1&limit=2",
    ],
)
async def test_a_wrong_condition_is_refused(api: Api, query: str) -> None:
    """422, never an unfiltered answer."""
    assert (await api.call("GET", f"/v1/calls?{query}")).status_code == 422


async def test_an_app_reports_and_learns_the_calls_fate(api: Api) -> None:
    """Events reach the wake with the app's clock; the answer says where the call stands."""
    await api.account()
    await api.device()
    key = await api.device_key()
    await api.call_record()
    api.clock.time += 86_400
    told = await api.call(
        "POST",
        "/v1/calls/call-1/events",
        {"event": "push_received", "at": "2027-01-15T09:00:00+01:00", "detail": "cold start"},
        key=key,
    )
    assert told.status_code == 202, told.text
    assert told.json() == {"taken": True, "state": "waking", "verdict": None}
    ((call, device, event, detail),) = api.wakes.told
    assert (call, device, event) == ("call-1", "d1", AppEvent.PUSH_RECEIVED)
    assert detail == "cold start; app clock 2027-01-15T08:00:00.000Z"
    seen = (await api.call("GET", "/v1/accounts/101/devices/d1")).json()["seen_at"]
    assert seen == "2027-01-16T08:00:00.000Z"


async def test_a_late_report_is_answered_all_the_same(api: Api) -> None:
    """When the wake is over the app learns how it ended."""
    await api.account()
    await api.device()
    await api.call_record(state=CallState.ENDED, outcome=DECLINED)
    api.wakes.open = False
    body = {"event": "ui_shown", "device": "d1"}
    late = await api.call("POST", "/v1/calls/call-1/events", body)
    assert late.json() == {"taken": False, "state": "ended", "verdict": "declined"}


async def test_an_app_declines_from_the_push_screen(api: Api) -> None:
    """The action reaches the wake; too late, it is a conflict that says why."""
    await api.account()
    await api.device()
    key = await api.device_key()
    await api.call_record(state=CallState.ENDED, outcome=DECLINED)
    done = await api.call("POST", "/v1/calls/call-1/actions", {"action": "decline"}, key=key)
    assert done.status_code == 202
    assert api.wakes.told == [("call-1", "d1", AppAction.DECLINE)]
    api.wakes.open = False
    late = await api.call("POST", "/v1/calls/call-1/actions", {"action": "busy"}, key=key)
    assert late.status_code == 409
    assert "declined" in late.json()["detail"]


async def test_who_speaks_must_be_a_device_of_the_account(api: Api) -> None:
    """An API key names the device; a device key cannot speak for another one."""
    await api.account()
    await api.device()
    key = await api.device_key()
    await api.call_record()
    path, body = "/v1/calls/call-1/events", {"event": "registered"}
    assert (await api.call("POST", path, body)).status_code == 422
    assert (await api.call("POST", path, {**body, "device": "nope"})).status_code == 422
    assert (await api.call("POST", path, {**body, "device": "d2"}, key=key)).status_code == 422
    assert (await api.call("POST", path, {**body, "device": "d1"}, key=key)).status_code == 202


async def test_an_unknown_call_is_not_found(api: Api) -> None:
    """404 for calls that are not there, whatever is asked."""
    assert (await api.call("GET", f"/v1/calls/{CallId('nope')}")).status_code == 404
    body = {"action": "decline", "device": "d1"}
    assert (await api.call("POST", "/v1/calls/nope/actions", body)).status_code == 404
