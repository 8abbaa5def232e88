"""Which devices give way when an account has more than it may have."""

from collections.abc import Iterable, Sequence

from .ids import DeviceId, Instant
from .model import Binding, Device


def sign_of_life(device: Device, binding: Binding | None) -> Instant:
    """When the app was last heard of, as far as known."""
    heard_at = 0.0 if binding is None else binding.heard_at
    return Instant(max(device.seen_at or device.updated_at, device.token_at, heard_at))


def giving_way(
    devices: Sequence[Device], bindings: Iterable[Binding], *, new: DeviceId, limit: int
) -> tuple[DeviceId, ...]:
    """Those beyond ``limit``, the ``new`` one never among them.

    First those that SIP does not reach, and of equals the one heard of longest ago.
    ``bindings`` are the account's live ones.
    """
    excess = len(devices) - limit
    if excess <= 0:
        return ()
    bound = {binding.device: binding for binding in bindings}
    others = sorted(
        (device for device in devices if device.device != new),
        key=lambda d: (d.device in bound, sign_of_life(d, bound.get(d.device)), d.device),
    )
    return tuple(device.device for device in others[:excess])
