"""Values in memory that the parts of one process have in common for a time."""

from ..ports import Clock


class SharedInMemory:
    """`ports.SharedValues`' part of `memory.MemoryStore`."""

    def __init__(self, clock: Clock) -> None:
        self._shared_clock = clock
        self._shared: dict[str, tuple[bytes, float]] = {}

    async def share(
        self, name: str, value: bytes, *, ttl_s: float, replacing: bytes | None = None
    ) -> bytes:
        """See `ports.SharedValues.share`."""
        now = self._shared_clock.now()
        kept, until = self._shared.get(name, (b"", now))
        if until > now and kept != replacing:
            return kept
        self._shared[name] = (value, now + ttl_s)
        return value
