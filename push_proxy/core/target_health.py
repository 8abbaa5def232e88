"""Whether one server of a PBX may be asked: what it answered last, and how long it is avoided."""

from dataclasses import dataclass, replace

from .ids import Instant

AVOID_S, AVOID_MAX_S = 30.0, 300.0
MAX_RETRY_AFTER_S = 3600.0
_NEVER = Instant(0.0)


@dataclass(frozen=True, slots=True)
class TargetHealth:
    """State; a server that nothing is known of is well."""

    avoided_until: Instant = _NEVER
    asked_to_wait: bool = False
    """It said Retry-After itself: an answer to something else does not end that."""
    penalties: int = 0
    heard_at: Instant = _NEVER
    """When it last answered anything."""

    def is_well(self, now: Instant) -> bool:
        """Whether it is worth being asked before another one."""
        return self.avoided_until <= now


WELL = TargetHealth()


def heard(health: TargetHealth, *, now: Instant) -> TargetHealth:
    """It answered: whatever was wrong is over, except a wait that it asked for."""
    if health.asked_to_wait and health.avoided_until > now:
        return replace(health, heard_at=now)
    return replace(health, avoided_until=_NEVER, asked_to_wait=False, penalties=0, heard_at=now)


def failed(
    health: TargetHealth,
    *,
    now: Instant,
    sent_at: Instant,
    local: bool,
    retry_after_s: float | None = None,
) -> TargetHealth:
    """It did not answer (``local``) what was sent at ``sent_at``, or answered 503.

    Avoided for 30 s, twice as long each time up to five minutes, or as long as it asks
    (RFC 3263 §4.3, RFC 3261 §21.5.4); ``Retry-After: 0`` asks nothing. Silence from before its
    last answer proves nothing, and many requests that fail together count once.
    """
    if local and health.heard_at > sent_at:
        return health
    if retry_after_s:
        until = Instant(now + min(retry_after_s, MAX_RETRY_AFTER_S))
        return replace(health, avoided_until=max(until, health.avoided_until), asked_to_wait=True)
    if health.avoided_until > now:
        return health
    seconds = min(AVOID_MAX_S, AVOID_S * 2.0 ** min(health.penalties, 8))
    return replace(
        health,
        avoided_until=Instant(now + seconds),
        asked_to_wait=False,
        penalties=health.penalties + 1,
    )
