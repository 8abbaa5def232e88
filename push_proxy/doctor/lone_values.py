"""Shared values of nobody but this process: for a doctor without a store."""


class LoneValues:
    """`ports.SharedValues` in memory; they live as long as the examination."""

    def __init__(self) -> None:
        self._values: dict[str, bytes] = {}

    async def share(
        self,
        name: str,
        value: bytes,
        *,
        ttl_s: float,  # noqa: ARG002 - the port's
        replacing: bytes | None = None,
    ) -> bytes:
        """See `ports.SharedValues.share`."""
        kept = self._values.get(name)
        if kept is None or kept == replacing:
            self._values[name] = value
        return self._values[name]
