"""runtime.registration_losses: looks at every account, some hundred at a time."""

from collections.abc import Callable

import pytest

from push_proxy.core.ids import AccountId, AccountKey, Instant, TenantId
from push_proxy.core.model import Account
from push_proxy.core.notices import Notice, NoticeType
from push_proxy.core.registration_status import RegistrationState, RegistrationStatus
from push_proxy.runtime.clock import ManualClock, Timer
from push_proxy.runtime.registration_losses import RegistrationLosses

REGISTERED, REJECTED = RegistrationState.REGISTERED, RegistrationState.REJECTED


class World:
    """Accounts, their registrations, and what was told."""

    def __init__(self, count: int, owns: Callable[[AccountKey], bool] = lambda _: True) -> None:
        self.clock = ManualClock()
        self.states = {AccountKey(f"acme/{number}"): REGISTERED for number in range(count)}
        self.told: list[Notice] = []
        self.losses = RegistrationLosses(
            accounts=self, registrations=self, notices=self, clock=self.clock, owns=owns
        )
        self.losses.start()

    def accounts(self) -> list[Account]:
        tenant = TenantId("acme")
        names = [AccountId(key.partition("/")[2]) for key in self.states]
        return [Account(tenant=tenant, account=name, aor=f"sip:{name}@x") for name in names]

    def state(self, account: AccountKey) -> RegistrationState:
        return self.states[account]

    def status(self, account: AccountKey) -> RegistrationStatus:
        return RegistrationStatus(
            state=self.states[account], last_status=403, last_reason="Forbidden", advice="Ask."
        )

    def tell(self, notice: Notice) -> None:
        self.told.append(notice)


def test_a_loss_among_thousands_is_told_with_its_reason() -> None:
    """Within a look or two, once; the others are not mentioned."""
    world = World(1_700)
    world.clock.advance(15)
    world.states[AccountKey("acme/1650")] = REJECTED
    world.clock.advance(30)
    (notice,) = world.told
    assert (notice.type, notice.account) == (NoticeType.REGISTRATION_LOST, "acme/1650")
    assert notice.data == {
        "state": "rejected", "status": "403", "reason": "Forbidden", "advice": "Ask.",
    }  # fmt: skip
    world.states[AccountKey("acme/1650")] = REGISTERED
    world.clock.advance(15)
    assert [each.type for each in world.told] == ["registration.lost", "registration.restored"]


def test_another_nodes_accounts_are_not_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whose they are is asked for a few hundred in one go: calls go on in between."""
    asked: list[AccountKey] = []
    at_once: list[int] = []
    later = ManualClock.call_at

    def owns(key: AccountKey) -> bool:
        asked.append(key)
        return not key.endswith("7")

    def call_at(clock: ManualClock, when: Instant, then: Callable[[], None]) -> Timer:
        at_once.append(len(asked))
        asked.clear()
        return later(clock, when, then)

    monkeypatch.setattr(ManualClock, "call_at", call_at)
    world = World(1_700, owns)
    world.clock.advance(15)
    for key in ("acme/7", "acme/8"):
        world.states[AccountKey(key)] = REJECTED
    world.clock.advance(30)
    assert [notice.account for notice in world.told] == ["acme/8"]
    assert sum(at_once) >= 1_700
    assert max(at_once) <= 500


def test_silence_is_told_after_a_minute() -> None:
    """Not by a PBX's restart."""
    world = World(2)
    world.clock.advance(15)
    for key in world.states:
        world.states[key] = RegistrationState.RETRYING
    world.clock.advance(50)
    assert world.told == []
    world.clock.advance(30)
    assert len(world.told) == 2


def test_deleted_accounts_are_forgotten() -> None:
    """One of the same name that comes later has not been registered before."""
    world = World(2)
    world.clock.advance(15)
    del world.states[AccountKey("acme/1")]
    world.clock.advance(15)
    world.states[AccountKey("acme/1")] = REJECTED
    world.clock.advance(30)
    assert world.told == []
    world.losses.aclose()
    world.states[AccountKey("acme/0")] = REJECTED
    world.clock.advance(100)
    assert world.told == []
