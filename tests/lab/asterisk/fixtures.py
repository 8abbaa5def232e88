"""Pytest fixtures for Asterisk; they skip where there is none."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from . import installation
from .options import AsteriskOptions
from .server import Asterisk

StartAsterisk = Callable[[AsteriskOptions], Awaitable[Asterisk]]


@pytest.fixture(scope="session")
def asterisk_root() -> Path:
    """The folder that Asterisk was unpacked to. Skips the test when there is none."""
    try:
        return installation.root()
    except installation.NotInstalled as reason:
        pytest.skip(str(reason))


@pytest.fixture
async def start_asterisk(asterisk_root: Path, workdir: Path) -> AsyncIterator[StartAsterisk]:
    """Starts an Asterisk of the test's own with the given options, on free ports."""
    running: list[Asterisk] = []

    async def start(options: AsteriskOptions) -> Asterisk:
        asterisk = Asterisk(workdir / f"asterisk{len(running)}", options)
        running.append(asterisk)
        await asterisk.start()
        return asterisk

    yield start
    for asterisk in running:
        await asterisk.stop()
