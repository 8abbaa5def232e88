"""A child process that is stopped for sure, with its output in a file.

Each child leads a process group of its own and dies with us: by `stop`, at our exit,
and by the kernel's parent-death signal when we are killed.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import os
import re
import shutil
import signal
import subprocess
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from ..errors import PushProxyError

POLL_S = 0.01
ASK_GROUP_AFTER_S = 0.3
LOG_TAIL_CHARACTERS = 4000


class ProcessError(PushProxyError):
    """A child did not start, died early or stayed silent; the text ends with its output."""


async def poll_until(condition: Callable[[], bool], *, within_s: float) -> bool:
    """Ask `condition` every 10 ms; True as soon as it holds, False after `within_s`."""
    deadline = time.monotonic() + within_s
    while not condition():
        if time.monotonic() >= deadline:
            return False
        await asyncio.sleep(POLL_S)
    return True


class Process:
    """One child process; `log` receives both its output streams."""

    started: ClassVar[weakref.WeakSet[Process]] = weakref.WeakSet()
    """Every child that was ever started and is still known, for whoever shows logs of a failure."""

    def __init__(
        self,
        argv: Sequence[str],
        *,
        name: str,
        log: Path,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        stop_signal: signal.Signals = signal.SIGTERM,
    ) -> None:
        self.argv = list(argv)
        self.name = name
        self.log = log
        self._env = dict(os.environ, **(env or {}))
        self._cwd = cwd
        self._stop_signal = stop_signal
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Its process id. Raises ProcessError before `start`."""
        if self._child is None:
            raise ProcessError(f"{self.name} was never started")
        return self._child.pid

    @property
    def returncode(self) -> int | None:
        """Its exit status, negative for a signal; None while it runs or before `start`."""
        return None if self._child is None else self._child.poll()

    @property
    def running(self) -> bool:
        """Whether the child runs at this moment."""
        return self._child is not None and self._child.poll() is None

    def start(self) -> None:
        """Start the child; its output is appended to `log`. Raises ProcessError."""
        if self.running:
            raise ProcessError(f"{self.name} runs already (pid {self.pid})")
        program = shutil.which(self.argv[0], path=self._env.get("PATH"))
        if program is None:
            raise ProcessError(f"{self.argv[0]} is not installed; run ./dev setup")
        # setpriv, not preexec_fn: Python code between fork and exec can deadlock beside threads.
        die_with_us = ["setpriv", "--pdeathsig", self._stop_signal.name.removeprefix("SIG"), "--"]
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as output:
            self._child = subprocess.Popen(
                [*die_with_us, program, *self.argv[1:]],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=self._env,
                cwd=self._cwd,
                start_new_session=True,
            )
        Process.started.add(self)
        _running.add(self)

    def output(self, *, since: int = 0) -> str:
        """What it has written so far, from byte `since` of the log."""
        if not self.log.exists():
            return ""
        with self.log.open("rb") as file:
            file.seek(since)
            return file.read().decode("utf-8", "replace")

    def output_size(self) -> int:
        """Bytes written so far: a mark for `since`."""
        return self.log.stat().st_size if self.log.exists() else 0

    async def wait_for(self, pattern: str, *, within_s: float, since: int = 0) -> re.Match[str]:
        """The first match of `pattern` in its output.

        Raises ProcessError when it ends or `within_s` passes first.
        """
        found: list[re.Match[str]] = []

        def seen() -> bool:
            ended = not self.running
            match = re.search(pattern, self.output(since=since), re.MULTILINE)
            if match is not None:
                found.append(match)
            return bool(found) or ended

        if not await poll_until(seen, within_s=within_s):
            raise self.failure(f"wrote nothing like {pattern!r} within {within_s} s")
        if not found:
            raise self.failure(f"ended with status {self.returncode} before {pattern!r}")
        return found[0]

    async def wait_exit(self, *, within_s: float) -> int:
        """Its exit status. Raises ProcessError when it still runs after `within_s`."""
        await poll_until(lambda: not self.running, within_s=within_s)
        status = self.returncode
        if status is None:
            raise self.failure(f"still runs after {within_s} s")
        return status

    async def stop(self, *, within_s: float = 3.0) -> None:
        """Ask it to end, wait up to `within_s`, then SIGKILL what is left of its group. Idempotent.

        The leader is asked first and reaps its children. Who has not ended after 0.3 s is asked
        by way of the group: a Kamailio worker younger than 0.2 s misses its master's signal.
        """
        deadline = time.monotonic() + within_s
        if self._child is not None and self.running:
            self._child.send_signal(self._stop_signal)
            await poll_until(lambda: not self.running, within_s=min(ASK_GROUP_AFTER_S, within_s))
        if self.running:
            self._signal_group(self._stop_signal)
            await poll_until(lambda: not self.running, within_s=deadline - time.monotonic())
        self.kill()

    def kill(self) -> None:
        """SIGKILL to the whole group, children that outlived their parent included. Idempotent."""
        if self._child is None or self not in _running:
            return
        self._signal_group(signal.SIGKILL)
        self._child.wait()
        _running.discard(self)

    def failure(self, what: str) -> ProcessError:
        """A ProcessError that says `what` and ends with the last of its output."""
        tail = self.output()[-LOG_TAIL_CHARACTERS:]
        return ProcessError(f"{self.name} {what}\n--- {self.log}\n{tail}")

    def _signal_group(self, number: signal.Signals) -> None:
        # No group any more: its last member was reaped already.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, number)


_running: set[Process] = set()


@atexit.register
def _kill_all() -> None:
    for process in list(_running):
        process.kill()
