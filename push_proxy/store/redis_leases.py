"""Leases in Redis, and the registrations that their fences protect."""

from collections.abc import Mapping, Sequence

import structlog

from ..core.ids import AccountKey
from ..core.leasing import Orders, Replies
from ..core.model import RegistrationRecord
from ..lease_ports import Leased, Owner
from ..ports import Clock
from . import keys, scripts
from .codec import Codec, UnreadableValue
from .redis_client import Command, RedisClient, evalsha

_log = structlog.get_logger(__name__)
_KNEW_NOTHING = 2
"""See ``lease_renew.lua``."""


class LeasesInRedis:
    """`lease_ports.LeaseStore` and `lease_ports.RegistrationStore` of `redis.RedisStore`."""

    _client: RedisClient
    _codec: Codec
    _clock: Clock

    async def lease(self, owner: Owner, orders: Orders, *, lease_s: float) -> Leased:
        """See `lease_ports.LeaseStore.lease`."""
        name, lease_ms = str(owner), max(1, int(lease_s * 1000))
        renewing: list[Command] = [
            evalsha(
                scripts.LEASE_RENEW,
                keys.lease(shard),
                name,
                fence,
                lease_ms,
                int(shard in orders.sure),
            )
            for shard, fence in orders.renew.items()
        ]
        acquiring: list[Command] = [
            evalsha(scripts.LEASE_ACQUIRE, keys.lease(shard), name, f"{owner.node} ", lease_ms)
            for shard in orders.acquire
        ]
        if not (renewing or acquiring):
            return Leased(Replies())
        replies = await self._client.write_all([*renewing, *acquiring])
        kept = dict(zip(orders.renew, replies, strict=False))
        acquired: dict[int, int] = {}
        taken_over: set[int] = set()
        for shard, (fence, former) in zip(orders.acquire, replies[len(renewing) :], strict=True):
            if fence:
                acquired[shard] = int(fence)
                if former and not former.decode().startswith(f"{owner.node} "):
                    taken_over.add(shard)
        told = Replies(
            renewed=frozenset(shard for shard, ours in kept.items() if ours),
            restored=frozenset(shard for shard, ours in kept.items() if ours == _KNEW_NOTHING),
            acquired=acquired,
        )
        return Leased(told, frozenset(taken_over))

    async def release_leases(self, owner: Owner, fences: Mapping[int, int]) -> None:
        """See `lease_ports.LeaseStore.release_leases`."""
        await self._client.write_all(
            [
                evalsha(scripts.LEASE_RELEASE, keys.lease(shard), str(owner), fence)
                for shard, fence in fences.items()
            ]
        )

    async def put_registration(self, record: RegistrationRecord) -> bool:
        """See `lease_ports.RegistrationStore.put_registration`."""
        key = keys.registration(record.account)
        until_ms = int((record.expires_at + keys.REGISTRATION_SLACK_S) * 1000)
        data = self._codec.encode(record, record.account)
        if not record.fence:
            await self._client.write("SET", key, data, "PXAT", until_ms)
            return True
        return bool(
            await self._client.run(
                scripts.LEASE_PUT_REGISTRATION, [key], record.fence, data, until_ms
            )
        )

    async def get_registrations(
        self, accounts: Sequence[AccountKey]
    ) -> tuple[RegistrationRecord | None, ...]:
        """See `lease_ports.RegistrationStore.get_registrations`."""
        replies = await self._client.write_all(
            [("GET", keys.registration(key)) for key in accounts]
        )
        return tuple(
            self._read_registration(key, _without_fence(data or b""))
            for key, data in zip(accounts, replies, strict=True)
        )

    async def delete_registration(self, key: AccountKey, *, fence: int = 0) -> bool:
        """See `lease_ports.RegistrationStore.delete_registration`."""
        place = keys.registration(key)
        if not fence:
            await self._client.write("DEL", place)
            return True
        until_ms = int((self._clock.now() + keys.FENCE_KEEP_S) * 1000)
        script = scripts.LEASE_PUT_REGISTRATION
        return bool(await self._client.run(script, [place], fence, b"", until_ms))

    async def claim_registrations(
        self, fences: Mapping[AccountKey, int]
    ) -> Mapping[AccountKey, RegistrationRecord | None]:
        """See `lease_ports.RegistrationStore.claim_registrations`."""
        keep_ms = int(keys.FENCE_KEEP_S * 1000)
        replies = await self._client.write_all(
            [
                evalsha(scripts.LEASE_CLAIM_REGISTRATION, [keys.registration(key)], fence, keep_ms)
                for key, fence in fences.items()
            ]
        )
        return {
            key: self._read_registration(key, data)
            for key, (high_enough, data) in zip(fences, replies, strict=True)
            if high_enough
        }

    def _read_registration(self, key: AccountKey, data: bytes) -> RegistrationRecord | None:
        """One that cannot be read must not keep all others from being taken over."""
        if not data:
            return None
        try:
            return self._codec.decode(RegistrationRecord, data, key)
        except UnreadableValue as error:
            _log.error("a registration is made anew: cannot be read", account=key, error=str(error))
            return None


def _without_fence(kept: bytes) -> bytes:
    """JSON begins with a brace, a fence with a digit."""
    return kept.partition(b" ")[2] if kept[:1].isdigit() else kept
