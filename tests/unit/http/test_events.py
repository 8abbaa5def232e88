"""Dead letters by HTTP."""

from typing import Any

from push_proxy.core.ids import TenantId

from .conftest import Api

PATH = "/v1/events/dead-letters"


async def bury(api: Api, name: str, **where: str) -> str:
    """One dies after the other."""
    return await api.dead_letter(name, died_at=1_000_100.0 + len(await letters(api)), **where)


async def letters(api: Api, **query: Any) -> list[dict[str, Any]]:
    answer = await api.call("GET", PATH, params=query)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["dead_letters"]
    return found


async def test_dead_letters_are_shown(api: Api) -> None:
    """With what was sent, to whom by host alone, how often, and what was answered last."""
    name = await bury(api, "e1")
    assert await letters(api) == [
        {
            "id": name,
            "event": {
                "id": "e1",
                "type": "device.moved",
                "at": "1970-01-12T13:46:40.500Z",
                "tenant": "acme",
                "account": "101",
                "device": "phone",
                "to_account": "102",
            },
            "webhook": "hooks.example",
            "attempts": 4,
            "last_error": "http_404",
            "died_at": "1970-01-12T13:48:20.000Z",
        }
    ]


async def test_pages(api: Api) -> None:
    """Newest first, each once."""
    for number in range(3):
        await bury(api, f"e{number}")
    first = (await api.call("GET", PATH, params={"limit": 2})).json()
    rest = await letters(api, limit=2, cursor=first["next_cursor"])
    assert [one["event"]["id"] for one in first["dead_letters"] + rest] == ["e2", "e1", "e0"]
    assert (await api.call("GET", PATH, params={"cursor": "x"})).status_code == 422


async def test_another_tenants_dead_letters_do_not_exist(api: Api) -> None:
    """Neither to look at, nor to replay or forget."""
    name = await bury(api, "e1", account="globex/1")
    assert await letters(api) == []
    assert (await api.call("POST", f"{PATH}/replay")).json() == {"replayed": 0, "skipped": 0}
    assert (await api.call("DELETE", PATH, params={"id": name})).json() == {"deleted": 0}
    assert (await api.call("DELETE", PATH)).json() == {"deleted": 0}
    assert len((await api.letters.page(TenantId("globex"), limit=9, cursor=None)).letters) == 1


async def test_replay_all(api: Api) -> None:
    """They are in their outboxes again, fresh, with their ids; those without a webhook stay."""
    await bury(api, "e1")
    await bury(api, "e2")
    await bury(api, "e3", webhook="gone")
    answer = await api.call("POST", f"{PATH}/replay")
    assert (answer.status_code, answer.json()) == (202, {"replayed": 2, "skipped": 1})
    assert [one["event"]["id"] for one in await letters(api)] == ["e3"]
    claimed = await api.store.claim_events("hook", now=api.clock.now(), lease_s=9, limit=9)
    assert sorted(each.id for each in claimed.events) == ["e1", "e2"]
    assert {(each.attempts, each.last_error) for each in claimed.events} == {(0, "")}
    assert api.outboxes.woken == [("hook", 2)]


async def test_replay_by_id(api: Api) -> None:
    """Only what was named; ids that are not there are nothing."""
    one = await bury(api, "e1")
    await bury(api, "e2")
    answer = await api.call("POST", f"{PATH}/replay", {"ids": [one, "nothing"]})
    assert answer.json() == {"replayed": 1, "skipped": 0}
    assert [each["event"]["id"] for each in await letters(api)] == ["e2"]


async def test_a_repeated_replay_is_done_once(api: Api) -> None:
    """By its Idempotency-Key."""
    await bury(api, "e1")
    headers = {"Idempotency-Key": "k"}
    first = await api.call("POST", f"{PATH}/replay", {}, headers=headers)
    await bury(api, "e2")
    again = await api.call("POST", f"{PATH}/replay", {}, headers=headers)
    assert first.json() == again.json() == {"replayed": 1, "skipped": 0}
    assert len(await letters(api)) == 1


async def test_forgetting(api: Api) -> None:
    """One, then all."""
    one = await bury(api, "e1")
    await bury(api, "e2")
    for deleted in (1, 0):
        answer = await api.call("DELETE", PATH, params={"id": one})
        assert answer.json() == {"deleted": deleted}
    assert (await api.call("DELETE", PATH, params={"ids": one})).status_code == 422
    assert (await api.call("DELETE", PATH)).json() == {"deleted": 1}


async def test_the_scope_is_accounts(api: Api) -> None:
    """Other keys are refused."""
    assert (await api.call("GET", PATH, key="accounts")).status_code == 200
    for key in ("devices", "calls"):
        assert (await api.call("GET", PATH, key=key)).status_code == 403
        assert (await api.call("POST", f"{PATH}/replay", key=key)).status_code == 403
        assert (await api.call("DELETE", PATH, key=key)).status_code == 403
