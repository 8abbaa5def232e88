"""The embedded Valkey: durable, alone on its directory, never left behind."""

import asyncio
import errno
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from redis.asyncio import Redis

from push_proxy.errors import ConfigurationError, StoreUnavailable
from push_proxy.store.embedded import EmbeddedValkey
from push_proxy.store.orphans import DataDirectory
from push_proxy.store.redis import RedisStore

from .conftest import RING, HandClock, alive
from .samples import ALICE, account

# A service that starts the embedded Valkey, keeps one account, says its pid, and waits.
SERVICE = """
import asyncio, sys
from pathlib import Path
from push_proxy.store.embedded import EmbeddedValkey
from push_proxy.store.redis import RedisStore
from tests.contract.conftest import RING, HandClock
from tests.contract.samples import account

async def main():
    server = EmbeddedValkey(Path(sys.argv[1]))
    await server.start()
    store = RedisStore(server.url, ring=RING, clock=HandClock())
    await store.open()
    await store.put_account(account(), expected_version=None)
    print(server.pid, flush=True)
    await asyncio.sleep(60)

asyncio.run(main())
"""


async def until(condition: Callable[[], bool], within_s: float = 15.0) -> None:
    end = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        await asyncio.sleep(0.02)


def run_service(folder: Path, *, path: str | None = None) -> tuple["subprocess.Popen[str]", int]:
    """A service in a process of its own, and its Valkey's pid."""
    process = subprocess.Popen(
        [sys.executable, "-c", SERVICE, str(folder)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
        env={**os.environ, **({} if path is None else {"PATH": path})},
    )
    assert process.stdout is not None
    return process, int(process.stdout.readline())


def end(process: "subprocess.Popen[str]") -> None:
    process.kill()
    process.wait()
    assert process.stdout is not None
    process.stdout.close()


async def stored(server: EmbeddedValkey) -> object:
    store = RedisStore(server.url, ring=RING, clock=HandClock())
    await store.open()
    found = await store.get_account(ALICE)
    await store.aclose()
    return found


async def test_stop_leaves_nothing_running(folder: Path) -> None:
    """After `stop` the process is gone and another may use the directory."""
    server = EmbeddedValkey(folder)
    await server.start()
    pid = server.pid
    assert pid is not None
    await server.stop()
    assert not alive(pid)
    await server.start()
    await server.stop()


def mode(url: str) -> int:
    return Path(url.removeprefix("unix://")).stat().st_mode


async def test_no_tcp_port(valkey: EmbeddedValkey) -> None:
    """It can be reached by its unix socket alone, and only by its owner."""
    async with Redis.from_url(valkey.url) as client:
        assert (await client.config_get("port")) == {"port": "0"}
    assert mode(valkey.url) & 0o077 == 0


@pytest.mark.skipif(shutil.which("setpriv") is None, reason="no setpriv (util-linux)")
async def test_dies_with_a_killed_service(folder: Path) -> None:
    """Killing the service ends its Valkey too, with all data kept."""
    process, pid = await asyncio.to_thread(run_service, folder)
    end(process)
    await until(lambda: not alive(pid))
    server = EmbeddedValkey(folder)
    await server.start()
    assert await stored(server) == account()
    await server.stop()


async def test_orphan_is_stopped_first(folder: Path) -> None:
    """Where Valkey outlives a killed service, the next start stops it and loses nothing."""
    process, pid = await asyncio.to_thread(lambda: run_service(folder, path="/nowhere"))
    end(process)
    assert alive(pid)
    server = EmbeddedValkey(folder)
    await server.start()
    assert not alive(pid)
    assert await stored(server) == account()
    await server.stop()


async def test_stuck_orphan_is_killed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An orphan that does not react to SIGTERM is killed."""
    monkeypatch.setattr("push_proxy.store.orphans._STOP_S", 0.3)
    process, pid = await asyncio.to_thread(lambda: run_service(folder, path="/nowhere"))
    end(process)
    os.kill(pid, signal.SIGSTOP)
    server = EmbeddedValkey(folder)
    await server.start()
    assert not alive(pid)
    await server.stop()


async def test_two_services_on_one_directory(folder: Path, valkey: EmbeddedValkey) -> None:
    """A second service on the same directory is refused, told who has it, and harms nothing."""
    second = EmbeddedValkey(folder)
    with pytest.raises(ConfigurationError, match=f"in use by another.*{os.getpid()}"):
        await second.start()
    await second.stop()
    assert await stored(valkey) is None


async def test_two_starts_at_once(folder: Path) -> None:
    """Of several processes that start on one directory together, one wins."""
    servers = [EmbeddedValkey(folder) for _ in range(4)]
    tries = await asyncio.gather(*(s.start() for s in servers), return_exceptions=True)
    assert sorted(type(t).__name__ for t in tries) == ["ConfigurationError"] * 3 + ["NoneType"]
    for server in servers:
        await server.stop()


async def test_killed_valkey_is_started_again(valkey: EmbeddedValkey) -> None:
    """When Valkey itself is killed it comes back by itself, with all that is in its file.

    What it took a moment ago may not be: while a flush of the file is under way, Valkey puts
    its writes off for up to two seconds, but answers.
    """
    store = RedisStore(valkey.url, ring=RING, clock=HandClock())
    await store.open()
    await store.put_account(account(), expected_version=0)
    async with Redis.from_url(valkey.url) as client:
        assert await client.execute_command("WAITAOF", 1, 0, 10_000) == [1, 0]
    first = valkey.pid
    assert first is not None
    os.kill(first, signal.SIGKILL)
    await until(lambda: not alive(first))
    with pytest.raises(StoreUnavailable):
        await store.get_account(ALICE)
    await until(lambda: valkey.pid not in {first, None} and answers(valkey))
    assert await store.get_account(ALICE) == account()
    await store.aclose()


def answers(server: EmbeddedValkey) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(server.url.removeprefix("unix://"))
            probe.sendall(b"PING\r\n")
            return probe.recv(16).startswith(b"+PONG")
        except OSError:
            return False


async def test_loop_goes_on_while_valkey_is_silent(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A start that waits for the server's answer leaves the event loop to the calls.

    The answer comes from this very loop: it could not, if the wait held it.
    """
    program = folder / "valkey-server"
    program.write_text("#!/bin/sh\nexec sleep 60\n")
    program.chmod(0o700)
    monkeypatch.setattr("push_proxy.store.embedded.get_binary_path", lambda: program)

    async def pong(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert await reader.readline() == b"PING\r\n"
        writer.write(b"+PONG\r\n")
        writer.close()

    async with await asyncio.start_unix_server(pong, folder / "valkey.sock"):
        server = EmbeddedValkey(folder, start_timeout_s=5)
        await server.start()
        await server.stop()


async def test_unusable_directory(folder: Path) -> None:
    """A directory that cannot be made, or is too long, is named with what to do."""
    (folder / "file").write_text("")
    with pytest.raises(ConfigurationError, match=r"node\.data_dir .*file.*cannot be used"):
        await EmbeddedValkey(folder / "file").start()
    with pytest.raises(ConfigurationError, match="too long"):
        await EmbeddedValkey(folder / ("x" * 100)).start()


async def test_broken_file_is_told(folder: Path) -> None:
    """A Valkey that refuses its file is reported with its own words, and the lock is free."""
    aof = folder / "appendonlydir"
    aof.mkdir()
    (aof / "appendonly.aof.manifest").write_text("nonsense\n")
    server = EmbeddedValkey(folder)
    with pytest.raises(StoreUnavailable, match=r"did not start.*(?s:.*)manifest"):
        await server.start()
    shutil.rmtree(aof)
    await server.start()
    await server.stop()


async def test_a_full_disk_at_the_start_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a fault of `node.data_dir`, not by a stack trace; the next start may use the directory."""

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    directory = DataDirectory(tmp_path / "data")
    with monkeypatch.context() as disk:
        disk.setattr(os, "pwrite", full)
        with pytest.raises(ConfigurationError, match=r"node\.data_dir .*No space left"):
            await directory.take()
    await directory.take()
    directory.release()
