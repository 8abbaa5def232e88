"""Challenging: nonces that prove themselves, and the check of what comes back (RFC 7616 §3.3)."""

import hashlib
import hmac
import re
from collections import OrderedDict
from dataclasses import dataclass
from enum import Enum

from .digest import (
    algorithm_named,
    digest_params,
    digest_response,
    held_algorithms,
    quoted,
    secret_for,
    unescape,
)
from .ids import Instant
from .model import Algorithm, Credentials

_NONCE = re.compile(r"([0-9a-f]{12})([0-9a-f]{8})([0-9a-f]{32})")
_NC = re.compile(r"[0-9a-fA-F]{8}")
_WINDOW = 64
"""How far requests of one nonce may overtake each other on the way."""
_ALWAYS = Instant(0.0)


class Proof(Enum):
    """What credentials in a request are worth."""

    RIGHT = "right"
    STALE = "stale"
    """The secret is right, the nonce is not good any more: challenge with ``stale=true``."""
    WRONG = "wrong"
    """Absent, for another realm, unreadable, or not made with the secret."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asker:
    """Who has to prove what."""

    user: str
    realm: str
    credentials: Credentials
    host: str
    """Address that the request came from: a nonce is good from one host only."""


class Nonces:
    """Makes and judges nonces.

    A nonce carries its time, a count and an HMAC over both, the realm and the asker's host:
    nothing is stored until it is used. Of used ones the nonce counts are kept, so that a
    captured request cannot be sent again; when that memory is full the oldest nonces are
    declared stale, never forgotten.
    """

    def __init__(
        self,
        key: bytes,
        *,
        lifetime_s: float = 300.0,
        memory: int = 50_000,
        node: str = "",
        since: Instant = _ALWAYS,
    ) -> None:
        """``key``: 32 fresh random bytes. A restart with another key makes old nonces stale.

        Where several nodes share one, ``node`` is our id: what it gave before ``since``, when this
        process began, is stale. Each node counts the uses that it sees itself.
        """
        self._key = key
        self._mark = hashlib.sha256(node.encode()).hexdigest()[:4] if node else "0000"
        self._since_ms = int(since * 1000)
        self._lifetime_s = lifetime_s
        self._memory = memory
        self._made = 0
        self._floor_ms = 0
        self._counts: OrderedDict[str, tuple[int, int]] = OrderedDict()

    def challenges(
        self, *, realm: str, host: str, algorithms: tuple[Algorithm, ...], stale: bool, now: Instant
    ) -> tuple[str, ...]:
        """A header value for each algorithm, in the order given, with one nonce for all."""
        nonce = self._make(realm, host, now)
        tail = ", stale=true" if stale else ""
        return tuple(
            f'Digest realm={quoted(realm)}, nonce="{nonce}", algorithm={algorithm.value}, '
            f'qop="auth"{tail}'
            for algorithm in algorithms
        )

    def judge(self, values: list[str], asker: Asker, *, method: str, now: Instant) -> Proof:
        """Check the (Proxy-)Authorization lines of a request against the asker's secret."""
        for value in values:
            params = digest_params(value)
            if unescape(params.get("realm", "")) == asker.realm and params.get("nonce"):
                return self._judge(params, asker, method=method, now=now)
        return Proof.WRONG

    def gave(self, values: list[str], *, realm: str, host: str) -> bool:
        """Whether the lines answer a challenge of ours to this very host.

        Whoever forges its address never sees one.
        """
        for value in values:
            match = _NONCE.fullmatch(digest_params(value).get("nonce", ""))
            if match is not None:
                signature = self._sign(match[1] + match[2], realm, host)
                if hmac.compare_digest(signature, match[3]):
                    return True
        return False

    def _judge(self, params: dict[str, str], asker: Asker, *, method: str, now: Instant) -> Proof:
        algorithm = algorithm_named(params.get("algorithm"))
        if algorithm is None or algorithm not in held_algorithms(asker.credentials):
            return Proof.WRONG
        secret = secret_for(asker.credentials, algorithm, user=asker.user, realm=asker.realm)
        qop, nc = params.get("qop", "").lower(), params.get("nc", "")
        if secret is None or (qop and (qop != "auth" or not _NC.fullmatch(nc))):
            return Proof.WRONG
        expected = digest_response(
            algorithm,
            secret,
            method=method,
            uri=params.get("uri", ""),
            nonce=params["nonce"],
            cnonce=params.get("cnonce", ""),
            nc=nc,
            # As sent: "AUTH" would be hashed so by its sender.
            qop=params.get("qop", ""),
        )
        same_user = hmac.compare_digest(
            unescape(params.get("username", "")).encode(), asker.user.encode()
        )
        same = hmac.compare_digest(expected.encode(), params.get("response", "").lower().encode())
        if not (same and same_user):
            return Proof.WRONG
        # Without qop (RFC 2069) there is no count: such an answer is good once.
        count = int(nc, 16) if qop else 1
        return self._spend(params["nonce"], count, asker=asker, now=now)

    def _make(self, realm: str, host: str, now: Instant) -> str:
        self._made = (self._made + 1) & 0xFFFF
        head = f"{int(now * 1000) & 0xFFFFFFFFFFFF:012x}{self._mark}{self._made:04x}"
        return head + self._sign(head, realm, host)

    def _sign(self, head: str, realm: str, host: str) -> str:
        text = f"{head}\0{realm}\0{host}".encode()
        return hmac.new(self._key, text, hashlib.sha256).hexdigest()[:32]

    def _spend(self, nonce: str, count: int, *, asker: Asker, now: Instant) -> Proof:
        match = _NONCE.fullmatch(nonce)
        if match is None:
            return Proof.STALE
        made_ms = int(match[1], 16)
        signature = self._sign(match[1] + match[2], asker.realm, asker.host)
        if not hmac.compare_digest(signature, match[3]):
            return Proof.STALE
        if match[2].startswith(self._mark) and made_ms < self._since_ms:
            return Proof.STALE
        age_s = now - made_ms / 1000
        if age_s > self._lifetime_s or made_ms <= self._floor_ms:
            return Proof.STALE
        return Proof.RIGHT if self._count(nonce, count, now=now) else Proof.STALE

    def _count(self, nonce: str, count: int, *, now: Instant) -> bool:
        highest, seen = self._counts.get(nonce, (0, 0))
        if count > highest:
            shift = count - highest
            seen = ((seen << shift) | 1) & ((1 << _WINDOW) - 1) if shift < _WINDOW else 1
            highest = count
        else:
            bit = 1 << (highest - count)
            if count == 0 or highest - count >= _WINDOW or seen & bit:
                return False
            seen |= bit
        self._counts[nonce] = (highest, seen)
        self._prune(now)
        return True

    def _prune(self, now: Instant) -> None:
        while self._counts:
            made_ms = int(next(iter(self._counts))[:12], 16)
            if len(self._counts) > self._memory:
                self._floor_ms = max(self._floor_ms, made_ms)
            elif now - made_ms / 1000 <= self._lifetime_s:
                return
            self._counts.popitem(last=False)
