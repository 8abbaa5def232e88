"""runtime.registration_losses: looks at every account, some hundred at a time."""

from push_proxy.core.ids import AccountId, AccountKey, TenantId
from push_proxy.core.model import Account
from push_proxy.core.notices import Notice, NoticeType
from push_proxy.core.registration_status import RegistrationState, RegistrationStatus
from push_proxy.runtime.clock import ManualClock
from push_proxy.runtime.registration_losses import RegistrationLosses

REGISTERED, REJECTED = RegistrationState.REGISTERED, RegistrationState.REJECTED


class World:
    """Accounts, their registrations, and what was told."""

    def __init__(self, count: int) -> None:
        self.clock = ManualClock()
        self.states = {AccountKey(f"acme/{number}"): REGISTERED for number in range(count)}
        self.told: list[Notice] = []
        self.losses = RegistrationLosses(
            accounts=self, registrations=self, notices=self, clock=self.clock
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
