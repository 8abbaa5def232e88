"""Held INVITEs in the store: kept durably, and out of it for sure when their call is decided."""

from functools import partial

from ..core.ids import AccountKey, CallId
from ..core.model import HeldDevice, HeldInvite
from ..errors import StoreUnavailable
from ..held_ports import HeldInviteStore
from .write_behind import WriteBehind

_MOST = 20_000


class HeldInvites:
    """One for all wakes.

    An account's held INVITEs share their end, which each new one puts off. One that stayed
    because the store was away at its end would stay for as long as the account is called.
    """

    def __init__(self, store: HeldInviteStore, *, node: str = "", host: str = "") -> None:
        """``node`` holds them, and calls itself ``host`` in SIP: what a restart goes by."""
        self.node = node
        self.host = host
        self._store = store
        self._writes = WriteBehind("ends of held INVITEs")

    @property
    def leaving(self) -> int:
        """Those that the store has not let go of yet."""
        return self._writes.waiting

    async def hold(self, invite: HeldInvite) -> bool:
        """Whether the store has it; what it did not say it does not keep."""
        try:
            await self._store.hold_invite(invite)
        except StoreUnavailable:
            # It may have been done all the same, and nobody counts on it.
            self.release(invite.account, invite.call)
            return False
        return True

    def release(self, account: AccountKey, call: CallId) -> None:
        """Out of the store as soon as that takes it."""
        if self._writes.waiting < _MOST:
            self._writes.submit((account, call), partial(self._release, account, call))

    def update(self, account: AccountKey, call: CallId, devices: tuple[HeldDevice, ...]) -> None:
        """How its devices stand now, unless it is released before that is written."""
        if self._writes.waiting < _MOST:
            self._writes.submit((account, call), partial(self._update, account, call, devices))

    async def _release(self, account: AccountKey, call: CallId) -> None:
        await self._store.release_invite(account, call, node=self.node)

    async def _update(
        self, account: AccountKey, call: CallId, devices: tuple[HeldDevice, ...]
    ) -> None:
        await self._store.update_held(account, call, devices)

    async def aclose(self, timeout_s: float = 1.0) -> None:
        """Finish what can be finished in time; the rest ends with its account's last call."""
        await self._writes.aclose(timeout_s)
