"""Runs a command under what a systemd unit forbids, where no systemd is process 1.

    python -m tests.deploy.sandbox UNIT COMMAND [ARGUMENT …]

SystemCallFilter (libseccomp, with the sets of systemd itself), MemoryDenyWriteExecute (if the
kernel can: 6.3), NoNewPrivileges. What is forbidden fails as in the unit, with EPERM.
"""

from __future__ import annotations

import ctypes
import errno
import os
import subprocess
import sys
from pathlib import Path

ALLOW = 0x7FFF0000
FAIL_WITH_EPERM = 0x00050000 | errno.EPERM
PR_SET_NO_NEW_PRIVS = 38
PR_SET_MDWE = 65
REFUSE_EXEC_GAIN = 1


def directives(unit: Path, name: str) -> list[str]:
    """All values of a directive, in order."""
    lines = unit.read_text().splitlines()
    return [line.partition("=")[2] for line in lines if line.startswith(f"{name}=")]


def members(names: str) -> set[str]:
    """System calls, and those of sets like `@system-service`, by this machine's systemd."""
    sets = [name for name in names.split() if name.startswith("@")]
    found = set(names.split()) - set(sets)
    if not sets:
        return found
    done = subprocess.run(
        ["systemd-analyze", "syscall-filter", "--no-pager", *sets],
        capture_output=True,
        text=True,
        check=True,
    )
    for word in done.stdout.split("\n"):
        entry = word.strip()
        if entry.startswith("@") and word != entry:
            found |= members(entry)
        elif word != entry and entry and not entry.startswith("#"):
            found.add(entry)
    return found


def allowed(unit: Path) -> set[str]:
    """What the unit's SystemCallFilter leaves."""
    calls: set[str] = set()
    for value in directives(unit, "SystemCallFilter"):
        calls = calls - members(value[1:]) if value.startswith("~") else calls | members(value)
    return calls


def confine(calls: set[str]) -> None:
    """From now on this process and its children do nothing else."""
    libc = ctypes.CDLL(None, use_errno=True)
    # Missing before 6.3; systemd then does the same by system call filters.
    libc.prctl(PR_SET_MDWE, REFUSE_EXEC_GAIN, 0, 0, 0)
    assert libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
    seccomp = ctypes.CDLL("libseccomp.so.2")
    seccomp.seccomp_init.restype = ctypes.c_void_p
    context = ctypes.c_void_p(seccomp.seccomp_init(FAIL_WITH_EPERM))
    for name in calls:
        number = seccomp.seccomp_syscall_resolve_name(name.encode())
        # Below zero: not on this architecture.
        if number >= 0:
            assert seccomp.seccomp_rule_add(context, ALLOW, number, 0) == 0, name
    assert seccomp.seccomp_load(context) == 0


def main() -> None:
    """See the top of this file."""
    unit, *command = sys.argv[1:]
    confine(allowed(Path(unit)))
    os.execvp(command[0], command)  # noqa: S606 - nothing of ours stays between


if __name__ == "__main__":
    main()
