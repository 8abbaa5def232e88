"""How a device has woken lately, by HTTP."""

from typing import Any

import pytest

from push_proxy.core.ids import AccountKey, CallId, DeviceId, Instant
from push_proxy.core.model import Verdict
from push_proxy.core.wake_health import WakeEnd, WakeResult
from push_proxy.errors import StoreUnavailable

from .conftest import Api

DEVICE = "/v1/accounts/101/devices/d1"
WAKES = f"{DEVICE}/wakes"


@pytest.fixture(autouse=True)
async def phone(api: Api) -> None:
    await api.account()
    await api.device()


def wake(api: Api, letter: str, wake_s: float = 1.5) -> None:
    """W woke, F failed, - no evidence."""
    api.clock.time += 60
    end = {"W": WakeEnd.WOKE, "F": WakeEnd.FAILED, "-": WakeEnd.NO_EVIDENCE}[letter]
    result = WakeResult(
        at=Instant(api.clock.now()),
        over_at=Instant(api.clock.now()),
        call=CallId(f"c{api.clock.now():.0f}"),
        end=end,
        verdict=Verdict.NOT_WOKEN if end is WakeEnd.FAILED else Verdict.ANSWERED,
        wake_s=wake_s if end is WakeEnd.WOKE else None,
    )
    api.wake_history.ended(AccountKey("acme/101"), DeviceId("d1"), result)


async def health(api: Api) -> dict[str, Any] | None:
    status = (await api.call("GET", "/v1/accounts/101")).json()["status"]
    (device,) = status["devices"]
    found: dict[str, Any] | None = device["health"]
    return found


async def test_a_device_that_never_slept_through_a_call(api: Api) -> None:
    """No rate, no failure: nothing is known."""
    empty = {
        "standing": "new",
        "counted": 0,
        "woken": 0,
        "rate": None,
        "p50_ms": None,
        "p95_ms": None,
        "failed_in_a_row": 0,
        "last_failure": None,
    }
    assert await health(api) == empty
    assert (await api.call("GET", WAKES)).json() == {**empty, "wakes": []}


async def test_wakes_and_their_numbers(api: Api) -> None:
    """The list newest first, by the device's own key too; the numbers also in the status."""
    for letter, wake_s in (("W", 1.0), ("W", 2.0), ("-", 0), ("W", 3.0), ("F", 0)):
        wake(api, letter, wake_s)
    found = (await api.call("GET", WAKES, key=await api.device_key())).json()
    last = {
        "at": "2027-01-15T08:05:00.000Z",
        "call_id": "c1800000300",
        "result": "failed",
        "verdict": "not_woken",
        "wake_ms": None,
        "provider": "webhook",
        "reason": "",
    }
    wakes = found.pop("wakes")
    assert wakes[0] == last
    assert [each["result"] for each in wakes] == ["failed", "woke", "no_evidence", "woke", "woke"]
    assert [each["wake_ms"] for each in wakes] == [None, 3000.0, None, 2000.0, 1000.0]
    assert found == {
        "standing": "wakes",
        "counted": 4,
        "woken": 3,
        "rate": 0.75,
        "p50_ms": 2000.0,
        "p95_ms": 3000.0,
        "failed_in_a_row": 1,
        "last_failure": last,
    }
    assert await health(api) == found


async def test_the_store_is_away(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """The status shows what memory has; the list cannot be had, and says so."""

    async def away(*_: object) -> None:
        raise StoreUnavailable("Redis cannot be reached")

    for _ in range(3):
        wake(api, "W")
    assert (await health(api) or {})["counted"] == 3
    for method in ("wakes", "wakes_of_account"):
        monkeypatch.setattr(api.store, method, away)
    assert (await health(api) or {})["counted"] == 3
    refused = await api.call("GET", WAKES)
    assert refused.status_code == 503
    assert refused.headers["Retry-After"]


async def test_a_phone_known_by_its_register_has_no_health(api: Api) -> None:
    """Nothing can be pushed to it."""
    await api.call("DELETE", DEVICE)
    api.bind("~1")
    assert await health(api) is None


async def test_devices_of_others_have_none(api: Api) -> None:
    """Another device's key, another tenant, and what is not there: 404."""
    await api.device(name="d2")
    other = await api.device_key(name="d2")
    for path, key in ((WAKES, other), (WAKES, "other"), (f"{DEVICE}x/wakes", "devices")):
        assert (await api.call("GET", path, key=key)).status_code == 404
