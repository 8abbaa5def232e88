"""Phones on TCP and TLS whose connections end, stall or are left behind while a call comes."""

from __future__ import annotations

import pytest

from push_proxy.demo.process import poll_until
from tests.lab.phone import Phone
from tests.lab.sip_call import IncomingCall, OutgoingCall
from tests.lab.sip_stream import closed

from .conftest import Extension, MakeExtension

ELSEWHERE = "127.0.0.9"
STREAMS = ["tcp", "tls"]


async def fresh(ext: Extension, phone: Phone) -> None:
    """It has registered a moment ago."""
    assert (await phone.register()).status == 200


def pushes(ext: Extension) -> int:
    """Call pushes for this extension."""
    return sum(
        push.type == "call" and push.payload["account"] == ext.account for push in ext.sink.pushes
    )


async def rings(call: OutgoingCall, phone: Phone) -> IncomingCall:
    incoming = await phone.incoming()
    incoming.ring()
    await call.expect(180)
    return incoming


async def answers(call: OutgoingCall, incoming: IncomingCall) -> None:
    """The phone answers, and the caller hangs up."""
    incoming.accept()
    dialog = await call.answered()
    await incoming.expect_ack()
    near = incoming.dialog()
    dialog.send("BYE")
    await near.expect_bye()


async def connected(ext: Extension, state: bool | None) -> None:
    """Waits until the API shows the phone's connection like that."""

    async def shown() -> bool:
        return (await ext.service.device_status(ext.account))["connected"] is state

    for _ in range(250):
        if await shown():
            return
        await poll_until(lambda: False, within_s=0.02)
    pytest.fail(f"never connected: {state}")


@pytest.mark.parametrize("transport", STREAMS)
async def test_a_phone_whose_connection_ended_is_pushed_at_once(
    extension: MakeExtension, transport: str
) -> None:
    """It was heard a moment ago, but nothing can be sent to it: the API shows it asleep, a call
    pushes, and it is rung on its next connection.
    """
    ext = await extension()
    async with ext.caller() as caller, ext.phone(transport) as phone:
        await fresh(ext, phone)
        await connected(ext, True)
        phone.drop_flow()
        await connected(ext, False)
        status = await ext.service.device_status(ext.account)
        assert (status["reachability"], status["transport"]) == ("asleep", transport)
        ext.wake_on_push(phone.register)
        call = caller.call(ext.aor)
        await answers(call, await rings(call, phone))
        assert pushes(ext) == 1
        assert len(phone.agent.received(method="INVITE")) == 1
        record = await ext.record(sip_call_id=call.invite.call_id)
        assert "flow_failed" not in [entry["event"] for entry in record["timeline"]]


@pytest.mark.parametrize("transport", STREAMS)
async def test_the_connection_ends_while_the_phone_rings(
    extension: MakeExtension, transport: str
) -> None:
    """The phone is pushed, rung again on its new connection in the same call, and answers there."""
    ext = await extension()
    async with ext.caller() as caller, ext.phone(transport) as phone:
        await fresh(ext, phone)
        ext.wake_on_push(phone.register)
        call = caller.call(ext.aor)
        first = await rings(call, phone)
        phone.drop_flow()
        second = await phone.incoming()
        assert second.invite.call_id == first.invite.call_id
        assert second.invite.branch != first.invite.branch
        second.ring()
        await answers(call, second)
        assert ext.answers(call.invite.call_id) == 1
        record = await ext.record(sip_call_id=call.invite.call_id)
        events = [entry["event"] for entry in record["timeline"]]
        assert events.count("invite_sent") == 2
        assert events.count("flow_failed") == 1
        assert record["verdict"] == "answered"


@pytest.mark.parametrize("transport", STREAMS)
async def test_a_ringing_phone_changes_its_network(
    extension: MakeExtension, transport: str
) -> None:
    """No FIN comes from the Wi-Fi that it left: its REGISTER from elsewhere moves the INVITE."""
    ext = await extension()
    async with ext.caller() as caller, ext.phone(transport) as phone:
        await fresh(ext, phone)
        call = caller.call(ext.aor)
        await rings(call, phone)
        await phone.move(ELSEWHERE)
        await fresh(ext, phone)
        second = await phone.incoming()
        assert second.invite.header("Via").startswith(f"SIP/2.0/{transport.upper()} ")
        second.ring()
        await answers(call, second)
        assert ext.answers(call.invite.call_id) == 1
        assert pushes(ext) == 0


async def test_an_invite_into_a_stalled_connection(extension: MakeExtension) -> None:
    """A suspended phone's connection swallows the INVITE: a push after a second brings it back,
    and the INVITE moves.
    """
    ext = await extension()
    async with ext.caller() as caller, ext.phone("tcp") as phone:
        await fresh(ext, phone)
        stalled = phone.flow
        stalled.freeze()
        ext.wake_on_push(phone.register)
        call = caller.call(ext.aor)
        await answers(call, await rings(call, phone))
        assert pushes(ext) == 1
        assert not stalled.closed.is_set()


async def test_a_phone_closes_and_opens_without_being_rung_twice(extension: MakeExtension) -> None:
    """Three connections in a second, each with a REGISTER: one INVITE open at a time, the last
    one is answered, and the caller hears one 200.
    """
    ext = await extension()
    async with ext.caller() as caller, ext.phone("tcp") as phone:
        await fresh(ext, phone)
        call = caller.call(ext.aor)
        for _ in range(3):
            await phone.incoming()
            flow = phone.flow
            flow.drop()
            assert await closed(flow)
            await fresh(ext, phone)
        last = await phone.incoming()
        assert len(phone.agent.received(method="INVITE")) == 4
        last.ring()
        await call.expect(180)
        await answers(call, last)
        assert ext.answers(call.invite.call_id) == 1


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_a_phone_behind_an_edge_proxy(extension: MakeExtension, transport: str) -> None:
    """Path is returned and kept; the INVITE comes over the edge's flow with it as Route
    (RFC 3327).
    """
    ext = await extension()
    async with ext.caller() as caller, ext.phone(transport) as edge:
        path = f"<sip:token@{edge.agent.hostport};lr>"
        far = f"<sip:{ext.user}@192.0.2.99:5062>"
        headers = (("Supported", "path"), ("Path", path))
        answer = await edge.register(contact=far, headers=headers)
        assert answer.listed("Path") == [path]
        call = caller.call(ext.aor)
        incoming = await edge.incoming()
        assert incoming.invite.uri == far[1:-1]
        assert incoming.invite.listed("Route") == [path]
        incoming.ring()
        await call.expect(180)
        await answers(call, incoming)


async def test_path_without_support_is_refused(extension: MakeExtension) -> None:
    """The phone would not know who stands between us and it."""
    ext = await extension()
    async with ext.phone("tcp") as phone:
        answer = await phone.register(headers=(("Path", "<sip:edge.example.com;lr>"),))
        assert (answer.status, answer.get("Unsupported")) == (420, "path")


async def test_keep_alive_as_phones_ask_for_it(extension: MakeExtension) -> None:
    """Flow-Timer for a phone with reg-id, and a CRLF for its double CRLF (RFC 5626 §4.4.1)."""
    ext = await extension()
    async with ext.phone("tcp", device="handset") as phone:
        answer = await phone.register(
            contact_params=";reg-id=1", headers=(("Supported", "path, outbound"),)
        )
        assert (answer.status, answer.get("Flow-Timer"), answer.get("Require")) == (
            200,
            "120",
            "",
        )
        await phone.flow.ping()
        assert not await closed(phone.flow, within=0.1)
