"""The waterfall's logic, in the browser that runs it: from recorded timelines to hops."""

from __future__ import annotations

from typing import Any

import pytest

from .chromium import Console

RUN = """
async ([call, now]) => {
  const { waterfall } = await import("/console/hops.js");
  return waterfall(call, now);
}
"""
BEGAN = "2026-11-21T09:30:00.000Z"
PUSHED = [("invite_received", 0, None), ("push_sent", 2, "a"), ("push_accepted", 80, "a")]
WOKEN = [*PUSHED, ("registered", 900, "a"), ("invite_sent", 901, "a")]
AT_7_S = "2026-11-21T09:30:07.000Z"


def call(*entries: tuple[Any, ...], **fields: Any) -> dict[str, Any]:
    """A call as the API shows it; entries are event, ms, device and perhaps detail."""
    timeline = [
        {"event": event, "ms": ms, "device": device, "detail": detail[0] if detail else ""}
        for event, ms, device, *detail in entries
    ]
    return {
        "direction": "incoming",
        "started_at": BEGAN,
        "answered_at": None,
        "ended_at": None,
        "state": "waking",
        "verdict": None,
        "timeline": timeline,
        **fields,
    }


def ended(verdict: str) -> dict[str, Any]:
    return {"state": "ended", "verdict": verdict, "ended_at": AT_7_S}


# What was recorded, milliseconds now, and the states of device a's hops:
# INVITE, push sent, accepted, app report, REGISTER, relayed, ringing, answer.
CASES: dict[str, tuple[dict[str, Any], int, str]] = {
    "push on its way": (call(*PUSHED[:2]), 50, "done done waiting open open open open open"),
    "phone is woken": (call(*PUSHED), 500, "done done done open waiting open open open"),
    "app says so": (
        call(*PUSHED, ("push_received", 300, "a")),
        500,
        "done done done done waiting open open open",
    ),
    "app says nothing": (
        call(*WOKEN),
        1000,
        "done done done skipped done done waiting open",
    ),
    "answered at once": (
        call(*WOKEN, ("answered", 1500, "a"), state="answered"),
        2000,
        "done done done skipped done done skipped done",
    ),
    "phone was awake": (
        call(
            ("invite_received", 0, None),
            ("not_pushed", 1, "a", "awake"),
            ("invite_sent", 1, "a"),
            ("device_ringing", 20, "a", "180 Ringing"),
        ),
        100,
        "done skipped skipped skipped skipped done done waiting",
    ),
    "never came": (
        call(*PUSHED, **ended("not_woken")),
        0,
        "done done done missed failed missed missed missed",
    ),
    "caller gave up": (
        call(*PUSHED, ("cancelled", 1000, None), **ended("caller_cancelled")),
        0,
        "done done done missed stopped missed missed missed",
    ),
    "came and did not ring": (
        call(*WOKEN, **ended("registered_not_ringing")),
        0,
        "done done done skipped done done failed missed",
    ),
    "refused": (
        call(*WOKEN, ("device_refused", 1200, "a", "488 Not Acceptable"), **ended("device_error")),
        0,
        "done done done skipped done done skipped failed",
    ),
    "busy": (
        call(*WOKEN, ("device_refused", 1200, "a", "486 Busy Here"), **ended("busy")),
        0,
        "done done done skipped done done skipped declined",
    ),
    "declined on the push screen": (
        call(*PUSHED, ("app_decline", 700, "a"), **ended("declined")),
        0,
        "done done done skipped skipped skipped skipped declined",
    ),
    "token dead": (
        call(*PUSHED[:2], ("push_rejected", 90, "a", "Unregistered"), **ended("push_rejected")),
        0,
        "done done failed missed missed missed missed missed",
    ),
    "second push went through": (
        call(
            *PUSHED[:2],
            ("push_unavailable", 90, "a", "timeout"),
            ("push_sent", 5000, "a", "push 2"),
            ("push_accepted", 5100, "a"),
        ),
        5200,
        "done done done open waiting open open open",
    ),
    "nothing to push to": (
        call(
            ("invite_received", 0, None),
            ("not_pushed", 1, "a", "no_token"),
            **ended("no_device"),
        ),
        0,
        "done failed missed missed missed missed missed missed",
    ),
    "REGISTER before the provider's answer": (
        call(*PUSHED[:2], ("registered", 60, "a"), ("push_accepted", 80, "a")),
        100,
        "done done done skipped done waiting open open",
    ),
    "too late": (
        call(*PUSHED, ("registered_late", 9000, "a"), **ended("not_woken")),
        0,
        "done done done missed failed missed missed missed",
    ),
}


@pytest.mark.parametrize(("recorded", "now", "states"), CASES.values(), ids=CASES)
async def test_hops_of_a_device(
    hops: Console, recorded: dict[str, Any], now: int, states: str
) -> None:
    """Each recorded timeline gives these states, hop by hop."""
    found = await hops.page.evaluate(RUN, [recorded, now])
    (device,) = found["devices"]
    assert device["device"] == "a"
    assert " ".join(hop["state"] for hop in device["hops"]) == states


async def test_bars_begin_where_the_hop_before_ended(hops: Console) -> None:
    """A bar is what its hop took; the axis ends where the call was decided."""
    recorded = call(
        *WOKEN,
        ("device_ringing", 950, "a", "180 Ringing"),
        ("answered", 4000, "a"),
        ("hung_up", 64_000, None),
        state="ended",
        verdict="answered",
        answered_at="2026-11-21T09:30:04.000Z",
        ended_at="2026-11-21T09:31:04.000Z",
    )
    found = await hops.page.evaluate(RUN, [recorded, 0])
    (device,) = found["devices"]
    bars = {hop["hop"]: (hop["fromMs"], hop["ms"]) for hop in device["hops"]}
    assert bars["push_accepted"] == (2, 80)
    assert bars["registered"] == (80, 900)
    assert bars["answered"] == (950, 4000)
    assert bars["app_report"][1] is None
    assert found["endMs"] == 4000


async def test_the_axis_reaches_to_where_waiting_ended(hops: Console) -> None:
    """Of a phone that never came: from the push that the provider took to the call's end."""
    found = await hops.page.evaluate(RUN, [call(*PUSHED, **ended("not_woken")), 0])
    (device,) = found["devices"]
    awaited = device["hops"][4]
    assert (awaited["fromMs"], awaited["toMs"], found["endMs"]) == (80, 7000, 7000)


async def test_a_call_of_several_devices_has_hops_for_each(hops: Console) -> None:
    """In the order in which they appear, each with its own; what it took two pushes is counted."""
    recorded = call(
        *WOKEN, ("push_sent", 3, "b"), ("push_accepted", 70, "b"), ("push_sent", 5003, "b")
    )
    recorded["timeline"].sort(key=lambda entry: entry["ms"])
    found = await hops.page.evaluate(RUN, [recorded, 6000])
    assert [each["device"] for each in found["devices"]] == ["a", "b"]
    sent = found["devices"][1]["hops"][1]
    assert (sent["ms"], sent["pushes"]) == (3, 2)


async def test_an_apps_own_call_has_hops_of_its_own(hops: Console) -> None:
    """No push and no REGISTER; a challenge changes nothing."""
    recorded = call(
        ("invite_received", 0, "a"),
        ("challenged", 20, None, "407 Proxy Authentication Required"),
        ("invite_sent", 40, "a"),
        ("ringing", 200, None, "180 Ringing"),
        ("answered", 900, None),
        direction="outgoing",
        state="answered",
    )
    found = await hops.page.evaluate(RUN, [recorded, 1000])
    (device,) = found["devices"]
    assert [hop["hop"] for hop in device["hops"]] == ["invite", "relayed", "ringing", "answered"]
    assert [hop["state"] for hop in device["hops"]] == ["done"] * 4


async def test_a_call_without_any_device_still_says_why(hops: Console) -> None:
    """An account with nothing to wake: one row, failed where the push would have been."""
    recorded = call(
        ("invite_received", 0, None), ("not_pushed", 1, None, "no_device"), **ended("no_device")
    )
    found = await hops.page.evaluate(RUN, [recorded, 0])
    (device,) = found["devices"]
    assert device["device"] is None
    assert device["hops"][1]["state"] == "failed"
    assert device["hops"][1]["detail"] == "no_device"
