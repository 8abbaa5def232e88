"""runtime.message_carrier: accepted messages on their way to phones, with time in our hands."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from push_proxy.core.ids import AccountKey
from push_proxy.core.kept_message import Keeping, KeptMessage
from push_proxy.core.message_summary import Mailbox
from push_proxy.core.model import Address
from push_proxy.errors import StoreUnavailable
from push_proxy.settings import MessagesSection, Settings, WakeSection
from push_proxy.signaling.facts import RequestAnswered
from tests.scenarios.fake_service import PushBox
from tests.unit.runtime.sip_scene import PBX, Scene, hold

OURS = "sip:101@10.0.0.7:5060;pp=tok101"
CALLER = "sip:555@pbx.example.com"


class Box(PushBox):
    """It takes pushes for every app."""

    def serves(self, app_id: str) -> bool:
        return bool(app_id)


class MessageScene(Scene):
    """One account whose phone is asleep; nothing counts as fresh."""

    def __init__(self) -> None:
        self.box = Box()
        settings = Settings(
            messages=MessagesSection.model_validate({"policy": "accept"}),
            wake=WakeSection(fresh_s=0),
        )
        super().__init__([self.box], settings=settings)

    async def message(self, call_id: str = "m1", *, cseq: int | None = None) -> int:
        """The PBX sends one; what it was answered."""
        before = len(self.stack.orders)
        self.send("MESSAGE", OURS, source=PBX, from_=CALLER, call_id=call_id, cseq=cseq)
        await settled()
        replies = [o.status for o in self.stack.orders[before:] if o.what == "reply"]
        return replies[0] if replies else 0

    async def registered(self, port: int = 40000) -> None:
        """The phone registers from there."""
        self.register(source=Address("203.0.113.5", port), contact=f"<sip:101@203.0.113.5:{port}>")
        await settled()

    async def answered(self, number: int, status: int = 200, *, local: bool = False) -> None:
        """The phone's answer to one of our requests, the first being 0."""
        self.router.on_fact(
            RequestAnswered(
                request=self.stack.requests[number]["request"],  # type: ignore[arg-type]
                status=status,
                reason="As It Is",
                local=local,
                raw=b"",
            )
        )
        await settled()

    @property
    def went_to(self) -> list[int]:
        """The ports that our requests went to."""
        return [order["destination"].port for order in self.stack.requests]  # type: ignore[attr-defined]

    async def in_store(self) -> int:
        """How many are in the store."""
        return len(await self.store.kept_messages(hold().key))


async def settled() -> None:
    """Everything that can go on has gone on."""
    for _ in range(20):
        await asyncio.sleep(0)


@pytest.fixture
async def scene() -> AsyncIterator[MessageScene]:
    scene = MessageScene()
    await scene.start()
    await scene.add(hold(), "phone")
    yield scene
    await scene.aclose()


async def test_who_registers_is_awake(scene: MessageScene) -> None:
    """Whatever `wake.fresh_s` says; and the next one is pushed for again."""
    assert await scene.message() == 202
    assert (scene.went_to, scene.box.types()) == ([], ["message"])
    await scene.registered()
    assert scene.went_to == [40000]
    await scene.answered(0)
    assert await scene.in_store() == 0
    assert await scene.message("m2") == 202
    assert (scene.went_to, scene.box.types()) == ([40000], ["message", "message"])


async def test_it_follows_the_phone_that_moves(scene: MessageScene) -> None:
    """Sent again to its new flow, as the same request; the late answer of the old one counts,
    and the second copy's leads to nothing more.
    """
    await scene.message()
    await scene.registered(40000)
    await scene.registered(41000)
    assert scene.went_to == [40000, 41000]
    first, second = scene.stack.requests
    assert [first[part] for part in ("call_id", "from_", "cseq")] == [
        second[part] for part in ("call_id", "from_", "cseq")
    ]
    await scene.answered(0)
    assert await scene.in_store() == 0
    await scene.answered(1)
    await scene.registered(41000)
    assert scene.went_to == [40000, 41000]


async def test_nobody_there(scene: MessageScene) -> None:
    """No answer on that flow: it is not tried again until the phone registers over it."""
    await scene.message()
    await scene.registered()
    await scene.answered(0, 408, local=True)
    assert scene.went_to == [40000]
    await scene.registered()
    assert scene.went_to == [40000, 40000]
    await scene.answered(1)
    assert await scene.in_store() == 0


async def test_silence(scene: MessageScene) -> None:
    """After two seconds one that comes meanwhile is pushed for at once."""
    await scene.message()
    await scene.registered()
    scene.clock.advance(1.9)
    await scene.message("m2")
    assert scene.box.types() == ["message"]
    scene.clock.advance(0.1)
    await settled()
    assert scene.box.types() == ["message", "message"]
    await scene.message("m3")
    assert scene.box.types() == ["message"] * 3


async def test_the_store_is_away(scene: MessageScene, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the phone comes: it gets the message at its next REGISTER."""
    await scene.message()

    async def away(_: AccountKey) -> tuple[KeptMessage, ...]:
        raise StoreUnavailable("no answer")

    with monkeypatch.context() as patch:
        patch.setattr(scene.store, "kept_messages", away)
        await scene.registered()
        assert scene.went_to == []
    await scene.registered()
    assert scene.went_to == [40000]


async def test_an_account_that_is_gone(scene: MessageScene) -> None:
    """Deleted with a message on its way: nothing is left, and its answer harms nobody."""
    await scene.message()
    await scene.registered()
    await scene.directory.delete_account(hold().key)
    await settled()
    await scene.answered(0)
    assert await scene.in_store() == 0


async def test_voicemail_of_which_the_store_knows_nothing_yet(
    scene: MessageScene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was pushed before a restart cannot be known while the store is away: no push."""

    async def away(_: AccountKey) -> Mailbox | None:
        raise StoreUnavailable("no answer")

    monkeypatch.setattr(scene.store, "get_mailbox", away)
    scene.send("NOTIFY", OURS, "Event: message-summary", source=PBX, from_=CALLER)
    await settled()
    assert scene.box.types() == []


async def test_one_that_the_store_took_without_a_word_comes_once(
    scene: MessageScene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A write that timed out may have been done: the message is held instead, and whoever gets it
    so does not get it from the store as well.
    """
    keep = scene.store.keep_message

    async def silently(message: KeptMessage) -> Keeping:
        await keep(message)
        raise StoreUnavailable("no answer")

    with monkeypatch.context() as patch:
        patch.setattr(scene.store, "keep_message", silently)
        assert await scene.message() == 0  # held
    await scene.registered()
    forks = [order for order in scene.stack.orders if order.what == "fork"]
    assert (len(forks), scene.went_to) == (1, [])
    assert await scene.in_store() == 0


async def test_a_repetition_of_one_that_is_leaving_the_store_is_held(
    scene: MessageScene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Were it accepted, the store would be told to forget it a moment later: lost after a 202."""
    keep = scene.store.keep_message

    async def silently(message: KeptMessage) -> Keeping:
        await keep(message)
        raise StoreUnavailable("no answer")

    async def away(_: AccountKey, __: str) -> bool:
        raise StoreUnavailable("no answer")

    with monkeypatch.context() as patch:
        patch.setattr(scene.store, "keep_message", silently)
        patch.setattr(scene.store, "drop_message", away)
        assert await scene.message(cseq=7) == 0
        patch.setattr(scene.store, "keep_message", keep)
        assert await scene.message(cseq=7) == 0
