"""The wakes in hand: found by INVITE, by call and by account; which still wait for their end."""

from collections.abc import Callable

from ..core.ids import AccountKey, CallId, ServerTxn
from ..signaling.facts import RequestReceived
from .held_call import HeldCall
from .live_wake import LiveWake


class WakeBook:
    """Each wake from its INVITE until no branch of it can answer any more."""

    def __init__(self, counted: Callable[[int], None]) -> None:
        """``counted``: hears by how much the number of those that wait has changed."""
        self._counted = counted
        self._by_txn: dict[ServerTxn, LiveWake] = {}
        self._by_call: dict[CallId, LiveWake] = {}
        self._by_account: dict[AccountKey, dict[CallId, LiveWake]] = {}
        self._open: set[CallId] = set()

    @property
    def waiting(self) -> int:
        """Calls without a final response."""
        return len(self._open)

    @property
    def lingering(self) -> int:
        """Calls that have ended, of which a branch may still answer."""
        return len(self._by_call) - len(self._open)

    def all(self) -> tuple[LiveWake, ...]:
        """Waiting and lingering."""
        return tuple(self._by_call.values())

    def open(self) -> tuple[LiveWake, ...]:
        """Those without a final response."""
        return tuple(self._by_call[call] for call in self._open)

    def by_txn(self, txn: ServerTxn) -> LiveWake | None:
        """The wake of this INVITE."""
        return self._by_txn.get(txn)

    def by_call(self, call: CallId) -> LiveWake | None:
        """The wake of this call."""
        return self._by_call.get(call)

    def of_account(self, account: AccountKey) -> tuple[LiveWake, ...]:
        """All of the account's."""
        wakes = self._by_account.get(account)
        return tuple(wakes.values()) if wakes else ()

    def put(self, wake: LiveWake) -> None:
        """A new one, which waits."""
        held = wake.held
        self._by_txn[held.fact.txn] = wake
        self._by_call[held.call] = wake
        self._by_account.setdefault(held.account.key, {})[held.call] = wake
        self._open.add(held.call)
        self._counted(1)

    def replace(self, wake: LiveWake, fact: RequestReceived) -> None:
        """It goes on in another transaction."""
        self._by_txn.pop(wake.held.fact.txn, None)
        self._by_txn[fact.txn] = wake
        wake.held.fact = fact

    def end(self, call: CallId) -> bool:
        """It has its final response; False when that is no news."""
        if call not in self._open:
            return False
        self._open.remove(call)
        self._counted(-1)
        return True

    def drop(self, held: HeldCall) -> None:
        """Nothing can come of it any more."""
        self._by_txn.pop(held.fact.txn, None)
        self._by_call.pop(held.call, None)
        wakes = self._by_account.get(held.account.key)
        if wakes is not None:
            wakes.pop(held.call, None)
            if not wakes:
                del self._by_account[held.account.key]

    def clear(self) -> None:
        """We stop."""
        for index in (self._by_txn, self._by_call, self._by_account):
            index.clear()
        self._counted(-len(self._open))
        self._open.clear()
