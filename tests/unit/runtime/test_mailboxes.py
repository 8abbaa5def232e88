"""runtime.mailboxes: one NOTIFY per device and change, whatever sleeps or fails."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from push_proxy.core.ids import AccountKey
from push_proxy.core.message_summary import Mailbox
from push_proxy.core.model import Address, Binding
from push_proxy.errors import StoreUnavailable
from push_proxy.runtime.alert_pushes import AlertPushes
from push_proxy.runtime.mailboxes import Mailboxes
from push_proxy.runtime.voicemail_pushes import VoicemailPushes
from push_proxy.signaling.facts import RequestAnswered

from .sip_scene import PBX, PHONE, Scene, hold

URI = "sip:101@10.0.0.7;pp=tok101"
SUMMARY = (
    "Event: message-summary",
    "Subscription-State: terminated",
    "Content-Type: application/simple-message-summary",
)


class MailScene(Scene):
    """A scene with the account 101 and its mailbox."""

    async def said(self, waiting: str = "yes") -> None:
        """The PBX says something: here in a header, which a body of none makes another one."""
        kind = f"Content-Type: text/{waiting}"
        (order,) = self.send("NOTIFY", URI, *SUMMARY[:2], kind, source=PBX)
        assert order.status == 200
        await self.settle()

    async def settle(self) -> None:
        for _ in range(10):
            await asyncio.sleep(0)

    async def registered(self, port: int = PHONE.port, name: str = "a") -> Binding:
        source = Address(PHONE.host, port)
        contact = f'<sip:101@{PHONE.host}:{port}>;+sip.instance="<urn:{name}>"'
        self.register(source=source, contact=contact, call_id=f"reg-{name}")
        await self.settle()
        (binding,) = self.directory.by_flow(source)
        return binding

    def answered(self, number: int, status: int = 200, *, local: bool = False) -> None:
        request = int(str(self.stack.requests[number]["request"]))
        self.router.on_fact(
            RequestAnswered(request=request, status=status, reason="", local=local, raw=b"")
        )

    @property
    def told(self) -> list[tuple[object, object]]:
        """Where each NOTIFY went and what kind it carried."""
        return [
            (order["destination"], dict(order["headers"])["Content-Type"])  # type: ignore[call-overload]
            for order in self.stack.requests
        ]


@pytest.fixture
async def scene() -> AsyncIterator[MailScene]:
    scene = MailScene()
    await scene.start()
    await scene.add(hold(), "phone")
    yield scene
    await scene.mailboxes.aclose()
    await scene.aclose()


async def test_an_awake_phone_is_told_at_once(scene: MailScene) -> None:
    """Out of dialog, to its Contact on its flow; what the PBX said as it said it."""
    await scene.registered()
    await scene.said()
    (order,) = scene.stack.requests
    assert (order["method"], order["request_uri"]) == ("NOTIFY", f"sip:101@{PHONE.host}:40000")
    assert (order["destination"], order["connect"]) == (PHONE, False)
    headers = dict(order["headers"])  # type: ignore[call-overload]
    assert headers["Event"] == "message-summary"
    assert headers["Subscription-State"] == "terminated"
    assert headers["Contact"] == "<sip:101@10.0.0.7:5060>"
    assert order["to"] == "<sip:101@pbx.example.com>"
    assert str(order["from_"]).startswith("<sip:101@pbx.example.com>;tag=")


async def test_a_sleeping_phone_is_told_when_it_comes(scene: MailScene) -> None:
    """After its REGISTER, once; the PBX's repetition and a refresh are no news."""
    await scene.said()
    assert scene.told == []
    await scene.registered()
    assert scene.told == [(PHONE, "text/yes")]
    scene.answered(0)
    await scene.said()
    await scene.registered()
    assert len(scene.told) == 1
    await scene.said("no")
    assert scene.told[1:] == [(PHONE, "text/no")]


async def test_each_device_is_told(scene: MailScene) -> None:
    """One that is awake now, another when it comes."""
    await scene.registered(41000, "a")
    await scene.said()
    scene.answered(0)
    await scene.registered(42000, "b")
    ports = [order[0].port for order in scene.told]  # type: ignore[attr-defined]
    assert ports == [41000, 42000]


async def test_silence_is_no_answer(scene: MailScene) -> None:
    """A phone that had gone without a word hears it when it is back, on its new address; two
    REGISTERs at one address while a NOTIFY is on its way make no second one.
    """
    await scene.registered(41000)
    await scene.said()
    await scene.registered(41000)
    assert len(scene.told) == 1
    scene.answered(0, 408, local=True)
    await scene.registered(42000)
    assert len(scene.told) == 2
    scene.answered(1, 481)
    await scene.registered(42000)
    assert len(scene.told) == 2, "a refusal is an answer"


async def test_moved_while_it_was_told(scene: MailScene) -> None:
    """The old address never answers: the new one is told without waiting for that."""
    await scene.registered(41000)
    await scene.said()
    await scene.registered(42000)
    assert [order[0].port for order in scene.told] == [41000, 42000]  # type: ignore[attr-defined]
    scene.answered(0, 408, local=True)
    scene.answered(1)
    await scene.registered(42000)
    assert len(scene.told) == 2


async def test_changed_while_it_was_told(scene: MailScene) -> None:
    """The newest word is what the phone is left with, and what it has answered counts."""
    await scene.registered()
    await scene.said("yes")
    await scene.said("no")
    assert [kind for _, kind in scene.told] == ["text/yes", "text/no"]
    scene.answered(0)
    scene.answered(1)
    await scene.registered()
    assert len(scene.told) == 2


async def test_it_outlives_us(scene: MailScene) -> None:
    """After a restart: who was told is not told again, who was not is."""
    await scene.registered(41000, "a")
    await scene.said()
    scene.answered(0)
    await scene.mailboxes.aclose()
    again = Mailboxes(
        signaling=scene.stack,  # type: ignore[arg-type]
        directory=scene.directory,
        store=scene.store,
        clock=scene.clock,
        own=scene.own,
        pushes=VoicemailPushes(
            directory=scene.directory,
            pusher=scene.pusher,
            pushes=AlertPushes(scene.pusher),
            clock=scene.clock,
        ),
    )
    found = await again.of(hold().key)
    assert found is not None
    assert found.content_type == "text/yes"
    again.start()
    scene.stack.requests.clear()
    await scene.registered(41000, "a")
    assert scene.told == []
    await scene.registered(42000, "b")
    assert len({order[0] for order in scene.told}) == 1
    await again.aclose()


async def test_the_store_is_away(scene: MailScene, monkeypatch: pytest.MonkeyPatch) -> None:
    """The PBX is answered and the phone told all the same."""

    async def away(_: AccountKey) -> Mailbox | None:
        raise StoreUnavailable("no answer")

    monkeypatch.setattr(scene.store, "get_mailbox", away)
    await scene.registered()
    assert await scene.mailboxes.of(hold().key) is None
    await scene.said()
    assert len(scene.told) == 1


async def test_a_deleted_account_is_forgotten(scene: MailScene) -> None:
    """Nothing of it is left, not even by what waited to be written."""
    await scene.said()
    await scene.directory.delete_account(hold().key)
    await scene.mailboxes.aclose()
    assert await scene.store.get_mailbox(hold().key) is None
    assert await scene.mailboxes.of(hold().key) is None


async def test_answers_to_others(scene: MailScene) -> None:
    """An answer to no request of ours goes to its owner."""
    fact = RequestAnswered(request=1, status=200, reason="", local=False, raw=b"")
    assert not scene.mailboxes.on_answer(fact)
    scene.router.on_fact(fact)
    assert scene.notices.facts == [fact]
