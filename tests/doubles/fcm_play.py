"""What the FCM double does with a request instead of answering it by the rules at once."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from . import fcm_errors
from .fcm_errors import Refusal


@dataclass(frozen=True, slots=True, kw_only=True)
class Play:
    """One request's fate, of FCM and of the token endpoint alike. Without any field: the rules."""

    refusal: Refusal | None = None
    """Answer with this, whatever the rules say."""
    headers: tuple[tuple[str, str], ...] = ()
    """Beside the usual ones."""
    after_s: float = 0.0
    """Answer so late."""
    until: asyncio.Event | None = None
    """Answer when the test sets it."""
    silent: bool = False
    """Never answer."""
    drop: bool = False
    """The connection breaks instead of an answer."""
    reset: bool = False
    """RST_STREAM instead of an answer (HTTP/1.1: the connection breaks)."""
    go_away: bool = False
    """GOAWAY, then the answer, then the connection closes."""
    delivers: bool | None = None
    """Whether the phone gets it; None: when it is answered with 200."""


BY_THE_RULES = Play()


def error(code: str, *, retry_after: str | int | None = None, **fields: Any) -> Play:
    """FCM's documented error of this name."""
    return refused(fcm_errors.fcm(code), retry_after=retry_after, **fields)


def refused(refusal: Refusal, *, retry_after: str | int | None = None, **fields: Any) -> Play:
    """Any of `fcm_errors`."""
    headers = () if retry_after is None else (("retry-after", str(retry_after)),)
    return Play(refusal=refusal, headers=headers, **fields)


def bad_gateway() -> Play:
    """502 with a page for people."""
    return refused(fcm_errors.html(502))


def silence(*, delivers: bool = False) -> Play:
    """No answer, ever; the connection stays."""
    return Play(silent=True, delivers=delivers)


def slow(after_s: float, **fields: Any) -> Play:
    """The answer comes late; the phone gets the push at once."""
    return Play(after_s=after_s, **fields)


def held(until: asyncio.Event, **fields: Any) -> Play:
    """The answer comes when the test says so; the phone gets the push at once."""
    return Play(until=until, **fields)


def drop(*, delivers: bool = False) -> Play:
    """The connection breaks."""
    return Play(drop=True, delivers=delivers)


def reset(*, delivers: bool = False) -> Play:
    """RST_STREAM."""
    return Play(reset=True, delivers=delivers)
