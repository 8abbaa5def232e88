"""Children never outlive us, and ports are never handed out twice."""

import os
import signal
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest

from tests.lab.ports import free_block, free_port
from tests.lab.process import Process, ProcessError, poll_until

PARENT = """
import sys, time
from pathlib import Path
from push_proxy.demo.process import Process
child = Process(["sleep", "60"], name="child", log=Path(sys.argv[1]))
child.start()
print(child.pid, flush=True)
time.sleep(60)
"""


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()


async def test_output_and_end(workdir: Path) -> None:
    """Output is awaited with a deadline, and an early end is told with the log."""
    shell = Process(
        ["sh", "-c", "echo ready $NAME; sleep 0.2; echo broken; exit 3"],
        name="shell",
        log=workdir / "shell.log",
        env={"NAME": "lab"},
    )
    shell.start()
    assert (await shell.wait_for(r"ready (\w+)", within_s=5))[1] == "lab"
    with pytest.raises(ProcessError, match=r"(?s)status 3.*broken"):
        await shell.wait_for("never", within_s=5)
    assert await shell.wait_exit(within_s=5) == 3


async def test_stop_takes_the_whole_group(workdir: Path) -> None:
    """`stop` ends a child that ignores SIGTERM, and the grandchild as well."""
    stubborn = Process(
        ["sh", "-c", "trap '' TERM; sleep 60 & echo grandchild $!; wait; wait"],
        name="stubborn",
        log=workdir / "stubborn.log",
    )
    stubborn.start()
    grandchild = int((await stubborn.wait_for(r"grandchild (\d+)", within_s=5))[1])
    await stubborn.stop(within_s=0.1)
    assert await poll_until(lambda: not alive(grandchild), within_s=5)
    assert stubborn.returncode == -signal.SIGKILL


async def test_children_die_with_a_killed_parent(workdir: Path) -> None:
    """SIGKILL to the parent ends its children: the kernel's parent-death signal."""
    parent = Process(
        [sys.executable, "-c", PARENT, str(workdir / "child.log")],
        name="parent",
        log=workdir / "parent.log",
    )
    parent.start()
    child = int((await parent.wait_for(r"^(\d+)$", within_s=10))[1])
    assert alive(child)
    os.kill(parent.pid, signal.SIGKILL)
    assert await poll_until(lambda: not alive(child), within_s=5)


def test_missing_program(workdir: Path) -> None:
    """An absent program is named, with what to do."""
    with pytest.raises(ProcessError, match=r"no-such-program.*\./dev setup"):
        Process(["no-such-program"], name="none", log=workdir / "none.log").start()


def take_ports(count: int) -> list[int]:
    return [free_port() for _ in range(count)]


def test_ports_are_unique_across_processes() -> None:
    """Processes side by side never get the same port, though none binds it."""
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        ports = [port for taken in pool.map(take_ports, [30, 30]) for port in taken]
    assert len(set(ports)) == 60
    assert all(port % 2 == 0 for port in (free_block(3), free_block(4)))
