"""Held INVITEs leave the store for sure: they would stay as long as their account is called."""

import asyncio

from push_proxy.core.ids import AccountKey, CallId, Instant
from push_proxy.core.model import Address, HeldInvite
from push_proxy.errors import StoreUnavailable
from push_proxy.runtime.clock import SystemClock
from push_proxy.runtime.held_invites import HeldInvites
from push_proxy.store.memory import MemoryStore

ALICE = AccountKey("acme/alice")


class FailingStore(MemoryStore):
    """A memory store that can be away, or do what it is asked without a word."""

    away = False
    mute = False

    async def hold_invite(self, held: HeldInvite) -> None:
        await super().hold_invite(held)
        if self.mute:
            raise StoreUnavailable("no answer")

    async def release_invite(self, key: AccountKey, call: CallId, *, node: str = "") -> bool:
        if self.away:
            raise StoreUnavailable("cut off")
        return await super().release_invite(key, call, node=node)


def held(call: str) -> HeldInvite:
    place = Address("192.0.2.1", 5060)
    return HeldInvite(
        call=CallId(call),
        account=ALICE,
        raw=b"INVITE",
        source=place,
        local=place,
        to_tag="t",
        received_at=Instant(1e9),
        deadline=Instant(9e9),
    )


async def left(store: MemoryStore) -> list[CallId]:
    return [invite.call for invite in await store.held_invites(ALICE)]


async def test_call_that_ends_while_the_store_is_away() -> None:
    """Its INVITE leaves the store when that is back."""
    store = FailingStore(SystemClock())
    invites = HeldInvites(store, clock=SystemClock())
    assert await invites.hold(held("one"))
    store.away = True
    invites.release(ALICE, CallId("one"))
    await asyncio.sleep(0.05)
    assert (await left(store), invites.leaving) == ([CallId("one")], 1)
    store.away = False
    assert await invites._writes.drained(5)
    assert await left(store) == []
    await invites.aclose()


async def test_invite_that_was_kept_without_a_word() -> None:
    """The store did not answer in time but has it: it is taken out again, nobody counts on it."""
    store = FailingStore(SystemClock())
    invites = HeldInvites(store, clock=SystemClock())
    store.mute = True
    assert not await invites.hold(held("two"))
    assert await invites._writes.drained(5)
    assert await left(store) == []
    await invites.aclose()
