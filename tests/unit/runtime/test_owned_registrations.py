"""runtime.registrations among several nodes: only for accounts that are ours, and fenced."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from push_proxy.core.ids import AccountKey, Instant
from push_proxy.core.model import Account, Address, RegisterPolicy, RegistrationRecord
from push_proxy.core.registration_status import RegistrationState
from push_proxy.core.shards import shard_of
from push_proxy.errors import StoreUnavailable
from push_proxy.observability.metrics import Metrics
from push_proxy.runtime.registrations import Registrations
from push_proxy.tasks import spawn
from tests.unit.runtime.sip_scene import Scene, hold
from tests.unit.runtime.test_registrations import Office, contacts

OURS = "sip:101@10.0.0.7:5060;pp=tok101"
THEIRS = "sip:101@10.0.0.8:5060;pp=tok101"


class Ownership:
    """Whatever a test wants."""

    node = "here"

    def __init__(self) -> None:
        self.fences: dict[int, int] = {}
        self.valid = True

    def owns(self, account: AccountKey) -> bool:
        return self.valid and shard_of(account) in self.fences

    def fence(self, account: AccountKey) -> int:
        return self.fence_of(shard_of(account))

    def fence_of(self, shard: int) -> int:
        return self.fences.get(shard, 0)

    def held(self) -> frozenset[int]:
        return frozenset(self.fences)


class Branch(Office):
    """An `Office` at one of several nodes."""

    def __init__(self, scene: Scene) -> None:
        self.ownership = Ownership()
        super().__init__(scene)

    def new(self) -> Registrations:
        scene = self.scene
        self.registrations = Registrations(
            signaling=scene.stack,  # type: ignore[arg-type]
            directory=scene.directory,
            store=scene.store,
            clock=scene.clock,
            addresses=scene.addresses,
            own=scene.own,
            metrics=Metrics(),
            ownership=self.ownership,
        )
        return self.registrations

    async def gain(self, account: Account, fence: int) -> None:
        """As the leases tell it; returns when the records are read."""
        shard = shard_of(account.key)
        self.ownership.fences[shard] = fence
        self.registrations.gained(frozenset({shard}))
        await self.idle()

    def lose(self, account: Account) -> None:
        shard = shard_of(account.key)
        self.ownership.fences.pop(shard, None)
        self.registrations.lost(frozenset({shard}))

    async def idle(self) -> None:
        """Let what waits for the store go on."""
        for _ in range(20):
            await asyncio.sleep(0)

    async def registers(self, seconds: float = 0.01) -> list[dict[str, object]]:
        """What is sent in this time, all of it answered."""
        taken = self.run(seconds)
        await self.idle()
        return [*taken, *self.run()]

    def kept(self, **changes: object) -> RegistrationRecord:
        """A registration as another node left it."""
        now = self.scene.clock.now()
        record = RegistrationRecord(
            account=hold().key,
            call_id="series",
            cseq=40,
            contact=THEIRS,
            expires_at=Instant(now + 500),
            refresh_at=Instant(now + 400),
            registrar="sip:pbx.example.com",
            granted_s=600,
            listed_as=THEIRS,
            server=Address("192.0.2.10", 5060),
            node="there",
            fence=5,
        )
        return replace(record, **changes)  # type: ignore[arg-type]


@pytest.fixture
async def branch() -> AsyncIterator[Branch]:
    scene = await Scene().start()
    branch = Branch(scene)
    await branch.registrations.start()
    yield branch
    await branch.registrations.aclose()
    await scene.aclose()


def always() -> Account:
    return hold(register=RegisterPolicy.ALWAYS)


async def test_nothing_is_sent_for_accounts_of_others(branch: Branch) -> None:
    """An account is registered when its shard is ours, and dropped without a word when it goes."""
    account = await branch.scene.add(always())
    assert await branch.registers(5.0) == []
    assert branch.state(account) is RegistrationState.UNUSED
    await branch.gain(account, 7)
    (request,) = await branch.registers()
    assert contacts(request) == [f"<{OURS}>;expires=600"]
    branch.lose(account)
    assert await branch.registers(2000.0) == []
    assert branch.state(account) is RegistrationState.UNUSED
    record = await branch.record(account)
    assert record is not None
    assert (record.node, record.fence, record.contact) == ("here", 7, OURS)


async def test_a_takeover_is_one_register(branch: Branch) -> None:
    """The other node's Contact goes and ours comes in one request of the same series."""
    account = await branch.scene.add(always())
    await branch.scene.store.put_registration(branch.kept())
    await branch.gain(account, 7)
    (request,) = await branch.registers()
    assert contacts(request) == [f"<{THEIRS}>;expires=0", f"<{OURS}>;expires=600"]
    assert request["call_id"] == "series"
    assert int(str(request["cseq"])) > 40 + 16
    record = await branch.record(account)
    assert record is not None
    assert (record.contact, record.leftovers, record.granted_s) == (OURS, (), 600)


async def test_a_shared_contact_is_refreshed_at_once(branch: Branch) -> None:
    """Where all nodes register one address, a takeover is a refresh: some PBXs call the address
    that the last REGISTER came from. A restart of ours sends nothing.
    """
    account = await branch.scene.add(always())
    shared = branch.kept(contact=OURS, listed_as=OURS)
    await branch.scene.store.put_registration(shared)
    await branch.gain(account, 7)
    assert branch.state(account) is RegistrationState.REGISTERED
    (request,) = await branch.registers()
    assert contacts(request) == [f"<{OURS}>;expires=600"]
    branch.lose(account)
    await branch.gain(account, 8)
    assert await branch.registers() == []


async def test_a_new_contact_is_kept_before_it_leaves(branch: Branch) -> None:
    """Whoever goes on after us finds every Contact that the PBX may have been told: ours that was
    not answered, and the one before that.
    """
    account = await branch.scene.add(always())
    await branch.scene.store.put_registration(branch.kept())
    await branch.gain(account, 7)
    branch.scene.clock.advance(0.01)
    assert branch.take() == []
    await branch.idle()
    (request,) = branch.take()
    (record,) = await branch.scene.store.get_registrations([account.key])
    assert record is not None
    assert (record.contact, record.leftovers, record.fence) == (OURS, (THEIRS,), 7)
    assert record.granted_s is None
    assert record.cseq == request["cseq"]
    # The next owner, from that record.
    await branch.registrations.aclose()
    branch.ownership.fences = {shard_of(account.key): 8}
    moved = replace(record, contact="sip:101@10.0.0.9:5060;pp=tok101", node="third")
    await branch.scene.store.put_registration(moved)
    await branch.new().start()
    (request,) = await branch.registers()
    assert contacts(request) == [
        f"<{THEIRS}>;expires=0",
        "<sip:101@10.0.0.9:5060;pp=tok101>;expires=0",
        f"<{OURS}>;expires=600",
    ]


async def test_a_lease_that_ran_out_sends_nothing(branch: Branch) -> None:
    """What is due then waits, and leaves when the lease is good again; an answer that comes in
    between is taken, but nothing follows from it.
    """
    account = await branch.scene.add(always())
    await branch.gain(account, 7)
    assert len(await branch.registers()) == 1
    branch.ownership.valid = False
    assert await branch.registers(1000.0) == []
    branch.ownership.valid = True
    (request,) = await branch.registers(2.0)
    assert contacts(request) == [f"<{OURS}>;expires=600"]


async def test_a_challenge_after_the_lease_is_not_answered(branch: Branch) -> None:
    """A node that slept between its REGISTER and the 401 does not send another."""
    account = await branch.scene.add(always())
    await branch.gain(account, 7)
    branch.scene.clock.advance(0.01)
    await branch.idle()
    (request,) = branch.take()
    branch.ownership.valid = False
    branch.answer(request, 401, 'WWW-Authenticate: Digest realm="r", nonce="n", qop="auth"')
    await branch.idle()
    assert branch.take() == []
    assert branch.registrations.status(account.key).last_reason == "Lease of the account ended"


async def test_the_loser_stops_without_a_word(branch: Branch) -> None:
    """A write that the store refuses, because another node has a higher fence, ends it here."""
    account = await branch.scene.add(always())
    await branch.gain(account, 7)
    branch.scene.clock.advance(0.01)
    await branch.idle()
    (request,) = branch.take()
    await branch.scene.store.claim_registrations({account.key: 8})
    branch.answer(request)
    assert await branch.record(account) is not None
    assert branch.state(account) is RegistrationState.UNUSED
    assert await branch.registers(2000.0) == []


async def test_a_claimed_account_is_not_touched(branch: Branch) -> None:
    """A node that comes too late with its lease finds the account claimed, and leaves it."""
    account = await branch.scene.add(always())
    await branch.scene.store.put_registration(branch.kept(fence=9))
    await branch.gain(account, 7)
    assert await branch.registers(10.0) == []


async def test_no_new_contact_while_the_store_is_away(
    branch: Branch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody could go on after us: it is tried again, as after any failure."""
    account = await branch.scene.add(always())
    put = branch.scene.store.put_registration

    async def away(record: RegistrationRecord) -> bool:
        raise StoreUnavailable(f"away, {record.account} too")

    monkeypatch.setattr(branch.scene.store, "put_registration", away)
    await branch.gain(account, 7)
    assert await branch.registers() == []
    assert branch.state(account) is RegistrationState.RETRYING
    monkeypatch.setattr(branch.scene.store, "put_registration", put)
    (request,) = await branch.registers(5.0)
    assert contacts(request) == [f"<{OURS}>;expires=600"]


async def test_a_record_that_the_store_lost_is_written_again(branch: Branch) -> None:
    """Without it, whoever goes on after us would leave our Contact at the PBX."""
    account = await branch.scene.add(always())
    await branch.gain(account, 7)
    await branch.registers()
    before = await branch.record(account)
    assert before is not None
    branch.scene.store._forget_registration(account.key)
    branch.registrations.forgotten(frozenset({shard_of(account.key)}))
    assert await branch.record(account) == before
    assert await branch.registers() == []


async def test_leaving_finishes_what_is_on_its_way(branch: Branch) -> None:
    """Before a shard goes, the PBX's answer is waited for and kept, and nothing new begins."""
    account = await branch.scene.add(always())
    await branch.gain(account, 7)
    branch.scene.clock.advance(0.01)
    await branch.idle()
    (request,) = branch.take()
    shards = frozenset({shard_of(account.key)})
    leaving = spawn(branch.registrations.leave(shards), name="leaving")
    await branch.idle()
    assert not leaving.done()
    branch.answer(request)
    await leaving
    record = await branch.record(account)
    assert record is not None
    assert record.granted_s == 600
    assert await branch.registers(590.0) == []
    branch.lose(account)
    await branch.gain(account, 8)
    assert await branch.registrations.leave(shards) == {account.key}


async def test_the_pbxs_pace_is_shared(branch: Branch) -> None:
    """Three nodes together do not ask a PBX faster than one may; a shard's cost is told by it."""
    account = await branch.scene.add(always())
    await branch.gain(account, 7)
    await branch.registers()
    pbx = branch.scene.addresses.pbx(account)
    assert pbx is not None
    assert branch.registrations.cost_s(shard_of(account.key)) == 1 / pbx.registrations_per_second
    branch.registrations.set_share(0.25)
    lane = branch.registrations._schedule._lanes[pbx.key]
    assert lane._pace.rate == pbx.registrations_per_second / 4
