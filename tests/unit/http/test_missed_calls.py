"""Missed calls by HTTP."""

from typing import Any

import pytest

from push_proxy.core.ids import AccountKey, Instant
from push_proxy.errors import StoreUnavailable

from .conftest import Api

PATH = "/v1/accounts/101/missed-calls"


async def ids(api: Api) -> list[str]:
    answer = await api.call("GET", PATH)
    assert answer.status_code == 200, answer.text
    return [one["call_id"] for one in answer.json()["missed_calls"]]


async def missed(api: Api, *names: str) -> None:
    """An account, and calls that it missed, a second apart."""
    await api.account()
    for name in names:
        api.clock.time += 1
        await api.missed_call(name)


async def count(api: Api) -> int | None:
    status = (await api.call("GET", "/v1/accounts/101")).json()["status"]
    number: int | None = status["missed_calls"]
    return number


async def test_a_missed_call_is_shown(api: Api) -> None:
    """Who called, when, with video or not, and why nobody took it."""
    await api.account()
    assert (await api.call("GET", PATH)).json() == {"missed_calls": [], "next_cursor": None}
    start = api.clock.now()
    await api.missed_call(
        caller_name="Ann", video=True, started_at=start, missed_at=Instant(start + 15.5)
    )
    assert (await api.call("GET", PATH)).json()["missed_calls"] == [
        {
            "call_id": "call-1",
            "sip_call_id": "abc@192.0.2.9",
            "caller_number": "+4144",
            "caller_name": "Ann",
            "video": True,
            "verdict": "no_answer",
            "started_at": "2027-01-15T08:00:00.000Z",
            "missed_at": "2027-01-15T08:00:15.500Z",
        }
    ]


async def test_newest_first_page_by_page(api: Api) -> None:
    """With limit and cursor as in all lists."""
    await missed(api, "a", "b", "c")
    assert await ids(api) == ["c", "b", "a"]
    page = (await api.call("GET", f"{PATH}?limit=2")).json()
    assert [one["call_id"] for one in page["missed_calls"]] == ["c", "b"]
    rest = (await api.call("GET", f"{PATH}?limit=2&cursor={page['next_cursor']}")).json()
    assert [one["call_id"] for one in rest["missed_calls"]] == ["a"]
    assert rest["next_cursor"] is None


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=101", "cursor=x", "since=1", "limit=1&limit=2"]
)
async def test_a_wrong_query_is_refused(api: Api, query: str) -> None:
    """422, never another list than was asked for."""
    await missed(api, "a")
    assert (await api.call("GET", f"{PATH}?{query}")).status_code == 422


async def test_those_seen_leave_the_list(api: Api) -> None:
    """Named ones, by any device of the account; the same again is 204, too."""
    await missed(api, "a", "b", "c")
    await api.device()
    key = await api.device_key()
    for _ in range(2):
        seen = await api.call("POST", f"{PATH}/seen", {"ids": ["a", "c", "never"]}, key=key)
        assert (seen.status_code, seen.content) == (204, b"")
        assert await ids(api) == ["b"]


async def test_all_up_to_one_are_seen(api: Api) -> None:
    """What was missed while the app showed its list stays, also when the app says it again."""
    await missed(api, "a", "b")
    await api.missed_call("c", missed_at=Instant(api.clock.now() + 1))
    for _ in range(2):
        assert (await api.call("POST", f"{PATH}/seen", {"up_to": "b"})).status_code == 204
        assert await ids(api) == ["c"]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"ids": ["a"], "up_to": "a"},
        {"ids": []},
        {"ids": ["a"] * 101},
        {"ids": ["a b"]},
        {"ids": "a"},
        {"up_to": ""},
        {"up_to": None},
        {"all": True},
    ],
)
async def test_a_body_that_names_no_calls_is_refused(api: Api, body: Any) -> None:
    """422, and nothing is seen."""
    await missed(api, "a")
    assert (await api.call("POST", f"{PATH}/seen", body)).status_code == 422
    assert await ids(api) == ["a"]


async def test_the_accounts_status_counts_them(api: Api) -> None:
    """Null in lists, which do not ask the store for each account."""
    await missed(api, "a", "b")
    assert await count(api) == 2
    await api.call("POST", f"{PATH}/seen", {"ids": ["a"]})
    assert await count(api) == 1
    listed = (await api.call("GET", "/v1/accounts")).json()["accounts"]
    assert [one["status"]["missed_calls"] for one in listed] == [None]


async def test_while_the_store_is_away(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """503 for the list and for what was seen; the account's status says null, and is shown."""
    await missed(api, "a")

    async def away(*_: object, **__: object) -> None:
        raise StoreUnavailable("Redis is away")

    for name in ("missed_calls", "count_missed_calls", "see_missed_calls"):
        monkeypatch.setattr(api.store, name, away)
    assert (await api.call("GET", PATH)).status_code == 503
    assert (await api.call("POST", f"{PATH}/seen", {"ids": ["a"]})).status_code == 503
    assert await count(api) is None
    monkeypatch.undo()
    assert await ids(api) == ["a"]


async def test_they_are_erased_with_the_account(api: Api) -> None:
    """An account of the same name begins with none."""
    await missed(api, "a")
    assert (await api.call("DELETE", "/v1/accounts/101")).status_code == 204
    assert (await api.call("GET", PATH)).status_code == 404
    await api.account()
    assert await ids(api) == []
    assert await api.store.count_missed_calls(AccountKey("acme/101")) == 0
