"""The soak lasts minutes and mostly waits: begun first, it is over before the other tests are."""

from __future__ import annotations

from pathlib import Path

import pytest

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whatever the order of folders; the rest stays as it is."""
    items.sort(key=lambda item: HERE not in item.path.parents)
