"""Every error is a problem document that says what was wrong."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import structlog

from push_proxy.errors import StoreUnavailable

from .conftest import ACCOUNT, Api

JSON = {"Content-Type": "application/json", "Authorization": "Bearer all"}


def check_problem(answer: httpx.Response, status: int) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    problem: dict[str, Any] = answer.json()
    assert problem["status"] == status
    assert problem["title"]
    assert problem["detail"]
    return problem


async def put(api: Api, content: bytes) -> httpx.Response:
    return await api.client.put("/v1/accounts/101", content=content, headers=JSON)


async def test_malformed_json_is_400_and_says_where(api: Api) -> None:
    """The character at fault is named."""
    assert "character 8" in check_problem(await put(api, b'{"aor": x'), 400)["detail"]
    check_problem(await put(api, b"\xff\xfe"), 400)
    check_problem(await put(api, b"[" * 100_000), 400)
    check_problem(await put(api, b"1" * 10_000), 400)


async def test_a_body_of_another_kind_is_422(api: Api) -> None:
    """Arrays, null, NaN and missing bodies are refused."""
    for content in (b"[]", b"null", b'"x"', b""):
        check_problem(await put(api, content), 422)
    check_problem(await put(api, b'{"aor": "sip:1@x.y", "wake": {"deadline_s": NaN}}'), 422)


async def test_secrets_are_not_echoed(api: Api) -> None:
    """A refusal never repeats the values sent."""
    body = {**ACCOUNT, "password": ["hunter2"], "ha1": {"MD5": "hunter2"}, "realm": 5}
    answer = await api.call("PUT", "/v1/accounts/101", body)
    check_problem(answer, 422)
    assert "hunter2" not in answer.text


async def test_half_a_surrogate_pair_breaks_nothing(api: Api) -> None:
    """Text without an UTF-8 form is refused, as value and as field name."""
    check_problem(await put(api, b'{"aor": "sip:\\ud800@x.y", "registrar": "sip:x.y"}'), 422)
    check_problem(await put(api, b'{"\\ud800": 1}'), 422)


async def test_unknown_paths_and_methods_are_problems_too(api: Api) -> None:
    """404 and 405 (with Allow), outside and inside /v1."""
    check_problem(await api.call("GET", "/nope"), 404)
    check_problem(await api.call("GET", "/v1/nope"), 404)
    check_problem(await api.call("GET", "/v1/nope", key=None), 401)
    answer = await api.call("PATCH", "/v1/accounts/101")
    check_problem(answer, 405)
    assert answer.headers["Allow"] == "DELETE, GET, PUT"


@pytest.mark.parametrize("http_section", [{"max_body_bytes": 1024}])
async def test_a_large_body_is_413_announced_or_not(api: Api) -> None:
    """The limit holds for Content-Length and for chunks."""

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(3):
            yield b" " * 1000

    check_problem(await put(api, b" " * 1025), 413)
    answer = await api.client.put("/v1/accounts/101", content=chunks(), headers=JSON)
    check_problem(answer, 413)


async def test_a_store_that_is_away_is_503_with_retry_after(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Writes say that nothing was changed; what memory knows can still be read."""

    async def away(*_: Any, **__: Any) -> None:
        raise StoreUnavailable("Redis does not answer; nothing was changed")

    await api.account()
    for name in ("put_account", "find_calls", "list_accounts"):
        monkeypatch.setattr(api.store, name, away)
    for answer in (await api.account("102"), await api.call("GET", "/v1/calls")):
        check_problem(answer, 503)
        assert int(answer.headers["Retry-After"]) > 0
    assert (await api.call("GET", "/v1/accounts/101")).status_code == 200


async def test_a_bug_is_500_without_its_insides(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """The caller learns that it is our fault, and nothing else; the log has the rest."""

    def broken(_: object) -> None:
        raise RuntimeError("inside")

    await api.account()
    monkeypatch.setattr(api.registrations, "status", broken)
    with structlog.testing.capture_logs() as logs:
        answer = await api.call("GET", "/v1/accounts/101")
    check_problem(answer, 500)
    assert [repr(line["exc_info"]) for line in logs] == ["RuntimeError('inside')"]
    assert "inside" not in answer.text
