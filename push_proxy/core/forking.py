"""Forking: the branches of one held INVITE, and the best of their answers (RFC 3261 §16.7).

A *branch* is one client transaction: the INVITE sent to one Contact over one flow. Branches
of one device come one after the other, never two at once: a phone that gets the same call
twice rings twice, or answers 482.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from .ids import BranchId, DeviceId, Instant, ResponseId
from .model import Address, Binding
from .push_privacy import without_push_params

COMPLETED_ELSEWHERE = 'SIP;cause=200;text="Call completed elsewhere"'
"""Reason of the CANCEL to those who lost (RFC 3326)."""

RESUBMITTABLE = frozenset({401, 407, 415, 420, 484})
"""Best among the 4xx: they tell the caller how to try again (RFC 3261 §16.7 step 6)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Branch:
    """One INVITE sent to one device."""

    id: BranchId
    device: DeviceId
    instance: str
    """The phone itself: ``+sip.instance``, else the device's id."""
    contact: str
    source: Address
    made_at: Instant
    timer_c_at: Instant
    """When the branch has taken too long (RFC 3261 §16.6 item 11)."""
    status: int = 0
    """Of the newest response; 0 for none yet."""
    cancelled: bool = False
    """We have asked for its CANCEL."""
    rang: bool = False
    """It has had a 18x."""
    dead: bool = False
    """Its flow failed: the final status is not the device's word."""
    phone: str = ""
    """Who it is for, in the seed of its name on the wire."""
    attempt: int = 1
    """Which INVITE to this phone it is, those before a restart counted."""

    @property
    def heard(self) -> bool:
        """Whether any response has come."""
        return self.status > 0

    @property
    def unfinished(self) -> bool:
        """Whether a final response may still come."""
        return self.status < 200

    @property
    def open(self) -> bool:
        """Whether the device may still answer, for all that we have asked of it."""
        return self.status < 200 and not self.cancelled

    @property
    def may_win(self) -> bool:
        """Whether a 2xx on it is an answer: also over another connection, if its own is gone.

        A phone that rings on sends its responses where the request came from (RFC 3261 §18.2.2).
        """
        return self.unfinished or self.dead

    def on_flow_of(self, binding: Binding) -> bool:
        """Whether this INVITE went where the binding leads now.

        Another push token makes no other place: apps tell their tokens one by one as they wake.
        """
        return self.source == binding.source and (
            without_push_params(self.contact) == without_push_params(binding.contact)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a device's part in the call ended with."""

    status: int
    reason: str = ""
    branch: BranchId | None = None
    response: ResponseId | None = None
    """The device's response to pass on; None: ours, on its behalf."""

    @property
    def relayable(self) -> bool:
        """Whether the device's own response can be passed on as it is.

        503 would tell the PBX that *we* are overloaded (RFC 3261 §16.7 step 6).
        """
        return self.branch is not None and self.response is not None and self.status != 503


def instance_of(binding: Binding) -> str:
    """What makes two bindings the same phone."""
    return binding.instance or binding.device


def branch_by_id(branches: Sequence[Branch], branch: BranchId) -> Branch | None:
    """The branch of this name, or None; they are counted from 1."""
    return branches[branch - 1] if 0 < branch <= len(branches) else None


def open_branches(branches: Iterable[Branch], binding: Binding) -> list[Branch]:
    """The open INVITEs to the phone behind this binding.

    Never more than one, unless a phone known by its device id has just named its instance and
    another device has the same.
    """
    instance = instance_of(binding)
    return [
        branch
        for branch in branches
        if branch.open and (branch.instance == instance or branch.device == binding.device)
    ]


def superseded_by(branch: Branch, binding: Binding) -> bool:
    """Whether the INVITE moves to a new flow (RFC 5626 §5.3).

    It does when nothing was heard on the old one: that INVITE went into a dead socket. A
    phone that has answered anything is in the middle of this call and keeps its branch; unless
    its connection was left behind on another network, where no answer can come any more.
    """
    if branch.on_flow_of(binding):
        return False
    return not branch.heard or _left_behind(branch, binding)


def _left_behind(branch: Branch, binding: Binding) -> bool:
    """Whether a phone on TCP or TLS has come to another host: its old sockets are closed there.

    Nothing tells us so, for no FIN leaves a network that is gone. From the same host it may
    well have two connections, and over UDP it answers from wherever it is.
    """
    return branch.source.transport != "udp" and branch.source.host != binding.source.host


def rings_already(branches: Iterable[Branch], refused: Branch) -> bool:
    """Whether a phone's 482 or 486 only says that it has this very call.

    It kept ringing when its connection broke, and takes the INVITE on the new one for a second
    call: it refuses that without ringing.
    """
    return refused.status < 180 and any(
        other.dead and other.rang and other.instance == refused.instance for other in branches
    )


def is_flow_failure(*, status: int, local: bool) -> bool:
    """Whether a response says that the flow is dead, not that the device refuses.

    Our own 408 and 503 (timeout, transport), and 430 from whomever keeps the flow, us
    included (RFC 5626 §11.5).
    """
    return status == 430 or (local and status in {408, 503})


def best(answers: Iterable[Answer]) -> Answer | None:
    """The answer to pass upstream (RFC 3261 §16.7 step 6).

    Any 6xx; else the lowest class, in the 4xx those first that help the caller; and a
    device's own words rather than ours for it.
    """
    return min(answers, key=_preference, default=None)


def _preference(answer: Answer) -> tuple[int, bool, bool]:
    family = 0 if answer.status >= 600 else answer.status // 100
    return (family, answer.status not in RESUBMITTABLE, answer.response is None)
