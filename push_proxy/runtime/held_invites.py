"""Held INVITEs in the store: kept durably, and out of it for sure when their call is decided."""

from collections.abc import Callable
from functools import partial

from ..core.ids import AccountKey, CallId, Instant
from ..core.model import HeldDevice, HeldInvite
from ..errors import StoreUnavailable
from ..held_ports import HeldInviteStore
from .clock import TimerClock
from .write_behind import WriteBehind

ANSWER_S = 0.15
"""So long an answer waits for the store at most: as long as a 100 does (ADR 0005)."""
_MOST = 20_000


class HeldInvites:
    """One for all wakes.

    An account's held INVITEs share their end, which each new one puts off. One that stayed
    because the store was away at its end would stay for as long as the account is called.
    """

    def __init__(
        self, store: HeldInviteStore, *, clock: TimerClock, node: str = "", host: str = ""
    ) -> None:
        """``node`` holds them, and calls itself ``host`` in SIP: what a restart goes by."""
        self.node = node
        self.host = host
        self._store = store
        self._clock = clock
        self._writes = WriteBehind("ends of held INVITEs")
        self._answers: set[_Once] = set()

    @property
    def leaving(self) -> int:
        """Those that the store has not let go of yet."""
        return self._writes.waiting

    async def hold(self, invite: HeldInvite) -> bool:
        """Whether the store has it; what it did not say it does not keep."""
        try:
            await self._store.hold_invite(invite)
        except StoreUnavailable:
            # It may have been done all the same, and nobody counts on it.
            self.release(invite.account, invite.call)
            return False
        return True

    def release(
        self, account: AccountKey, call: CallId, *, then: Callable[[], None] | None = None
    ) -> None:
        """Out of the store as soon as that takes it.

        ``then`` is called once: when it is out, when the store refuses, or after `ANSWER_S`.
        """
        told = None if then is None else _Once(then, self._clock, self._answers)
        if self._writes.waiting < _MOST:
            self._writes.submit((account, call), partial(self._release, account, call, told))

    def answer_now(self) -> None:
        """We stop: no answer waits for the store any more."""
        for told in tuple(self._answers):
            told()

    def update(self, account: AccountKey, call: CallId, devices: tuple[HeldDevice, ...]) -> None:
        """How its devices stand now, unless it is released before that is written."""
        if self._writes.waiting < _MOST:
            self._writes.submit((account, call), partial(self._update, account, call, devices))

    async def _release(self, account: AccountKey, call: CallId, told: "_Once | None") -> None:
        try:
            await self._store.release_invite(account, call, node=self.node)
        finally:
            if told is not None:
                told()

    async def _update(
        self, account: AccountKey, call: CallId, devices: tuple[HeldDevice, ...]
    ) -> None:
        await self._store.update_held(account, call, devices)

    async def aclose(self, timeout_s: float = 1.0) -> None:
        """Finish what can be finished in time; the rest ends with its account's last call."""
        await self._writes.aclose(timeout_s)


class _Once:
    """Calls back when it is called, or when `ANSWER_S` is over: whatever comes first."""

    def __init__(
        self, callback: Callable[[], None], clock: TimerClock, waiting: set["_Once"]
    ) -> None:
        """It is among those ``waiting`` until then."""
        self._callback = callback
        self._waiting = waiting
        self._timer = clock.call_at(Instant(clock.now() + ANSWER_S), self)
        waiting.add(self)

    def __call__(self) -> None:
        if self in self._waiting:
            self._waiting.remove(self)
            self._timer.cancel()
            self._callback()
