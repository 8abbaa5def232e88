"""An app hands in its log after a call that did not ring: the operator finds it by the call."""

from __future__ import annotations

import gzip
from typing import Any

import aiohttp

from .conftest import Extension, MakeExtension

LOG = b"09:30:00 push received\n09:30:01 no network\n" * 2_000


async def ask(
    ext: Extension, method: str, path: str, *, key: str, body: bytes = b"", **headers: str
) -> tuple[int, bytes, Any]:
    """Status, body and headers of what the service answers."""
    async with (
        aiohttp.ClientSession() as session,
        session.request(
            method,
            f"{ext.service.url}/v1/accounts/{ext.account}/devices/handset/logs{path}",
            data=body or None,
            headers={
                "Authorization": f"Bearer {key}",
                **{name.replace("_", "-"): value for name, value in headers.items()},
            },
        ) as answer,
    ):
        return answer.status, await answer.read(), answer.headers


async def test_the_log_of_a_call_that_did_not_ring(extension: MakeExtension) -> None:
    """Packed by the app, with its own key; the operator lists it with the call and reads it."""
    ext = await extension()
    path = f"/v1/accounts/{ext.account}/devices/handset"
    app = (await ext.service.expect("POST", f"{path}/key"))["device_key"]
    call = ext.call()
    (push,) = await ext.pushed()
    await call.cancel()
    packed = {"Content_Type": "text/plain", "Content_Encoding": "gzip"}
    status, _, _ = await ask(
        ext, "POST", f"?call_id={push.call_id}", key=app, body=gzip.compress(LOG), **packed
    )
    assert status == 201
    (listed,) = (await ext.service.expect("GET", f"{path}/logs"))["logs"]
    assert (listed["call_id"], listed["size"]) == (push.call_id, len(LOG))
    status, text, headers = await ask(ext, "GET", f"/{listed['id']}", key=ext.service.api_key)
    assert (status, text) == (200, LOG)
    assert headers["X-Content-Type-Options"] == "nosniff"

    status, problem, _ = await ask(ext, "POST", "", key=app, body=b"x" * 262_145, **packed)
    assert (status, b"larger than the 262144 bytes" in problem) == (413, True)
    bomb = gzip.compress(bytes(50_000_000))
    status, problem, _ = await ask(ext, "POST", "", key=app, body=bomb, **packed)
    assert (status, b"longer than 1048576 bytes" in problem) == (422, True)
    assert len((await ext.service.expect("GET", f"{path}/logs"))["logs"]) == 1
