"""Whether one server of a PBX is there, as a pure machine over our own OPTIONS.

Any answer means that it is. Silence counts only from a server that answers OPTIONS at all:
some drop them and still register, so whatever else they answer speaks for them.
"""

from dataclasses import dataclass, replace
from enum import StrEnum

from .ids import Instant

PROBE_TIMEOUT_S = 4.0
"""Four transmissions over UDP (RFC 3261 §17.1.2.2): no PBX at work takes longer. Less where it is
asked more often than that."""
MISSES = 2
"""Silent probes in a row after which it is gone."""
GONE_EVERY_S = 5.0
"""How often a server that is gone is asked: its return must not wait for the next round."""


class Finding(StrEnum):
    """What there is to do after a step."""

    PROBE = "probe"
    """Send OPTIONS."""
    FOUND = "found"
    """It is there; nothing was known of it before."""
    GONE = "gone"
    BACK = "back"
    """It was gone, and may have been restarted."""


@dataclass(frozen=True, slots=True)
class Watch:
    """State; `at` says when to call `due`."""

    every_s: float
    at: Instant
    reachable: bool | None = None
    """None: nothing known yet."""
    asked_at: Instant | None = None
    """A probe is on its way since then."""
    misses: int = 0
    deaf: bool = False
    """It leaves OPTIONS unanswered and answers other requests."""


Step = tuple[Watch, tuple[Finding, ...]]


def due(watch: Watch, *, now: Instant, heard_at: Instant) -> Step:
    """Its time has come: to ask, or to take silence for an answer.

    ``heard_at``: when it last answered anything else.
    """
    if now < watch.at:
        return watch, ()
    if watch.asked_at is None:
        return _ask(watch, now)
    if heard_at >= watch.asked_at:
        return answered(replace(watch, deaf=True), now=now)
    return _missed(watch, now, sure=False)


def answered(watch: Watch, *, now: Instant) -> Step:
    """It answered: our probe, or something else."""
    news = {None: (Finding.FOUND,), False: (Finding.BACK,), True: ()}[watch.reachable]
    watch = replace(watch, reachable=True, asked_at=None, misses=0)
    return replace(watch, at=Instant(now + watch.every_s)), news


def probe_answered(watch: Watch, *, now: Instant) -> Step:
    """It answered our OPTIONS."""
    return answered(replace(watch, deaf=False), now=now)


def heard(watch: Watch, *, now: Instant) -> Step:
    """It answered something else while it was taken to be gone."""
    if watch.reachable is not False:
        return watch, ()
    return answered(replace(watch, deaf=True), now=now)


def probe_failed(watch: Watch, *, now: Instant) -> Step:
    """Our own stack answered the probe: no connection, or long silence."""
    return (watch, ()) if watch.asked_at is None else _missed(watch, now, sure=True)


def suspect(watch: Watch, *, now: Instant) -> Step:
    """Something was not answered, or the connection broke: make sure at once."""
    if watch.asked_at is not None or watch.reachable is False:
        return watch, ()
    if watch.deaf:
        # It would not answer a probe either: the silence at hand is all there will be.
        return _gone(watch, now)
    return _ask(watch, now)


def _ask(watch: Watch, now: Instant) -> Step:
    at = Instant(now + min(PROBE_TIMEOUT_S, max(0.5, watch.every_s)))
    return replace(watch, asked_at=now, at=at), (Finding.PROBE,)


def _missed(watch: Watch, now: Instant, *, sure: bool) -> Step:
    watch = replace(watch, asked_at=None, misses=watch.misses + 1)
    if watch.deaf:
        return replace(watch, misses=0, at=Instant(now + watch.every_s)), ()
    if watch.reachable is False:
        return replace(watch, at=Instant(now + min(GONE_EVERY_S, watch.every_s))), ()
    if sure or watch.misses >= MISSES:
        return _gone(watch, now)
    return _ask(watch, now)


def _gone(watch: Watch, now: Instant) -> Step:
    at = Instant(now + min(GONE_EVERY_S, watch.every_s))
    return replace(watch, reachable=False, asked_at=None, at=at), (Finding.GONE,)
