"""Asks the store until it answers: for what a start cannot go on without."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog

from .errors import StoreUnavailable

_log = structlog.get_logger(__name__)
_T = TypeVar("_T")
FIRST_RETRY_S = 0.5
LONGEST_RETRY_S = 10.0


def _say(error: StoreUnavailable, retry_in_s: float) -> None:
    _log.error("the start waits for the store", error=str(error), retry_in_s=retry_in_s)


async def patiently(
    ask: Callable[[], Awaitable[_T]], waits: Callable[[StoreUnavailable, float], None] = _say
) -> _T:
    """What ``ask`` returns in the end; it may be asked again after it was carried out.

    ``waits`` is told of each failure and of the seconds until the next attempt. Without end:
    whoever is impatient cancels.
    """
    retry_in_s = FIRST_RETRY_S
    while True:
        try:
            return await ask()
        except StoreUnavailable as error:
            waits(error, retry_in_s)
        await asyncio.sleep(retry_in_s)
        retry_in_s = min(retry_in_s * 2, LONGEST_RETRY_S)
