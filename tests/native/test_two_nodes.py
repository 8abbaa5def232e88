"""Two real SIP stacks: the PBX speaks to the one, the phone's flow is at the other."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace

import pytest

from push_proxy.core.ids import BranchId, CallId
from push_proxy.core.model import Address
from push_proxy.signaling.contract import Rewrite, StackSettings
from push_proxy.signaling.facts import (
    BranchResponse,
    DeviceAwaited,
    DeviceHeard,
    DialogEnded,
    RequestReceived,
)
from tests.lab import sdp
from tests.lab.ports import free_port
from tests.lab.sip_agent import SipAgent
from tests.lab.sip_call import IncomingCall, OutgoingCall
from tests.lab.sip_dialog import Dialog
from tests.lab.sip_message import Message, build, parse

from .stack_process import StackProcess

CALL = CallId("12345678-1234-1234-1234-123456789abc")
ROUTE_KEY = "00112233445566ff"
A_HOST, B_HOST, C_HOST = "127.0.0.1", "127.0.0.2", "127.0.0.3"


def settings(host: str, *, port: int = 0) -> StackSettings:
    """A node with UDP and TCP on one host; the same `port` for another life of it."""
    port = port or free_port()
    return StackSettings(
        listen=(Address(host, port), Address(host, port, "tcp")),
        public_host=host,
        token_key=b"k" * 32,
        cluster_keys=(b"c" * 32,),
    )


@dataclass(slots=True)
class Scene:
    """Node A has the PBX, node B the phone's flow; both know both."""

    exits: AsyncExitStack
    between: str
    pbx: SipAgent = field(default_factory=lambda: SipAgent("pbx"))
    phone: SipAgent = field(default_factory=lambda: SipAgent("phone"))
    a: StackProcess = field(init=False)
    b: StackProcess = field(init=False)

    async def open(self) -> None:
        self.a = await self.node(settings(A_HOST))
        self.b = await self.node(settings(B_HOST))
        await self.pbx.open()
        await self.phone.open(host="127.0.0.9")
        self.exits.callback(self.pbx.close)
        self.exits.callback(self.phone.close)
        await self.acquaint(self.a, self.b)
        await self.at_b()

    async def node(self, made: StackSettings) -> StackProcess:
        return await self.exits.enter_async_context(StackProcess(made))

    def sip(self, node: StackProcess) -> Address:
        """Where nodes reach it."""
        at: Address = node.listening[1 if self.between == "tcp" else 0]
        return at

    async def acquaint(self, *nodes: StackProcess) -> None:
        for node in nodes:
            node.order("peers", [self.sip(each) for each in nodes])
            await node.settled()

    async def at_b(self) -> None:
        self.b.order("bind", ROUTE_KEY, Address(*self.phone.address), self.b.at)
        await self.b.settled()
        self.a.order("bind_through", ROUTE_KEY, self.sip(self.b))
        await self.a.settled()

    def invite(self) -> OutgoingCall:
        host, port = self.a.at.host, self.a.at.port
        uri = f"sip:101@{host}:{port}"
        headers = (
            self.pbx.via(),
            ("Max-Forwards", "70"),
            ("From", "<sip:200@pbx.example.com>;tag=caller"),
            ("To", "<sip:101@pbx.example.com>"),
            ("Call-ID", f"two-nodes-{self.pbx.address[1]}"),
            ("CSeq", "1 INVITE"),
            ("Contact", f"<{self.pbx.uri('200')}>"),
            sdp.CONTENT_TYPE,
        )
        data = build(f"INVITE {uri} SIP/2.0", headers, sdp.OFFER)
        return OutgoingCall(self.pbx, parse(self.pbx.send(data, (host, port))), (host, port))

    def rewrite(self, node: StackProcess, *, seed: str = "") -> Rewrite:
        """Toward the phone by way of `node`."""
        return Rewrite(
            request_uri=self.phone.uri("101"),
            destination=Address(*self.phone.address),
            local=self.a.at,
            call=CALL,
            route_key=ROUTE_KEY,
            through=self.sip(node),
            branch_seed=seed,
        )

    async def ring(self, *, seed: str = "") -> tuple[OutgoingCall, RequestReceived, IncomingCall]:
        """The call is held at A, forked by way of B, and rings."""
        call = self.invite()
        held = await self.a.fact(RequestReceived)
        self.a.order("reply", held.txn, 100, "Trying")
        await call.expect(100)
        self.a.order("fork", held.txn, BranchId(1), self.rewrite(self.b, seed=seed))
        incoming = IncomingCall(self.phone, await self.phone.expect(method="INVITE", within=5))
        incoming.ring()
        await self.relay(self.a, 180)
        await call.expect(180)
        return call, held, incoming

    async def relay(self, node: StackProcess, status: int) -> None:
        told = await node.fact(BranchResponse, where=lambda fact: fact.status == status)
        node.order("relay", told.txn, told.branch, told.response)

    async def connect(self) -> tuple[Dialog, Dialog]:
        """An established call: the PBX's side and the phone's."""
        call, _, incoming = await self.ring()
        incoming.accept()
        await self.relay(self.a, 200)
        far = await call.answered()
        await incoming.expect_ack()
        return far, incoming.dialog()


@pytest.fixture(params=["udp", "tcp"])
def between(request: pytest.FixtureRequest) -> str:
    """By what the nodes reach one another."""
    return str(request.param)


@pytest.fixture
async def scene(between: str) -> AsyncIterator[Scene]:
    """Two nodes."""
    async with AsyncExitStack() as exits:
        made = Scene(exits, between)
        await made.open()
        yield made


async def talk(asks: Dialog, hears: Dialog, method: str = "INFO") -> Message:
    """A request one way, and its 200 back; returns it as it arrived."""
    sent = asks.send(method)
    arrived = await hears.expect(method)
    hears.agent.respond(arrived, 200, "OK")
    await asks.agent.expect(within=5, where=lambda m: m.status == 200 and m.branch == sent.branch)
    return arrived


async def test_call_through_two_nodes(scene: Scene) -> None:
    """PBX at A, phone at B: it rings, connects, both ask inside the dialog, the phone hangs up;
    no Route and no token of ours reaches either side, and the call's end is told at A alone.
    """
    far, near = await scene.connect()
    for asks, hears in ((far, near), (near, far)):
        assert not (await talk(asks, hears)).all("Route")
    heard = await scene.b.fact(DeviceHeard)
    assert heard.source == Address(*scene.phone.address)
    await talk(near, far, "BYE")
    ended = await scene.a.fact(DialogEnded)
    assert (ended.call, ended.by_device) == (CALL, True)
    for node in (scene.a, scene.b):
        with pytest.raises(AssertionError):
            await node.fact(DeviceHeard if node is scene.a else DialogEnded, within_s=0.1)


async def test_cancel_through_two_nodes(scene: Scene) -> None:
    """The PBX gives up: CANCEL reaches the phone by way of B, and its 487 comes back."""
    call, held, incoming = await scene.ring()
    scene.a.order("cancel", held.txn, BranchId(1))
    await incoming.expect_cancel()
    await scene.relay(scene.a, 487)
    assert (await call.final()).status == 487


async def test_established_call_survives_the_node_of_the_pbx(scene: Scene) -> None:
    """A dies in the middle of a call: what the phone says goes from B straight to the PBX, and
    what the PBX says to any node that stands in for A reaches the phone.
    """
    far, near = await scene.connect()
    scene.a.kill()
    await scene.acquaint(scene.b)
    await talk(near, far)
    port = scene.a.at.port
    again = await scene.node(settings(A_HOST, port=port))
    await scene.acquaint(again, scene.b)
    again.order("bind_through", ROUTE_KEY, scene.sip(scene.b))
    await again.settled()
    await talk(far, near)
    await talk(near, far, "BYE")
    assert (await again.fact(DialogEnded)).call == CALL


@pytest.mark.parametrize("between", ["tcp"])
async def test_node_of_the_pbx_dies_before_anybody_says_so(scene: Scene) -> None:
    """A's connection ends, and nobody has told B yet that A is dead: the phone's request goes on
    to the PBX at once, and is not refused.
    """
    far, near = await scene.connect()
    scene.a.kill()
    assert not (await talk(near, far)).all("Route")
    await talk(near, far, "BYE")
    assert (await scene.b.fact(DialogEnded)).call == CALL


async def test_established_call_follows_the_phone_to_a_third_node(scene: Scene) -> None:
    """B dies; the phone registers at C: either side's requests find the other one."""
    far, near = await scene.connect()
    scene.b.kill()
    third = await scene.node(settings(C_HOST))
    await scene.acquaint(scene.a, third)
    far.send("INFO")  # it waits at A until the phone is somewhere
    await scene.a.fact(DeviceAwaited, where=lambda fact: fact.waiting)
    third.order("bind", ROUTE_KEY, Address(*scene.phone.address), third.at)
    await third.settled()
    scene.a.order("bind_through", ROUTE_KEY, scene.sip(third))
    info = await near.expect("INFO")
    assert info.source == (third.at.host, third.at.port)
    scene.phone.respond(info, 200, "OK")
    await scene.pbx.expect(within=5, status=200, where=lambda m: m.cseq_method == "INFO")
    # The phone's own list of hops begins with the dead node: by its flow it asks the living one.
    bye = near.build("BYE")
    scene.phone.send(bye, (third.at.host, third.at.port))
    arrived = await far.expect("BYE")
    assert arrived.source == (scene.a.at.host, scene.a.at.port)
    scene.pbx.respond(arrived, 200, "OK")
    await scene.phone.expect(within=5, status=200, where=lambda m: m.cseq_method == "BYE")


async def test_killed_in_mid_ring_and_restored(scene: Scene) -> None:
    """A is killed while the phone rings by way of B: A comes back with the stored INVITE, the
    same fork is no second INVITE for the phone, and its 200 reaches the PBX under the same tag.
    """
    call, held, incoming = await scene.ring(seed=f"{CALL}/phone/1")
    ringing = scene.pbx.history[-1]
    scene.a.kill()
    again = await scene.node(replace(settings(A_HOST, port=scene.a.at.port), closed=True))
    await scene.acquaint(again, scene.b)
    again.order(
        "restore", CALL, raw=held.raw, source=held.source, local=held.local, to_tag=held.to_tag
    )
    restored = await again.fact(RequestReceived)
    assert (restored.restored, restored.to_tag) == (CALL, held.to_tag)
    again.order("open")
    again.order("fork", restored.txn, BranchId(1), scene.rewrite(scene.b, seed=f"{CALL}/phone/1"))
    await scene.relay(again, 180)  # B repeats what it has: the phone is not asked
    incoming.accept()
    await scene.relay(again, 200)
    far = await call.answered()
    await incoming.expect_ack()
    assert far.remote == ringing.header("To")
    assert len({m.branch for m in scene.phone.history if m.method == "INVITE"}) == 1
    await talk(incoming.dialog(), far, "BYE")


@pytest.mark.parametrize("between", ["udp"])
async def test_edge_killed_in_mid_ring(scene: Scene) -> None:
    """B is killed while the phone rings by way of it, and comes back: the phone's 200 finds the
    way, by the signed branch alone. (Over TCP the branch is over with a local 430 at once.)
    """
    call, _, incoming = await scene.ring()
    scene.b.kill()
    scene.b = await scene.node(settings(B_HOST, port=scene.b.at.port))
    await scene.at_b()
    incoming.accept()
    await scene.relay(scene.a, 200)
    far = await call.answered()
    await incoming.expect_ack()
    await talk(far, incoming.dialog(), "BYE")
