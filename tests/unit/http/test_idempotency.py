"""Idempotency-Key on POST."""

import asyncio

import httpx
import pytest

from push_proxy.core.model import Enrolment

from .conftest import Api

PATH = "/v1/accounts/101/enrolments"


async def test_a_repeated_post_gets_the_first_answer(api: Api) -> None:
    """The same key: the same code. Another key, or none: another code."""
    await api.account()

    async def code(key: str | None) -> str:
        headers = {"Idempotency-Key": key} if key else {}
        answer = await api.call("POST", PATH, {}, headers=headers)
        assert answer.status_code == 201
        return str(answer.json()["code"])

    assert await code("k1") == await code("k1")
    assert len({await code("k1"), await code("k2"), await code(None), await code(None)}) == 4


async def test_the_same_key_with_another_body_is_refused(api: Api) -> None:
    """422: one of the two requests is a mistake."""
    await api.account()
    headers = {"Idempotency-Key": "k"}
    await api.call("POST", PATH, {"expires_in_s": 60}, headers=headers)
    other = await api.call("POST", PATH, {"expires_in_s": 61}, headers=headers)
    assert other.status_code == 422


async def test_keys_of_different_callers_are_different(api: Api) -> None:
    """Nobody gets an answer that was made for another one."""
    await api.account()
    headers = {"Idempotency-Key": "k"}
    first = await api.call("POST", PATH, {}, headers=headers, key="all")
    second = await api.call("POST", PATH, {}, headers=headers, key="devices")
    assert first.json()["code"] != second.json()["code"]


async def test_a_failure_is_not_kept(api: Api) -> None:
    """After a 404 the same request may succeed with the same key."""
    headers = {"Idempotency-Key": "k"}
    assert (await api.call("POST", PATH, {}, headers=headers)).status_code == 404
    await api.account()
    assert (await api.call("POST", PATH, {}, headers=headers)).status_code == 201


async def test_two_at_once_do_it_once(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of requests at the same time one does the work; the others are told to wait."""
    await api.account()
    put, done = api.store.put_enrolment, []

    async def slow(enrolment: Enrolment) -> None:
        done.append(enrolment)
        await others_refused.wait()
        await put(enrolment)

    refused: list[httpx.Response] = []
    others_refused = asyncio.Event()
    monkeypatch.setattr(api.store, "put_enrolment", slow)

    async def post() -> httpx.Response:
        answer = await api.call("POST", PATH, {}, headers={"Idempotency-Key": "k"})
        if answer.status_code == 409:
            refused.append(answer)
        if len(refused) == 4:
            others_refused.set()
        return answer

    async with asyncio.timeout(10):
        answers = await asyncio.gather(*(post() for _ in range(5)))
    assert sorted(answer.status_code for answer in answers) == [201, 409, 409, 409, 409]
    assert len(done) == 1


async def test_the_store_cannot_read_the_answer(api: Api) -> None:
    """What is kept is encrypted with the caller's key: no code in it."""
    await api.account()
    answer = await api.call("POST", PATH, {}, headers={"Idempotency-Key": "k"})
    kept = repr(api.store.__dict__)
    assert "Idempotency" not in kept
    assert answer.json()["code"] not in kept
