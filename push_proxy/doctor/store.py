"""The store: Redis, or the embedded Valkey of a service that may be running."""

import os
import shutil
from pathlib import Path

from ..errors import ConfigurationError
from ..store import keys
from ..store.embedded import SOCKET, answers
from ..store.redis import RedisStore
from ..store.redis_client import RedisClient
from ..store.secrets import KEY_FILE, KeyRing, load_key_ring
from .finding import Chart

_LITTLE, _TOO_LITTLE = 500 * 2**20, 50 * 2**20
_SEALED = "push-targets"
"""A secret that every store has from its first start on."""


async def examine(chart: Chart) -> None:
    """Reachable, writable, and what it holds opens with our keys. Nothing is written."""
    settings = chart.settings
    url = settings.redis.url
    ring = _ring(chart)
    if url is None:
        url = _embedded(chart, settings.node.data_dir)
    if url is None:
        return
    client = RedisClient(url)
    try:
        await client.connect()
        await client.ping()
        chart.ok(client.where, "answers and takes writes")
        if ring is not None:
            kept = await client.call("GET", keys.secret(_SEALED))
            _opens(chart, url, ring, None if kept is None else kept.decode())
    finally:
        await client.aclose()


def _embedded(chart: Chart, data_dir: Path) -> str | None:
    """Where the embedded Valkey answers; None when it does not run."""
    there = next(path for path in (data_dir, *data_dir.parents) if path.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        chart.fail(
            "node.data_dir",
            f"{there} cannot be written by this user (uid {os.getuid()}): change its owner, or run "
            "this as the service's user",
        )
        return None
    free = shutil.disk_usage(there).free
    text = f"{data_dir}: {free // 2**20} MiB free"
    if free < _TOO_LITTLE:
        chart.fail("node.data_dir", f"{text}: the store stops when the disk is full; make room")
    elif free < _LITTLE:
        chart.hint("node.data_dir", f"{text}: that is little; the store's file grows with use")
    else:
        chart.ok("node.data_dir", text)
    socket = data_dir.absolute() / SOCKET
    if not answers(socket):
        chart.ok("embedded Valkey", "not running: the service starts it")
        return None
    return f"unix://{socket}"


def _ring(chart: Chart) -> KeyRing | None:
    settings = chart.settings
    secrets = settings.secrets
    own = settings.node.data_dir / KEY_FILE
    if secrets.keys is None and secrets.key_file is None and not own.exists():
        chart.ok("key ring", f"none yet: the first start makes {own}")
        return None
    try:
        ring = load_key_ring(
            keys=secrets.keys, key_file=secrets.key_file, data_dir=settings.node.data_dir
        )
    except ConfigurationError as error:
        chart.fail("key ring", str(error))
        return None
    chart.ok("key ring", "can be read")
    return ring


def _opens(chart: Chart, url: str, ring: KeyRing, sealed: str | None) -> None:
    if sealed is None:
        chart.ok("secrets at rest", "none yet: the store is empty")
        return
    try:
        ring.unseal(sealed, keys.secret(_SEALED))
    except ConfigurationError as error:
        chart.fail("secrets at rest", str(error))
        return
    chart.ok("secrets at rest", "open with the key ring")
    if not ring.outdated(sealed):
        # Else a running service could not read what we would share.
        chart.shared = chart.store = shared = RedisStore(url, ring=ring, clock=chart.clock)
        chart.closing.append(shared.aclose)
