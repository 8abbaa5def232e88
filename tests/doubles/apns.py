"""A strict double of APNs: HTTP/2 over TLS, provider tokens, topics, tokens, errors on demand.

    async with ApnsDouble(directory) as apns:
        phone = apns.device(bundle="com.example.phone")
        apns.next(error("TooManyRequests"))
        ...  # push to phone.token at apns.base_url with apns.key_file
        [request] = await apns.wait(1)

`python -m tests.doubles.apns` runs it as a process (`apns_program`).
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self

from tests.lab.certificates import Authority
from tests.lab.process import poll_until

from .apns_desk import ApnsDesk
from .apns_listener import ApnsListener
from .apns_play import (
    BY_THE_RULES,
    Goaway,
    Play,
    drop,
    empty,
    error,
    going_away,
    held,
    reset,
    silence,
    slow,
    split,
    unavailable_and_away,
)
from .apns_reasons import STATUS
from .apns_registry import BUNDLE, TEAM
from .apns_world import (
    ENVIRONMENTS,
    PRODUCTION,
    SANDBOX,
    ApnsDevice,
    Delivery,
    ProviderKey,
    Request,
)
from .h2_line import H2Line

__all__ = [
    "BUNDLE",
    "BY_THE_RULES",
    "PRODUCTION",
    "SANDBOX",
    "STATUS",
    "TEAM",
    "ApnsDevice",
    "ApnsDouble",
    "Delivery",
    "Goaway",
    "Play",
    "ProviderKey",
    "Request",
    "drop",
    "empty",
    "error",
    "going_away",
    "held",
    "reset",
    "silence",
    "slow",
    "split",
    "unavailable_and_away",
]


class ApnsDouble(ApnsDesk):
    """APNs on two ports of 127.0.0.1. Every request and every delivery is recorded."""

    def __init__(
        self,
        directory: Path,
        *,
        authority: Authority | None = None,
        streams_before_token: int = 1,
        **rules: Any,
    ) -> None:
        """`rules`: `streams`, `token_life_s`, `token_update_s`, `one_token_per_connection`."""
        super().__init__(directory, authority=authority, **rules)
        self.streams_before_token = streams_before_token
        tls = self.authority.issue("127.0.0.1", "localhost").server_context()
        tls.set_alpn_protocols(["h2"])
        self._listeners = {name: ApnsListener(name, tls, self._line) for name in ENVIRONMENTS}

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Listen on two free ports."""
        for listener in self._listeners.values():
            await listener.listen("open")

    async def stop(self) -> None:
        """Close everything."""
        for listener in self._listeners.values():
            await listener.close()
        for line in self.open_lines:
            line.drop()
        for task in tuple(self._work):
            task.cancel()
        await asyncio.gather(*self._work, return_exceptions=True)
        await poll_until(lambda: not self.open_lines, within_s=5)

    # ---- where it is ----

    @property
    def production(self) -> ApnsListener:
        """As api.push.apple.com."""
        return self._listeners[PRODUCTION]

    @property
    def sandbox(self) -> ApnsListener:
        """As api.development.push.apple.com."""
        return self._listeners[SANDBOX]

    @property
    def base_url(self) -> str:
        """Of production."""
        return self.production.base_url

    # ---- misbehaving ----

    def go_away(
        self, reason: str = "Shutdown", *, close: bool = False, last_stream: int | None = None
    ) -> int:
        """GOAWAY on every open connection; how many there were.

        Requests up to `last_stream` (default: all that were begun) are answered still.
        """
        lines = [line for line in self.open_lines if not line.going_away]
        for line in lines:
            self._go_away(line, Goaway(reason=reason, close=close), last_stream=last_stream)
        return len(lines)

    def drop_connections(self) -> None:
        """Break every connection."""
        for line in self.open_lines:
            line.drop()

    def freeze_connections(self) -> None:
        """No open connection hears anything any more; new ones work."""
        for line in self.open_lines:
            line.deaf = True

    # ---- what was seen ----

    @property
    def connections(self) -> int:
        """How many were ever made (with a good handshake)."""
        return len(self.lines)

    @property
    def open_lines(self) -> list[H2Line]:
        """Connections that are open now."""
        return [line for line in self.lines if line.open]

    @property
    def tokens_seen(self) -> list[str]:
        """Distinct provider tokens with a good signature, in order."""
        return self._provider.seen

    @property
    def pings(self) -> int:
        """PING frames received, on all connections."""
        return sum(line.pings for line in self.lines)

    @property
    def faults(self) -> list[str]:
        """What clients did that HTTP/2 or APNs forbids on the level of connections."""
        return [
            f"connection {line.number}: {fault}" for line in self.lines for fault in line.faults
        ]

    async def wait(
        self,
        count: int = 1,
        *,
        within: float = 5.0,
        where: Callable[[Request], bool] = lambda _: True,
    ) -> list[Request]:
        """All requests (that fit) as soon as there are `count`. Raises AssertionError."""

        def fitting() -> list[Request]:
            return [request for request in self.requests if where(request)]

        if not await poll_until(lambda: len(fitting()) >= count, within_s=within):
            raise AssertionError(f"wanted {count} requests in {within} s: {self.requests}")
        return fitting()

    async def wait_delivered(self, count: int = 1, *, within: float = 5.0) -> list[Delivery]:
        """All deliveries as soon as there are `count`. Raises AssertionError."""
        if not await poll_until(lambda: len(self.delivered) >= count, within_s=within):
            raise AssertionError(
                f"wanted {count} deliveries in {within} s, had {len(self.delivered)}: "
                f"{self.requests}"
            )
        return self.delivered

    def _line(self, environment: str) -> H2Line:
        return H2Line(self, allowed=self.streams_before_token, environment=environment)


def _main(argv: Sequence[str] | None = None) -> int:
    from .apns_program import main

    return main(argv)


if __name__ == "__main__":
    sys.exit(_main())
