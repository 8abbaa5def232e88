"""What a former life held is taken up call by call, each in its own time."""

import asyncio
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from push_proxy import patience
from push_proxy.core.ids import AccountId, AccountKey, CallId, Instant, ServerTxn, TenantId
from push_proxy.core.model import Account, Address, HeldInvite
from push_proxy.errors import StoreUnavailable
from push_proxy.runtime.clock import SystemClock
from push_proxy.runtime.restoring import Restoring
from push_proxy.signaling.facts import RequestReceived

ALICE = AccountKey("acme/alice")
CLOCK = SystemClock()
LOCAL, PBX = Address("10.0.0.1", 5060), Address("10.0.0.9", 5060)
INVITE = (
    "INVITE sip:alice@10.0.0.1 SIP/2.0\r\n"
    "Via: SIP/2.0/UDP 10.0.0.9;branch=z9hG4bK{name}\r\n"
    "From: <sip:bob@10.0.0.9>;tag=b\r\n"
    "To: <sip:alice@10.0.0.1>\r\n"
    "Call-ID: {name}\r\nCSeq: 1 INVITE\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
)
NOBODY = RequestReceived(
    txn=ServerTxn(1),
    method="INVITE",
    request_uri="sip:alice@10.0.0.1",
    source=PBX,
    local=LOCAL,
    from_uri="sip:bob@10.0.0.9",
    from_tag="b",
    to_uri="sip:alice@10.0.0.1",
    call_id="",
    cseq=1,
    raw=b"",
)


def held(name: str) -> HeldInvite:
    now = CLOCK.now()
    return HeldInvite(
        call=CallId(name),
        account=ALICE,
        raw=INVITE.format(name=name).encode(),
        source=PBX,
        local=LOCAL,
        to_tag="t",
        received_at=now,
        deadline=Instant(now + 60),
        node="one",
        host="10.0.0.1",
    )


class Store:
    """Answers after a while, as one over a network does."""

    def __init__(self, *names: str) -> None:
        self.held = [held(name) for name in names]
        self.away = False
        self.fails_at: list[str] = []
        """Calls whose next look-up fails, or `held_of_node`."""

    async def held_of_node(self, node: str) -> list[HeldInvite]:
        self._fail("held_of_node")
        return [each for each in self.held if each.node == node]

    def _fail(self, name: str) -> None:
        if name in self.fails_at:
            self.fails_at.remove(name)
            raise StoreUnavailable("cut off")

    async def get_call(self, call: CallId) -> None:
        await asyncio.sleep(0.02)
        self._fail(call)
        if self.away:
            raise StoreUnavailable("cut off")

    async def release_invite(self, _: AccountKey, call: CallId, *, node: str) -> bool:
        there = [each for each in self.held if each.call == call and each.node == node]
        self.held = [each for each in self.held if each not in there]
        return bool(there)

    async def update_held(self, *_: Any) -> bool:
        return True


class Directory:
    def account(self, key: AccountKey) -> Account:
        tenant, name = key.split("/")
        return Account(
            tenant=TenantId(tenant), account=AccountId(name), aor="sip:alice@pbx.example"
        )


@dataclass
class Stack:
    """Rebuilds each transaction a moment after it was asked to."""

    facts: list[CallId] = field(default_factory=list)
    restoring: Restoring | None = None

    def listening(self) -> tuple[Address, ...]:
        return (LOCAL,)

    def restore(self, call: CallId, **_: Any) -> None:
        asyncio.get_running_loop().call_later(0.005, self._rebuilt, call)

    def _rebuilt(self, call: CallId) -> None:
        assert self.restoring is not None
        self.facts.append(call)
        self.restoring.on_fact(replace(NOBODY, restored=call))


@dataclass
class Wakes:
    went_on: list[CallId] = field(default_factory=list)
    lost: list[CallId] = field(default_factory=list)
    waiting = 0

    def begin(self, call: CallId, fact: RequestReceived, *_: Any, **__: Any) -> None:
        (self.went_on if fact.restored else self.lost).append(call)


def restoring(store: Store, wakes: Wakes, *, node: str = "one") -> Restoring:
    stack = Stack()
    stack.restoring = made = Restoring(
        store=store,  # type: ignore[arg-type]
        signaling=stack,  # type: ignore[arg-type]
        directory=Directory(),  # type: ignore[arg-type]
        wakes=wakes,  # type: ignore[arg-type]
        clock=CLOCK,
        node=node,
        host="10.0.0.1",
    )
    return made


async def test_every_call_goes_on_however_their_transactions_come() -> None:
    """The first is rebuilt while the second is still looked up: neither is lost for that."""
    wakes = Wakes()
    await restoring(Store("first", "second"), wakes).run()
    assert wakes.went_on == ["first", "second"]
    assert wakes.lost == []


async def test_a_store_that_goes_during_the_start_is_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Away at first, and again with one call taken up: the start goes on where it was, and no call
    is taken up twice.
    """
    monkeypatch.setattr(patience, "FIRST_RETRY_S", 0.01)
    wakes, store = Wakes(), Store("first", "second")
    store.fails_at = ["held_of_node", "second", "second"]
    await restoring(store, wakes).run()
    assert store.fails_at == []
    assert wakes.went_on == ["first", "second"]
    assert wakes.lost == []


async def test_a_dead_nodes_call_is_ended_once_also_with_the_store_away_meanwhile() -> None:
    """What cannot be read now is read at the next try; nobody else's call is touched."""
    wakes, store = Wakes(), Store("first", "second")
    two = restoring(store, wakes, node="two")
    store.away = True
    first = store.held[:1]
    with pytest.raises(StoreUnavailable):
        await two.reap(first)
    store.away = False
    assert await two.reap(first) == 1
    assert await two.reap(first) == 0
    assert wakes.lost == ["first"]
    assert [each.call for each in store.held] == ["second"]
