"""Health and metrics."""

import pytest

from push_proxy.http.app import create_admin_app
from push_proxy.http.backend import Readiness, ReadyState
from push_proxy.ports import AppHealth, AppState

from .conftest import Api


@pytest.mark.parametrize(
    ("state", "status"), [("ready", 200), ("degraded", 200), ("starting", 503), ("draining", 503)]
)
async def test_readyz_says_whether_calls_should_come(api: Api, state: str, status: int) -> None:
    """Degraded still takes calls; each reason is told; no key is needed."""
    api.readiness = Readiness(ReadyState(state), ("Redis does not answer.",))
    answer = await api.call("GET", "/readyz", key=None)
    assert answer.status_code == status
    assert answer.json() == {
        "status": state,
        "reasons": ["Redis does not answer."],
        "providers": [],
    }
    assert (await api.call("GET", "/healthz", key=None)).json() == {"status": "alive"}


async def test_a_blocked_provider_is_told_and_leaves_the_node_ready(api: Api) -> None:
    """No other node would fare better: calls stay here, and whoever looks sees what to mend."""
    blocked = AppHealth(app_id="a", state=AppState.BLOCKED, reason="BadTopic")
    api.readiness = Readiness(ReadyState.READY, (), (("apns", blocked),))
    answer = await api.call("GET", "/readyz", key=None)
    assert (answer.status_code, answer.json()["status"]) == (200, "ready")
    (told,) = answer.json()["providers"]
    assert "bundle id" in told.pop("advice")
    assert told == {"provider": "apns", "app_id": "a", "state": "blocked", "reason": "BadTopic"}


async def test_metrics_are_prometheus_text(api: Api) -> None:
    """On the API's address, as long as there is no other one for them."""
    answer = await api.call("GET", "/metrics", key=None)
    assert answer.status_code == 200
    assert answer.headers["Content-Type"].startswith("text/plain; version=")
    assert "push_proxy_build_info" in answer.text


@pytest.mark.parametrize("http_section", [{"admin_listen": "127.0.0.1:0"}])
async def test_metrics_move_to_the_admin_address(api: Api) -> None:
    """With http.admin_listen they are there and no longer on the API's address."""
    assert (await api.call("GET", "/metrics", key=None)).status_code == 404
    api.app = create_admin_app(api.deps)
    admin = await api.new_client()
    assert (await admin.get("/metrics")).status_code == 200
    assert (await admin.get("/readyz")).status_code == 200
    # The console reads the API from where it was loaded itself.
    assert (await admin.get("/v1/accounts")).status_code == 401
