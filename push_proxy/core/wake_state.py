"""What a wake remembers: its three states, as values."""

from dataclasses import dataclass, replace

from .events import Invite, WakeSettings
from .forking import Branch
from .ids import BranchId, CallId, DeviceId, Instant
from .part import Part

_NEVER = Instant(0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Live:
    """The INVITE has no final response: devices wake, ring, or both."""

    invite: Invite
    settings: WakeSettings
    parts: tuple[Part, ...] = ()
    branches: tuple[Branch, ...] = ()
    """All ever made, ``BranchId`` n at place n - 1."""
    stored: bool | None = None
    """Whether the held INVITE is durable; None while the store has not answered."""
    ringing_told: bool = False
    """The caller has heard ringing, ours or a device's."""
    rang: bool = False
    """A device rings or rang: the public state is ``ringing``."""
    attempted: tuple[tuple[str, int], ...] = ()
    """Phones that were sent the INVITE before a restart, and how often."""
    gathering: bool = False
    """Nobody has been rung yet: whoever is awake waits for the others (`core.together`)."""

    @property
    def wake_deadline(self) -> Instant:
        """Until when a device must have registered."""
        return Instant(self.invite.received_at + self.settings.deadline_s)

    @property
    def expires_at(self) -> Instant | None:
        """When the INVITE's own Expires ends it (RFC 3261 §13.3.1)."""
        if self.invite.expires_s is None:
            return None
        return Instant(self.invite.received_at + self.invite.expires_s)

    def wait_until(self, part: Part) -> Instant:
        """Until when the device must have registered.

        Longer than others if its flow broke, or if we had let it wait for others before.
        """
        deadline = self.wake_deadline
        if part.rung_at is not None:
            deadline = Instant(part.rung_at + self.settings.deadline_s)
        return deadline if part.returns_by is None else max(deadline, part.returns_by)

    def push_until(self, part: Part) -> Instant:
        """After it a call push is worthless: nobody waits for the device any more."""
        expires_at, end = self.expires_at, self.wait_until(part)
        return end if expires_at is None else min(end, expires_at)

    @property
    def hopeful(self) -> bool:
        """Whether any device may still answer."""
        return any(branch.open for branch in self.branches) or any(
            part.awaited for part in self.parts
        )

    @property
    def ringing(self) -> bool:
        """Whether a device rings now."""
        return any(branch.open and 180 <= branch.status < 190 for branch in self.branches)

    def part(self, device: DeviceId) -> Part | None:
        """The device's part, or None."""
        return next((part for part in self.parts if part.device == device), None)

    def open_of(self, device: DeviceId) -> Branch | None:
        """The device's open INVITE, or None."""
        return next((b for b in self.branches if b.open and b.device == device), None)

    def with_part(self, part: Part) -> "Live":
        """This part in place of the device's old one, or added."""
        if any(old.device == part.device for old in self.parts):
            parts = tuple(part if old.device == part.device else old for old in self.parts)
        else:
            parts = (*self.parts, part)
        return replace(self, parts=parts)

    def with_branch(self, branch: Branch) -> "Live":
        """This branch in place of the old one of its name, or added."""
        place = branch.id - 1
        branches = (*self.branches[:place], branch, *self.branches[place + 1 :])
        return replace(self, branches=branches)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settling:
    """A 6xx ends the call everywhere; the cancelled branches may still cross it with a 2xx."""

    live: Live
    until: Instant
    """Then the 6xx goes upstream, whatever the others have said."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """The INVITE has its final response. Only late answers are cleaned up after."""

    call: CallId
    unfinished: tuple[BranchId, ...]
    """Branches whose final response is still to come: a 2xx among them has to be ended."""
    store_pending: bool
    """The store has not yet said that it holds the INVITE: it is to forget it then."""
    until: Instant
    """When we stop listening: every client transaction is over by then."""
    late: tuple[DeviceId, ...] = ()
    """Devices that may show the call still: when they register they are told that it is over."""
    late_until: Instant = _NEVER
    late_reason: str = ""
    """Reason header's value of that (RFC 3326), or empty."""
    unheard: tuple[BranchId, ...] = ()
    """Those to phones that may have no word of the call but their push (`core.unheard`)."""
    unheard_until: Instant = _NEVER
    """After it nobody shows the call any more."""
    last: Live
    """How everything stood at the end."""

    @property
    def finished(self) -> bool:
        """Whether nothing more is to come."""
        return not self.unfinished and not self.store_pending and not self.late


State = Live | Settling | Ended
