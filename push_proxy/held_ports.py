"""What is kept of held INVITEs, so that a restart can go on with them."""

from collections.abc import Callable
from typing import Protocol

from .core.ids import AccountKey, CallId
from .core.model import HeldDevice, HeldInvite


def of_any(account: AccountKey) -> bool:  # noqa: ARG001 - whichever it is
    """All accounts."""
    return True


class HeldInviteStore(Protocol):
    """Held INVITEs (`ports.Store`). Every method may raise `errors.StoreUnavailable`."""

    async def hold_invite(self, held: HeldInvite) -> None:
        """Keep a held INVITE until it is released: durable before 100 leaves."""

    async def update_held(
        self, key: AccountKey, call: CallId, devices: tuple[HeldDevice, ...]
    ) -> bool:
        """Keep how its devices stand; False: it has been released."""

    async def release_invite(self, key: AccountKey, call: CallId, *, node: str = "") -> bool:
        """It has its final response; False: it had been released before.

        ``node`` is who held it: without it `held_of_node` is slower.
        """

    async def held_invites(self, key: AccountKey) -> tuple[HeldInvite, ...]:
        """Those not released, by call. What cannot be read is left out.

        They are forgotten a day after the last deadline of the account's.
        """

    async def held_of_node(
        self, node: str, *, accounts: Callable[[AccountKey], bool] = of_any
    ) -> tuple[HeldInvite, ...]:
        """Those that this node holds, or held when it died, of these accounts, oldest first."""
