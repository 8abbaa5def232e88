"""Pytest fixtures of the push platforms' doubles."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from .apns import ApnsDouble
from .fcm import FcmDouble


@pytest.fixture
async def apns(workdir: Path) -> AsyncIterator[ApnsDouble]:
    """APNs with default rules, that knows no app and no device yet."""
    async with ApnsDouble(workdir / "apns") as double:
        yield double


@pytest.fixture
async def fcm(workdir: Path) -> AsyncIterator[FcmDouble]:
    """FCM with one project and one service account, that knows no device yet."""
    async with FcmDouble(workdir / "fcm") as double:
        yield double
