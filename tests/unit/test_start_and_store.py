"""A store that does not answer once, at whichever moment of a start."""

from itertools import count
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from push_proxy import patience
from push_proxy.assembly import open_call_path
from push_proxy.assembly_cluster import make_cluster
from push_proxy.core.model import Topology
from push_proxy.errors import StoreUnavailable
from push_proxy.http.bootstrap import load_keys
from push_proxy.http.callers import Callers, hashed
from push_proxy.observability.metrics import Metrics
from push_proxy.providers.registry import Providers
from push_proxy.runtime.clock import SystemClock
from push_proxy.runtime.directory import Directory
from push_proxy.settings import Settings
from push_proxy.settings_file import check
from push_proxy.signaling.fake import FakeSignaling
from push_proxy.store.memory import MemoryStore
from tests.contract import samples


class StoreThatFailsOnce(MemoryStore):
    """Does what it is asked, and says of the request of that number that it did not."""

    def __init__(self, at: int) -> None:
        super().__init__(SystemClock())
        self.at = at
        self.asked = 0

    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        if name not in {"secret", "beat", "nodes", "held_of_node", "get_registrations",
                        "api_keys", "put_api_key"}:  # fmt: skip
            return found

        async def ask(*args: Any, **more: Any) -> Any:
            answer = await found(*args, **more)
            self.asked += 1
            if self.asked == self.at:
                raise StoreUnavailable("no answer")
            return answer

        return ask


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "FIRST_RETRY_S", 0.001)


@pytest.fixture(params=["alone", "among others"])
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    others = {} if request.param == "alone" else {"redis": {"url": "redis://192.0.2.9"}}
    return check(
        {
            "node": {"data_dir": str(tmp_path), "id": "one"},
            "sip": {"public_address": "push.example.com", "node_address": "192.0.2.1"},
            **others,
        }
    )


async def start(settings: Settings, store: StoreThatFailsOnce) -> None:
    clock, metrics = SystemClock(), Metrics()
    cluster = make_cluster(settings, store=store, clock=clock, metrics=metrics)
    directory = Directory(store, clock, nodes=cluster.membership, news=cluster.feed)
    await store.put_account(
        samples.account(pbx=None, topology=Topology.HOLD), expected_version=None
    )
    await directory.load()
    path = await open_call_path(
        settings,
        signaling=FakeSignaling(),
        store=store,
        directory=directory,
        providers=Providers([]),
        clock=clock,
        metrics=metrics,
        notices=Mock(),
        cluster=cluster,
    )
    await path.aclose()
    await cluster.aclose()


async def test_a_start_is_delayed_only(settings: Settings) -> None:
    """Whichever request is not answered."""
    for at in count(1):
        store = StoreThatFailsOnce(at)
        await start(settings, store)
        if store.asked < at:
            break
    assert at > 3


@pytest.mark.parametrize("at", [1, 2])
async def test_the_first_api_key_that_is_shown_is_the_one_that_opens(
    settings: Settings, at: int
) -> None:
    """Also when the store has taken it and its answer was lost."""
    store = StoreThatFailsOnce(at)
    callers = Callers(Directory(store, SystemClock()))
    assert await patience.patiently(lambda: load_keys(callers, settings, store, "the first"))
    assert [key.key_sha256 for key in await store.api_keys()] == [hashed("the first")]
