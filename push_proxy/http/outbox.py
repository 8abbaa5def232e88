"""What waits to be sent to a client that may be slow to read."""

import asyncio
from collections.abc import AsyncIterator


class Outbox:
    """Pieces in order, from one writer to one reader; memory is bounded."""

    def __init__(self, limit: int) -> None:
        """``limit``: bytes that may wait before the writer has to."""
        self._limit = limit
        self._waiting: list[bytes] = []
        self._size = 0
        self._closed = False
        self._changed = asyncio.Event()
        self._taken = asyncio.Event()

    async def put(self, piece: bytes) -> None:
        """Add one; waits while too much waits already."""
        while self._size > self._limit:
            self._taken.clear()
            await self._taken.wait()
        self._waiting.append(piece)
        self._size += len(piece)
        self._changed.set()

    def close(self) -> None:
        """Nothing more comes."""
        self._closed = True
        self._changed.set()

    async def pieces(self) -> AsyncIterator[bytes]:
        """All that is put, as soon as it is there, until it is closed."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            waiting, self._waiting, self._size = self._waiting, [], 0
            self._taken.set()
            if waiting:
                yield b"".join(waiting)
            elif self._closed:
                return
            if self._closed:
                self._changed.set()
