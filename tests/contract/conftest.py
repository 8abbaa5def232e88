"""The stores under contract: memory, our embedded Valkey, and Debian's Redis: alone, behind
sentinels, and as a cluster.
"""

import asyncio
import contextlib
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from push_proxy.core.ids import Instant
from push_proxy.store.embedded import EmbeddedValkey
from push_proxy.store.memory import MemoryStore
from push_proxy.store.redis import RedisStore
from push_proxy.store.search import HistoryLimits
from push_proxy.store.secrets import KeyRing
from tests.lab.process import Process
from tests.lab.redis_cluster import ClusterGroup
from tests.lab.redis_server import redis_server
from tests.lab.sentinel import SentinelGroup

RING = KeyRing({"test": b"k" * 32})
HISTORY = HistoryLimits(
    calls_per_account=5,
    keep_s=3600.0,
    missed_per_account=4,
    missed_keep_s=7200.0,
    app_logs_per_device=3,
    app_logs_keep_s=1800.0,
    messages_per_account=4,
    message_bytes_per_account=1000,
)

IN_MEMORY = ("--appendonly", "no")


class HandClock:
    """Starts at the real time, since the server has a clock of its own; moves by hand."""

    def __init__(self) -> None:
        self.start = self.at = float(int(time.time()))

    def now(self) -> Instant:
        return Instant(self.at)


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def folder() -> Iterator[Path]:
    """A short path: unix sockets take 107 bytes."""
    path = Path(tempfile.mkdtemp(prefix="pp-"))
    yield path
    shutil.rmtree(path)


@contextlib.contextmanager
def debian_redis(folder: Path) -> Iterator[str]:
    """Redis as Debian ships it."""
    path = folder / "redis.sock"
    options = ["--port", "0", "--unixsocket", str(path), "--dir", str(folder), "--save", ""]
    process = subprocess.Popen([redis_server(folder), *options], stdout=subprocess.DEVNULL)
    try:
        end = time.monotonic() + 10
        while True:
            with socket.socket(socket.AF_UNIX) as probe, contextlib.suppress(OSError):
                probe.connect(str(path))
                break
            assert process.poll() is None, "Redis does not start"
            assert time.monotonic() < end, "Redis does not answer"
            time.sleep(0.01)
        yield f"unix://{path}"
    finally:
        process.kill()
        process.wait()


@pytest.fixture
async def valkey(folder: Path) -> AsyncIterator[EmbeddedValkey]:
    server = EmbeddedValkey(folder)
    await server.start()
    yield server
    await server.stop()


@contextlib.contextmanager
def running(group: SentinelGroup | ClusterGroup) -> Iterator[None]:
    """For many event loops: the processes are nobody's in particular."""
    try:
        asyncio.run(group.start())
        yield
    finally:
        asyncio.run(group.aclose())
        # Its logs are nobody's business when a later test fails.
        for process in [known for known in Process.started if not known.running]:
            Process.started.discard(process)


@pytest.fixture(scope="session")
def sentinel_group() -> Iterator[SentinelGroup]:
    """Shared by all tests of this run."""
    with tempfile.TemporaryDirectory(prefix="pp-") as directory:
        group = SentinelGroup(Path(directory), *IN_MEMORY)
        with running(group):
            yield group


@pytest.fixture(scope="session")
def cluster_group() -> Iterator[ClusterGroup]:
    """Shared by all tests of this run."""
    with tempfile.TemporaryDirectory(prefix="pp-") as directory:
        # A master that a test has frozen, or that is starved of time, is not given up at once.
        group = ClusterGroup(Path(directory), *IN_MEMORY, "--cluster-node-timeout", "15000")
        with running(group):
            yield group


@pytest.fixture(params=["memory", "valkey", "redis", "sentinel", "cluster"])
def kind(request: pytest.FixtureRequest) -> str:
    """Each kind of store."""
    return str(request.param)


@pytest.fixture
def group(kind: str, request: pytest.FixtureRequest) -> SentinelGroup | ClusterGroup | None:
    """The servers of that kind, if there are several."""
    if kind not in {"sentinel", "cluster"}:
        return None
    found: SentinelGroup | ClusterGroup = request.getfixturevalue(f"{kind}_group")
    return found


@pytest.fixture
async def store(
    kind: str, group: SentinelGroup | ClusterGroup | None, clock: HandClock, folder: Path
) -> AsyncIterator[MemoryStore | RedisStore]:
    """An empty store of each kind."""
    if kind == "memory":
        yield MemoryStore(clock, history=HISTORY)
        return
    async with contextlib.AsyncExitStack() as stack:
        if group is not None:
            await group.flush()
            url = group.url
        elif kind == "valkey":
            server = EmbeddedValkey(folder)
            await server.start()
            stack.push_async_callback(server.stop)
            url = server.url
        else:
            url = stack.enter_context(debian_redis(folder))
        made = RedisStore(url, ring=RING, clock=clock, history=HISTORY)
        await made.open()
        stack.push_async_callback(made.aclose)
        yield made


def alive(pid: int) -> bool:
    """Whether a process runs (a zombie does not)."""
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False


__all__ = ["HISTORY", "RING", "HandClock", "alive", "debian_redis"]
