"""How much a caller may ask for."""

import pytest

from push_proxy.core.rates import Buckets

from .conftest import Api


def test_a_bucket_refills() -> None:
    """A burst at once, then one token each 1/rate seconds."""
    buckets = Buckets(per_second=2.0, burst=2.0)
    assert [buckets.take("a", 0.0) for _ in range(3)] == [0.0, 0.0, 0.5]
    assert buckets.take("b", 0.0) == 0.0
    assert buckets.take("a", 0.5) == 0.0
    assert buckets.take("a", 0.5) > 0.0


def test_forgotten_names_do_not_fill_memory() -> None:
    """The names least recently seen go first."""
    buckets = Buckets(per_second=1.0, burst=1.0)
    for number in range(60_000):
        buckets.take(number, 0.0)
    assert len(buckets._buckets) == 50_000


@pytest.mark.parametrize("http_section", [{"requests_per_second": 2}])
async def test_a_key_that_asks_too_much_gets_429(api: Api) -> None:
    """With Retry-After; other keys are not touched by it, and it is over in time."""
    answers = [await api.call("GET", "/v1/accounts") for _ in range(5)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 200, 429]
    assert int(answers[-1].headers["Retry-After"]) >= 1
    assert (await api.call("GET", "/v1/accounts", key="accounts")).status_code == 200
    api.clock.time += 1
    assert (await api.call("GET", "/v1/accounts")).status_code == 200


@pytest.mark.parametrize("http_section", [{"auth_failures_per_minute": 2}])
async def test_wrong_keys_are_limited_per_source(api: Api) -> None:
    """A source that guesses gets 429; a valid key from there, and other sources, still work."""
    answers = [await api.call("GET", "/v1/accounts", key="guess") for _ in range(3)]
    assert [answer.status_code for answer in answers] == [401, 401, 429]
    assert (await api.call("GET", "/v1/accounts")).status_code == 200
    elsewhere = await api.new_client(client=("192.0.2.200", 5))
    assert (await elsewhere.get("/v1/accounts")).status_code == 401
