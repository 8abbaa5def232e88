"""Held INVITEs in Redis: by account, and an index of them by node."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import structlog

from ..core.ids import AccountKey, CallId
from ..core.model import HeldDevice, HeldInvite
from ..errors import ConfigurationError
from ..held_ports import of_any
from . import keys, scripts
from .codec import Codec, UnreadableValue
from .redis_client import Command, RedisClient, evalsha

_log = structlog.get_logger(__name__)
_AT_ONCE = 500
_DEVICES = b"+devices"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Devices:
    devices: tuple[HeldDevice, ...] = ()


class HeldInRedis:
    """The held INVITEs' part of `redis.RedisStore`."""

    _client: RedisClient
    _codec: Codec

    async def hold_invite(self, held: HeldInvite) -> None:
        """See `held_ports.HeldInviteStore.hold_invite`. One round trip."""
        forget_ms = int((held.deadline + keys.HELD_SLACK_S) * 1000)
        keep = evalsha(
            scripts.HOLD_INVITE,
            [keys.held(held.account)],
            held.call,
            self._codec.encode(held, held.account),
            forget_ms,
        )
        index: list[Command] = []
        if held.node:
            entry = f"{held.call} {held.account}"
            index = [("ZADD", keys.held_by(held.node), repr(held.received_at), entry)]
        await self._client.write_all([*index, keep])

    async def update_held(
        self, key: AccountKey, call: CallId, devices: tuple[HeldDevice, ...]
    ) -> bool:
        """See `held_ports.HeldInviteStore.update_held`."""
        data = self._codec.encode(_Devices(devices=devices), key)
        field = call.encode() + _DEVICES
        kept = await self._client.run(scripts.UPDATE_HELD, [keys.held(key)], call, field, data)
        return bool(kept)

    async def release_invite(self, key: AccountKey, call: CallId, *, node: str = "") -> bool:
        """See `held_ports.HeldInviteStore.release_invite`. One round trip."""
        commands: list[Command] = [("HDEL", keys.held(key), call, call.encode() + _DEVICES)]
        if node:
            commands.append(("ZREM", keys.held_by(node), f"{call} {key}"))
        return bool((await self._client.write_all(commands))[0])

    async def held_invites(self, key: AccountKey) -> tuple[HeldInvite, ...]:
        """See `held_ports.HeldInviteStore.held_invites`."""
        return self._read_held(key, await self._client.call("HGETALL", keys.held(key)))

    async def held_of_node(
        self, node: str, *, accounts: Callable[[AccountKey], bool] = of_any
    ) -> tuple[HeldInvite, ...]:
        """See `held_ports.HeldInviteStore.held_of_node`. What is over leaves the index."""
        index = keys.held_by(node)
        names = [name.decode() for name in await self._client.call("ZRANGE", index, 0, -1)]
        members = [name for name in names if accounts(AccountKey(_parted(name)[2]))]
        found: list[HeldInvite] = []
        for start in range(0, len(members), _AT_ONCE):
            some = members[start : start + _AT_ONCE]
            places = [(CallId(call), AccountKey(key)) for call, _, key in map(_parted, some)]
            replies = await self._client.pipeline(
                [("HMGET", keys.held(key), call, call.encode() + _DEVICES) for call, key in places]
            )
            over = []
            for member, (call, key), (invite, devices) in zip(some, places, replies, strict=True):
                stored = {call.encode(): invite, call.encode() + _DEVICES: devices}
                held = self._read_held(key, {name: data for name, data in stored.items() if data})
                if invite is None:
                    over.append(member)
                found += held
            if over:
                await self._client.call("ZREM", index, *over)
        return tuple(found)

    def _read_held(self, key: AccountKey, stored: Mapping[bytes, bytes]) -> tuple[HeldInvite, ...]:
        found = []
        for field, data in sorted(stored.items()):
            if field.endswith(_DEVICES):
                continue
            try:
                held = self._codec.decode(HeldInvite, data, key)
                if (newer := stored.get(field + _DEVICES)) is not None:
                    held = replace(held, devices=self._codec.decode(_Devices, newer, key).devices)
            except (UnreadableValue, ConfigurationError) as error:
                _log.error("a held INVITE cannot be read", account=key, error=str(error))
                continue
            found.append(held)
        return tuple(found)


def _parted(member: str) -> tuple[str, str, str]:
    return member.partition(" ")
