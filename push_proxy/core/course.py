"""What a call's timeline says of one device."""

from collections.abc import Iterable
from dataclasses import dataclass

from .ids import DeviceId, Instant
from .model import TimelineEntry

_REPORTS = frozenset({"push_received", "ui_shown", "app_registered", "app_failed"})
_REFUSALS = frozenset({"push_rejected", "push_misconfigured", "push_unavailable"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """How far it got, and when; None: not at all."""

    pushed_at: Instant | None = None
    """The first push left."""
    accepted_at: Instant | None = None
    """The provider took one."""
    refusal: str = ""
    """``push_rejected``, ``push_misconfigured`` or ``push_unavailable``: the newest, if any."""
    refusal_reason: str = ""
    not_pushed: str = ""
    """Why no push was sent as the INVITE came: ``awake``, ``no_token``, ``unknown_app``…"""
    reported_at: Instant | None = None
    """Its app reported something for the first time, maybe after the call's end."""
    said_registered: bool = False
    """Its app said that it had registered."""
    failed: bool = False
    """Its app said that it had failed."""
    registered_at: Instant | None = None
    """Its REGISTER came to us, maybe after the call's end."""
    rang_at: Instant | None = None
    refused_with: str = ""
    """Status and phrase of its own final response."""


def course_of(timeline: Iterable[TimelineEntry], device: DeviceId | None) -> Course:
    """The device's lines of the timeline as one value."""
    seen: dict[str, TimelineEntry] = {}
    refusal: TimelineEntry | None = None
    reported: TimelineEntry | None = None
    for entry in timeline:
        if entry.device != device:
            continue
        seen.setdefault(entry.event, entry)
        if entry.event in _REFUSALS:
            refusal = entry
        elif reported is None and entry.event in _REPORTS:
            reported = entry

    def at(*events: str) -> Instant | None:
        return min((seen[event].at for event in events if event in seen), default=None)

    def detail(event: str) -> str:
        return seen[event].detail if event in seen else ""

    return Course(
        pushed_at=at("push_sent"),
        accepted_at=at("push_accepted"),
        refusal="" if refusal is None else refusal.event,
        refusal_reason="" if refusal is None else refusal.detail,
        not_pushed=detail("not_pushed"),
        reported_at=None if reported is None else reported.at,
        said_registered="app_registered" in seen,
        failed="app_failed" in seen,
        registered_at=at("registered", "registered_late"),
        rang_at=at("device_ringing"),
        refused_with=detail("device_refused"),
    )
