"""Who owns a data directory: one service at a time, and one Valkey at a time.

Two locks (``flock``), which the kernel drops with the last process that holds them:
``service.lock`` is ours, ``valkey.lock`` is inherited by the Valkey that we start. A Valkey
that outlived a killed service still holds the second one; it is stopped before another may
open the append-only file.
"""

import asyncio
import fcntl
import os
import signal
import time
from pathlib import Path

import structlog

from ..errors import ConfigurationError

_log = structlog.get_logger(__name__)
_SERVICE_LOCK = "service.lock"
_VALKEY_LOCK = "valkey.lock"
_STOP_S = 10.0
_KILL_S = 5.0


class DataDirectory:
    """Both locks of one data directory."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._service: int | None = None
        self._valkey: int | None = None

    async def take(self) -> None:
        """Lock the directory, stopping an orphaned Valkey first.

        Raises `errors.ConfigurationError` when another service is using it.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._service = _open(self.path / _SERVICE_LOCK)
            self._valkey = _open(self.path / _VALKEY_LOCK)
        except OSError as error:
            self.release()
            raise ConfigurationError(
                f"node.data_dir {self.path}: cannot be used: {error}"
            ) from None
        if not _lock(self._service):
            owner = _content(self._service)
            self.release()
            raise ConfigurationError(
                f"node.data_dir {self.path} is in use by another push-proxy (process {owner}): "
                "stop that one, or give this one a directory of its own"
            )
        try:
            _write(self._service, str(os.getpid()))
            await self._stop_orphan(self._valkey)
        except OSError as error:
            self.release()
            raise ConfigurationError(
                f"node.data_dir {self.path}: cannot be written: {error}"
            ) from None
        except BaseException:
            self.release()
            raise

    def hand_over(self) -> int:
        """The descriptor that a new Valkey inherits, and with it the second lock.

        A descriptor of its own: a lock belongs to one opening of the file, which ends with
        the last process that holds it.
        """
        self._close_valkey()
        self._valkey = _open(self.path / _VALKEY_LOCK)
        if not _lock(self._valkey):
            raise ConfigurationError(
                f"node.data_dir {self.path}: its Valkey is still running; stop process "
                f"{_content(self._valkey)}"
            )
        return self._valkey

    def started(self, pid: int) -> None:
        """Note who holds the second lock now; our own hold on it ends."""
        if self._valkey is not None:
            _write(self._valkey, str(pid))
        self._close_valkey()

    def release(self) -> None:
        """Unlock."""
        self._close_valkey()
        if self._service is not None:
            os.close(self._service)
            self._service = None

    def _close_valkey(self) -> None:
        if self._valkey is not None:
            os.close(self._valkey)
            self._valkey = None

    async def _stop_orphan(self, lock: int) -> None:
        if _lock(lock):
            return
        for number, patience_s in ((signal.SIGTERM, _STOP_S), (signal.SIGKILL, _KILL_S)):
            # Read each time: the process that holds the lock may not have been noted at first.
            self._signal(_content(lock), number)
            end = time.monotonic() + patience_s
            while time.monotonic() < end:
                if _lock(lock):
                    return
                await asyncio.sleep(0.02)
        raise ConfigurationError(
            f"node.data_dir {self.path}: the Valkey of an earlier run (process {_content(lock)}) "
            "cannot be stopped; stop it by hand"
        )

    def _signal(self, owner: str, number: signal.Signals) -> None:
        if not owner.isdigit() or not _works_in(int(owner), self.path):
            return
        _log.warning(
            "stopping the Valkey that an earlier run left behind",
            pid=int(owner),
            signal=number.name,
        )
        try:
            os.kill(int(owner), number)
        except ProcessLookupError:
            return


def _works_in(pid: int, path: Path) -> bool:
    """Whether the process is what the note says: process numbers are used again."""
    try:
        return Path(f"/proc/{pid}/cwd").resolve(strict=True) == path.resolve()
    except OSError:
        return False


def _open(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _content(descriptor: int) -> str:
    return os.pread(descriptor, 32, 0).decode(errors="replace").strip() or "unknown"


def _write(descriptor: int, text: str) -> None:
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, text.encode(), 0)
