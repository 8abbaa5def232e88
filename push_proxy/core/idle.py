"""When a device's push token has been without a sign of life for too long."""

from dataclasses import dataclass
from enum import Enum, auto

from .device_limit import sign_of_life
from .ids import Instant
from .model import Binding, Device


@dataclass(frozen=True, slots=True, kw_only=True)
class IdleRules:
    """How long tokens are kept, seconds."""

    idle_s: float | None = None
    """Without a sign of life for so long they are dropped; None: never."""
    refresh_s: float | None = None
    """A ``refresh`` push leaves so long before that; None: none."""


class IdleStep(Enum):
    """What is due for a device."""

    NOTHING = auto()
    SEEN = auto()
    """Nobody has noted when it was heard of: count from now."""
    REFRESH = auto()
    DROP = auto()


def idle_at(device: Device, binding: Binding | None, rules: IdleRules) -> Instant | None:
    """When its token is dropped if nothing is heard until then; None: it is not.

    ``binding`` is the device's live one: while there is any, SIP reaches it.
    """
    if rules.idle_s is None or binding is not None or not (device.has_target and device.seen_at):
        return None
    drop_at = sign_of_life(device, None) + rules.idle_s
    if _was_asked(device) and rules.refresh_s is not None:
        # Asked late, because we or its provider were away: it has the whole time to answer.
        drop_at = max(drop_at, device.refresh_sent_at + rules.refresh_s)
    return Instant(drop_at)


def idle_step(
    device: Device, binding: Binding | None, rules: IdleRules, *, pushable: bool, now: Instant
) -> IdleStep:
    """What is due. ``pushable``: its provider would send a ``refresh``."""
    if not device.has_target:
        return IdleStep.NOTHING
    if not device.seen_at:
        return IdleStep.SEEN
    drop_at = idle_at(device, binding, rules)
    if drop_at is None:
        return IdleStep.NOTHING
    if rules.refresh_s is None or not pushable or _was_asked(device):
        return IdleStep.DROP if now >= drop_at else IdleStep.NOTHING
    if now >= drop_at + rules.refresh_s:
        return IdleStep.DROP  # it could not be asked in all that time
    return IdleStep.REFRESH if now >= drop_at - rules.refresh_s else IdleStep.NOTHING


def _was_asked(device: Device) -> bool:
    """Whether a ``refresh`` has left since it was heard of last."""
    return device.refresh_sent_at > sign_of_life(device, None)
