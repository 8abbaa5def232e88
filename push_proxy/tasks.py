"""Tasks have names and owners.

A bare ``asyncio.create_task`` may be collected while it runs and swallows its exception;
``spawn`` keeps a reference and reports a failure.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import structlog

_log = structlog.get_logger(__name__)
_T = TypeVar("_T")
_owned: set[asyncio.Task[Any]] = set()


def spawn(coro: Coroutine[Any, Any, _T], *, name: str) -> asyncio.Task[_T]:
    """Run ``coro`` in the background under ``name``; an unexpected end is logged as an error."""
    task = asyncio.get_running_loop().create_task(coro, name=name)
    _owned.add(task)
    task.add_done_callback(_finished)
    return task


def _finished(task: asyncio.Task[Any]) -> None:
    _owned.discard(task)
    if not task.cancelled() and (error := task.exception()) is not None:
        _log.error("background task failed", task=task.get_name(), exc_info=error)
