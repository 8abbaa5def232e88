"""``push-proxy import FILE``: many accounts by the HTTP API, with progress."""

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import BinaryIO, TextIO

import aiohttp

from .cli_http import ApiFailed, checked_target
from .cli_progress import Display, Progress
from .errors import ConfigurationError

_CONNECT_S = 10.0
_SILENT_S = 60.0
"""Longer than any row takes, also while the store is away."""
_CHUNK = 65_536


def api_key(key: str, key_file: Path | None) -> str:
    """The key itself, from whichever was given. Raises `errors.ConfigurationError`."""
    if key_file is None:
        return key
    try:
        found = key_file.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"--api-key-file: cannot read {key_file}: {error}") from None
    if not found:
        raise ConfigurationError(f"--api-key-file: {key_file} is empty; put the API key into it")
    return found


async def run_import(
    source: str,
    *,
    url: str,
    key: str,
    dry_run: bool,
    out: TextIO,
    stdin: BinaryIO | None = None,
) -> bool:
    """Send the rows of a file (``-``: of ``stdin``), show what comes of them; True: all taken.

    Raises `errors.ConfigurationError` when key, URL or file cannot be used, `ApiFailed` when
    the service cannot be reached, refuses, or stops before the end.
    """
    target = checked_target(url, key, "/v1/accounts:import" + ("?dry_run=true" if dry_run else ""))
    display = Display(out)
    progress = Progress(None)
    if source == "-":
        await _send(target, key, stdin or sys.stdin.buffer, progress, display)
    else:
        try:
            with await asyncio.to_thread(_opened, source) as file:
                progress.total = await asyncio.to_thread(_rows, file)
                file.seek(0)
                await _send(target, key, file, progress, display)
        except OSError as error:
            raise ConfigurationError(f"cannot read {source}: {error.strerror or error}") from None
    display.end()
    return _conclude(progress, display)


async def _send(
    target: str, key: str, file: BinaryIO, progress: Progress, display: Display
) -> None:
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_S, sock_read=_SILENT_S)
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/x-ndjson"}
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout, read_bufsize=2**20) as session,
            session.post(target, data=_chunks(file), headers=headers) as response,
        ):
            if response.status != 200:
                raise ApiFailed(_refusal(response.status, await response.read()))
            async for line in response.content:
                _take(line, progress, display)
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        if progress.rows:
            return  # told with how far it came
        why = str(error) or type(error).__name__
        raise ApiFailed(
            f"{target.partition('/v1/')[0]} does not answer ({why}); is the service running, and "
            "is --url right?"
        ) from None


async def _chunks(file: BinaryIO) -> AsyncIterator[bytes]:
    # Read apart: a pipe may keep us waiting.
    while chunk := await asyncio.to_thread(_reader(file)):
        yield chunk


def _reader(file: BinaryIO) -> Callable[[], bytes]:
    # What a pipe has by now, not a whole chunk.
    read: Callable[[int], bytes] = getattr(file, "read1", file.read)
    return lambda: read(_CHUNK)


def _opened(source: str) -> BinaryIO:
    return Path(source).open("rb")


def _rows(file: BinaryIO) -> int:
    return sum(1 for line in file if line.strip())


def _take(line: bytes, progress: Progress, display: Display) -> None:
    result = json.loads(line)
    if "done" in result:
        progress.summary = result
        return
    progress.counts[result["result"]] += 1
    if result["result"] == "failed":
        name = f" (account {result['account']})" if result["account"] else ""
        display.say(f"row {result['row']}{name}: {result['detail']}")
    display.show(progress)


def _conclude(progress: Progress, display: Display) -> bool:
    summary = progress.summary
    if summary is None or not summary["done"]:
        why = summary["detail"] if summary else "the connection ended"
        raise ApiFailed(
            f"interrupted after {progress.rows} rows: {why}. Import the same file again: rows "
            "that were taken are unchanged then."
        )
    seconds = time.monotonic() - progress.began
    counts = ", ".join(f"{count} {name}" for name, count in progress.counts.items())
    what = "checked, nothing changed" if summary["dry_run"] else "imported"
    rate = progress.rows / max(seconds, 0.001)
    display.say(f"{progress.rows} rows {what} in {seconds:.1f} s ({rate:.0f} rows/s): {counts}")
    return progress.counts["failed"] == 0


def _refusal(status: int, body: bytes) -> str:
    try:
        detail = json.loads(body)["detail"]
    except (ValueError, KeyError, TypeError):
        return f"answered {status} without a reason; is it this service?"
    return f"{detail} (HTTP {status})"
