"""Pytest fixtures of the push platforms' doubles."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from .apns import ApnsDouble


@pytest.fixture
async def apns(workdir: Path) -> AsyncIterator[ApnsDouble]:
    """APNs with default rules, that knows no app and no device yet."""
    async with ApnsDouble(workdir / "apns") as double:
        yield double
