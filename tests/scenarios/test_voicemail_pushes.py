"""New voice mail, told by the PBX unasked (RFC 3842), is pushed to phones that sleep."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.lab.pbx import Pbx
from tests.lab.phone import Phone
from tests.lab.push_sink import PushSink
from tests.lab.service import LabService, ServiceOptions

from .conftest import WEBHOOK_KEY, Extension, MakeExtension

KIND = ("Content-Type", "application/simple-message-summary")


async def say(ext: Extension, body: str) -> None:
    """NOTIFY; it is answered 200, whatever sleeps."""
    pbx = ext.pbx.as_caller("asterisk")
    pbx.proxy = ext.service.sip_address
    uri = (await ext.pbx.registered(ext.user)).uri
    headers = (("Event", "message-summary"), ("Subscription-State", "active"), KIND)
    raw = body.replace("\n", "\r\n").encode()
    assert (await pbx.request("NOTIFY", uri, body=raw, headers=headers)).status == 200


def count(new: int, old: int = 0) -> str:
    """What a PBX says of a mailbox."""
    waiting = "yes" if new else "no"
    return f"Messages-Waiting: {waiting}\nVoice-Message: {new}/{old}\n"


def devices(ext: Extension) -> list[str]:
    """Who was pushed, in order."""
    assert {push.type for push in ext.pushes()} <= {"voicemail"}
    return [push.payload["device"] for push in ext.pushes()]


async def nothing_more(ext: Extension) -> None:
    """Time enough for a push that must not come."""
    before = devices(ext)
    await ext.pbx.agent.expect_nothing(within=0.4, method="nothing")
    assert devices(ext) == before


async def told(phone: Phone) -> None:
    """The phone gets a NOTIFY, and answers."""
    notify = await phone.agent.expect(method="NOTIFY", within=5)
    phone.agent.respond(notify, 200, "OK", to_tag="told")


async def test_once_per_change(extension: MakeExtension) -> None:
    """Each time that there are more than before; not when the PBX repeats itself, when some have
    been heard, and when none is left. The push names nobody.
    """
    ext = await extension()
    pushes = 0
    for new, old, more in (
        (1, 0, True),
        (1, 0, False),
        (3, 0, True),
        (2, 1, False),
        (0, 3, False),
        (1, 3, True),
    ):
        await say(ext, count(new, old))
        pushes += more
        await ext.pushed(pushes, kind="voicemail")
        await nothing_more(ext)
        assert len(ext.pushes()) == pushes, (new, old)
    assert all("caller_number" not in push.payload for push in ext.pushes())
    assert all("call_id" not in push.payload for push in ext.pushes())


async def test_only_whether_any_waits(extension: MakeExtension) -> None:
    """A PBX that gives no numbers: pushed when "no" has become "yes"."""
    ext = await extension()
    await say(ext, "Messages-Waiting: no\n")
    await nothing_more(ext)
    assert devices(ext) == []
    await say(ext, "Messages-Waiting: yes\n")
    await ext.pushed(kind="voicemail")
    await say(ext, "Messages-Waiting: yes\nX-Other: 1\n")
    await nothing_more(ext)
    assert devices(ext) == ["handset"]


async def test_an_awake_phone_has_its_notify(extension: MakeExtension) -> None:
    """The one that is registered gets the NOTIFY and no push, the one that sleeps the push; it
    hears the whole at its REGISTER.
    """
    ext = await extension("handset", "tablet")
    handset = ext.phone("handset")
    await handset.register()
    await say(ext, count(1))
    await told(handset)
    await ext.pushed(kind="voicemail")
    tablet = ext.phone("tablet")
    await tablet.register()
    await told(tablet)
    await nothing_more(ext)
    assert devices(ext) == ["tablet"]


@pytest.fixture
async def own(workdir: Path, pbx: Pbx, push_sink: PushSink) -> AsyncIterator[Extension]:
    """An extension at a service of its own."""
    options = ServiceOptions(
        webhook_url=push_sink.url, webhook_key=WEBHOOK_KEY, listen=("udp", "tcp")
    )
    async with LabService(workdir / "own", options) as service:
        ext = Extension(
            service=service, pbx=pbx, sink=push_sink, user="902", registrar=f"sip:{pbx.domain}"
        )
        await ext.put()
        await ext.put_device()
        await pbx.registered(ext.user)
        yield ext
        ext.leave()


async def test_over_a_restart(own: Extension) -> None:
    """Killed and started again: the PBX says the same, and nobody is pushed; one more is news."""
    await say(own, count(2))
    await own.pushed(kind="voicemail")
    shown = f"/v1/accounts/{own.account}"
    assert (await own.service.expect("GET", shown))["status"]["voicemail"]["new"] == 2
    own.service.kill()
    await own.service.start()
    await own.pbx.registered(own.user)
    await say(own, count(2))
    await nothing_more(own)
    assert len(devices(own)) == 1
    await say(own, count(3))
    await own.pushed(2, kind="voicemail")


async def test_a_notify_that_reaches_nobody(own: Extension) -> None:
    """The phone's connection is stuck and ends before it has answered: the push follows."""
    phone = own.phone(transport="tcp")
    await phone.register()
    await say(own, count(1))
    await phone.agent.expect(method="NOTIFY", within=5)
    assert devices(own) == []
    phone.drop_flow()
    await own.pushed(kind="voicemail")
    await nothing_more(own)
    assert devices(own) == ["handset"]
