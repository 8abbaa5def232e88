"""The PBX of the tests over TCP and TLS."""

from __future__ import annotations

import ssl

import pytest

from tests.lab.certificates import Authority, TlsIdentity
from tests.lab.fixtures import StartKamailio
from tests.lab.kamailio import Kamailio, KamailioOptions, Trunk, pbx_tls
from tests.lab.phone import Caller, Phone
from tests.lab.sip_agent import UnexpectedSipError

TRANSPORTS = ["udp", "tcp", "tls"]


@pytest.fixture
def identity(authority: Authority) -> TlsIdentity:
    return authority.issue()


def phone_of(kamailio: Kamailio, user: str, transport: str, identity: TlsIdentity) -> Phone:
    return Phone(
        kamailio.aor(user),
        proxy=kamailio.address_for(transport),
        password=kamailio.password(user),
        transport=transport,
        tls=identity,
    )


@pytest.mark.parametrize("called", TRANSPORTS)
@pytest.mark.parametrize("calling", TRANSPORTS)
async def test_call(
    start_kamailio: StartKamailio, identity: TlsIdentity, calling: str, called: str
) -> None:
    """A call from one transport to another; by its Record-Routes both sides reach each other."""
    kamailio = await start_kamailio(KamailioOptions(tls=pbx_tls(identity)))
    async with (
        phone_of(kamailio, "200", calling, identity) as caller,
        phone_of(kamailio, "101", called, identity) as phone,
    ):
        assert (await phone.register()).status == 200
        call = caller.call(kamailio.aor("101"))
        incoming = await phone.incoming()
        await kamailio.wait_for(event="request", method="INVITE", proto=calling)
        incoming.accept()
        dialog = await call.answered()
        await incoming.expect_ack()
        sent = incoming.dialog().send("INFO")
        caller.agent.respond(await dialog.expect("INFO"), 200, "OK")
        await phone.agent.expect(status=200, within=5, where=lambda m: m.branch == sent.branch)
        dialog.send("BYE")
        await incoming.dialog().expect_bye()
        await caller.agent.expect(method="BYE", status=200, within=5)


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_trunk(start_kamailio: StartKamailio, identity: TlsIdentity, transport: str) -> None:
    """A trunk peer gets its calls on the trunk's transport, and shows no password on it."""
    peer = Caller("sip:peer@127.0.0.1", proxy=("", 1), transport=transport, tls=identity)
    await peer.wake()
    host, port = peer.agent.address
    kamailio = await start_kamailio(
        KamailioOptions(
            tls=pbx_tls(identity),
            trunk=Trunk(host=host, port=port, users="^101$", transport=transport),
        )
    )
    peer.proxy = kamailio.address_for(transport)
    caller_by = "tcp" if transport == "udp" else "udp"
    async with peer, phone_of(kamailio, "200", caller_by, identity) as phone:
        await phone.register()
        phone.call(kamailio.aor("101"))
        incoming = await peer.incoming()
        by = "" if transport == "udp" else f";transport={transport}"
        assert incoming.invite.uri == f"sip:101@{host}:{port}{by}"
        incoming.reject(480, "Temporarily Unavailable")
        peer.call(kamailio.aor("200"))
        assert (await phone.incoming()).invite.get("Proxy-Authorization") == ""


async def test_certificates(
    start_kamailio: StartKamailio, authority: Authority, identity: TlsIdentity
) -> None:
    """With `wants_certificate` a client without one of the right authority is refused; a contact
    whose certificate is not believed is not called.
    """
    kamailio = await start_kamailio(
        KamailioOptions(tls=pbx_tls(identity, wants_certificate=True), answer_s=1)
    )
    async with phone_of(kamailio, "101", "tls", TlsIdentity(identity.ca)) as naked:
        with pytest.raises((UnexpectedSipError, ssl.SSLError, ConnectionError)):
            await naked.register(within=0.5)
    stranger = Authority(authority.directory / "stranger").issue().believing(identity.ca)
    imposter = phone_of(kamailio, "101", "tls", stranger)
    async with (
        imposter,
        phone_of(kamailio, "101", "tls", identity) as phone,
        phone_of(kamailio, "200", "udp", identity) as caller,
    ):
        assert (await phone.register(contact=f"<{imposter.contact}>")).status == 200
        assert (await caller.call(kamailio.aor("101")).final()).status >= 400
        assert imposter.agent.received(method="INVITE") == []
