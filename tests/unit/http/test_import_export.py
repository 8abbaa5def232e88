"""Many accounts at once."""

import json
import time
from typing import Any

import pytest

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


async def test_20000_rows_are_imported_with_progress_within_seconds(api: Api) -> None:
    """Results come in many pieces while the import goes on; the loop is never held for long."""
    text = "\n".join(row(f"a{number}") for number in range(20_000))
    pieces: list[bytes] = []
    began = time.monotonic()
    sent = False

    async def receive() -> dict[str, Any]:
        nonlocal sent
        assert not sent
        sent = True
        return {"type": "http.request", "body": text.encode(), "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        pieces.append(message.get("body", b""))

    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "method": "POST",
        "path": "/v1/accounts:import",
        "raw_path": b"/v1/accounts:import",
        "query_string": b"",
        "headers": [(b"authorization", b"Bearer all")],
        "client": ("127.0.0.1", 1),
    }
    await api.app(scope, receive, send)  # type: ignore[arg-type] # plain dicts are fine
    lines = b"".join(pieces).splitlines()
    assert json.loads(lines[-1])["created"] == 20_000
    assert len(api.directory.accounts()) == 20_000
    assert len(pieces) > 1000
    assert time.monotonic() - began < 30.0
