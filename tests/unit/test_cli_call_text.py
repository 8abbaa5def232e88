"""``push-proxy call``: the story as people read it in a terminal."""

from typing import Any

import pytest

from push_proxy.cli_call_text import NARROWEST, call_text, candidates_text

CALL: dict[str, Any] = {
    "id": "4b1f0a52-8a3b-4c19-9f0e-2d5a6f7c8e90",
    "direction": "incoming",
    "sip_call_id": "abc@pbx.example.com",
    "account": "101",
    "caller_name": "Ada",
    "caller_number": "+4144",
    "callee": "101",
    "started_at": "2026-11-21T09:30:00.000Z",
    "duration_s": None,
    "state": "ended",
    "verdict": "not_woken",
    "phase": "waking",
    "ended_by": "deadline",
    "status": 480,
    "fault": "phone_or_network",
    "cause": "battery_saver",
    "decided_by": "phone-1",
    "advice": "The battery saver keeps the app from waking.",
    "advice_steps": [
        "Open Settings, Apps, the app, Battery saver, and choose No restrictions.",
        "Switch on Autostart for the app.",
    ],
    "timeline": [
        {"ms": 0.0, "event": "invite_received", "device": None, "detail": ""},
        {"ms": 1.25, "event": "push_sent", "device": "phone-1", "detail": "push 1"},
        {
            "ms": 84.0,
            "event": "push_accepted",
            "device": "phone-1",
            "detail": "projects/example/messages/0:170000000000%31bd1c9631bd1c96 and more of it",
        },
        {"ms": 15000.0, "event": "given_up", "device": "phone-1", "detail": ""},
    ],
}


def test_the_story_at_80_columns() -> None:
    """Who, when, how it ended and what to do; then each step with milliseconds and device."""
    assert call_text(CALL).splitlines() == [
        "call     4b1f0a52-8a3b-4c19-9f0e-2d5a6f7c8e90 (incoming, ended)",
        "SIP      abc@pbx.example.com",
        "account  101",
        "caller   Ada +4144 calls 101",
        "began    2026-11-21T09:30:00.000Z",
        "verdict  not_woken, fault: phone_or_network",
        "ended    by deadline while waking; the caller's side got 480",
        "device   phone-1",
        "cause    battery_saver",
        "advice   The battery saver keeps the app from waking.",
        "         1. Open Settings, Apps, the app, Battery saver, and choose No",
        "         restrictions.",
        "         2. Switch on Autostart for the app.",
        "",
        "     ms  device   event",
        "    0.0           invite_received",
        "    1.2  phone-1  push_sent        push 1",
        "   84.0  phone-1  push_accepted    projects/example/messages/0:170000000000%31bd",
        "                                   1c9631bd1c96 and more of it",
        "15000.0  phone-1  given_up",
    ]


@pytest.mark.parametrize("width", [10, NARROWEST, 80, 120])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    """Down to sixty columns; nothing is left out."""
    long = {**CALL["timeline"][2], "device": "a-device-with-a-name-of-forty-characters"}
    call = {**CALL, "timeline": [*CALL["timeline"], long]}
    text = call_text(call, width=width)
    assert max(map(len, text.splitlines())) <= max(width, NARROWEST)
    words = "".join(text.split())
    assert "31bd1c9631bd1c96" in words.replace("%", "")
    assert "Autostart" in words


def test_a_call_that_goes_on() -> None:
    """No verdict yet, no advice; an anonymous caller is called that."""
    fields = ("verdict", "phase", "ended_by", "status", "fault", "decided_by")
    call = {**CALL, **dict.fromkeys(fields), "state": "waking", "advice": "", "cause": ""}
    text = call_text({**call, "advice_steps": [], "caller_name": "", "caller_number": ""})
    assert "(incoming, waking)" in text
    assert "caller   anonymous calls 101" in text
    assert not {"verdict", "advice", "cause", "ended"} & set(text.split())


def test_a_call_that_was_talked_in() -> None:
    """For how long; and one whose timeline is gone says so."""
    text = call_text({**CALL, "duration_s": 61.34, "timeline": []})
    assert "talked   61.3 s" in text
    assert text.endswith("Nothing of it was kept.")


def test_nobody_commands_the_terminal() -> None:
    """A caller's name or a device's reason may hold anything: no control characters come out."""
    evil = "\x1b]0;owned\x07\x9b2J\r\nnext"
    entry = {"ms": 1.0, "event": "device_refused", "device": evil, "detail": evil}
    call = {**CALL, "caller_name": evil, "sip_call_id": evil, "timeline": [entry]}
    for text in (call_text(call), candidates_text([call])):
        assert all(char.isprintable() or char == "\n" for char in text)
        assert "owned" in text


def test_candidates() -> None:
    """Id first, to be copied; then when, whose, who and how it ended."""
    other = {**CALL, "id": "call-2", "account": "102", "verdict": None, "state": "ringing"}
    assert candidates_text([CALL, other]).splitlines() == [
        CALL["id"],
        "  2026-11-21T09:30:00.000Z  101  Ada +4144  not_woken",
        "call-2",
        "  2026-11-21T09:30:00.000Z  102  Ada +4144  ringing",
    ]
