"""The two ways to reach a device: a push, and the INVITE to its binding.

Each function answers the state and the actions that belong together.
"""

from dataclasses import replace

from .actions import Action, CancelBranch, Fork, Note, PushType, SendPush
from .forking import Branch, instance_of, open_branches, superseded_by
from .ids import BranchId, DeviceId, Instant
from .model import Binding
from .part import Part, pushed
from .wake_state import Live

Done = tuple[Live, tuple[Action, ...]]


def push(live: Live, part: Part, now: Instant) -> Done:
    """Send a call push, unless it could only arrive after the wake's end."""
    until = live.push_until(part)
    if now >= until:
        return live, ()
    part, push_id = pushed(part, live.invite.call, now)
    order = SendPush(
        device=part.device,
        push=push_id,
        type=PushType.CALL,
        deadline_s=until - now,
    )
    return live.with_part(part), (order, Note("push_sent", part.device, f"push {part.pushes}"))


def ring(live: Live, binding: Binding, now: Instant) -> Done:
    """Send the INVITE to a binding, unless the phone behind it has it already, or shall wait.

    One open INVITE per phone, however often it registers: apps register in bursts. The INVITE
    moves only when it went into a flow that is gone.
    """
    if live.gathering:
        return _hold_back(live, binding, now)
    current = open_branches(live.branches, binding)
    if not all(superseded_by(branch, binding) for branch in current):
        return live, ()
    actions: tuple[Action, ...] = ()
    for branch in current:
        live, cancel = cancel_branch(live, branch)
        actions += cancel
    live, fork = _fork(live, binding, now)
    return live, (*actions, *fork)


def _hold_back(live: Live, binding: Binding, now: Instant) -> Done:
    part = live.part(binding.device)
    if part is None or part.held_since is not None:
        return live, ()
    live = live.with_part(replace(part, held_since=now))
    return live, (Note("waits_for_others", part.device),)


def _fork(live: Live, binding: Binding, now: Instant) -> Done:
    part = live.part(binding.device)
    again = None if part is None else _to_repeat(live, part)
    phone, attempt = again or (instance_of(binding), _next_attempt(live, instance_of(binding)))
    branch = Branch(
        id=BranchId(len(live.branches) + 1),
        device=binding.device,
        instance=instance_of(binding),
        contact=binding.contact,
        source=binding.source,
        made_at=now,
        timer_c_at=Instant(now + live.settings.timer_c_s),
        phone=phone,
        attempt=attempt,
    )
    if part is not None:
        live = live.with_part(replace(part, former=None))
    orders = (
        Fork(branch=branch.id, binding=binding, seed=f"{live.invite.call}/{phone}/{attempt}"),
        Note("invite_sent", binding.device, str(binding.source)),
    )
    return live.with_branch(branch), orders


def _to_repeat(live: Live, part: Part) -> tuple[str, int] | None:
    """The INVITE from before a restart that has not been sent once more, by whatever device."""
    sent = {(branch.phone, branch.attempt) for branch in live.branches}
    return None if part.former in sent else part.former


def _next_attempt(live: Live, phone: str) -> int:
    """A phone answers each attempt once: the same once more would be a retransmission to it."""
    here = [branch.attempt for branch in live.branches if branch.phone == phone]
    before = [attempts for name, attempts in live.attempted if name == phone]
    return 1 + max((*here, *before), default=0)


def ring_elsewhere(live: Live, failed: Branch, now: Instant) -> Done:
    """The flow of a branch is dead: try where the phone has registered meanwhile, else wait."""
    for part in live.parts:
        binding = part.binding
        if binding is None or part.answer is not None or not _may_replace(live, failed, binding):
            continue
        return ring(live, binding, now)
    own = live.part(failed.device)
    return (live, ()) if own is None or own.answer is not None else _wait(live, own, failed, now)


def _wait(live: Live, part: Part, failed: Branch, now: Instant) -> Done:
    """The phone comes back by itself when its network has changed, else by a push.

    For as long as a wake takes: since the INVITE was sent into the void, or, if the phone had
    answered anything on that flow, from now. A provider that takes one push per call gets none.
    """
    alive_at = now if failed.heard else failed.made_at
    returns_by = Instant(max(live.wake_deadline, alive_at + live.settings.deadline_s))
    if returns_by > now:
        part = replace(part, returns_by=returns_by)
        live = live.with_part(part)
    if part.pushable and not part.pending and (part.pushes == 0 or part.repush):
        return push(live, part, now)
    return live, ()


def _may_replace(live: Live, failed: Branch, binding: Binding) -> bool:
    """Whether it is the same phone on a flow that this call has not tried."""
    same_phone = instance_of(binding) == failed.instance or binding.device == failed.device
    return same_phone and not any(branch.on_flow_of(binding) for branch in live.branches)


def cancel_branch(live: Live, branch: Branch, reason: str = "") -> Done:
    """Take the INVITE back from a device."""
    order = CancelBranch(branch=branch.id, reason=reason)
    return live.with_branch(replace(branch, cancelled=True)), (order,)


def cancel_device(live: Live, device: DeviceId, reason: str = "") -> Done:
    """Take the INVITE back from a device, if it has one open."""
    branch = live.open_of(device)
    return (live, ()) if branch is None else cancel_branch(live, branch, reason)
