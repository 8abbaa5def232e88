"""The push that tells a device of a MESSAGE: who wrote, never what."""

from ..core.actions import PushType
from ..core.ids import Instant, PushId
from ..core.incoming import IncomingCall
from ..core.model import Device
from ..core.payload import Push


def message_push(
    device: Device, incoming: IncomingCall, *, push: PushId, now: Instant, within_s: float
) -> Push:
    """A ``message`` push, worth something for ``within_s`` from now."""
    return Push(
        id=push,
        type=PushType.MESSAGE,
        device=device,
        caller_number=incoming.number,
        caller_name=incoming.name,
        sent_at=now,
        expires_at=Instant(now + within_s),
    )
