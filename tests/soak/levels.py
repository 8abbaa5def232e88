"""How much the service has in its hands, and what of it should be back where it was."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from redis.asyncio import Redis

from benchmarks.process_cost import cost_of
from tests.lab.service import LabService

_SAMPLE = re.compile(r'^push_proxy_live\{kind="(\w+)"\} (\S+)$', re.MULTILINE)
_KEY = re.compile(r"^pp:(?:\{event:[^}]*\}:(\w+)|\{[^}]*\}:([\w-]+)|([\w-]+))")

_TASKS = 6
"""Of connections: HTTP's keep-alive, the store's pool, writers that begin with the first write."""
_DESCRIPTORS = 40
"""The store's connections (32 at most) and the push provider's idle ones."""
_POOLS, _POOLS_OF_STREAM = 8, 4

BACK_TO_ZERO = (
    "waiting_calls",
    "sip_transactions",
    "sip_branches",
    "sip_waiting",
    "sip_kept_acks",
    "ended_calls",
    "outgoing_calls",
    "call_records",
    "held_invites",
)
"""Nothing of these is there when no call is."""
LASTING = frozenset(
    {"account", "devices", "marks", "registration", "accounts", "tenants", "aor",
     "contact", "target", "api-keys", "secret", "shared", "mailbox", "life",
     "node", "nodes", "feed", "owner", "fence"}
)  # fmt: skip
"""Keys in Redis that come with accounts, devices and the service itself, not with calls."""
OF_PHONES = frozenset({"bindings", "wakes", "not-waking"})
"""At most one for each phone."""
OF_CALLS = frozenset(
    {"calls", "records", "missed", "missed-data", "missed-seen", "call", "sip-call",
     "recordings"}
)  # fmt: skip
"""Keys of the kept history: each of them ends by itself."""


@dataclass(slots=True)
class Levels:
    """At one moment."""

    counts: dict[str, int] = field(default_factory=dict)
    keys: Counter[str] = field(default_factory=Counter)
    endless: Counter[str] = field(default_factory=Counter)
    """Keys of the history without an end."""
    rss: int = 0
    private: int = 0
    descriptors: int = 0
    threads: int = 0

    @property
    def blocks(self) -> int:
        """Pieces of memory that Python has given out: exact, where RSS follows the peak."""
        return self.counts.get("python_blocks", 0)

    def text(self) -> str:
        """For people."""
        counts = ", ".join(f"{name} {count}" for name, count in sorted(self.counts.items()))
        return (
            f"RSS {self.rss / 2**20:.1f} MiB (private {self.private / 2**20:.1f}), "
            f"{self.descriptors} descriptors, {self.threads} threads; {counts}"
        )


async def levels_of(service: LabService, redis_url: str) -> Levels:
    """All of them now. Asking costs a connection, which is there at every reading alike."""
    text = str(await service.expect("GET", "/metrics"))
    counts = {kind: int(float(level)) for kind, level in _SAMPLE.findall(text)}
    counts["waiting_calls"] = int(await service.metric("push_proxy_waiting_calls"))
    found = Levels(counts=counts)
    await _read_keys(found, redis_url)
    process = Path(f"/proc/{service.process.pid}")
    cost = cost_of(service.process.pid)
    found.rss, found.private = cost.rss, cost.private
    found.descriptors = len(list((process / "fd").iterdir()))
    found.threads = len(list((process / "task").iterdir()))
    return found


async def quiet_levels_of(service: LabService, redis_url: str) -> Levels:
    """Before the first message came, as soon as the stack has counted itself."""
    while True:
        found = await levels_of(service, redis_url)
        if "sip_pools" in found.counts:
            return found
        await asyncio.sleep(0.1)


async def _read_keys(found: Levels, redis_url: str) -> None:
    client = Redis.from_url(redis_url, decode_responses=True)
    try:
        held = 0
        async for key in client.scan_iter(count=1000):
            kind = _kind(key)
            found.keys[kind] += 1
            if kind == "held":
                held += await client.hlen(key)
        found.counts["held_invites"] = held
        for kind in OF_CALLS & set(found.keys):
            async for key in client.scan_iter(match=_pattern(kind), count=1000):
                if _kind(key) == kind and await client.ttl(key) < 0:
                    found.endless[kind] += 1
    finally:
        await client.aclose()


def _pattern(kind: str) -> str:
    # Those of single calls are one each: a few of them are enough.
    return f"pp:{kind}:*0*" if kind == "call" else f"pp:*:{kind}*"


def _kind(key: str) -> str:
    match = _KEY.match(key)
    return next(filter(None, match.groups()), key) if match else key


def compare(
    before: Levels,
    after: Levels,
    *,
    quiet: Levels,
    calls: int,
    phones: int,
    allowance: int,
) -> list[str]:
    """What is not back where it was; empty: all is.

    ``quiet``: before the first message came; ``calls``: played in between; ``allowance``: bytes
    that RSS may have grown by.
    """
    faults = [
        f"{name}: {after.counts[name]} are left"
        for name in BACK_TO_ZERO
        if after.counts.get(name, 0) != 0
    ]
    streams = after.counts.get("sip_connections", 0)
    for name, allowed in (
        ("tasks", before.counts["tasks"] + _TASKS),
        ("sip_pools", quiet.counts["sip_pools"] + _POOLS + _POOLS_OF_STREAM * streams),
    ):
        if after.counts[name] > allowed:
            faults.append(f"{name}: {after.counts[name]} are left, {allowed} at most were expected")
    open_files = before.descriptors + _DESCRIPTORS + streams
    if after.descriptors > open_files:
        faults.append(f"descriptors: {after.descriptors}, not {open_files} at most")
    if after.rss > before.rss + allowance:
        faults.append(f"RSS: {before.rss / 2**20:.0f} MiB became {after.rss / 2**20:.0f}")
    faults += [
        f"keys {kind}: {before.keys[kind]} became {after.keys[kind]}"
        for kind in LASTING
        if after.keys[kind] > before.keys[kind]
    ]
    few = {f"keys {kind}": after.keys[kind] for kind in OF_PHONES}
    few["sip_connections"] = after.counts.get("sip_connections", 0)
    faults += [f"{what}: {n} for {phones} phones" for what, n in few.items() if n > phones]
    if unknown := set(after.keys) - LASTING - OF_CALLS - OF_PHONES - {"held"}:
        faults.append(f"keys of unknown kinds: {sorted(unknown)}")
    faults += [f"keys {kind}: {count} never end" for kind, count in after.endless.items()]
    new = {kind: after.keys[kind] - before.keys[kind] for kind in ("call", "sip-call")}
    faults += [f"keys {kind}: {count} of {calls}" for kind, count in new.items() if count > calls]
    return faults
