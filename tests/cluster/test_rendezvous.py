"""The call comes to one node and the phone to another: they meet, and the call is relayed."""

from __future__ import annotations

import pytest

from tests.lab.cluster import Cluster, Node
from tests.lab.fixtures import MakePjsua2
from tests.lab.pbx import Pbx
from tests.lab.phone import Phone
from tests.lab.push_sink import Push, PushSink
from tests.lab.sip_call import OutgoingCall
from tests.lab.sip_dialog import Dialog
from tests.lab.sip_message import Message

ACCOUNT, AOR, PASSWORD = "alice", "sip:101@pbx.test", "pw-101"


@pytest.fixture
async def account(cluster: Cluster) -> str:
    """An account whose PBX calls as a trunk, with one device, known at all nodes."""
    auth = {"user": "101", "realm": "pbx.test", "password": PASSWORD}
    await cluster.put_account(ACCOUNT, AOR, topology="trunk", pbx="trunk", app_auth=auth)
    await cluster[0].put_device(ACCOUNT)
    return ACCOUNT


def call_through(pbx: Pbx, node: Node) -> OutgoingCall:
    """A call of the PBX that comes to this node."""
    return pbx.call("101", next_hop=node.sip_address)


def phone_at(node: Node, transport: str = "udp") -> Phone:
    """The device's phone, which has this node for registrar and proxy; it sleeps."""
    return node.phone(AOR, password=PASSWORD, device="handset", transport=transport)


def wakes(sink: PushSink, phone: Phone) -> None:
    """The first push for a call makes the phone register, before the push is answered."""
    left = [phone]

    async def hook(push: Push) -> None:
        if push.type == "call" and left:
            assert (await left.pop().register()).status == 200

    sink.hook = hook


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_call_here_phone_there(
    cluster: Cluster, account: str, pbx: Pbx, push_sink: PushSink, transport: str
) -> None:
    """INVITE at one node, push, REGISTER at another: the very same INVITE reaches the phone by the
    node that it registered at; it rings, answers, and either side can speak in the dialog.
    """
    async with phone_at(cluster[1], transport) as phone:
        wakes(push_sink, phone)
        call = call_through(pbx, cluster[0])
        incoming = await phone.incoming(within=15)
        assert incoming.invite.call_id == call.invite.call_id
        incoming.ring()
        await call.expect(180)
        incoming.accept()
        dialog = await call.answered()
        await incoming.expect_ack()
        here = incoming.dialog()
        dialog.send("INFO")
        info = await phone.agent.expect(method="INFO", within=5)
        phone.agent.respond(info, 200, "OK")
        here.send("BYE")
        await dialog.expect_bye()
        await phone.agent.expect(method="BYE", status=200, within=5)
    record = await cluster[2].call_record(account=account)
    assert (record["verdict"], record["node"]) == ("answered", "n1")
    assert record["ended_by"] == "device"
    assert len(push_sink.pushes) == 1
    assert await cluster[0].metric("push_proxy_relayed_through_total") == 1


async def test_an_awake_phone_is_rung_through_its_node(
    cluster: Cluster, account: str, pbx: Pbx, push_sink: PushSink
) -> None:
    """A phone that has just registered at one node is rung at once by a call at another, and needs
    no push.
    """
    async with phone_at(cluster[2]) as phone:
        assert (await phone.register()).status == 200
        await cluster[0].knows(account)
        call = call_through(pbx, cluster[0])
        incoming = await phone.incoming(within=5)
        incoming.ring()
        await call.expect(180)
        incoming.accept()
        dialog = await call.answered()
        await incoming.expect_ack()
        assert (await _bye(dialog, phone)).status == 200
    assert not push_sink.pushes


async def test_cancel_reaches_the_phone_through_its_node(
    cluster: Cluster, account: str, pbx: Pbx, push_sink: PushSink
) -> None:
    """The caller gives up while the phone rings at another node: it stops, with the reason."""
    async with phone_at(cluster[1]) as phone:
        wakes(push_sink, phone)
        call = call_through(pbx, cluster[0])
        incoming = await phone.incoming(within=15)
        incoming.ring()
        await call.expect(180)
        call.send_cancel()
        await incoming.expect_cancel()
        assert (await call.final()).status == 487
    record = await cluster[1].call_record(account=account)
    assert record["verdict"] == "caller_cancelled"


async def test_a_lost_flow_at_the_other_node_leaves_the_wake_open(
    cluster: Cluster, account: str, pbx: Pbx, push_sink: PushSink
) -> None:
    """The phone's TCP connection at another node is gone when the call comes: that is told as 430,
    the phone is pushed, comes back to a third node, and gets the call there, once.
    """
    async with phone_at(cluster[1], "tcp") as gone:
        assert (await gone.register()).status == 200
        await cluster[0].knows(account)
    async with phone_at(cluster[2]) as phone:
        wakes(push_sink, phone)
        call = call_through(pbx, cluster[0])
        incoming = await phone.incoming(within=15)
        incoming.accept()
        dialog = await call.answered()
        await incoming.expect_ack()
        assert (await _bye(dialog, phone)).status == 200
        assert len(phone.agent.received(method="INVITE")) == 1


async def test_a_dead_nodes_phone_is_pushed(
    cluster: Cluster, account: str, pbx: Pbx, push_sink: PushSink
) -> None:
    """The node that has the phone's flow is killed: the phone counts as asleep, is pushed at once,
    and gets the call at the node that it comes to.
    """
    async with phone_at(cluster[1]) as phone:
        assert (await phone.register()).status == 200
        await cluster[0].knows(account)
    cluster[1].kill()
    await cluster.settled([cluster[0], cluster[2]])
    async with phone_at(cluster[2]) as phone:
        wakes(push_sink, phone)
        call = call_through(pbx, cluster[0])
        incoming = await phone.incoming(within=15)
        incoming.accept()
        dialog = await call.answered()
        await incoming.expect_ack()
        assert (await _bye(dialog, phone)).status == 200


async def test_a_real_phone_answers_at_another_node(
    cluster: Cluster, account: str, pbx: Pbx, push_sink: PushSink, make_pjsua2: MakePjsua2
) -> None:
    """A sleeping pjsua2 phone is woken by a call at one node, registers at another, and answers."""
    phone = make_pjsua2("101", domain="pbx.test", proxy=cluster[1].sip_address, password=PASSWORD)
    left = [phone]

    async def hook(push: Push) -> None:
        if push.type == "call" and left:
            await left.pop().start()

    push_sink.hook = hook
    call = call_through(pbx, cluster[0])
    dialog = await call.answered(within=20)
    assert (await dialog.bye()).status == 200


async def _bye(dialog: Dialog, phone: Phone) -> Message:
    """The caller hangs up, and the phone agrees."""
    sent = dialog.send("BYE")
    bye = await phone.agent.expect(method="BYE", within=5)
    phone.agent.respond(bye, 200, "OK")
    return await dialog.agent.expect(
        within=5, where=lambda m: m.branch == sent.branch and m.status == 200
    )
