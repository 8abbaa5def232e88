"""``push-proxy import``: what people see while many accounts are taken."""

import io
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from typer.testing import CliRunner

from push_proxy import cli_progress
from push_proxy.cli import app
from push_proxy.cli_http import ApiFailed
from push_proxy.cli_import import api_key, run_import
from push_proxy.errors import ConfigurationError

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def service(handler: Handler) -> AsyncIterator[str]:
    """The import's path, answered by `handler`; yields the base URL."""
    application = web.Application()
    application.router.add_post("/v1/accounts:import", handler)
    runner = web.AppRunner(application)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0][:2]
        yield f"http://{host}:{port}"
    finally:
        await runner.cleanup()


def answers(*lines: dict[str, Any], to: list[bytes] | None = None) -> Handler:
    """Reads all, then sends these lines."""

    async def handle(request: web.Request) -> web.StreamResponse:
        assert request.headers["Authorization"] == "Bearer k"
        if to is not None:
            to.append(await request.read())
            to.append(request.query_string.encode())
        text = "".join(json.dumps(line) + "\n" for line in lines)
        return web.Response(text=text, content_type="application/x-ndjson")

    return handle


def done(**counts: int) -> dict[str, Any]:
    return {"done": True, "dry_run": False, "rows": sum(counts.values()), **counts}


async def test_rows_are_sent_as_they_are_and_each_failure_is_told(tmp_path: Path) -> None:
    """The file's bytes, the failed row with its number, and the counts at the end; False."""
    file = tmp_path / "accounts.ndjson"
    file.write_bytes(b'{"account": "a"}\n\n{"account": "b"}\n')
    received: list[bytes] = []
    out = io.StringIO()
    lines = (
        {"row": 1, "account": "a", "result": "created"},
        {"row": 3, "account": "b", "result": "failed", "detail": "aor: field required"},
        done(created=1, failed=1),
    )
    async with service(answers(*lines, to=received)) as url:
        taken = await run_import(str(file), url=url, key="k", dry_run=False, out=out)
    assert taken is False
    assert received == [file.read_bytes(), b""]
    told, closing = out.getvalue().splitlines()
    assert told == "row 3 (account b): aor: field required"
    assert closing.startswith("2 rows imported in ")
    assert closing.endswith("1 created, 0 updated, 0 unchanged, 1 failed")


async def test_progress_names_rate_failures_and_what_remains(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While results come, one line on the terminal is written over, and gone at the end."""
    monkeypatch.setattr(cli_progress, "TERMINAL_EVERY_S", 0.0)
    file = tmp_path / "accounts.ndjson"
    file.write_text('{"account": "a"}\n{"account": "b"}\n')
    lines = [{"row": n, "account": n, "result": "unchanged"} for n in "ab"]

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    out = Terminal()
    async with service(answers(*lines, done(unchanged=2))) as url:
        assert await run_import(str(file), url=url, key="k", dry_run=False, out=out)
    first, second, end = out.getvalue().removeprefix("\r\x1b[K").split("\r\x1b[K")
    assert first.startswith("1 of 2 rows, ")
    assert " rows/s, 0 failed, 1 remaining (about " in first
    assert second.startswith("2 of 2 rows, ")
    assert end.startswith("2 rows imported in ")


async def test_a_pipe_is_sent_while_it_is_written(tmp_path: Path) -> None:
    """With - rows go out as they come in; how many remain is not known and not said."""
    received: list[bytes] = []
    out = io.StringIO()
    async with service(answers(done(created=1), to=received)) as url:
        taken = await run_import(
            "-", url=url, key="k", dry_run=True, out=out, stdin=io.BytesIO(b'{"account": "a"}\n')
        )
    assert taken
    assert received == [b'{"account": "a"}\n', b"dry_run=true"]


@pytest.mark.parametrize(
    ("last", "why"),
    [
        ([], "the connection ended"),
        ([{"done": False, "detail": "the body is larger than 9 bytes"}], "larger than 9 bytes"),
    ],
)
async def test_an_interrupted_import_says_how_far_it_came(
    tmp_path: Path, last: list[dict[str, Any]], why: str
) -> None:
    """Without the last line the import is not done: it is said, with what to do."""
    file = tmp_path / "accounts.ndjson"
    file.write_text('{"account": "a"}\n' * 3)
    lines = [{"row": 1, "account": "a", "result": "created"}, *last]
    async with service(answers(*lines)) as url:
        with pytest.raises(ApiFailed, match=f"after 1 rows: .*{why}.*again"):
            await run_import(str(file), url=url, key="k", dry_run=False, out=io.StringIO())


async def test_a_refusal_is_the_services_own_words(tmp_path: Path) -> None:
    """401 and the like: the detail of the problem document and the status."""
    file = tmp_path / "accounts.ndjson"
    file.write_text("{}\n")

    async def refuse(_: web.Request) -> web.StreamResponse:
        return web.json_response({"detail": "send a valid key"}, status=401)

    async with service(refuse) as url:
        with pytest.raises(ApiFailed, match=r"send a valid key \(HTTP 401\)"):
            await run_import(str(file), url=url, key="k", dry_run=False, out=io.StringIO())


def test_what_cannot_be_sent_is_told_before_anything_is_sent(tmp_path: Path) -> None:
    """No key, an empty key file, no such file: 2 and one line."""
    runner = CliRunner()
    missing = runner.invoke(app, ["import", str(tmp_path / "none"), "--key", "k"])
    assert (missing.exit_code, "cannot read" in missing.stderr) == (2, True)
    keyless = runner.invoke(app, ["import", "-"], env={"PUSH_PROXY_API_KEY": ""})
    assert (keyless.exit_code, "PUSH_PROXY_API_KEY" in keyless.stderr) == (2, True)
    key_file = tmp_path / "key"
    key_file.write_text("k-from-file\n")
    assert api_key("", key_file) == "k-from-file"
    key_file.write_text("\n")
    with pytest.raises(ConfigurationError, match="is empty"):
        api_key("", key_file)


def test_import_help_helps() -> None:
    """An example of a row, the exit status, and that it may be repeated."""
    shown = CliRunner().invoke(app, ["import", "--help"], env={"COLUMNS": "120"})
    assert shown.exit_code == 0
    for words in ('"account": "101"', "Exit status", "repeat an import", "--dry-run"):
        assert words in shown.stdout
