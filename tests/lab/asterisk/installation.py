"""Where Asterisk was unpacked, and how a program of that folder is started."""

from __future__ import annotations

import subprocess
from functools import cache
from pathlib import Path

SCRIPT = Path(__file__).with_name("install")


class NotInstalled(Exception):
    """There is no Asterisk; the text is the reason for skipping."""


@cache
def root() -> Path:
    """The folder that `install` made. Raises NotInstalled."""
    asked = subprocess.run([str(SCRIPT), "--where"], capture_output=True, text=True, check=False)
    if asked.returncode:
        raise NotInstalled(asked.stdout.strip() or asked.stderr.strip())
    return Path(asked.stdout.strip())


def command(folder: Path, *arguments: str) -> list[str]:
    """Asterisk by the C library of its own folder: neither root nor chroot is needed."""
    loader = next(folder.glob("usr/lib/*/ld-linux*.so*"))
    program = folder / "usr/sbin/asterisk"
    return [str(loader), "--library-path", str(loader.parent), str(program), *arguments]


def modules(folder: Path) -> Path:
    """Where its modules are."""
    return next(folder.glob("usr/lib/*/asterisk/modules"))
