"""Tells operators' systems of accounts that are not registered at their PBX any more.

All accounts are looked at every few seconds, some hundred at a time: a registration also ends
without anything happening, by its expiry.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from typing import Protocol

from ..core.ids import AccountKey, Instant
from ..core.model import Account
from ..core.notices import Notice, NoticeType
from ..core.registration_loss import GRACE_S, Watched, look
from ..core.registration_status import RegistrationState, RegistrationStatus
from ..ports import Notices
from .clock import Timer, TimerClock

_SHORTEST_S, _LONGEST_S = 1.0, 10.0
_PER_SECOND = 2_000
"""Accounts looked at, on average: about half a percent of a processor."""
_AT_ONCE = 500
_BREATH_S = 0.1
"""After so many, when some had to be told: a PBX that is gone takes all of its accounts along."""
_UNKNOWN = Watched()
_WELL = Watched(registered=True)


class Accounts(Protocol):
    """Who knows them (`runtime.directory.Directory`)."""

    def accounts(self) -> Iterable[Account]:
        """All."""


class States(Protocol):
    """Who knows how they stand (`runtime.registrations.Registrations`)."""

    def state(self, account: AccountKey) -> RegistrationState:
        """Where its registration stands."""

    def status(self, account: AccountKey) -> RegistrationStatus:
        """As above, with why."""


class RegistrationLosses:
    """Notices losses, and returns from them."""

    def __init__(
        self,
        *,
        accounts: Accounts,
        registrations: States,
        notices: Notices,
        clock: TimerClock,
        owns: Callable[[AccountKey], bool] = lambda _: True,
        grace_s: float = GRACE_S,
        on_lost: Callable[[], None] = lambda: None,
    ) -> None:
        """``on_lost`` is called for each loss.

        ``owns``: which accounts are watched here; ``grace_s``: see `core.registration_loss.look`.
        """
        self._accounts = accounts
        self._registrations = registrations
        self._notices = notices
        self._clock = clock
        self._owns = owns
        self._grace_s = grace_s
        self._on_lost = on_lost
        self._watched: dict[AccountKey, Watched] = {}
        self._timer: Timer | None = None

    def start(self) -> None:
        """Begin to look."""
        self._again(_SHORTEST_S, self._begin)

    def aclose(self) -> None:
        """Stop."""
        if self._timer is not None:
            self._timer.cancel()

    def _begin(self) -> None:
        keys = [account.key for account in self._accounts.accounts()]
        self._go_on(iter(keys), {})

    def _go_on(self, keys: Iterator[AccountKey], found: dict[AccountKey, Watched]) -> None:
        now = self._clock.now()
        some = list(islice(keys, _AT_ONCE))
        told = 0
        for key in filter(self._owns, some):
            before, state = self._watched.get(key, _UNKNOWN), self._registrations.state(key)
            if state is RegistrationState.REGISTERED and not before.lost:
                found[key] = _WELL  # nearly all of them, nearly always
                continue
            if before is _UNKNOWN:
                continue
            seen = look(before, state, now=now, grace_s=self._grace_s)
            if seen.watched is not None:
                found[key] = seen.watched
            told += seen.lost or seen.restored
            if seen.lost:
                self._on_lost()
                self._tell(NoticeType.REGISTRATION_LOST, key, now)
            elif seen.restored:
                self._tell(NoticeType.REGISTRATION_RESTORED, key, now)
        if len(some) == _AT_ONCE:
            self._again(_BREATH_S if told else 0.0, lambda: self._go_on(keys, found))
        else:
            # Those that were deleted meanwhile are forgotten with the old ones.
            self._watched = found
            self._again(_pause_s(len(found)), self._begin)

    def _again(self, after_s: float, then: Callable[[], None]) -> None:
        self._timer = self._clock.call_at(Instant(self._clock.now() + after_s), then)

    def _tell(self, kind: NoticeType, key: AccountKey, now: Instant) -> None:
        lost = kind is NoticeType.REGISTRATION_LOST
        data = _why(self._registrations.status(key)) if lost else {}
        self._notices.tell(Notice(type=kind, at=now, account=key, data=data))


def _pause_s(accounts: int) -> float:
    return min(_LONGEST_S, max(_SHORTEST_S, accounts / _PER_SECOND))


def _why(status: RegistrationStatus) -> Mapping[str, str]:
    why = {
        "state": status.state.value,
        "status": "" if status.last_status is None else str(status.last_status),
        "reason": status.last_reason,
        "advice": status.advice,
    }
    return {name: value for name, value in why.items() if value}
