"""Which provider pushes to whom, and what happens to it when the configuration is read again."""

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest

from push_proxy.core.actions import PushType
from push_proxy.core.events import PushOutcome
from push_proxy.core.ids import AccountKey, DeviceId, Instant, PushId
from push_proxy.core.model import Device
from push_proxy.core.payload import Push
from push_proxy.observability.metrics import Metrics
from push_proxy.ports import AppHealth, Check, PushResult, SharedValues
from push_proxy.providers.registry import Providers
from push_proxy.runtime.clock import SystemClock
from push_proxy.runtime.pusher import Pusher

DEVICE = Device(
    account=AccountKey("acme/101"), device=DeviceId("d1"), provider="fake", app_id="a", token="t"
)
EXPIRY = Instant(2e9)
PUSH = Push(
    id=PushId("p"), type=PushType.REFRESH, device=DEVICE, sent_at=Instant(1e9), expires_at=EXPIRY
)


class Fake:
    """A provider that says what happened to it, in order."""

    name = "fake"

    def __init__(self, events: list[str], label: str) -> None:
        self._events, self._label = events, label
        self.answer = asyncio.Event()

    def serves(self, app_id: str) -> bool:
        return app_id == "a"

    def app_for(self, pn_param: str) -> str | None:  # noqa: ARG002 - the port's
        return None

    def start(self, shared: SharedValues) -> None:  # noqa: ARG002 - as above
        self._events.append(f"{self._label} started")

    async def send(self, push: Push) -> PushResult:  # noqa: ARG002 - as above
        await self.answer.wait()
        self._events.append(f"{self._label} answered")
        return PushResult(outcome=PushOutcome.ACCEPTED)

    def health(self) -> Sequence[AppHealth]:
        return ()

    async def check(self) -> AsyncIterator[Check]:
        yield Check(what="fake", ok=True, text="")

    async def aclose(self) -> None:
        self._events.append(f"{self._label} closed")


class Shared:
    """Values that nobody asks for here."""

    async def share(
        self, name: str, value: bytes, *, ttl_s: float, replacing: bytes | None = None
    ) -> bytes:
        raise NotImplementedError


@pytest.fixture
def events() -> list[str]:
    return []


async def test_a_replaced_provider_finishes_its_pushes(events: list[str]) -> None:
    """The new one is started first; the old one is closed when its push has its answer."""
    old, new = Fake(events, "old"), Fake(events, "new")
    providers = Providers([old])
    pusher = Pusher(
        providers=providers, clock=SystemClock(), metrics=Metrics(), learn=lambda *_: None
    )
    providers.start(Shared())
    pushing = asyncio.gather(pusher.send(PUSH))
    await asyncio.sleep(0)
    providers.replace([new])
    assert providers.for_device(DEVICE) is new
    for _ in range(5):
        await asyncio.sleep(0)
    assert events == ["old started", "new started"]
    old.answer.set()
    (result,) = await pushing
    assert result.outcome is PushOutcome.ACCEPTED
    for _ in range(5):
        await asyncio.sleep(0)
    assert events[2:] == ["old answered", "old closed"]
    await providers.aclose()
    assert events[4:] == ["new closed"]


@pytest.mark.parametrize("steps", [0, 1, 3])
async def test_a_stop_waits_for_no_push(events: list[str], steps: int) -> None:
    """Neither for those of a provider that is being replaced."""
    old, new = Fake(events, "old"), Fake(events, "new")
    providers = Providers([old])
    with providers.in_use(old):
        providers.replace([new])
        for _ in range(steps):
            await asyncio.sleep(0)
        async with asyncio.timeout(5):
            await providers.aclose()
    assert sorted(events) == ["new closed", "old closed"]


async def test_a_push_that_ends_a_ringing_may_finish(events: list[str]) -> None:
    """A stop gives pushes on their way a moment, and no more than that."""
    fake = Fake(events, "one")
    providers = Providers([fake])
    pusher = Pusher(
        providers=providers, clock=SystemClock(), metrics=Metrics(), learn=lambda *_: None
    )
    async with asyncio.timeout(5):
        await providers.settle(within_s=60)
    pushing = asyncio.gather(pusher.send(PUSH), pusher.send(PUSH))
    await asyncio.sleep(0)
    await providers.settle(within_s=0.1)
    assert not pushing.done()
    settling = asyncio.gather(providers.settle(within_s=60))
    fake.answer.set()
    async with asyncio.timeout(5):
        await settling
    assert events == ["one answered", "one answered"]
    await pushing
    await providers.aclose()
