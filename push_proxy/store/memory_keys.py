"""API keys, enrolment codes, idempotency and service secrets in memory."""

import secrets

from ..core.ids import AccountKey, Instant, TenantId
from ..core.model import Enrolment
from ..ports import ApiKey, Clock


class KeysInMemory:
    """The keys' part of `memory.MemoryStore`."""

    def __init__(self, clock: Clock) -> None:
        self._keys_clock = clock
        self._api_keys: dict[tuple[TenantId, str], ApiKey] = {}
        self._enrolments: dict[str, Enrolment] = {}
        self._responses: dict[tuple[TenantId, str], tuple[bytes, float]] = {}
        self._secrets: dict[str, bytes] = {}

    async def put_api_key(self, key: ApiKey) -> None:
        """See `ports.Store.put_api_key`."""
        self._api_keys[key.tenant, key.name] = key

    async def api_keys(self) -> tuple[ApiKey, ...]:
        """See `ports.Store.api_keys`."""
        return tuple(key for _, key in sorted(self._api_keys.items()))

    async def put_enrolment(self, enrolment: Enrolment) -> None:
        """See `ports.Store.put_enrolment`."""
        self._enrolments[enrolment.code_sha256] = enrolment

    async def take_enrolment(self, code_sha256: str, *, now: Instant) -> Enrolment | None:
        """See `ports.Store.take_enrolment`."""
        enrolment = self._enrolments.pop(code_sha256, None)
        return enrolment if enrolment and enrolment.expires_at > now else None

    async def idempotent(
        self, tenant: TenantId, key: str, response: bytes | None, *, ttl_s: float
    ) -> bytes | None:
        """See `ports.Store.idempotent`."""
        now = self._keys_clock.now()
        for name in [n for n, (_, until) in self._responses.items() if until <= now]:
            del self._responses[name]
        if (kept := self._responses.get((tenant, key))) is not None:
            return kept[0]
        if response is not None:
            self._responses[tenant, key] = (response, now + ttl_s)
        return None

    async def secret(self, name: str, *, size: int) -> bytes:
        """See `ports.Store.secret`."""
        return self._secrets.setdefault(name, secrets.token_bytes(size))

    def _forget_enrolments(self, key: AccountKey) -> None:
        for code in [c for c, e in self._enrolments.items() if e.account == key]:
            del self._enrolments[code]
