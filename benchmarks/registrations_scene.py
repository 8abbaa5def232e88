"""Many accounts, the service that registers them, and a Kamailio that takes them.

The service runs as in production: native stack, embedded Valkey with its append-only file,
accounts by ``POST /v1/accounts:import``, digest on each REGISTER.
"""

import asyncio
import json
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp

from push_proxy.demo.kamailio import Kamailio
from push_proxy.demo.kamailio_options import KamailioOptions
from push_proxy.demo.ports import free_port
from push_proxy.demo.service import Service, ServiceOptions

from .process_cost import Cost, children, cost_of
from .registrar_log import Seen

REALM = "bench.test"
PBX = "bench"
NONCE_S = 30
"""Shorter than any refresh: each one is challenged anew, as by most PBXs."""
_POLL_S = 0.1
_MARK_ROWS = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """One import, as its client saw it."""

    summary: Mapping[str, Any]
    seconds: float
    first_result_s: float
    marks: tuple[float, ...]
    """When each hundredth result had come, seconds from the start."""


class Scene:
    """Service and registrar; accounts are called u1, u2 and so on."""

    def __init__(
        self,
        directory: Path,
        *,
        rate: float,
        webhook_url: str | None = None,
        pbx: Mapping[str, Any] | None = None,
        max_expires_s: int = 3600,
    ) -> None:
        """``rate``: registrations per second; ``pbx``: further keys of its configuration."""
        self.directory = directory
        self.kamailio = Kamailio(
            directory / "pbx",
            free_port(),
            KamailioOptions(
                realm=REALM,
                nonce_s=NONCE_S,
                max_expires_s=max_expires_s,
                shared_memory_mib=512,
                hash_bits=14,
            ),
        )
        section = {
            "registrar": f"sip:{self.kamailio.domain}",
            "registrations_per_second": rate,
            "expires_s": 3600,
            **(pbx or {}),
        }
        self.service = Service(
            directory / "service",
            ServiceOptions(
                pbxes={PBX: section},
                webhook_url=webhook_url,
                webhook_key=b"benchmark key" if webhook_url else None,
                wake={"fresh_s": 0},
                extra={"http": {"requests_per_second": 100_000}},
            ),
        )

    async def __aenter__(self) -> Self:
        await self.kamailio.start()
        await self.service.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is not None:
            print(self.service.process.failure("logged at the end:"))
        await self.service.stop()
        await self.kamailio.stop()

    def row(self, number: int, **fields: Any) -> dict[str, Any]:
        """An account as an import takes it."""
        user = f"u{number}"
        return {
            "account": user,
            "aor": f"sip:{user}@{REALM}",
            "pbx": PBX,
            "password": self.kamailio.password(user),
            "register": "always",
            **fields,
        }

    async def import_rows(self, rows: Iterable[Mapping[str, Any]]) -> Imported:
        """One import of them all; its results are read as they come."""
        body = b"".join(json.dumps(row).encode() + b"\n" for row in rows)
        headers = {
            "Authorization": f"Bearer {self.service.api_key}",
            "Content-Type": "application/x-ndjson",
        }
        url = f"{self.service.url}/v1/accounts:import"
        line = b""
        marks: list[float] = []
        count, first = 0, 0.0
        began = time.perf_counter()
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=None)) as session,
            session.post(url, data=body, headers=headers) as response,
        ):
            response.raise_for_status()
            async for result in response.content:
                line = result
                count += 1
                first = first or time.perf_counter() - began
                if count % _MARK_ROWS == 0:
                    marks.append(time.perf_counter() - began)
        return Imported(
            summary=json.loads(line),
            seconds=time.perf_counter() - began,
            first_result_s=first,
            marks=tuple(marks),
        )

    async def bound(self, count: int, *, within_s: float) -> list[tuple[float, int]]:
        """Wait until the registrar has so many contacts: how they grew, by seconds from now.

        Raises `TimeoutError` with the number that it had.
        """
        began = time.monotonic()
        curve: list[tuple[float, int]] = []
        while not curve or curve[-1][1] != count:
            if time.monotonic() - began > within_s:
                raise TimeoutError(f"{curve[-1][1]} of {count} registered within {within_s:g} s")
            await asyncio.sleep(_POLL_S)
            has = await self.kamailio.binding_count()
            curve.append((time.monotonic() - began, has))
        return curve

    def mark(self) -> int:
        """A place in the registrar's log, for `seen`."""
        return self.kamailio.process.output_size()

    def seen(self, since: int) -> Seen:
        """What the registrar saw from there on."""
        return Seen.read(self.kamailio.process.log, since=since)

    def service_cost(self) -> Cost:
        """Of the service's own process."""
        return cost_of(self.service.process.pid)

    def store_cost(self) -> Cost:
        """Of its Valkey."""
        (valkey,) = children(self.service.process.pid)
        return cost_of(valkey)
