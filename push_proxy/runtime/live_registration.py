"""One account's registration at its PBX, as the runtime holds it."""

import random
import secrets
from dataclasses import dataclass

from ..core.ids import Instant
from ..core.model import Account
from ..core.next_hop import NextHop
from ..core.registration_state import Chance, Registration, Target
from ..core.registration_status import RegistrationState


@dataclass(slots=True)
class LiveRegistration:
    """A machine of `core.registration` and what surrounds it."""

    state: Registration
    account: Account
    lane: str
    """The PBX's key."""
    current: bool = True
    """False: its account is gone or has moved to another PBX; it only unregisters."""
    queued: bool = False
    """It waits in its lane for its turn."""
    scheduled: Instant | None = None
    """When it is to be looked at next."""
    request: int = 0
    """What is in flight; an answer to anything older is nobody's."""
    hop: NextHop | None = None
    """Where that went."""
    check: bool = False
    """It was chosen to ask whether the PBX still has our Contacts."""
    counted: RegistrationState | None = None

    def has_moved(self, target: Target | None) -> bool:
        """Whether ``target`` is at another place: it cannot be changed then, only left."""
        old = self.state.target
        return old is not None and (
            target is None or (old.aor, old.registrar) != (target.aor, target.registrar)
        )

    def would_equal(self, target: Target | None) -> bool:
        """Whether a server could not tell the binding of ``target`` from this one."""
        old = self.state.target
        return (
            old is not None
            and target is not None
            and (old.aor, old.contact) == (target.aor, target.contact)
        )


def new_chance() -> Chance:
    """Randomness for one step."""
    return Chance(unit=random.random(), text=secrets.token_hex(8))
