"""Devices and bindings in Redis."""

import hmac
from collections.abc import AsyncIterator, Mapping, Sequence
from hashlib import sha256
from typing import TypeVar

import structlog

from ..core.ids import AccountKey, DeviceId
from ..core.model import Account, Binding, Device, push_target
from ..ports import AccountState, Clock
from . import keys, scripts
from .codec import Codec, UnreadableValue
from .faults import NODE_CLOCKS_S, account_gone, check_version
from .redis_accounts import AccountsInRedis
from .redis_client import Command, RedisClient, evalsha

_log = structlog.get_logger(__name__)
_CHUNK = 200
_NEWER_ELSEWHERE = 2
_T = TypeVar("_T")


class DevicesInRedis(AccountsInRedis):
    """The devices' part of `redis.RedisStore`."""

    _client: RedisClient
    _codec: Codec
    _clock: Clock
    _target_key: bytes
    """Push tokens are indexed by a keyed hash: the index gives no token away."""

    def __init__(self) -> None:
        self._formers: dict[str, set[str]] = {}
        """By member: targets whose index entry may have outlived a write that was in doubt."""

    async def put_device(
        self, device: Device, *, expected_version: int | None
    ) -> Sequence[tuple[AccountKey, DeviceId]]:
        """See `ports.Store.put_device`."""
        await self._write_device(device, expected_version)
        return await self._take_target(device) if device.exclusive and device.has_target else ()

    async def _write_device(self, device: Device, expected_version: int | None) -> None:
        key, target = device.account, self._target(device)
        member = keys.member(key, device.device)
        before = await self._before(key, device.device, target)
        if before and before != target:
            # Should the write be done without a word, a later one finds only its own target.
            self._formers.setdefault(member, set()).add(before)
        done, *rest = await self._client.run(
            scripts.PUT_DEVICE,
            [keys.account(key), keys.devices(key), keys.marks(key)],
            device.device,
            self._codec.encode(device, _place(key, device.device)),
            device.version,
            "" if expected_version is None else expected_version,
            target,
        )
        if done != 1:
            stored = await self.get_device(key, device.device)
            if target and (stored is None or self._target(stored) != target):
                await self._client.call("SREM", keys.target(target), member)
            if done < 0:
                raise account_gone(key)
            check_version(rest[0], expected_version)
        former = rest[0].decode()
        formers = (self._formers.get(member, set()) | {former}) - {target, ""}
        await self._client.pipeline([("SREM", keys.target(old), member) for old in formers])
        self._formers.pop(member, None)

    async def _before(self, key: AccountKey, device: DeviceId, target: str) -> str:
        """The target that the store has now; the new one is in the index before the device is."""
        look: list[Command] = [("HGET", keys.marks(key), device)]
        if target:
            # Should only this be done, nothing else leads to the entry.
            self._formers.setdefault(keys.member(key, device), set()).add(target)
            look.append(("SADD", keys.target(target), keys.member(key, device)))
        mark = (await self._client.pipeline(look))[0]
        return mark.decode().partition(" ")[2] if mark else ""

    async def get_device(self, key: AccountKey, device: DeviceId) -> Device | None:
        """See `ports.Store.get_device`."""
        data = await self._client.call("HGET", keys.devices(key), device)
        return None if data is None else self._codec.decode(Device, data, _place(key, device))

    async def delete_device(self, key: AccountKey, device: DeviceId) -> bool:
        """See `ports.Store.delete_device`."""
        there, target = await self._client.run(
            scripts.DELETE_DEVICE, keys.with_device(key), device, ""
        )
        member = keys.member(key, device)
        cleaning: list[Command] = [("SREM", keys.NOT_WAKING, member)]
        formers = self._formers.get(member, set()) | ({target.decode()} if target else set())
        cleaning += [("SREM", keys.target(old), member) for old in formers]
        await self._client.pipeline(cleaning)
        self._formers.pop(member, None)
        return bool(there)

    async def devices(self, key: AccountKey) -> tuple[Device, ...]:
        """See `ports.Store.devices`."""
        return self._devices(key, await self._client.call("HGETALL", keys.devices(key)))

    async def put_binding(self, binding: Binding) -> bool:
        """See `ports.Store.put_binding`."""
        key = binding.account
        kept = await self._client.run(
            scripts.PUT_BINDING,
            [keys.account(key), keys.bindings(key)],
            binding.device,
            self._codec.encode(binding, _place(key, binding.device)),
            int((binding.expires_at + keys.EXPIRY_SLACK_S) * 1000),
            binding.node,
            binding.heard_at + NODE_CLOCKS_S,
        )
        return int(kept) != _NEWER_ELSEWHERE

    async def delete_binding(self, key: AccountKey, device: DeviceId, *, node: str = "") -> None:
        """See `ports.Store.delete_binding`."""
        if node:
            await self._client.run(scripts.DELETE_BINDING, [keys.bindings(key)], device, node)
        else:
            await self._client.write("HDEL", keys.bindings(key), device)

    async def bindings(self, key: AccountKey) -> tuple[Binding, ...]:
        """See `ports.Store.bindings`."""
        return self._bindings(key, await self._client.call("HGETALL", keys.bindings(key)))

    async def account_states(
        self, keys: Sequence[AccountKey]
    ) -> Mapping[AccountKey, AccountState | None]:
        """See `ports.Store.account_states`."""
        replies = await self._client.pipeline([command for key in keys for command in _all_of(key)])
        found: dict[AccountKey, AccountState | None] = {}
        for number, key in enumerate(keys):
            data, devices, bindings = replies[number * 3 : number * 3 + 3]
            try:
                account = None if data is None else self._codec.decode(Account, data, key)
            except UnreadableValue as error:
                _log.error("account not followed: cannot be read", account=key, error=str(error))
                continue
            found[key] = self._state(account, devices, bindings) if account else None
        return found

    async def place_bindings(
        self, places: Sequence[tuple[AccountKey, DeviceId]]
    ) -> Mapping[tuple[AccountKey, DeviceId], Binding | None]:
        """See `ports.Store.place_bindings`."""
        replies = await self._client.write_all(
            [("HGET", keys.bindings(key), device) for key, device in places]
        )
        found: dict[tuple[AccountKey, DeviceId], Binding | None] = {}
        for (key, device), data in zip(places, replies, strict=True):
            if data is None:
                found[key, device] = None
                continue
            for binding in self._readable(Binding, key, {device.encode(): data}):
                live = binding.expires_at > self._clock.now()
                found[key, device] = binding if live else None
        return found

    async def everything(self) -> AsyncIterator[AccountState]:
        """See `ports.Store.everything`."""
        chunk: list[Account] = []
        async for account in self.all_accounts():
            chunk.append(account)
            if len(chunk) == _CHUNK:
                for state in await self.states(chunk):
                    yield state
                chunk = []
        for state in await self.states(chunk):
            yield state

    async def states(self, accounts: Sequence[Account]) -> list[AccountState]:
        """See `recovery_ports.LosableStore.states`."""
        found = [account.key for account in accounts]
        replies = await self._client.pipeline(
            [("HGETALL", name(key)) for key in found for name in (keys.devices, keys.bindings)]
        )
        return [
            AccountState(account, self._devices(account.key, d), self._bindings(account.key, b))
            for account, d, b in zip(accounts, replies[::2], replies[1::2], strict=True)
        ]

    def _state(
        self, account: Account, devices: dict[bytes, bytes], bindings: dict[bytes, bytes]
    ) -> AccountState:
        key = account.key
        return AccountState(account, self._devices(key, devices), self._bindings(key, bindings))

    def _devices(self, key: AccountKey, stored: dict[bytes, bytes]) -> tuple[Device, ...]:
        return tuple(self._readable(Device, key, stored))

    def _bindings(self, key: AccountKey, stored: dict[bytes, bytes]) -> tuple[Binding, ...]:
        now = self._clock.now()
        return tuple(b for b in self._readable(Binding, key, stored) if b.expires_at > now)

    def _readable(self, kind: type[_T], key: AccountKey, stored: dict[bytes, bytes]) -> list[_T]:
        found: list[_T] = []
        for name, data in sorted(stored.items()):
            place = _place(key, DeviceId(name.decode()))
            try:
                found.append(self._codec.decode(kind, data, place))
            except UnreadableValue as error:
                _log.error("left out: cannot be read", place=place, error=str(error))
        return found

    async def _take_target(self, device: Device) -> tuple[tuple[AccountKey, DeviceId], ...]:
        """Remove every other device that has this push target."""
        target, owner = self._target(device), keys.member(device.account, device.device)
        members = await self._client.call("SMEMBERS", keys.target(target))
        places = [keys.of_member(member) for member in members if member.decode() != owner]
        gone = await self._client.pipeline(
            [
                evalsha(scripts.DELETE_DEVICE, keys.with_device(key), other, target)
                for key, other in places
            ]
        )
        await self._client.pipeline(
            [
                ("SREM", index, keys.member(*place))
                for place in places
                for index in (keys.target(target), keys.NOT_WAKING)
            ]
        )
        return tuple(sorted(p for p, (there, _) in zip(places, gone, strict=True) if there))

    def _target(self, device: Device) -> str:
        """Empty without a token: such devices have nothing in common."""
        if not device.has_target:
            return ""
        text = "\n".join(push_target(device))
        return hmac.new(self._target_key, text.encode(), sha256).hexdigest()


def _all_of(key: AccountKey) -> tuple[Command, Command, Command]:
    return (
        ("HGET", keys.account(key), "data"),
        ("HGETALL", keys.devices(key)),
        ("HGETALL", keys.bindings(key)),
    )


def _place(key: AccountKey, device: DeviceId) -> str:
    return f"{key}|{device}"
