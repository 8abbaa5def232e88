"""Accounts in Redis, with the indexes that find them."""

from collections.abc import AsyncIterator, Sequence

import structlog

from ..core.ids import AccountKey, TenantId, account_key
from ..core.message_summary import Mailbox
from ..core.model import Account
from ..errors import StoreUnavailable
from ..ports import AccountPage, Clock
from . import keys, scripts
from .codec import Codec, UnreadableValue
from .faults import aor_taken, check_version, token_taken
from .redis_client import Command, RedisClient, evalsha
from .redis_leases import LeasesInRedis

_log = structlog.get_logger(__name__)
_CHUNK = 200
# A claim younger than this may belong to an account that is just being written.
_CLAIM_SETTLES_S = 30.0


class AccountsInRedis(LeasesInRedis):
    """The accounts' part of `redis.RedisStore`."""

    _client: RedisClient
    _codec: Codec
    _clock: Clock

    async def put_account(self, account: Account, *, expected_version: int | None) -> None:
        """See `ports.Store.put_account`."""
        key = account.key
        claims = [keys.aor(account.aor)]
        if account.contact_token:
            claims.append(keys.contact(account.contact_token))
        replies = await self._client.write_all(
            [
                ("SADD", keys.TENANTS, account.tenant),
                ("ZADD", keys.tenant_accounts(account.tenant), 0, account.account),
                *(self._claim(claim, key) for claim in claims),
            ]
        )
        owners = [
            await self._settle(claim, key, reply.decode())
            for claim, reply in zip(claims, replies[2:], strict=True)
        ]
        fresh = [claim for claim, owner in zip(claims, owners, strict=True) if owner == "new"]
        for owner, refuse in zip(owners, (aor_taken, token_taken), strict=False):
            if owner not in {"", "new"}:
                await self._unclaim(key, fresh)
                raise refuse(account, AccountKey(owner))
        done, *rest = await self._client.run(
            scripts.PUT_ACCOUNT,
            [keys.account(key)],
            self._codec.encode(account, key),
            account.version,
            "" if expected_version is None else expected_version,
            account.aor,
            account.contact_token,
        )
        if not done:
            await self._unclaim(key, fresh)
            check_version(rest[0], expected_version)
        aor, token = (name.decode() for name in rest)
        former = {*([keys.aor(aor)] if aor else ()), *([keys.contact(token)] if token else ())}
        await self._unclaim(key, sorted(former - set(claims)))

    async def get_account(self, key: AccountKey) -> Account | None:
        """See `ports.Store.get_account`."""
        data = await self._client.call("HGET", keys.account(key), "data")
        return None if data is None else self._codec.decode(Account, data, key)

    async def list_accounts(
        self, tenant: TenantId, *, limit: int, cursor: str | None
    ) -> AccountPage:
        """See `ports.Store.list_accounts`."""
        found: list[Account] = []
        after = f"({cursor}" if cursor else "-"
        while len(found) <= limit:
            names = await self._client.call(
                "ZRANGEBYLEX", keys.tenant_accounts(tenant), after, "+", "LIMIT", 0, _CHUNK
            )
            found += [account for account in await self._read_accounts(tenant, names) if account]
            if len(names) < _CHUNK:
                break
            after = f"({names[-1].decode()}"
        page = tuple(found[:limit])
        return AccountPage(page, page[-1].account if len(found) > limit else None)

    async def all_accounts(self) -> AsyncIterator[Account]:
        """See `ports.Store.all_accounts`.

        An account that cannot be read is logged and left out: one bad value must not keep
        all the others from starting.
        """
        for tenant in sorted(await self._client.call("SMEMBERS", keys.TENANTS)):
            name, after = TenantId(tenant.decode()), "-"
            while True:
                names = await self._client.call(
                    "ZRANGEBYLEX", keys.tenant_accounts(name), after, "+", "LIMIT", 0, _CHUNK
                )
                for account in await self._read_accounts(name, names):
                    if account:
                        yield account
                if len(names) < _CHUNK:
                    break
                after = f"({names[-1].decode()}"

    async def put_mailbox(self, mailbox: Mailbox) -> None:
        """See `ports.Store.put_mailbox`."""
        until_ms = int((self._clock.now() + keys.MAILBOX_KEEP_S) * 1000)
        data = self._codec.encode(mailbox, mailbox.account)
        places = [keys.account(mailbox.account), keys.mailbox(mailbox.account)]
        await self._client.run(scripts.PUT_MAILBOX, places, data, until_ms)

    async def get_mailbox(self, key: AccountKey) -> Mailbox | None:
        """See `ports.Store.get_mailbox`."""
        data = await self._client.call("GET", keys.mailbox(key))
        return None if data is None else self._codec.decode(Mailbox, data, key)

    async def _read_accounts(
        self, tenant: TenantId, names: Sequence[bytes]
    ) -> list[Account | None]:
        found = [account_key(tenant, name.decode()) for name in names]  # type: ignore[arg-type]
        replies = await self._client.pipeline([("HGET", keys.account(k), "data") for k in found])
        accounts: list[Account | None] = []
        for key, data in zip(found, replies, strict=True):
            try:
                accounts.append(data and self._codec.decode(Account, data, key))
            except UnreadableValue as error:
                _log.error("account left out: cannot be read", account=key, error=str(error))
        return accounts

    def _claim(self, claim: str, key: AccountKey, lost_by: str = "") -> Command:
        now = int(self._clock.now())
        return evalsha(scripts.CLAIM, [claim], key, now, lost_by, int(_CLAIM_SETTLES_S))

    async def _settle(self, claim: str, key: AccountKey, owner: str) -> str:
        """Who has the claim in the end: an owner that does not hold the name has lost it."""
        if owner in {"", "new"}:
            return owner
        stored = await self._client.call("HMGET", keys.account(AccountKey(owner)), "aor", "token")
        held = {keys.aor((stored[0] or b"").decode()), keys.contact((stored[1] or b"").decode())}
        if claim in held:
            return owner
        (reply,) = await self._client.pipeline([self._claim(claim, key, owner)])
        return str(reply.decode())

    async def _unclaim(self, key: AccountKey, claims: Sequence[str]) -> None:
        try:
            await self._client.pipeline([evalsha(scripts.UNCLAIM, [c], key) for c in claims])
        except StoreUnavailable as error:
            # The claim is recognized as lost when another account wants the name.
            _log.info("names stay claimed for now", account=key, error=str(error))
