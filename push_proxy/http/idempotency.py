"""Idempotency-Key on POST: a repeated request gets the first one's answer.

Answers may hold a secret (a device key), so they are stored encrypted with a key made from
the caller's own: the store alone cannot read them.
"""

import hashlib
import json
import os
from collections.abc import Awaitable, Callable
from typing import Annotated, Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from fastapi import Header, Request, Response
from fastapi.responses import JSONResponse

from ..core.ids import TenantId
from ..errors import Conflict, InvalidInput
from ..ports import Store

TTL_S = 86_400.0
_NONCE_BYTES = 12

IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        pattern=r"^[\x21-\x7e]+$",
        min_length=1,
        max_length=255,
        description="Any unique text: a repeated request with the same key is not done again, "
        "it gets the first one's answer (kept for 24 hours).",
    ),
]


class Idempotency:
    """Runs a POST once per Idempotency-Key."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._running: set[str] = set()

    async def once(
        self,
        request: Request,
        key: str | None,
        *,
        tenant: TenantId,
        secret: str,
        work: Callable[[], Awaitable[tuple[int, dict[str, Any]]]],
    ) -> Response:
        """Do ``work`` (status and body of the answer), or repeat the answer kept.

        ``secret`` is what the caller proved itself with. Raises `errors.Conflict` while the
        first request is still at work, `errors.InvalidInput` when the same key comes with
        another body; what ``work`` raises is not kept, so that it can be tried again.
        """
        if key is None:
            status, content = await work()
            return JSONResponse(content, status)
        place = _digest(secret, request.method, request.url.path, key)
        fingerprint = hashlib.sha256(await request.body()).hexdigest()
        if place in self._running:
            raise Conflict("the first request with this Idempotency-Key is still at work; wait")
        self._running.add(place)
        try:
            kept = await self._store.idempotent(tenant, place, None, ttl_s=TTL_S)
            if kept is None:
                status, content = await work()
                sealed = _seal(
                    secret,
                    place,
                    {"fingerprint": fingerprint, "status": status, "content": content},
                )
                # Another node may have been quicker: then its answer is the one that counts.
                kept = await self._store.idempotent(tenant, place, sealed, ttl_s=TTL_S) or sealed
        finally:
            self._running.discard(place)
        answer = _unseal(secret, place, kept)
        if answer["fingerprint"] != fingerprint:
            raise InvalidInput(
                "this Idempotency-Key was used with another body; take a new key",
                field="Idempotency-Key",
            )
        return JSONResponse(answer["content"], answer["status"])


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogateescape")).hexdigest()


def _cipher(secret: str) -> AESGCM:
    return AESGCM(bytes.fromhex(_digest("idempotency", secret)))


def _seal(secret: str, place: str, answer: dict[str, Any]) -> bytes:
    nonce = os.urandom(_NONCE_BYTES)
    return nonce + _cipher(secret).encrypt(nonce, json.dumps(answer).encode(), place.encode())


def _unseal(secret: str, place: str, sealed: bytes) -> dict[str, Any]:
    nonce, text = sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:]
    try:
        answer: dict[str, Any] = json.loads(_cipher(secret).decrypt(nonce, text, place.encode()))
    except InvalidTag:
        raise Conflict("this Idempotency-Key is taken; use a new one") from None
    return answer
