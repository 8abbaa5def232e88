"""Many accounts at once."""

import asyncio
import json
import time
from typing import Any

import pytest

from push_proxy.demo.process import poll_until
from push_proxy.tasks import spawn

from .conftest import Api


def row(name: str, **fields: Any) -> str:
    return json.dumps(
        {
            "account": name,
            "aor": f"sip:{name}@pbx.example.com",
            "registrar": "sip:pbx.example.com",
            "password": "p",
            **fields,
        }
    )


async def imported(api: Api, text: str, query: str = "", **more: Any) -> list[dict[str, Any]]:
    answer = await api.call("POST", f"/v1/accounts:import{query}", content=text, **more)
    assert answer.status_code == 200, answer.text
    assert answer.headers["Content-Type"].startswith("application/x-ndjson")
    return [json.loads(line) for line in answer.text.splitlines()]


async def test_each_row_has_its_result_and_a_bad_one_stops_nothing(api: Api) -> None:
    """created, updated, unchanged and failed rows in order, then the summary."""
    await api.account("old", password="p")
    await api.account("same", password="p")
    lines = [
        row("new"),
        "",
        row("old", language="de"),
        row("same"),
        row("bad", password=""),
        "{no json",
        "[1]",
        row("new", language="fr"),
        row("../x"),
        row("thief", aor="sip:new@pbx.example.com"),
    ]
    *results, summary = await imported(api, "\n".join(lines))
    assert [(r["row"], r["account"], r["result"]) for r in results] == [
        (1, "new", "created"),
        (3, "old", "updated"),
        (4, "same", "unchanged"),
        (5, "bad", "failed"),
        (6, None, "failed"),
        (7, None, "failed"),
        (8, "new", "failed"),
        (9, "../x", "failed"),
        (10, "thief", "failed"),
    ]
    assert results[3]["errors"][0]["field"] == "password"
    assert "row 1" in results[6]["detail"]
    assert summary == {
        "done": True,
        "dry_run": False,
        "rows": 9,
        "created": 1,
        "updated": 1,
        "unchanged": 1,
        "failed": 6,
    }


async def test_a_dry_run_changes_nothing(api: Api) -> None:
    """With dry_run the results are the same, and no account is there."""
    *results, summary = await imported(api, row("a") + "\n" + row("b", aor="x"), "?dry_run=true")
    assert [r["result"] for r in results] == ["created", "failed"]
    assert summary["dry_run"] is True
    assert api.directory.accounts() == ()


async def test_a_dry_run_finds_aors_that_are_taken(api: Api) -> None:
    """As the import would: by another account, by another tenant's, by an earlier row."""
    await api.account("old", password="p")
    body = {"aor": "sip:far@pbx.example.com", "registrar": "sip:h", "password": "p"}
    assert (await api.call("PUT", "/v1/accounts/far", body, key="other")).status_code == 201
    lines = [
        row("thief", aor="sip:old@pbx.example.com"),
        row("spy", aor="sip:far@pbx.example.com"),
        row("old", aor="sip:moved@pbx.example.com"),
        row("heir", aor="sip:old@pbx.example.com"),
        row("twin", aor="sip:moved@pbx.example.com"),
    ]
    *results, _ = await imported(api, "\n".join(lines), "?dry_run=true")
    assert [r["result"] for r in results] == ["failed", "failed", "updated", "created", "failed"]
    assert "account 'old'" in results[0]["detail"]
    assert "another tenant" in results[1]["detail"]


async def test_an_export_can_be_imported_and_keeps_secrets(api: Api) -> None:
    """Export leaves secrets out; imported again, nothing has changed."""
    await api.account(
        password="deep-secret", wake={"deadline_s": 20}, app_auth={"password": "app-secret"}
    )
    await api.account("102", enabled=False, register="always")
    await api.call("PUT", "/v1/accounts/x", {"aor": "sip:x@y.z"}, key="other")
    export = await api.call("GET", "/v1/accounts:export")
    assert "secret" not in export.text
    assert [json.loads(line)["account"] for line in export.text.splitlines()] == ["101", "102"]
    *_, summary = await imported(api, export.text)
    assert (summary["rows"], summary["unchanged"]) == (2, 2)


@pytest.mark.parametrize("http_section", [{"max_import_bytes": 2048}])
async def test_an_import_has_a_size_limit_of_its_own(api: Api) -> None:
    """A body above http.max_import_bytes is refused with 413 before a row is read."""
    answer = await api.call("POST", "/v1/accounts:import", content=row("a") + " " * 2048)
    assert answer.status_code == 413
    assert api.directory.accounts() == ()


class Server:
    """What stands between the app and a client: the client's bytes, and what it is sent."""

    def __init__(self) -> None:
        self.incoming: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.sent: asyncio.Queue[bytes] = asyncio.Queue()
        self.status = 0

    def arrives(self, text: str, *, more: bool = False) -> None:
        self.incoming.put_nowait({"type": "http.request", "body": text.encode(), "more_body": more})

    def hangs_up(self) -> None:
        self.incoming.put_nowait({"type": "http.disconnect"})

    async def send(self, message: dict[str, Any]) -> None:
        self.status = message.get("status", self.status)
        self.sent.put_nowait(message.get("body", b""))

    async def results(self, count: int) -> list[dict[str, Any]]:
        """The next lines, while the request goes on."""
        found: list[dict[str, Any]] = []
        while len(found) < count:
            piece = await asyncio.wait_for(self.sent.get(), 5)
            found += [json.loads(line) for line in piece.splitlines()]
        return found

    async def serve(self, api: Api, headers: list[tuple[bytes, bytes]] | None = None) -> None:
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "method": "POST",
            "path": "/v1/accounts:import",
            "raw_path": b"/v1/accounts:import",
            "query_string": b"",
            "headers": [(b"authorization", b"Bearer all"), *(headers or [])],
            "client": ("127.0.0.1", 1),
        }
        await api.app(scope, self.incoming.get, self.send)  # type: ignore[arg-type] # plain dicts are fine


async def test_20000_rows_are_imported_with_progress_within_seconds(api: Api) -> None:
    """Results come in many pieces while the import goes on; the loop is never held for long."""
    server = Server()
    server.arrives("\n".join(row(f"a{number}") for number in range(20_000)))
    began = time.monotonic()
    await server.serve(api)
    pieces = [server.sent.get_nowait() for _ in range(server.sent.qsize())]
    lines = b"".join(pieces).splitlines()
    assert json.loads(lines[-1])["created"] == 20_000
    assert len(api.directory.accounts()) == 20_000
    assert len(pieces) > 1000
    assert time.monotonic() - began < 30.0


async def test_results_come_while_rows_still_arrive(api: Api) -> None:
    """A row is taken and told as soon as its line is complete, however it is cut on the way."""
    server = Server()
    serving = spawn(server.serve(api), name="import under test")
    first, second = row("a"), row("b")
    server.arrives(f"{first}\n{second[:20]}", more=True)
    assert (await server.results(1))[0] == {"row": 1, "account": "a", "result": "created"}
    assert len(api.directory.accounts()) == 1
    server.arrives(second[20:], more=True)
    server.arrives("")
    second_result, summary = await server.results(2)
    assert second_result == {"row": 2, "account": "b", "result": "created"}
    assert (summary["done"], summary["rows"]) == (True, 2)
    await serving


async def test_a_client_that_reads_last_is_not_waited_for(api: Api) -> None:
    """Who sends all rows before reading gets every result: the import does not wait to be read."""
    server = Server()
    reading = asyncio.Event()
    plain = server.send

    async def slow(message: dict[str, Any]) -> None:
        if "body" in message:
            await reading.wait()
        await plain(message)

    server.send = slow  # type: ignore[method-assign]
    serving = spawn(server.serve(api), name="import under test")
    for number in range(200):
        server.arrives(row(f"a{number}") + "\n", more=number < 199)
    assert await poll_until(lambda: len(api.directory.accounts()) == 200, within_s=5)
    reading.set()
    await serving
    assert (await server.results(201))[-1]["created"] == 200


async def test_a_row_that_was_cut_off_is_not_taken(api: Api) -> None:
    """A client that hangs up in the middle leaves whole rows only, even if the rest is JSON."""
    server = Server()
    serving = spawn(server.serve(api), name="import under test")
    server.arrives(f"{row('a')}\n{row('b')}", more=True)
    assert (await server.results(1))[0]["result"] == "created"
    server.hangs_up()
    await serving
    assert [account.account for account in api.directory.accounts()] == ["a"]
    server = Server()
    server.hangs_up()
    await server.serve(api)
    assert len(api.directory.accounts()) == 1


async def test_an_import_ends_with_its_client(api: Api) -> None:
    """Once the client has hung up, the rows that wait are not taken any more."""
    server = Server()
    server.arrives("\n".join(row(f"a{number}") for number in range(20_000)))
    server.hangs_up()
    await server.serve(api)
    assert len(api.directory.accounts()) < 1000


@pytest.mark.parametrize("http_section", [{"max_body_bytes": 1024, "max_import_bytes": 8192}])
async def test_too_long_a_row_fails_alone_and_too_much_is_told_in_the_end(api: Api) -> None:
    """A row's limit is http.max_body_bytes; the whole's, met on the way, is the last line."""
    server = Server()
    for text in (row("a"), " " * 700, row("b", language="x" * 700), row("c")):
        server.arrives(text + ("" if text.isspace() else "\n"), more=True)
    server.arrives("{" * 9000)
    await server.serve(api)
    assert server.status == 200
    *results, last = await server.results(4)
    assert [(r["row"], r["result"]) for r in results] == [
        (1, "created"),
        (2, "failed"),
        (3, "created"),
    ]
    assert "http.max_body_bytes" in results[1]["detail"]
    assert (last["done"], "8192" in last["detail"]) == (False, True)
