"""What an APNs double does with a request instead of answering it by the rules at once."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from h2.errors import ErrorCodes

from .apns_reasons import STATUS


@dataclass(frozen=True, slots=True, kw_only=True)
class Goaway:
    """GOAWAY on the connection that brought the request."""

    reason: str = "Shutdown"
    """Said as JSON in the frame's additional data; empty: nothing is said."""
    accepts: bool = True
    """Whether the last_stream_id includes this request; it is not even read otherwise."""
    close: bool = False
    """Close at once, whatever is unanswered."""
    after_answer: bool = False
    """First the answer, then GOAWAY."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Play:
    """One request's fate. Without any field it is answered by the rules, at once."""

    reason: str = ""
    """Answer with this documented reason (and its status), whatever the rules say."""
    status: int | None = None
    """Another status than the reason's; alone: an error with an empty body."""
    body: bytes | None = None
    """Instead of the JSON body."""
    headers: tuple[tuple[str, str], ...] = ()
    timestamp_ms: int | None = None
    """In the body of a 410; None: now."""
    split_body: bool = False
    """The body in two DATA frames."""
    after_s: float = 0.0
    """Answer so late."""
    until: asyncio.Event | None = None
    """Answer when the test sets it."""
    silent: bool = False
    """Never answer."""
    reset: ErrorCodes | None = None
    """RST_STREAM instead of an answer."""
    drop: bool = False
    """The connection breaks instead of an answer."""
    goaway: Goaway | None = None
    delivers: bool | None = None
    """Whether the phone gets it; None: when the rules allow and no other status is given."""

    def __post_init__(self) -> None:
        if self.reason and self.reason not in STATUS and self.status is None:
            raise ValueError(f"APNs documents no reason {self.reason!r}: give its status, too")


BY_THE_RULES = Play()


def error(reason: str, **fields: Any) -> Play:
    """The documented error of this name."""
    return Play(reason=reason, **fields)


def empty(status: int, **fields: Any) -> Play:
    """An error without any body."""
    return Play(status=status, body=b"", **fields)


def split(reason: str, **fields: Any) -> Play:
    """A documented error whose JSON comes in two DATA frames."""
    return Play(reason=reason, split_body=True, **fields)


def silence(*, delivers: bool = False) -> Play:
    """No answer, ever; the connection stays."""
    return Play(silent=True, delivers=delivers)


def slow(after_s: float, **fields: Any) -> Play:
    """The answer comes late; the phone gets the push at once."""
    return Play(after_s=after_s, **fields)


def held(until: asyncio.Event, **fields: Any) -> Play:
    """The answer comes when the test says so; the phone gets the push at once."""
    return Play(until=until, **fields)


def reset(code: ErrorCodes = ErrorCodes.INTERNAL_ERROR, *, delivers: bool = False) -> Play:
    """RST_STREAM."""
    return Play(reset=code, delivers=delivers)


def drop(*, delivers: bool = False) -> Play:
    """The connection breaks."""
    return Play(drop=True, delivers=delivers)


def going_away(reason: str = "Shutdown", *, accepts: bool = True, close: bool = False) -> Play:
    """GOAWAY before the answer: graceful, or abrupt when `close`."""
    return Play(
        goaway=Goaway(reason=reason, accepts=accepts, close=close),
        delivers=None if accepts and not close else False,
    )


def unavailable_and_away(reason: str = "Shutdown") -> Play:
    """503, then GOAWAY: how APNs announces that a server goes down."""
    return Play(reason=reason, goaway=Goaway(reason=reason, after_answer=True))
