"""The laboratory's PBX does what the tests rely on."""

import asyncio
import time

import pytest

from tests.lab import sdp
from tests.lab.fixtures import StartKamailio
from tests.lab.kamailio import Kamailio, KamailioOptions, Trunk
from tests.lab.phone import Caller, Phone
from tests.lab.process import ProcessError


def phone_of(kamailio: Kamailio, user: str, *, password: str | None = None) -> Phone:
    return Phone(
        kamailio.aor(user), proxy=kamailio.address, password=password or kamailio.password(user)
    )


async def test_answers_once_started(start_kamailio: StartKamailio) -> None:
    """Who starts Kamailio need not wait: its first request is answered."""
    kamailio = await start_kamailio(KamailioOptions())
    async with phone_of(kamailio, "101") as phone:
        assert (await phone.register()).status == 200
    assert len(kamailio.events()) > 0


@pytest.mark.parametrize("algorithm", ["MD5", "SHA-256"])
async def test_registers_with_digest(start_kamailio: StartKamailio, algorithm: str) -> None:
    """A right password binds the contact, and the PBX shows the binding with its expiry."""
    kamailio = await start_kamailio(KamailioOptions(algorithm=algorithm))
    async with phone_of(kamailio, "101") as phone:
        response = await phone.register(expires_s=120, algorithm=algorithm)
        assert response.status == 200
        (binding,) = await kamailio.bindings("101")
        assert binding.uri == phone.contact
        assert 118 <= binding.expires_s <= 120
        assert binding.call_id == phone.registration_call_id
        assert (await phone.unregister()).status == 200
        assert await kamailio.bindings("101") == []


async def test_wrong_password(kamailio: Kamailio, start_kamailio: StartKamailio) -> None:
    """A wrong password is challenged again, or forbidden when so configured; nothing is bound."""
    async with phone_of(kamailio, "101", password="wrong") as phone:
        assert (await phone.register()).status == 401
    assert await kamailio.bindings("101") == []
    strict = await start_kamailio(KamailioOptions(wrong_password_is_forbidden=True))
    async with phone_of(strict, "101", password="wrong") as phone:
        assert (await phone.register()).status == 403


async def test_too_brief(start_kamailio: StartKamailio) -> None:
    """A registration below the minimum gets 423 with Min-Expires, above the maximum it is cut."""
    kamailio = await start_kamailio(KamailioOptions(min_expires_s=30, max_expires_s=90))
    async with phone_of(kamailio, "101") as phone:
        for header, parameter in ((29, ""), (None, ";expires=29"), (600, ";expires=29;q=1")):
            brief = await phone.register(expires_s=header, contact_params=parameter)
            assert (brief.status, brief.header("Min-Expires")) == (423, "30")
        assert (await phone.register(expires_s=30)).status == 200
        assert "expires=90" in (await phone.register(expires_s=600)).header("Contact")


async def test_contacts_limit(start_kamailio: StartKamailio) -> None:
    """Above max_contacts the PBX refuses; with single_contact the newcomer evicts the old one."""
    limited = await start_kamailio(KamailioOptions(max_contacts=1))
    async with phone_of(limited, "101") as first, phone_of(limited, "101") as second:
        assert (await first.register()).status == 200
        assert (await second.register()).status == 503
    single = await start_kamailio(KamailioOptions(single_contact=True))
    async with phone_of(single, "101") as first, phone_of(single, "101") as second:
        assert (await first.register()).status == 200
        assert (await second.register()).status == 200
        (binding,) = await single.bindings("101")
        assert binding.uri == second.contact


async def test_call_through(kamailio: Kamailio) -> None:
    """A challenged call reaches the phone byte for byte, and both hang-ups stand in the log."""
    async with phone_of(kamailio, "101") as phone, phone_of(kamailio, "200") as caller:
        await phone.register()
        call = caller.call(kamailio.aor("101"))
        incoming = await phone.incoming()
        assert incoming.invite.body == sdp.OFFER
        incoming.ring()
        await call.expect(180)
        callee, dialog = await asyncio.gather(incoming.answer(), call.answered())
        dialog.send("BYE")
        await callee.expect_bye()
        await caller.agent.expect(method="BYE", status=200, within=5)
        await kamailio.wait_for(event="response", method="BYE", status=200)
        seen = [
            (event.event, event.method, event.status)
            for event in kamailio.events()
            if event.callid == call.invite.call_id and event.event != "own-response"
        ]
        await kamailio.wait_for(event="own-response", method="INVITE", status=407)
        assert seen == [
            ("request", "INVITE", 0),
            ("request", "INVITE", 0),
            ("relay", "INVITE", 0),
            ("response", "INVITE", 180),
            ("response", "INVITE", 200),
            ("request", "ACK", 0),
            ("request", "BYE", 0),
            ("relay", "BYE", 0),
            ("response", "BYE", 200),
        ]


async def test_parallel_fork_and_loser(kamailio: Kamailio) -> None:
    """Both contacts ring at once; who loses gets CANCEL with `Call completed elsewhere`."""
    async with (
        phone_of(kamailio, "101") as first,
        phone_of(kamailio, "101") as second,
        phone_of(kamailio, "200") as caller,
    ):
        await first.register()
        await second.register()
        call = caller.call(kamailio.aor("101"))
        winner, loser = await first.incoming(), await second.incoming()
        loser.ring()
        winner.accept()
        cancel = await loser.expect_cancel()
        assert cancel.header("Reason") == 'SIP;cause=200;text="Call completed elsewhere"'
        await call.answered()
        await winner.expect_ack()


async def test_cancel(kamailio: Kamailio) -> None:
    """The caller's CANCEL reaches the phone, and the caller gets 487."""
    async with phone_of(kamailio, "101") as phone, phone_of(kamailio, "200") as caller:
        await phone.register()
        call = caller.call(kamailio.aor("101"))
        incoming = await phone.incoming()
        incoming.ring()
        await call.expect(180)
        call.send_cancel()
        await incoming.expect_cancel()
        await caller.agent.expect(method="CANCEL", status=200, within=5)
        assert (await call.final()).status == 487


async def test_ring_timeout(start_kamailio: StartKamailio) -> None:
    """After ring_s the PBX cancels the phone and tells the caller 408."""
    kamailio = await start_kamailio(KamailioOptions(ring_s=0.5))
    async with phone_of(kamailio, "101") as phone, phone_of(kamailio, "200") as caller:
        await phone.register()
        call = caller.call(kamailio.aor("101"))
        incoming = await phone.incoming()
        incoming.ring()
        await incoming.expect_cancel()
        assert (await call.final()).status in (408, 487)


async def test_trunk(start_kamailio: StartKamailio) -> None:
    """Calls for the configured users go to the peer; calls from the peer are not challenged."""
    peer = Caller("sip:peer@127.0.0.1", proxy=("127.0.0.1", 1))
    await peer.wake()
    host, port = peer.agent.address
    kamailio = await start_kamailio(
        KamailioOptions(trunk=Trunk(host=host, port=port, users="^101$"))
    )
    peer.proxy = kamailio.address
    async with peer, phone_of(kamailio, "200") as phone:
        await phone.register()
        call = phone.call(kamailio.aor("101"))
        incoming = await peer.incoming()
        assert incoming.invite.uri == f"sip:101@{host}:{port}"
        incoming.reject(480, "Temporarily Unavailable")
        assert (await call.final()).status == 480
        peer.call(kamailio.aor("200"))
        assert (await phone.incoming()).invite.get("Proxy-Authorization") == ""


async def test_strangers(kamailio: Kamailio) -> None:
    """A call with another's From is forbidden, and one to nobody is 404."""
    async with phone_of(kamailio, "200") as caller:
        forged = caller.call(kamailio.aor("101"), from_value=f"<{kamailio.aor('201')}>;tag=1")
        assert (await forged.final()).status == 403
        assert (await caller.call(kamailio.aor("nobody")).final()).status == 404


async def test_named_domain(kamailio: Kamailio) -> None:
    """The realm is a domain of the PBX: `sip:101@pbx.test` without a port registers and rings."""
    aor, proxy = f"sip:101@{kamailio.options.realm}", kamailio.address
    async with Phone(aor, proxy=proxy, password="pw-101") as phone, phone_of(kamailio, "200") as b:
        assert (await phone.register()).status == 200
        b.call(aor)
        (await phone.incoming()).reject(486, "Busy Here")


async def test_restart_forgets(kamailio: Kamailio) -> None:
    """A restarted PBX has lost its bindings."""
    async with phone_of(kamailio, "101") as phone:
        await phone.register()
        assert len(await kamailio.bindings("101")) == 1
        await kamailio.restart()
        assert await kamailio.bindings("101") == []


async def test_qualify(start_kamailio: StartKamailio) -> None:
    """With qualify_s contacts get OPTIONS; who leaves them unanswered expires within 10 s."""
    kamailio = await start_kamailio(KamailioOptions(qualify_s=1, qualify_limit_s=2))
    async with phone_of(kamailio, "101") as phone, phone_of(kamailio, "102") as deaf:
        deaf.agent.handlers.clear()
        await phone.register()
        await deaf.register()
        await deaf.agent.expect(method="OPTIONS", within=5)
        deadline = time.monotonic() + 8
        while (await kamailio.bindings("102"))[0].expires_s > 10:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.1)
        assert (await kamailio.bindings("101"))[0].expires_s > 10


async def test_bad_option_is_shown(start_kamailio: StartKamailio) -> None:
    """When Kamailio does not start, the error shows what it wrote."""
    with pytest.raises(ProcessError, match="algorithm"):
        await start_kamailio(KamailioOptions(algorithm="ROT13"))
