"""A call's story for people: what it came to, then step by step, as wide as the terminal."""

import textwrap
from collections.abc import Iterator, Sequence
from typing import Any

NARROWEST = 60
_LABEL = 9
_DEVICE = 20
"""Wider names of devices are shortened."""


def call_text(call: dict[str, Any], *, width: int = 80) -> str:
    """The whole story; no line is longer than ``width``, unless one word is."""
    width = max(width, NARROWEST)
    return "\n".join([*_header(call, width), "", *_timeline(call["timeline"], width)])


def candidates_text(calls: Sequence[dict[str, Any]], *, width: int = 80) -> str:
    """Calls to choose from, two lines each."""
    lines = []
    for call in calls:
        lines.append(call["id"])
        what = f"{call['started_at']}  {call['account']}  {_caller(call)}  {_outcome(call)}"
        lines += textwrap.wrap(plain(what), width, initial_indent="  ", subsequent_indent="    ")
    return "\n".join(lines)


def plain(text: object) -> str:
    """On one line, and without what would make a terminal do something: callers choose names."""
    return "".join(
        char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in str(text)
    )


def _header(call: dict[str, Any], width: int) -> Iterator[str]:
    yield from _row("call", f"{call['id']} ({call['direction']}, {call['state']})", width)
    yield from _row("SIP", call["sip_call_id"], width)
    yield from _row("account", call["account"], width)
    callee = f" calls {call['callee']}" if call.get("callee") else ""
    yield from _row("caller", _caller(call) + callee, width)
    yield from _row("began", call["started_at"], width)
    if call.get("duration_s") is not None:
        yield from _row("talked", f"{call['duration_s']:.1f} s", width)
    if not call["verdict"]:
        return
    status = f"; the caller's side got {call['status']}" if call.get("status") else ""
    yield from _row("verdict", f"{call['verdict']}, fault: {call['fault']}", width)
    yield from _row("ended", f"by {call['ended_by']} while {call['phase']}{status}", width)
    if call.get("decided_by"):
        yield from _row("device", call["decided_by"], width)
    if call.get("cause"):
        yield from _row("cause", call["cause"], width)
    if call["advice"]:
        yield from _row("advice", call["advice"], width)
    for number, step in enumerate(call.get("advice_steps", ()), 1):
        yield from _row("", f"{number}. {step}", width)


def _row(label: str, value: object, width: int) -> Iterator[str]:
    yield from textwrap.wrap(
        plain(value),
        width,
        initial_indent=f"{label:<{_LABEL}}",
        subsequent_indent=" " * _LABEL,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _timeline(entries: Sequence[dict[str, Any]], width: int) -> Iterator[str]:
    if not entries:
        yield "Nothing of it was kept."
        return
    rows = [
        (f"{each['ms']:.1f}", _short(plain(each["device"] or "")), each["event"], each["detail"])
        for each in entries
    ]
    ms, device, event = (
        max(len(title), *(len(row[place]) for row in rows))
        for place, title in enumerate(("ms", "device", "event"))
    )
    yield f"{'ms':>{ms}}  {'device':<{device}}  event"
    for at, name, what, detail in rows:
        start = f"{at:>{ms}}  {name:<{device}}  {what:<{event}}"
        yield from _with_detail(start, plain(detail), width)


def _with_detail(start: str, detail: str, width: int) -> Iterator[str]:
    """The step and what is said of it: beside it, or below it where there is no room."""
    if not detail:
        yield start.rstrip()
        return
    place = len(start) + 2
    if width - place < min(len(detail), NARROWEST // 3):
        yield start.rstrip()
        start, place = "", min(place, width // 4)
    lines = textwrap.wrap(detail, max(width - place, 1), break_on_hyphens=False)
    for number, line in enumerate(lines):
        yield f"{start if number == 0 else '':<{place}}{line}"


def _short(name: str) -> str:
    return name if len(name) <= _DEVICE else f"{name[: _DEVICE - 1]}…"


def _caller(call: dict[str, Any]) -> str:
    # Many PBXs give the number for a name, too.
    said = dict.fromkeys(filter(None, (call["caller_name"], call["caller_number"])))
    return " ".join(said) or "anonymous"


def _outcome(call: dict[str, Any]) -> str:
    return str(call["verdict"] or call["state"])
