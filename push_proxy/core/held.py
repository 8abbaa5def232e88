"""What is kept of a held call beside its INVITE, so that a restart can go on with it.

Little is: bindings say who has registered, and the branch of an INVITE is derived from its seed,
so that sending it once more is a retransmission. What neither tells is written, once the pushes
are answered and when a device's part changes in a way that a restart would get wrong.
"""

from .forking import Branch, instance_of
from .model import HeldDevice
from .part import Part
from .wake_state import Live

USUAL_ATTEMPT = 1


def held_devices(live: Live) -> tuple[HeldDevice, ...]:
    """As the call stands."""
    return tuple(_held(live, part) for part in live.parts)


def worth_keeping(
    kept: tuple[HeldDevice, ...], now: tuple[HeldDevice, ...], *, pushing: bool
) -> bool:
    """Whether a restart would go wrong by what is kept.

    ``pushing``: a provider has not answered; its answer is written with the others'.
    """
    before = {device.device: device for device in kept}
    return any(_matters(before.get(device.device), device, pushing=pushing) for device in now)


def pushing(live: Live) -> bool:
    """Whether a provider has yet to answer."""
    return any(part.pending for part in live.parts)


def _held(live: Live, part: Part) -> HeldDevice:
    newest = _newest_branch(live, part)
    phone, attempt = ("", 0) if newest is None else (newest.phone, newest.attempt)
    if newest is None and part.former is not None:
        phone, attempt = part.former
    answer = part.answer
    return HeldDevice(
        device=part.device,
        pushes=part.pushes,
        pushed_at=part.pushed_at,
        accepted_at=part.accepted_at,
        failure=part.failure.value if part.failure else "",
        failure_reason=part.failure_reason,
        reached=int(part.reached),
        given_up=part.given_up,
        status=answer.status if answer else 0,
        reason=answer.reason if answer else "",
        phone="" if part.binding and phone == instance_of(part.binding) else phone,
        attempt=attempt,
    )


def _newest_branch(live: Live, part: Part) -> Branch | None:
    """The device's own, else its phone's under another name."""
    own = [branch for branch in live.branches if branch.device == part.device]
    if own or part.binding is None:
        return own[-1] if own else None
    phone = instance_of(part.binding)
    return next((branch for branch in reversed(live.branches) if branch.phone == phone), None)


def _matters(before: HeldDevice | None, now: HeldDevice, *, pushing: bool) -> bool:
    if before is None:
        usual = _unusual(now) == ("", False, False, USUAL_ATTEMPT)
        return not usual or (now.pushes > 0 and not pushing)
    answered = now.accepted_at is not None or now.failure
    known = before.accepted_at is not None or before.failure
    if answered and not known and not pushing:
        return True
    return _unusual(before) != _unusual(now)


def _unusual(device: HeldDevice) -> tuple[str, bool, bool, int]:
    """What a restart would not think of by itself."""
    attempt = max(device.attempt, USUAL_ATTEMPT)
    return device.phone, device.status > 0, device.given_up, attempt
