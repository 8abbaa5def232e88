"""Missed calls until they are seen: in the store, and in memory while something is to be done.

Written behind: nothing is lost while the store is away. What is asked and said by HTTP goes to
the store, after what waits for it has been written.
"""

import asyncio
from collections.abc import Sequence
from functools import partial

import structlog

from ..cluster_ports import FeedKind
from ..core.ids import AccountKey, CallId, DeviceId
from ..core.missed import MissedCall
from ..errors import StoreUnavailable
from ..missed_ports import MissedCallPage, MissedCallStore
from .nodes import Alone, News
from .write_behind import WriteBehind

_log = structlog.get_logger(__name__)

MEMORY_LIMIT = 20_000
"""Missed calls that wait in memory for the store."""
_ALL = 1000


class Entry:
    """A missed call that is not stored as it is now, or that is being pushed."""

    __slots__ = ("_writing", "dirty", "missed", "over", "pushing")

    def __init__(self, missed: MissedCall) -> None:
        self.missed = missed
        self.dirty = False
        self.over = False
        """It was seen, or its account is gone."""
        self.pushing = set[DeviceId]()
        self._writing = asyncio.Lock()

    async def write(self, store: MissedCallStore) -> bool:
        """Make the store have it as it is now; also waits for a write that is on its way.

        False: it was so already.
        """
        async with self._writing:
            if not self.dirty or self.over:
                return False
            self.dirty = False
            try:
                await store.put_missed_call(self.missed)
            except StoreUnavailable:
                self.dirty = True
                raise
            return True


class MissedBook:
    """All missed calls that nobody has seen."""

    def __init__(self, store: MissedCallStore, news: News | None = None) -> None:
        """``news`` tells other nodes of whom devices are still to be told."""
        self._store = store
        self._news: News = news or Alone()
        self._live: dict[AccountKey, dict[CallId, Entry]] = {}
        self._reading: dict[AccountKey, set[CallId]] = {}
        """Accounts whose calls are being read, and what of them was seen meanwhile."""
        self._writes = WriteBehind("missed calls")

    async def aclose(self) -> None:
        """Write what waits, as far as the time reaches."""
        await self._writes.aclose()

    def keep(self, missed: MissedCall) -> Entry | None:
        """A call was missed; None when too many wait for the store already."""
        if self._writes.waiting >= MEMORY_LIMIT:
            _log.error(
                "missed call not kept: the store took none for too long", call_id=missed.call
            )
            return None
        entry = Entry(missed)
        self._live.setdefault(missed.account, {})[missed.call] = entry
        self._save(entry)
        return entry

    def told(self, entry: Entry, device: DeviceId) -> None:
        """This device is not to be told of it any more."""
        entry.missed = entry.missed.without(device)
        self._save(entry)

    def let_go(self, entry: Entry) -> None:
        """Forget it in memory, unless something is still to be done."""
        key, call = entry.missed.account, entry.missed.call
        live = self._live.get(key, {})
        held = (entry.dirty and not entry.over) or entry.pushing or key in self._reading
        if live.get(call) is entry and not held:
            del live[call]
            if not live:
                del self._live[key]

    def forget(self, key: AccountKey) -> None:
        """The account is gone, and the store has erased all of it."""
        self._reading.pop(key, None)
        for entry in self._live.pop(key, {}).values():
            entry.over = True

    # asked by the API

    async def page(self, key: AccountKey, *, limit: int, cursor: str | None) -> MissedCallPage:
        """An account's, newest first.

        Raises `errors.StoreUnavailable`, and `errors.InvalidInput` for a foreign cursor.
        """
        await self._written(key)
        return await self._store.missed_calls(key, limit=limit, cursor=cursor)

    async def count(self, key: AccountKey) -> int | None:
        """How many an account has; None while the store is away."""
        try:
            await self._written(key)
            return await self._store.count_missed_calls(key)
        except StoreUnavailable:
            return None

    async def see(
        self, key: AccountKey, calls: Sequence[CallId], *, up_to: CallId | None = None
    ) -> None:
        """These were seen, or all up to one: nobody is told of them any more.

        Saying it again is no fault. Raises `errors.StoreUnavailable`; then nothing was seen.
        """
        await self._written(key)
        found = await self._store.see_missed_calls(key, calls, up_to=up_to)
        seen = {*calls, *found}
        self._reading.get(key, set()).update(seen)
        for call in seen:
            if (entry := self._live.get(key, {}).get(call)) is not None:
                entry.over = True
                self.let_go(entry)

    # asked when a device registers

    async def unseen(self, key: AccountKey) -> tuple[list[Entry], bool]:
        """The account's, oldest first, for one caller at a time, who lets go of each.

        Only those in memory, and False, while the store is away.
        """
        self._reading[key] = seen = set[CallId]()
        stored: Sequence[MissedCall] = ()
        complete = False
        try:
            stored = (await self._store.missed_calls(key, limit=_ALL, cursor=None)).calls
            complete = True
        except StoreUnavailable as error:
            _log.info("missed calls not read: the store is away", account=key, error=str(error))
        finally:
            gone = self._reading.pop(key, None) is not seen
        if gone:
            return [], False
        live = self._live.setdefault(key, {})
        for missed in stored:
            if missed.call not in live and missed.call not in seen:
                live[missed.call] = Entry(missed)
        entries = sorted(live.values(), key=lambda entry: entry.missed.missed_at)
        if not live:
            del self._live[key]
        return entries, complete

    # writing

    def _save(self, entry: Entry) -> None:
        entry.dirty = True
        self._writes.submit(entry.missed.call, partial(self._write, entry))

    async def _write(self, entry: Entry) -> None:
        if await entry.write(self._store) and entry.missed.owed:
            self._news.tell(FeedKind.MISSED, entry.missed.account)
        self.let_go(entry)

    async def _written(self, key: AccountKey) -> None:
        """Have the store know all that is known of the account."""
        for entry in tuple(self._live.get(key, {}).values()):
            await self._write(entry)
