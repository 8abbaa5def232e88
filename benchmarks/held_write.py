"""What the index of held INVITEs by node costs the write that a 100 waits for.

`./dev bench held_write [--writes 4000]`. The same INVITE is written to an embedded Valkey as a node
alone would write it and as one of several does, drawn for each; its release is not timed.
"""

import argparse
import asyncio
import os
import platform
import random
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import uvloop

from push_proxy.core.ids import AccountKey, CallId, Instant
from push_proxy.core.model import Address, HeldInvite
from push_proxy.runtime.clock import SystemClock
from push_proxy.store.embedded import EmbeddedValkey
from push_proxy.store.redis import RedisStore
from push_proxy.store.search import HistoryLimits
from push_proxy.store.secrets import KeyRing

ACCOUNTS = 600
INVITE = b"INVITE sip:101@pbx.example.com SIP/2.0\r\n".ljust(900, b"x")
PLACE = Address("127.0.0.1", 5060, "udp")


async def main(argv: Sequence[str] | None = None) -> None:
    """Write, release, and print a table."""
    parser = argparse.ArgumentParser(prog="./dev bench held_write", description=__doc__)
    parser.add_argument("--writes", type=int, default=4000, help="of both kinds together")
    options = parser.parse_args(argv)
    took: dict[str, list[float]] = {"": [], "proxy-1": []}
    with tempfile.TemporaryDirectory(prefix="pp-") as name:
        valkey = EmbeddedValkey(Path(name))
        await valkey.start()
        clock = SystemClock()
        ring = KeyRing({"bench": os.urandom(32)})
        store = RedisStore(valkey.url, ring=ring, clock=clock, history=HistoryLimits())
        await store.open()
        for number in range(options.writes):
            now = clock.now()
            held = HeldInvite(
                call=CallId(f"call-{number}"),
                account=AccountKey(f"bench/{number % ACCOUNTS}"),
                raw=INVITE,
                source=PLACE,
                local=PLACE,
                to_tag="bench",
                received_at=now,
                deadline=Instant(now + 60),
                node=random.choice(tuple(took)),
            )
            began = time.perf_counter()
            await store.hold_invite(held)
            took[held.node].append(time.perf_counter() - began)
            await store.release_invite(held.account, held.call, node=held.node)
            await asyncio.sleep(0.0005)  # as between two calls
        await store.aclose()
        await valkey.stop()
    busy = ", ".join(f"{average:.1f}" for average in os.getloadavg())
    print(f"machine: {platform.machine()}, {os.cpu_count()} cores, load average {busy}")
    print("write of a held INVITE   writes |   ms p50    p90    p99")
    for node, times in took.items():
        times.sort()
        cells = "".join(f"{times[int(len(times) * part)] * 1000:7.3f}" for part in (0.5, 0.9, 0.99))
        print(f"{'with its index by node' if node else 'alone':22s} {len(times):8d} |  {cells}")


if __name__ == "__main__":
    uvloop.run(main())
