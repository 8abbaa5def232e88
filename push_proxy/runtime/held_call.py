"""One call from the PBX, as the runtime carries it beside the wake's state."""

from collections.abc import Callable
from dataclasses import dataclass, field

from ..core.events import Event
from ..core.ids import CallId, DeviceId, Instant
from ..core.incoming import IncomingCall
from ..core.model import Account
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
    deadline: Instant
    """The wake's end."""
    case: PolicyCase | None
    """The call before the account's policy; None: there is none."""
    tell: Callable[[Event], None]
    """Give an event back to the wake."""
    registered_at: dict[DeviceId, Instant] = field(default_factory=dict)
    """When each device's REGISTER reached this wake and has not been answered with the INVITE."""
