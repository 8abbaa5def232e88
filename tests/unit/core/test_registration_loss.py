"""core.registration_loss: each loss is told once, a PBX's short restart not at all."""

from push_proxy.core.ids import Instant
from push_proxy.core.registration_loss import GRACE_S, Seen, Watched, look
from push_proxy.core.registration_status import RegistrationState as State


class Account:
    """Looked at again and again."""

    def __init__(self) -> None:
        self.watched = Watched()
        self.now = 1_000.0

    def look(self, state: State, *, after_s: float = 10.0) -> str:
        self.now += after_s
        seen: Seen = look(self.watched, state, now=Instant(self.now))
        self.watched = seen.watched or Watched()
        assert not (seen.lost and seen.restored)
        return "lost" if seen.lost else "restored" if seen.restored else ""


def test_a_refusal_for_good_is_told_at_once() -> None:
    """Once, however long it lasts."""
    account = Account()
    told = [account.look(state) for state in (State.REGISTERED, *[State.REJECTED] * 3)]
    assert told == ["", "lost", "", ""]


def test_a_silent_pbx_is_told_after_a_minute() -> None:
    """Not before, and once."""
    account = Account()
    account.look(State.REGISTERED)
    told = [account.look(State.RETRYING) for _ in range(12)]
    assert told.index("lost") * 10 == GRACE_S
    assert told.count("lost") == 1


def test_a_short_absence_is_no_loss() -> None:
    """And the next one has its minute again."""
    account = Account()
    for _ in range(3):
        told = [account.look(State.REGISTERED), account.look(State.RETRYING, after_s=1)]
        told += [account.look(State.PENDING, after_s=GRACE_S - 1)]
        assert told == ["", "", ""]


def test_a_return_is_told_once() -> None:
    """And then the next loss is one again."""
    account = Account()
    states = (State.REGISTERED, State.REJECTED, State.PENDING, State.REGISTERED, State.REGISTERED)
    assert [account.look(state) for state in states] == ["", "lost", "", "restored", ""]
    assert account.look(State.REJECTED) == "lost"


def test_what_never_was_registered_is_not_lost() -> None:
    """A wrong password from the first day is a matter of the account's status."""
    account = Account()
    states = (State.PENDING, State.REJECTED, State.RETRYING)
    assert [account.look(state, after_s=200) for state in states] == ["", "", ""]


def test_what_is_not_wanted_is_not_lost() -> None:
    """Disabled, or without a device: nothing is told, neither then nor later."""
    account = Account()
    account.look(State.REGISTERED)
    assert account.look(State.UNUSED) == ""
    assert account.look(State.PENDING, after_s=200) == ""
    account.look(State.REGISTERED)
    account.look(State.REJECTED)
    assert account.look(State.UNUSED) == ""
    assert account.look(State.REGISTERED) == ""
