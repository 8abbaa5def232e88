"""Methods as other people's phones speak them: transfers, and what happens inside a call."""

import pytest

from tests.lab import sdp
from tests.lab.baresip import Baresip
from tests.lab.fixtures import MakeBaresip, MakeLinphone, MakePjsua2
from tests.lab.linphone import Linphone
from tests.lab.phone import Phone
from tests.lab.pjsua2 import Pjsua2
from tests.lab.sip_dialog import Dialog
from tests.lab.sip_message import Message
from tests.lab.sipp import Sipp

from .conftest import REALM, TRANSPORTS, Extension, MakeExtension
from .methods import answer_to, desk

KINDS = ["baresip", "linphone", "pjsua2"]


class Makers:
    """Real phones of an extension, asleep."""

    def __init__(self, baresip: MakeBaresip, linphone: MakeLinphone, pjsua2: MakePjsua2) -> None:
        self._baresip, self._linphone, self._pjsua2 = baresip, linphone, pjsua2

    def phone(self, kind: str, ext: Extension, transport: str) -> Baresip | Linphone | Pjsua2:
        """One of `KINDS`."""
        match kind:
            case "baresip":
                return ext.baresip(self._baresip, transport=transport)
            case "linphone":
                return ext.linphone(self._linphone, transport=transport)
            case _:
                return ext.pjsua2(self._pjsua2, transport=transport)


@pytest.fixture
def makers(
    make_baresip: MakeBaresip, make_linphone: MakeLinphone, make_pjsua2: MakePjsua2
) -> Makers:
    """What makes the phones."""
    return Makers(make_baresip, make_linphone, make_pjsua2)


def takes_reinvites(phone: Phone) -> None:
    """Phones that are referred hold the old call first: let them."""

    def take(message: Message) -> bool:
        if not message.is_request or message.method != "INVITE" or not message.to_tag:
            return False
        contact = ("Contact", f"<{phone.contact}>")
        headers = (contact, sdp.CONTENT_TYPE)
        phone.agent.respond(message, 200, "OK", headers=headers, body=sdp.ANSWER)
        return True

    phone.agent.handlers.append(take)


async def reported(dialog: Dialog, kind: str) -> None:
    """Takes the transferee's NOTIFYs until one says that the new call was answered."""
    said = b"SIP/2.0 100"
    while said.startswith(b"SIP/2.0 1"):
        notify = await dialog.expect("NOTIFY", within=10)
        assert notify.header("Event").startswith("refer")
        dialog.agent.respond(notify, 200, "OK")
        said = notify.body
        if kind == "linphone":  # which reports no more than that it tries
            break
    assert said.startswith(b"SIP/2.0 100" if kind == "linphone" else b"SIP/2.0 200")


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("kind", KINDS)
async def test_real_phone_is_transferred(
    extension: MakeExtension, makers: Makers, kind: str, transport: str
) -> None:
    """A real phone, woken by a call, is referred to a third: it takes the REFER, calls the third
    through us, and its NOTIFY with the sipfrag reaches the one who referred it.
    """
    ext = await extension(by=transport)
    phone = makers.phone(kind, ext, transport)
    ext.wake_on_push(phone.start)
    async with desk(ext) as far, desk(ext) as third:
        await far.register()
        await third.register()
        takes_reinvites(far)
        with_phone = await far.call(ext.aor).answered(within=10)
        await phone.established()
        refer = with_phone.send("REFER", headers=(("Refer-To", f"<{third.aor}>"),))
        await answer_to(with_phone, refer, 202)
        incoming = await third.incoming(within=10)
        incoming.accept()
        await incoming.expect_ack()
        await reported(with_phone, kind)
        at_third = incoming.dialog()
        bye = at_third.send("BYE")
        await answer_to(at_third, bye, 200)
        with_phone.send("BYE")
    record = await ext.record(sip_call_id=incoming.invite.call_id)
    assert (record["direction"], record["callee"]) == ("outgoing", third.user)


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_baresip_transfers(
    extension: MakeExtension, make_baresip: MakeBaresip, transport: str
) -> None:
    """The woken baresip transfers its caller: REFER and NOTIFY cross, and it hangs up."""
    ext = await extension(by=transport)
    phone = ext.baresip(make_baresip, transport=transport)
    ext.wake_on_push(phone.start)
    async with desk(ext) as far:
        await far.register()
        dialog = await far.call(ext.aor).answered(within=10)
        await phone.established()
        await phone.command("transfer", f"sip:desk@{REALM}")
        refer = await dialog.expect("REFER")
        assert f"sip:desk@{REALM}" in refer.header("Refer-To")
        far.agent.respond(refer, 202, "Accepted")
        body = b"SIP/2.0 200 OK\r\n"
        headers = (
            ("Event", "refer"),
            ("Subscription-State", "terminated;reason=noresource"),
            ("Content-Type", "message/sipfrag;version=2.0"),
        )
        notify = dialog.send("NOTIFY", headers=headers, body=body)
        await answer_to(dialog, notify, 200)
        await phone.hang_up()
        await dialog.expect_bye()


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_sipp_methods(extension: MakeExtension, sipp: Sipp, transport: str) -> None:
    """SIPp's phone takes UPDATE, INFO and MESSAGE inside the call and sends an INFO itself."""
    ext = await extension(by=transport)

    async def wake() -> None:
        phones.append(
            sipp.phone(
                "uas-methods",
                registrar=ext.service.sip_at(transport),
                user=ext.user,
                domain=REALM,
                password=ext.password,
                transport=transport,
            )
        )

    phones: list = []
    ext.wake_on_push(wake)
    async with desk(ext) as far:
        await far.register()
        dialog = await far.call(ext.aor).answered(within=10)
        await phones[0].wait_received("ACK")  # over UDP the PBX may let the UPDATE pass it
        kind = (("Content-Type", "text/plain"),)
        for method in ("UPDATE", "INFO", "MESSAGE"):
            sent = dialog.send(method, headers=kind, body=b"hello")
            await answer_to(dialog, sent, 200)
        info = await dialog.expect("INFO")
        assert info.body.startswith(b"Signal=7")
        far.agent.respond(info, 200, "OK")
        assert (await dialog.bye()).status == 200
        for method in ("UPDATE", "INFO", "MESSAGE"):
            (seen,) = phones[0].received(method)
            assert seen.body == b"hello"
