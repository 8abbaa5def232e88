"""Held INVITEs in memory."""

from collections.abc import Callable
from dataclasses import replace

from ..core.ids import AccountKey, CallId
from ..core.model import HeldDevice, HeldInvite
from ..held_ports import of_any


class HeldInMemory:
    """The held INVITEs' part of `memory.MemoryStore`."""

    def __init__(self) -> None:
        self._held: dict[AccountKey, dict[CallId, HeldInvite]] = {}

    async def hold_invite(self, held: HeldInvite) -> None:
        """See `held_ports.HeldInviteStore.hold_invite`."""
        self._held.setdefault(held.account, {})[held.call] = held

    async def update_held(
        self, key: AccountKey, call: CallId, devices: tuple[HeldDevice, ...]
    ) -> bool:
        """See `held_ports.HeldInviteStore.update_held`."""
        held = self._held.get(key, {}).get(call)
        if held is None:
            return False
        self._held[key][call] = replace(held, devices=devices)
        return True

    async def release_invite(self, key: AccountKey, call: CallId, *, node: str = "") -> bool:
        """See `held_ports.HeldInviteStore.release_invite`."""
        del node  # there is no index
        return self._held.get(key, {}).pop(call, None) is not None

    async def held_invites(self, key: AccountKey) -> tuple[HeldInvite, ...]:
        """See `held_ports.HeldInviteStore.held_invites`."""
        return tuple(held for _, held in sorted(self._held.get(key, {}).items()))

    async def held_of_node(
        self, node: str, *, accounts: Callable[[AccountKey], bool] = of_any
    ) -> tuple[HeldInvite, ...]:
        """See `held_ports.HeldInviteStore.held_of_node`."""
        return tuple(
            sorted(
                (
                    held
                    for account, of in self._held.items()
                    for held in of.values()
                    if node and held.node == node and accounts(account)
                ),
                key=lambda held: (held.received_at, held.call),
            )
        )

    def _forget_held(self, key: AccountKey) -> None:
        self._held.pop(key, None)
