"""One-time codes and the device keys that apps get for them."""

import pytest

from push_proxy.core.ids import AccountId, DeviceId, account_key

from .conftest import TENANT, Api

KEY = account_key(TENANT, AccountId("101"))


async def code_for(api: Api, **body: int) -> str:
    made = await api.call("POST", "/v1/accounts/101/enrolments", body)
    assert made.status_code == 201, made.text
    return str(made.json()["code"])


async def test_a_code_becomes_a_device_key_once(api: Api) -> None:
    """The app exchanges the code for its key, registers its push target, and only once."""
    await api.account()
    code = await code_for(api)
    got = await api.call("POST", "/v1/enrol", {"code": code, "device": "d9"}, key=None)
    assert got.status_code == 200, got.text
    assert got.json()["sip"]["user"] == "101"
    key = got.json()["device_key"]
    assert len(key) >= 43
    enrolled = api.directory.device(KEY, DeviceId("d9"))
    assert enrolled is not None
    assert not enrolled.has_target
    assert key not in repr(enrolled)
    body = {"provider": "webhook", "app_id": "com.example.phone", "token": "t"}
    put = await api.call("PUT", "/v1/accounts/101/devices/d9", body, key=key)
    assert put.status_code == 200
    again = await api.call("POST", "/v1/enrol", {"code": code, "device": "d8"}, key=None)
    assert again.status_code == 403


async def test_a_lost_answer_is_repeated_with_the_idempotency_key(api: Api) -> None:
    """The same request with the same Idempotency-Key gets the same device key."""
    await api.account()
    code = await code_for(api)
    body, headers = {"code": code, "device": "d9"}, {"Idempotency-Key": "a1"}
    first = await api.call("POST", "/v1/enrol", body, key=None, headers=headers)
    second = await api.call("POST", "/v1/enrol", body, key=None, headers=headers)
    assert second.status_code == 200
    assert first.json() == second.json()


async def test_two_apps_that_enrolled_keep_out_of_each_other(api: Api) -> None:
    """A device without a push target takes nothing away from another one."""
    await api.account()
    for name in ("a", "b"):
        body = {"code": await code_for(api), "device": name}
        assert (await api.call("POST", "/v1/enrol", body, key=None)).status_code == 200
    await api.device(name="c")
    assert len(api.directory.devices(KEY)) == 3


async def test_a_known_device_keeps_its_push_target(api: Api) -> None:
    """Enrolling again rotates the key alone."""
    await api.account()
    await api.device()
    old = await api.device_key()
    body = {"code": await code_for(api), "device": "d1"}
    assert (await api.call("POST", "/v1/enrol", body, key=None)).status_code == 200
    device = api.directory.device(KEY, DeviceId("d1"))
    assert device is not None
    assert device.token == "token of 101 d1"
    assert (await api.call("GET", "/v1/accounts/101", key=old)).status_code == 401


async def test_a_code_expires(api: Api) -> None:
    """After expires_in_s the code is worth nothing."""
    await api.account()
    code = await code_for(api, expires_in_s=60)
    api.clock.time += 61
    late = await api.call("POST", "/v1/enrol", {"code": code, "device": "d9"}, key=None)
    assert late.status_code == 403


async def test_a_code_dies_with_its_account(api: Api) -> None:
    """No device comes back to life with a deleted account's code."""
    await api.account()
    code = await code_for(api)
    await api.call("DELETE", "/v1/accounts/101")
    late = await api.call("POST", "/v1/enrol", {"code": code, "device": "d9"}, key=None)
    assert late.status_code == 403


@pytest.mark.parametrize("http_section", [{"auth_failures_per_minute": 3}])
async def test_guessing_codes_is_slowed_down(api: Api) -> None:
    """After a few wrong codes the source gets 429 with Retry-After, even for a right one."""
    await api.account()
    code = await code_for(api)

    async def guess(text: str) -> int:
        answer = await api.call("POST", "/v1/enrol", {"code": text, "device": "d9"}, key=None)
        assert answer.status_code != 429 or int(answer.headers["Retry-After"]) > 0
        return answer.status_code

    assert [await guess("wrong") for _ in range(4)] == [403, 403, 403, 429]
    assert await guess(code) == 429
    api.clock.time += 61
    assert await guess(code) == 200
