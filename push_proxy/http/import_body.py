"""The body of an import, row by row as it arrives: never all of it in memory."""

from collections.abc import AsyncIterator
from typing import NewType

from starlette.requests import ClientDisconnect
from starlette.types import Receive

Row = tuple[int, bytes | None]
"""Its line number from 1, and its text; None: longer than is taken."""
Batch = NewType("Batch", list[Row])


class Upload:
    """A request's body; afterwards it tells when the client has gone."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._whole = False

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body as it comes. Raises `starlette.requests.ClientDisconnect`."""
        while not self._whole:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ClientDisconnect
            self._whole = not message.get("more_body", False)
            yield message.get("body", b"")

    async def gone(self) -> None:
        """Return when the client has hung up; only for after the body's end."""
        while (await self._receive())["type"] != "http.disconnect":
            pass

    @property
    def whole(self) -> bool:
        """Nothing more comes: `gone` takes none of the body away."""
        return self._whole


async def batches(
    chunks: AsyncIterator[bytes], *, rows: int, row_bytes: int
) -> AsyncIterator[Batch]:
    """Rows in batches of at most ``rows``, as soon as they are complete; blank ones left out.

    Raises what ``chunks`` raises; a row that was cut off by that is no row.
    """
    number = 0
    rest: bytes | None = b""
    async for chunk in chunks:
        *lines, tail = chunk.split(b"\n")
        found: list[Row] = []
        for line in lines:
            number += 1
            _add(found, number, _longer(rest, line, row_bytes))
            rest = b""
        rest = _longer(rest, tail, row_bytes)
        for start in range(0, len(found), rows):
            yield Batch(found[start : start + rows])
    last: list[Row] = []
    _add(last, number + 1, rest)
    if last:
        yield Batch(last)


def _longer(rest: bytes | None, more: bytes, limit: int) -> bytes | None:
    """A row grown by what arrived; None once it is too long, so that it is not kept."""
    if rest is None or len(rest) + len(more) > limit:
        return None
    return rest + more


def _add(found: list[Row], number: int, text: bytes | None) -> None:
    if text is None or text.strip():
        found.append((number, text))
