"""Leases of shards, and the fences of what they protect: the same on memory, Valkey and Redis."""

import asyncio
import time
from dataclasses import replace

from push_proxy.core.ids import AccountKey, Instant
from push_proxy.core.leasing import Orders
from push_proxy.lease_ports import Leased, Owner
from push_proxy.ports import Store

from .conftest import HandClock
from .samples import ALICE, BOB, registration

A, B = Owner("a", "first life"), Owner("b", "first life")
SHARDS = (3, 77, 255)


async def take(store: Store, owner: Owner, *shards: int, lease_s: float = 60.0) -> Leased:
    return await store.lease(owner, Orders(acquire=shards), lease_s=lease_s)


async def keep(
    store: Store, owner: Owner, fences: dict[int, int], lease_s: float = 60.0
) -> set[int]:
    leased = await store.lease(owner, Orders(renew=fences), lease_s=lease_s)
    return set(leased.replies.renewed)


async def test_a_free_shard_is_whose_asks_first(store: Store) -> None:
    """What one node has taken, another does not get; asking again changes nothing."""
    first = await take(store, A, *SHARDS)
    assert set(first.replies.acquired) == set(SHARDS)
    assert all(fence > 0 for fence in first.replies.acquired.values())
    assert first.taken_over == frozenset()
    assert (await take(store, B, *SHARDS)).replies.acquired == {}
    again = await take(store, A, *SHARDS)
    assert again.replies.acquired == first.replies.acquired
    assert again.taken_over == frozenset()


async def test_renewing_and_taking_go_together(store: Store) -> None:
    """One round trip keeps what is held and takes what is free; fences stay as they are."""
    fences = dict((await take(store, A, 3)).replies.acquired)
    await take(store, B, 77)
    orders = Orders(renew=fences, acquire=(77, 255))
    replies = (await store.lease(A, orders, lease_s=60)).replies
    assert replies.renewed == {3}
    assert set(replies.acquired) == {255}
    assert (await take(store, A, 3)).replies.acquired == fences


async def test_a_lease_runs_out_by_the_stores_clock(store: Store, clock: HandClock) -> None:
    """After its time another node gets the shard, with a higher fence; the first has lost it."""
    fence = (await take(store, A, 3, lease_s=0.3)).replies.acquired[3]
    deadline = time.monotonic() + 10
    while not (after := await take(store, B, 3)).replies.acquired:
        assert time.monotonic() < deadline
        clock.at += 0.05
        await asyncio.sleep(0.05)
    assert after.replies.acquired[3] > fence
    assert after.taken_over == {3}
    assert await keep(store, A, {3: fence}) == set()
    assert await keep(store, B, dict(after.replies.acquired)) == {3}


async def test_a_lease_that_ran_out_is_renewed_while_nobody_had_it(
    store: Store, clock: HandClock
) -> None:
    """A node that was slow, and that nobody missed, goes on with its fence."""
    fences = dict((await take(store, A, 3, lease_s=0.05)).replies.acquired)
    clock.at += 1
    await asyncio.sleep(0.1)
    assert await keep(store, A, fences) == {3}
    assert (await take(store, B, 3)).replies.acquired == {}


async def test_a_store_that_knows_nothing_believes_who_is_sure(store: Store) -> None:
    """One that came back empty takes a lease and its fence from the node that still owns it, and
    from no other.
    """
    assert await keep(store, A, {3: 10**15}) == set()
    orders = Orders(renew={3: 10**15}, sure=frozenset({3}))
    replies = (await store.lease(A, orders, lease_s=60)).replies
    assert replies.renewed == replies.restored == {3}
    again = (await store.lease(A, orders, lease_s=60)).replies
    assert (again.renewed, again.restored) == ({3}, frozenset())
    assert (await store.lease(B, orders, lease_s=60)).replies.renewed == frozenset()
    await store.release_leases(A, {3: 10**15})
    assert await keep(store, A, {3: 10**15}) == set()
    assert (await store.lease(A, orders, lease_s=60)).replies.renewed == frozenset()
    assert (await take(store, B, 3)).replies.acquired[3] > 10**15


async def test_a_released_shard_is_free_at_once(store: Store) -> None:
    """The next owner has a higher fence, has taken nothing over, and the former one is out."""
    fences = dict((await take(store, A, 3, 77)).replies.acquired)
    await store.release_leases(A, {3: fences[3]})
    after = await take(store, B, 3, 77)
    assert set(after.replies.acquired) == {3}
    assert after.replies.acquired[3] > fences[3]
    assert after.taken_over == frozenset()
    assert await keep(store, A, fences) == {77}


async def test_a_late_release_frees_nothing_that_is_anothers(store: Store) -> None:
    """What a node released after it had lost the shard is ignored, whoever it names."""
    fences = dict((await take(store, A, 3)).replies.acquired)
    await store.release_leases(A, fences)
    theirs = dict((await take(store, B, 3)).replies.acquired)
    await store.release_leases(A, fences)
    await store.release_leases(A, theirs)
    await store.release_leases(B, fences)
    assert await keep(store, B, theirs) == {3}


async def test_a_node_takes_what_its_former_life_had(store: Store) -> None:
    """A node that was killed and starts again does not wait for its own lease, but is another."""
    former = dict((await take(store, A, 3)).replies.acquired)
    again = Owner("a", "second life")
    fences = dict((await take(store, again, 3)).replies.acquired)
    assert fences[3] > former[3]
    assert await keep(store, A, former) == set()
    assert await keep(store, again, fences) == {3}


async def test_a_node_whose_name_begins_like_anothers_is_another(store: Store) -> None:
    """`node-1` has no claim on what `node-10` has."""
    await take(store, Owner("node-10", "x"), 3)
    assert (await take(store, Owner("node-1", "x"), 3)).replies.acquired == {}


async def test_a_lower_fence_writes_nothing(store: Store, clock: HandClock) -> None:
    """A registration is written and forgotten by the highest fence it has seen, and nobody else."""
    new = replace(registration(clock.at), fence=8, call_id="new", node="b")
    old = replace(registration(clock.at), fence=7, call_id="old", node="a")
    assert await store.put_registration(old)
    assert await store.put_registration(new)
    assert not await store.put_registration(old)
    assert not await store.delete_registration(ALICE, fence=7)
    assert await store.get_registrations([ALICE]) == (new,)
    assert await store.put_registration(replace(new, cseq=99))
    assert await store.delete_registration(ALICE, fence=8)
    assert await store.get_registrations([ALICE]) == (None,)
    assert not await store.put_registration(old)
    assert await store.get_registrations([ALICE]) == (None,)


async def test_a_claim_shuts_the_former_owner_out(store: Store, clock: HandClock) -> None:
    """Whoever claims reads what is kept, of accounts without a registration too, and from then on
    nobody with a lower fence writes; a claim that comes too late is left out.
    """
    kept = replace(registration(clock.at), fence=7)
    await store.put_registration(kept)
    assert await store.claim_registrations({ALICE: 8, BOB: 8}) == {ALICE: kept, BOB: None}
    assert not await store.put_registration(kept)
    assert not await store.put_registration(replace(kept, account=BOB))
    assert await store.claim_registrations({ALICE: 7, BOB: 9}) == {BOB: None}
    assert await store.get_registrations([ALICE, BOB]) == (kept, None)
    assert await store.put_registration(replace(kept, fence=8))


async def test_a_claim_keeps_what_was_written_before_there_were_fences(
    store: Store, clock: HandClock
) -> None:
    """A single node's registrations are taken over by a cluster as they are."""
    kept = registration(clock.at)
    await store.put_registration(kept)
    assert await store.claim_registrations({ALICE: 8}) == {ALICE: kept}
    assert await store.get_registrations([ALICE]) == (kept,)


async def test_many_shards_in_one_go(store: Store) -> None:
    """All shards of a cluster, and as many claims, are one question each."""
    fences = dict((await take(store, A, *range(256))).replies.acquired)
    assert await keep(store, A, fences) == set(range(256))
    accounts = {AccountKey(f"acme/{n}"): 5 for n in range(200)}
    assert await store.claim_registrations(accounts) == dict.fromkeys(accounts)
    late = replace(
        registration(0.0), account=AccountKey("acme/7"), expires_at=Instant(9e9), fence=4
    )
    assert not await store.put_registration(late)
