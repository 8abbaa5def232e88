"""The provider token of APNs: one JWT per key, for all apps, connections and nodes.

APNs refuses a token after an hour, and a provider that makes more than one in 20 minutes; it
counts all keys of a team and all machines. So nodes share one through the store, and it is
renewed in the background, never in a push's way.
"""

import asyncio
import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import jwt
import structlog
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from ..errors import StoreUnavailable
from ..ports import SharedValues
from ..tasks import spawn

_log = structlog.get_logger(__name__)

RENEW_S = 35 * 60.0
"""Late, as Apple asks; and 20 minutes, should the new one be refused, before the old one ends."""
USABLE_S = 58 * 60.0
PAUSE_S = 20 * 60.0
"""Between two new tokens, at least."""
_FUTURE_S = 60.0
_SHARE_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ApnsKey:
    """A .p8 key."""

    team_id: str
    key_id: str
    private: ec.EllipticCurvePrivateKey = field(repr=False, compare=False)
    fingerprint: str = field(repr=False)
    """Of team, key id and public key: equal keys in two files are one."""

    @classmethod
    def of(cls, private: ec.EllipticCurvePrivateKey, *, team_id: str, key_id: str) -> "ApnsKey":
        """With its fingerprint."""
        public = private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        digest = hashlib.sha256(b"\0".join((team_id.encode(), key_id.encode(), public)))
        fingerprint = digest.hexdigest()[:32]
        return cls(team_id=team_id, key_id=key_id, private=private, fingerprint=fingerprint)


@dataclass(frozen=True, slots=True)
class _Issued:
    jwt: str = field(repr=False)
    at: float
    """Unix seconds: ``iat``."""
    no_other_before: float = 0.0
    """Unix seconds: APNs refused the one that was to follow it."""

    @property
    def shared(self) -> bytes:
        """As other nodes get it."""
        return b"%d %s" % (self.no_other_before, self.jwt.encode())


class ProviderToken:
    """Makes the token of one key, shares it and renews it."""

    def __init__(
        self, key: ApnsKey, *, wall: Callable[[], float] = time.time, tick_s: float = 15.0
    ) -> None:
        """``wall``: the wall clock, which APNs compares with its own, in Unix seconds."""
        self._key = key
        self._wall = wall
        self._tick_s = tick_s
        self._shared: SharedValues | None = None
        self._current: _Issued | None = None
        self._former: _Issued | None = None
        self._refused: set[str] = set()
        self._renewing = asyncio.Lock()
        self._keeping: asyncio.Task[None] | None = None
        self._publishing: asyncio.Task[None] | None = None

    def start(self, shared: SharedValues | None) -> None:
        """Get the token that other nodes use, or make one, and keep it fresh."""
        self._shared = shared
        if self._keeping is None:
            self._keeping = spawn(self._keep(), name="keep the APNs provider token fresh")

    async def aclose(self) -> None:
        """End what runs in the background."""
        tasks = [task for task in (self._keeping, self._publishing) if task is not None]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def ready(self) -> str:
        """The token, as soon as there is one: within about a second, whatever the store does."""
        token = self.current
        if token is None:
            async with self._renewing:
                token = self.current or (await self._renew()).jwt
        return token

    @property
    def current(self) -> str | None:
        """What new connections use; None: there is none yet."""
        return self._current.jwt if self._current is not None else None

    def usable(self, token: str) -> bool:
        """Whether a connection that began with this token may go on with it."""
        for known in (self._current, self._former):
            if known is not None and known.jwt == token:
                return -_FUTURE_S <= self._age_s(known) < USABLE_S and token not in self._refused
        return False

    async def renew_if_due(self) -> bool:
        """A new one when the old one has its age; whether there is another one now."""
        async with self._renewing:
            before = self._current
            if before is None:
                await self._renew()
                return True
            if not self._due(before) or self._must_wait():
                return False
            return (await self._renew()).jwt != before.jwt

    async def expired(self, token: str) -> bool:
        """APNs says that this token's time is over; whether another one is there to go on with."""
        async with self._renewing:
            current = self._current
            if current is None or current.jwt != token:
                return True
            if self._must_wait():
                return False
            self._refused.add(token)
            return (await self._renew()).jwt != token

    def too_many(self, token: str) -> None:
        """APNs says that this token came too soon after another: go back to that one."""
        current, former = self._current, self._former
        if current is None or current.jwt != token:
            return
        if former is None or not self.usable(former.jwt):
            return
        _log.warning("APNs refuses a new provider token: the old one goes on", key=self._key.key_id)
        self._refused.add(token)
        again = replace(former, no_other_before=self._wall() + PAUSE_S)
        self._current, self._former = again, current
        self._publishing = spawn(self._publish(again, current), name="share the APNs token again")

    async def _keep(self) -> None:
        while True:
            await self.renew_if_due()
            await asyncio.sleep(self._tick_s)

    async def _renew(self) -> _Issued:
        """Another token than the current one: the nodes' common one, or ours."""
        current = self._current
        issued = await self._agreed(self._made(), instead=current)
        if current is not None and issued.jwt != current.jwt:
            self._former = current
        self._current = issued
        self._refused &= {known.jwt for known in (issued, self._former) if known is not None}
        return issued

    async def _agreed(self, mine: _Issued, *, instead: _Issued | None) -> _Issued:
        """What all nodes use from now on."""
        replacing = None if instead is None else instead.shared
        for _ in range(2):
            kept = await self._share(mine, replacing=replacing)
            theirs = mine if kept is None else self._read(kept)
            if theirs is not None and self._good(theirs):
                return theirs
            replacing = kept
        return mine

    async def _share(self, issued: _Issued, *, replacing: bytes | None) -> bytes | None:
        if self._shared is None:
            return None
        name = f"apns-token:{self._key.fingerprint}"
        ttl_s = USABLE_S - self._age_s(issued)
        try:
            async with asyncio.timeout(_SHARE_S):
                return await self._shared.share(
                    name, issued.shared, ttl_s=ttl_s, replacing=replacing
                )
        except (StoreUnavailable, TimeoutError):
            _log.warning("this node uses an APNs provider token of its own: the store is away")
            return None
        except Exception:  # noqa: BLE001 - logged
            # Whatever the store thinks of it: phones ring by a token of this node as well.
            _log.exception("this node uses an APNs provider token of its own")
            return None

    async def _publish(self, issued: _Issued, instead: _Issued) -> None:
        await self._share(issued, replacing=instead.shared)

    def _made(self) -> _Issued:
        at = int(self._wall())
        token = jwt.encode(
            {"iss": self._key.team_id, "iat": at},
            self._key.private,
            algorithm="ES256",
            headers={"kid": self._key.key_id},
        )
        return _Issued(token, float(at))

    def _read(self, kept: bytes) -> _Issued | None:
        """A token that another node made; None: it is none of this key."""
        pause, _, token = kept.partition(b" ")
        try:
            claims = jwt.decode(
                token,
                self._key.private.public_key(),
                algorithms=["ES256"],
                issuer=self._key.team_id,
                options={"require": ["iss", "iat"], "verify_iat": False},
            )
            return _Issued(token.decode(), float(claims["iat"]), float(pause))
        except (jwt.InvalidTokenError, ValueError, TypeError):
            return None

    def _good(self, issued: _Issued) -> bool:
        """Whether a token that is kept is to be used: not too old, unless no other may follow."""
        paused = issued.no_other_before > self._wall() and self._age_s(issued) < USABLE_S
        return issued.jwt not in self._refused and (paused or not self._due(issued))

    def _age_s(self, issued: _Issued) -> float:
        return self._wall() - issued.at

    def _due(self, issued: _Issued) -> bool:
        # One from the future was made before the clock was set right.
        return not -_FUTURE_S <= self._age_s(issued) < RENEW_S

    def _must_wait(self) -> bool:
        """Whether a new token now would come too soon."""
        now = self._wall()
        known = [each for each in (self._current, self._former) if each is not None]
        return any(now < each.no_other_before or 0 <= now - each.at < PAUSE_S for each in known)
