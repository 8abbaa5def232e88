"""Redis as Debian ships it."""

import shutil
from pathlib import Path


def redis_server(directory: Path) -> str:
    """A program called ``redis-server``, in ``directory`` if need be.

    Debian's ``redis-tools`` holds the server as ``redis-check-rdb``: the name that it is called
    by decides what it does. Unlike the package ``redis-server`` it starts no daemon.
    """
    if found := shutil.which("redis-server"):
        return found
    program = shutil.which("redis-check-rdb")
    assert program, "no Redis here: apt-get install redis-tools"
    link = directory / "redis-server"
    link.symlink_to(program)
    return str(link)
