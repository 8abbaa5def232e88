"""Simulated phones in processes of their own, followed by the events that they print."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import time
import urllib.error
import urllib.request
from typing import Any

from push_proxy.demo import phone_process

PUSH = {"v": "1", "type": "call", "call_id": "3f1c", "account": "a", "device": "d"}


class PhoneProcess(phone_process.PhoneProcess):
    """One `push-proxy phone` that can also be pushed by hand."""

    async def push(self, payload: Any = PUSH, *, key: bytes | None = None, at: int = 0) -> int:
        """POST a push, signed when `key` is given; the HTTP status."""
        body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        headers = {}
        if key is not None:
            stamp = str(at or int(time.time()))
            digest = hmac.new(key, f"{stamp}.".encode() + body, hashlib.sha256).hexdigest()
            headers["X-Push-Proxy-Signature"] = f"t={stamp},sha256={digest}"
        return await self.post("", body, headers)

    async def post(
        self, path: str, body: bytes = b"", headers: dict[str, str] | None = None
    ) -> int:
        request = urllib.request.Request(self.url + path, body, headers or {}, method="POST")
        return await asyncio.to_thread(_status_of, request)

    async def status(self) -> dict[str, Any]:
        def get() -> dict[str, Any]:
            with urllib.request.urlopen(self.url + "status", timeout=5) as answer:
                status: dict[str, Any] = json.load(answer)
                return status

        return await asyncio.to_thread(get)


def _status_of(request: urllib.request.Request) -> int:
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code
