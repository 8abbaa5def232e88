"""One call from the PBX, as the runtime carries it beside the wake's state."""

from collections.abc import Callable
from dataclasses import dataclass, field

from ..core.events import Event
from ..core.ids import CallId, DeviceId, Instant
from ..core.incoming import IncomingCall
from ..core.model import Account, HeldDevice
from ..core.policy import PolicyCase
from ..signaling.facts import RequestReceived


@dataclass(slots=True, kw_only=True)
class HeldCall:
    """What the orders of a wake need besides what they say themselves."""

    call: CallId
    fact: RequestReceived
    account: Account
    incoming: IncomingCall
    received_at: Instant
    case: PolicyCase | None
    """The call before the account's policy; None: there is none."""
    tell: Callable[[Event], None]
    """Give an event back to the wake."""
    devices: Callable[[], tuple[HeldDevice, ...]]
    """How its devices stand, as a restart has to know it."""
    kept: tuple[HeldDevice, ...] | None = None
    """The same as the store has it; None: the INVITE is not there."""
    registered_at: dict[DeviceId, Instant] = field(default_factory=dict)
    """When each device's REGISTER reached this wake and has not been answered with the INVITE."""
