"""Call history in Redis."""

from collections import OrderedDict
from collections.abc import Sequence
from itertools import chain

from ..core.ids import AccountKey, CallId, Instant, TenantId, split_account_key
from ..core.model import CallRecord
from ..ports import CallPage, CallQuery, Clock
from . import keys, scripts
from .codec import Codec
from .redis_client import Command, RedisClient, evalsha
from .search import HistoryLimits, Position, matches, parse_cursor, position

_CHUNK = 100
# A search reads no more records than this at once: it shares its thread with the calls.
_BUDGET = 2000
_REMEMBERED = 10_000


class CallsInRedis:
    """The calls' part of `redis.RedisStore`."""

    _client: RedisClient
    _codec: Codec
    _clock: Clock

    def __init__(self, history: HistoryLimits) -> None:
        self._history = history
        self._indexed: OrderedDict[CallId, None] = OrderedDict()

    async def put_call(self, record: CallRecord) -> None:
        """See `ports.Store.put_call`. One round trip."""
        await self.put_calls((record,))

    async def put_calls(self, records: Sequence[CallRecord]) -> None:
        """See `call_ports.CallRecords.put_calls`. One round trip."""
        now = self._clock.now()
        oldest = repr(now - self._history.keep_s)
        forget_ms = int((now + self._history.keep_s) * 1000)
        new = [record for record in records if record.id not in self._indexed]
        commands = self._index(new, oldest, forget_ms)
        commands += [
            evalsha(
                scripts.PUT_CALL,
                [
                    keys.account(record.account),
                    keys.calls(record.account),
                    keys.records(record.account),
                ],
                record.id,
                self._codec.encode(record, record.account),
                repr(record.started_at),
                self._history.calls_per_account,
                oldest,
                forget_ms,
            )
            for record in records
        ]
        await self._client.write_all(commands)
        for record in new:
            self._remember(record.id)

    async def get_call(self, call: CallId) -> CallRecord | None:
        """See `ports.Store.get_call`."""
        owner = await self._client.call("GET", keys.call(call))
        if owner is None:
            return None
        (record,) = await self._read([(AccountKey(owner.decode()), call)])
        return record if record and record.started_at >= self._oldest() else None

    async def find_calls(self, query: CallQuery) -> CallPage:
        """See `ports.Store.find_calls`. Reads a bounded number of records."""
        last, oldest = parse_cursor(query.cursor), self._oldest()
        upper = repr(last.started_at) if last else "+inf"
        lower = repr(float(max(oldest, query.since or 0.0)))
        found: list[CallRecord] = []
        offset = 0
        while offset < _BUDGET:
            rows = await self._client.call(
                "ZREVRANGEBYSCORE", _source(query), upper, lower,
                "WITHSCORES", "LIMIT", offset, _CHUNK,
            )  # fmt: skip
            places = _places(query, rows)
            for (spot, _), record in zip(places, await self._read_all(places), strict=True):
                # Calls that came meanwhile shift the rest: what was seen is not seen twice.
                if last is not None and spot >= last:
                    continue
                if record and matches(record, query, oldest=oldest):
                    if len(found) == query.limit:
                        return CallPage(tuple(found), str(position(found[-1])))
                    found.append(record)
                last = spot
            offset += len(places)
            if len(places) < _CHUNK:
                return CallPage(tuple(found), None)
        return CallPage(tuple(found), str(last))

    def _index(self, new: Sequence[CallRecord], oldest: str, forget_ms: int) -> list[Command]:
        """Index entries of calls that this process has not indexed yet; before their records."""
        by_tenant: dict[TenantId, list[CallRecord]] = {}
        for record in new:
            by_tenant.setdefault(split_account_key(record.account)[0], []).append(record)
        commands: list[Command] = [
            evalsha(
                scripts.INDEX_CALLS,
                [
                    keys.tenant_calls(tenant),
                    *(keys.sip_call(tenant, record.sip_call_id) for record in records),
                ],
                keys.TENANT_CALLS,
                oldest,
                forget_ms,
                *chain.from_iterable(
                    (repr(record.started_at), f"{record.id} {record.account}") for record in records
                ),
            )
            for tenant, records in by_tenant.items()
        ]
        commands += [
            ("SET", keys.call(record.id), record.account, "PXAT", forget_ms) for record in new
        ]
        return commands

    def _unindex(self, key: AccountKey, calls: Sequence[CallId]) -> list[Command]:
        """Commands that forget an account's calls; those of SIP Call-IDs lapse by themselves."""
        for call in calls:
            self._indexed.pop(call, None)
        if not calls:
            return []
        members = (f"{call} {key}" for call in calls)
        return [
            ("ZREM", keys.tenant_calls(split_account_key(key)[0]), *members),
            *(("DEL", keys.call(call)) for call in calls),
        ]

    def _remember(self, call: CallId) -> None:
        self._indexed[call] = None
        if len(self._indexed) > _REMEMBERED:
            self._indexed.popitem(last=False)

    async def _read_all(
        self, places: Sequence[tuple[Position, AccountKey]]
    ) -> list[CallRecord | None]:
        return await self._read([(key, spot.call) for spot, key in places])

    async def _read(self, places: Sequence[tuple[AccountKey, CallId]]) -> list[CallRecord | None]:
        replies = await self._client.pipeline(
            [("HGET", keys.records(key), call) for key, call in places]
        )
        return [
            data and self._codec.decode(CallRecord, data, key)
            for (key, _), data in zip(places, replies, strict=True)
        ]

    def _oldest(self) -> Instant:
        return Instant(self._clock.now() - self._history.keep_s)


def _source(query: CallQuery) -> str:
    """The narrowest index that holds all that the query asks for."""
    if query.sip_call_id is not None:
        return keys.sip_call(query.tenant, query.sip_call_id)
    if query.account is not None:
        return keys.calls(query.account)
    return keys.tenant_calls(query.tenant)


def _places(query: CallQuery, rows: Sequence[bytes]) -> list[tuple[Position, AccountKey]]:
    places = []
    for member, score in zip(rows[::2], rows[1::2], strict=True):
        call, _, owner = member.decode().partition(" ")
        key = AccountKey(owner) if owner else query.account
        if key is not None:
            places.append((Position(float(score), CallId(call)), key))
    return places
