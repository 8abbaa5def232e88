"""The agents over TCP and TLS, against each other: framing, flows, certificates."""

from __future__ import annotations

import asyncio
import socket
import ssl
from pathlib import Path

import pytest

from push_proxy.tasks import spawn
from tests.lab import sdp
from tests.lab.certificates import Authority, TlsIdentity
from tests.lab.pbx import Pbx
from tests.lab.phone import Caller, Phone
from tests.lab.ports import free_port
from tests.lab.sip_agent import SipAgent
from tests.lab.sip_message import build
from tests.lab.sip_stream import closed

STREAMS = ["tcp", "tls"]


def listens(host: str) -> bool:
    """Whether anything of this machine takes TCP connections there (proc(5), state 0A)."""
    address = socket.inet_aton(host)[::-1].hex().upper()
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()]
    return any(f[1].startswith(address + ":") and f[3] == "0A" for f in lines[1:])


@pytest.fixture
def identity(authority: Authority) -> TlsIdentity:
    return authority.issue()


@pytest.mark.parametrize("transport", STREAMS)
async def test_register_and_call(transport: str, identity: TlsIdentity) -> None:
    """A phone registers, is called at its Contact and hangs up; each side opened one connection."""
    async with Pbx(transport=transport, tls=identity) as pbx:
        phone = Phone(
            pbx.aor("101"), proxy=pbx.agent.address, password="pw-101",
            transport=transport, tls=identity,
        )  # fmt: skip
        async with phone:
            assert (await phone.register()).status == 200
            binding = await pbx.registered("101")
            assert binding.uri.endswith(f";transport={transport}")
            assert binding.source == phone.flow.local
            call = pbx.call("101")
            incoming = await phone.incoming()
            assert f"SIP/2.0/{transport.upper()}" in incoming.invite.header("Via")
            incoming.accept()
            dialog = await call.answered()
            await incoming.expect_ack()
            incoming.dialog().send("BYE")
            await dialog.expect_bye()
            assert [c.incoming for c in phone.agent.connections] == [False, True]


async def test_call_on_the_connection_of_the_registration(identity: TlsIdentity) -> None:
    """A PBX that reuses connections needs no way to the phone: this one listens nowhere."""
    async with (
        Pbx(transport="tls", tls=identity, reuses_connection=True) as pbx,
        Phone(
            pbx.aor("101"), proxy=pbx.agent.address, password="pw-101",
            transport="tls", tls=TlsIdentity(identity.ca),
        ) as phone,
    ):  # fmt: skip
        await phone.register()
        call = pbx.call("101")
        (await phone.incoming()).reject(486, "Busy Here")
        assert (await call.final()).status == 486
        assert (await pbx.options("101")).status == 200


@pytest.mark.parametrize("steps", range(8))
async def test_cancelled_while_it_begins_to_listen(steps: int) -> None:
    """Wherever it is cancelled: nothing listens once it is closed."""
    agent = await SipAgent("one", transport="tcp").open()
    moving = spawn(agent.move("127.0.99.7"), name="test")
    for _ in range(steps):
        await asyncio.sleep(0)
    moving.cancel()
    await asyncio.wait([moving])
    agent.close()
    assert not listens("127.0.99.7")


async def test_a_connection_that_stands_too_late_is_closed(identity: TlsIdentity) -> None:
    """The agent was closed while it connected."""
    async with SipAgent("one", transport="tls", tls=identity) as one:
        two = await SipAgent("two", transport="tls", tls=identity).open()
        stream = two.stream
        connecting = spawn(stream.connect(one.address), name="test")
        await asyncio.sleep(0)
        two.close()
        assert await closed(await connecting)


async def test_framing() -> None:
    """Messages are cut by Content-Length, however the bytes come, with keep-alives between."""
    async with SipAgent("one", transport="tcp") as one, SipAgent("two", transport="tcp") as two:
        connection = await two.stream.connect(one.address)
        messages = [
            build(f"MESSAGE sip:{n} SIP/2.0", [two.via(), ("CSeq", f"{n} MESSAGE")], sdp.OFFER * n)
            for n in range(3)
        ]
        stream = b"\r\n\r\n" + messages[0] + messages[1] + b"\r\n" + messages[2]
        for at in range(0, len(stream), 97):
            connection.write(stream[at : at + 97])
            await asyncio.sleep(0)
        for message in messages:
            assert (await one.expect(method="MESSAGE", within=5)).raw == message
        assert (connection.pongs, one.connections[0].pings, one.connections[0].pongs) == (1, 1, 1)
        await connection.ping()
        assert one.garbage == two.garbage == []


@pytest.mark.parametrize("transport", STREAMS)
async def test_dropped_flow(transport: str, identity: TlsIdentity) -> None:
    """A dropped connection ends at both ends at once; the next request makes another, also from
    another address.
    """
    async with Pbx(transport=transport, tls=identity) as pbx:
        phone = Phone(
            pbx.aor("101"), proxy=pbx.agent.address, password="pw-101",
            transport=transport, tls=identity,
        )  # fmt: skip
        async with phone:
            await phone.register()
            first = pbx.agent.connections[0]
            phone.drop_flow()
            assert await closed(first, within=5)
            assert isinstance(first.close_reason, ConnectionResetError)
            await phone.move("127.0.0.9")
            await phone.register()
            assert pbx.agent.connections[1].remote[0] == "127.0.0.9"
            assert len(pbx.bindings["101"]) == 2


async def test_frozen_flow() -> None:
    """A frozen phone neither answers nor ends its connection."""
    async with Pbx(transport="tcp") as pbx:
        phone = Phone(pbx.aor("101"), proxy=pbx.agent.address, password="pw-101", transport="tcp")
        async with phone:
            await phone.register()
            pbx.reuses_connection = True
            phone.freeze()
            call = pbx.call("101")
            await pbx.agent.expect_nothing(within=0.2, call_id=call.invite.call_id)
            assert pbx.agent.connections[0].is_open
            assert phone.agent.received(method="INVITE") == []


@pytest.mark.parametrize("fault", ["stranger", "expired", "wrong name"])
async def test_bad_certificates(fault: str, authority: Authority, identity: TlsIdentity) -> None:
    """A client refuses a server whose certificate is another authority's, expired or another's."""
    shown = {
        "stranger": Authority(authority.directory / "stranger").issue(),
        "expired": authority.issue(expired=True),
        "wrong name": authority.issue("pbx.example.com", "127.0.0.99"),
    }[fault]
    async with Pbx(transport="tls", tls=shown) as pbx, Caller(
        "sip:200@lab", proxy=pbx.agent.address, transport="tls", tls=identity
    ) as caller:  # fmt: skip
        with pytest.raises(ssl.SSLCertVerificationError):
            await caller.agent.stream.connect(pbx.agent.address)
        if fault == "wrong name":
            await caller.agent.stream.connect(pbx.agent.address, server_name="pbx.example.com")


async def test_client_certificate(authority: Authority) -> None:
    """A server sees the names in a client's certificate, a SIP domain among them."""
    server, client = authority.issue(), authority.issue("a.test", sip_domains=["pbx.test"])
    async with (
        SipAgent("server", transport="tls", tls=server) as one,
        SipAgent("client", transport="tls", tls=client) as two,
    ):
        connection = await two.stream.connect(one.address)
        await connection.ping()
        names = one.connections[0].peer_certificate["subjectAltName"]
        assert names == (("DNS", "a.test"), ("URI", "sip:pbx.test"))


async def test_refused_connection_is_told() -> None:
    """Who waits for an answer that cannot come reads why in the failure."""
    async with SipAgent("one", transport="tcp") as one:
        headers = [one.via(), ("CSeq", "1 OPTIONS"), ("Call-ID", "x")]
        data = build("OPTIONS sip:lab SIP/2.0", headers)
        with pytest.raises(AssertionError, match="Refused"):
            await one.request(data, ("127.0.0.1", free_port()), within=0.3)
