"""Voice mail that the PBX tells unasked (RFC 3842): kept, handed on once, and shown."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from tests.lab.certificates import TlsIdentity
from tests.lab.pbx import Pbx
from tests.lab.phone import Phone
from tests.lab.push_sink import PushSink
from tests.lab.service import LabService
from tests.lab.sip_message import Message

from .conftest import TRANSPORTS, Stage

USER = "77101"
ACCOUNT = "voicemail"
over_all = pytest.mark.parametrize("transport", TRANSPORTS)
KIND = "application/simple-message-summary"
NEW = (
    b"Messages-Waiting: yes\r\nMessage-Account: sip:vm@pbx.test\r\n"
    b"Voice-Message: 2/8 (0/2)\r\nX-Lab: \xff\x00 bytes\r\n"
)
NONE = b"Messages-Waiting: no\r\nVoice-Message: 0/10 (0/2)\r\n"


@dataclass(slots=True)
class Mail:
    """A PBX that speaks of the mailbox of one account, whose phones sleep."""

    service: LabService
    pbx: Pbx
    sink: PushSink
    believes: TlsIdentity | None = None
    """What its phones show and believe over TLS."""

    async def say(self, body: bytes, state: str = "terminated;reason=noresource") -> None:
        """NOTIFY to our Contact; it must be answered 200 whatever sleeps."""
        pbx = self.pbx.as_caller("asterisk")
        pbx.proxy = self.service.sip_address
        uri = (await self.pbx.registered(USER)).uri
        headers = (
            ("Event", "message-summary;id=9"),
            ("Subscription-State", state),
            ("Content-Type", KIND),
            ("Contact", f"<{pbx.contact}>"),
        )
        assert (await pbx.request("NOTIFY", uri, body=body, headers=headers)).status == 200

    def phone(self, device: str = "handset", transport: str = "udp") -> Phone:
        """One of its phones, asleep; it takes a NOTIFY when the test asks for it."""
        return self.service.phone(
            f"sip:{USER}@{self.pbx.realm}",
            password=self.pbx.password(USER),
            device=device,
            transport=transport,
            tls=self.believes,
        )

    async def shown(self) -> object:
        """What the API says."""
        answer = await self.service.expect("GET", f"/v1/accounts/{ACCOUNT}")
        return answer["status"]["voicemail"]


async def told(phone: Phone, body: bytes, state: str = "terminated;reason=noresource") -> Message:
    """The phone gets one NOTIFY outside any dialog with these very bytes, and answers."""
    notify = await phone.agent.expect(method="NOTIFY", within=5)
    assert notify.body == body
    assert notify.header("Event") == "message-summary;id=9"
    assert notify.header("Subscription-State") == state
    assert notify.header("Content-Type") == KIND
    assert notify.uri == phone.contact
    assert notify.to_tag == ""
    assert notify.from_tag
    assert notify.contact_uri.startswith(f"sip:{USER}@")
    phone.agent.respond(notify, 200, "OK", to_tag="told")
    return notify


async def provisioned(service: LabService, pbx: Pbx, sink: PushSink) -> Mail:
    """The account with two devices, registered at the PBX."""
    made = Mail(service, pbx, sink)
    await service.put_account(
        ACCOUNT,
        f"sip:{USER}@{pbx.realm}",
        registrar=f"sip:{pbx.domain}",
        password=pbx.password(USER),
    )
    for name in ("handset", "tablet"):
        await service.put_device(ACCOUNT, name, instance_id=f"urn:x-lab:{name}")
    await pbx.registered(USER)
    return made


@pytest.fixture
async def mail(stage: Stage, pbx: Pbx, sink: PushSink) -> AsyncIterator[Mail]:
    """On the service that all calls of a worker share."""
    made = await provisioned(stage.service, pbx, sink)
    made.believes = stage.authority.trust
    yield made
    await stage.service.delete_account(ACCOUNT)


async def test_voicemail(own_service: LabService, pbx: Pbx, push_sink: PushSink) -> None:
    """An awake phone is told at once, one that sleeps is pushed and told after its next REGISTER;
    each change once, however often the PBX repeats it; after a kill -9 nobody is told or pushed
    again what he knows, and the API still shows it. Where nothing is new, nobody is pushed.
    """
    mail = await provisioned(own_service, pbx, push_sink)
    assert await mail.shown() is None
    async with mail.phone() as handset, mail.phone("tablet") as tablet:
        await handset.register()
        await mail.say(NEW, "active;expires=3600")
        await told(handset, NEW, "active;expires=3600")
        assert await mail.shown() == {"waiting": True, "new": 2, "old": 8}
        await mail.sink.wait(1, kind="voicemail")
        await mail.say(NEW)
        await handset.register()
        await tablet.register()
        await told(tablet, NEW, "active;expires=3600")
        tablet.sleep()
        await handset.agent.expect_nothing(within=0.3, method="NOTIFY")
        mail.service.kill()
        await mail.service.start()
        assert await mail.shown() == {"waiting": True, "new": 2, "old": 8}
        await mail.say(NEW)
        await handset.register()
        await handset.agent.expect_nothing(within=0.3, method="NOTIFY")
        await tablet.wake()
        await mail.say(NONE)
        await told(handset, NONE)
        assert await mail.shown() == {"waiting": False, "new": 0, "old": 10}
        await tablet.register()
        await told(tablet, NONE)
    pushed = [(push.type, push.payload["device"]) for push in mail.sink.pushes]
    assert pushed == [("voicemail", "tablet")]


@over_all
async def test_told_when_it_wakes_for_a_call(mail: Mail, transport: str) -> None:
    """A phone that wakes for a call gets the INVITE and the news of its mailbox."""
    await mail.say(NEW)
    async with mail.phone(transport=transport) as handset:
        call = mail.pbx.call(USER)
        await mail.sink.wait(1, kind="call")
        await handset.register()
        incoming = await handset.incoming()
        await told(handset, NEW)
        incoming.reject(486, "Busy Here")
        await incoming.expect_ack()
        call.send_cancel()  # the other device sleeps on
        await call.final()


@over_all
async def test_a_phone_that_knows_no_mail(mail: Mail, transport: str) -> None:
    """A refusal is an answer: it is not asked again at every REGISTER."""
    async with mail.phone(transport=transport) as handset:
        await handset.register()
        await mail.say(NEW)
        notify = await handset.agent.expect(method="NOTIFY", within=5)
        handset.agent.respond(notify, 489, "Bad Event", to_tag="x")
        await handset.register()
        await handset.agent.expect_nothing(within=0.3, method="NOTIFY")
