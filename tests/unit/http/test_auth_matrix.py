"""Every route against every kind of caller."""

import json
import re
from typing import Any

import pytest

from push_proxy.core.ids import TenantId
from push_proxy.ports import CallQuery

from .conftest import ACCOUNT, DEVICE, Api

ACCOUNT_PATH = "/v1/accounts/101"
DEVICE_PATH = "/v1/accounts/101/devices/d1"
CALL_PATH = "/v1/calls/call-1"
EVENT = {"event": "push_received", "device": "d1"}
ACTION = {"action": "decline", "device": "d1"}
MISSED = "/v1/accounts/101/missed-calls"
LETTERS = "/v1/events/dead-letters"
LOGS = f"{DEVICE_PATH}/logs"

# Method, path, body, the scope that opens it, what a device's own key gets.
ROUTES: list[tuple[str, str, Any, str, int]] = [
    ("PUT", ACCOUNT_PATH, ACCOUNT, "accounts", 403),
    ("GET", ACCOUNT_PATH, None, "accounts", 200),
    ("GET", "/v1/accounts", None, "accounts", 403),
    ("POST", "/v1/accounts:import", {}, "accounts", 403),
    ("GET", "/v1/accounts:export", None, "accounts", 403),
    ("POST", f"{ACCOUNT_PATH}/enrolments", {}, "devices", 403),
    ("PUT", DEVICE_PATH, DEVICE, "devices", 200),
    ("GET", DEVICE_PATH, None, "devices", 200),
    ("GET", f"{ACCOUNT_PATH}/devices", None, "devices", 200),
    ("POST", f"{DEVICE_PATH}/key", None, "devices", 200),
    ("POST", f"{DEVICE_PATH}/pushes", {}, "devices", 403),
    ("GET", f"{DEVICE_PATH}/wakes", None, "devices", 200),
    ("POST", LOGS, b"a line", "devices", 201),
    ("GET", LOGS, None, "devices", 200),
    ("GET", f"{LOGS}/log-1", None, "devices", 200),
    ("GET", "/v1/calls", None, "calls", 200),
    ("GET", CALL_PATH, None, "calls", 200),
    ("GET", f"{CALL_PATH}/sip", None, "calls", 403),
    ("GET", f"{CALL_PATH}/sip.pcap", None, "calls", 403),
    ("POST", f"{CALL_PATH}/events", EVENT, "calls", 202),
    ("POST", f"{CALL_PATH}/actions", ACTION, "calls", 202),
    ("GET", "/v1/live?once=true", None, "calls", 403),
    ("GET", "/v1/overview", None, "calls", 403),
    ("GET", MISSED, None, "calls", 200),
    ("POST", f"{MISSED}/seen", {"ids": ["call-1"]}, "calls", 204),
    ("GET", LETTERS, None, "accounts", 403),
    ("POST", f"{LETTERS}/replay", {}, "accounts", 403),
    ("DELETE", LETTERS, None, "accounts", 403),
    ("DELETE", DEVICE_PATH, None, "devices", 204),
    ("DELETE", ACCOUNT_PATH, None, "accounts", 403),
]
IDS = [f"{method} {path}" for method, path, *_ in ROUTES]
OPEN = {"/healthz", "/readyz", "/metrics", "/openapi.json", "/v1/enrol"}


@pytest.fixture(autouse=True)
async def things(api: Api) -> None:
    await api.account()
    await api.device()
    await api.device(name="d2")
    await api.account("102")
    await api.device("102")
    api.recordings.add(await api.call_record())
    await api.missed_call()
    await api.dead_letter()
    await api.app_log()


def all_routes(app: Any) -> set[tuple[str, str]]:
    paths = app.openapi()["paths"]
    return {(method.upper(), path) for path, methods in paths.items() for method in methods}


def _star(found: re.Match[str]) -> str:
    return "/*" if found[1] else ""


async def test_the_matrix_covers_every_route(api: Api) -> None:
    """No route can be added without saying here who may use it."""
    shape = {(method, re.sub(r"\{[^}]+\}", "*", path)) for method, path in all_routes(api.app)}
    covered = {
        (method, re.sub(r"/(101|d1|call-1|log-1)(?=/|$)|\?.*", _star, path))
        for method, path, *_ in ROUTES
    }
    assert {item for item in shape if item[1] not in OPEN} == covered


@pytest.mark.parametrize(("method", "path", "body", "scope", "own"), ROUTES, ids=IDS)
async def test_no_key_and_wrong_keys_are_refused(
    api: Api, method: str, path: str, body: Any, scope: str, own: int
) -> None:
    """401 with WWW-Authenticate, before anything of the request is looked at."""
    for key in (None, "wrong", ""):
        refused = await api.call(method, path, body, key=key)
        assert refused.status_code == 401
        assert refused.headers["WWW-Authenticate"].startswith("Bearer")
        assert refused.headers["Content-Type"] == "application/problem+json"
    malformed = {"Authorization": "Basic all", "Content-Type": "application/json"}
    refused = await api.client.request(method, path, content=b"{", headers=malformed)
    assert refused.status_code == 401


@pytest.mark.parametrize(("method", "path", "body", "scope", "own"), ROUTES, ids=IDS)
async def test_a_key_needs_the_scope(
    api: Api, method: str, path: str, body: Any, scope: str, own: int
) -> None:
    """403 names the missing scope; with the scope it works."""
    for key in sorted({"accounts", "devices", "calls"} - {scope}):
        refused = await api.call(method, path, body, key=key)
        assert refused.status_code == 403
        assert scope in refused.json()["detail"]
    allowed = await api.call(method, path, body, key=scope)
    assert allowed.status_code < 300, allowed.text


@pytest.mark.parametrize(("method", "path", "body", "scope", "own"), ROUTES, ids=IDS)
async def test_another_tenants_key_finds_nothing(
    api: Api, method: str, path: str, body: Any, scope: str, own: int
) -> None:
    """What belongs to another tenant does not exist: 404, an empty list, or a conflict."""

    async def ours() -> object:
        calls = await api.store.find_calls(CallQuery(tenant=TenantId("acme")))
        letters = await api.letters.page(TenantId("acme"), limit=9, cursor=None)
        return (
            api.directory.accounts(),
            calls,
            [await api.store.missed_calls(a.key, limit=9, cursor=None) for a in accounts],
            letters,
            [api.directory.devices(a.key) for a in accounts],
        )

    accounts = api.directory.accounts()
    before = await ours()
    answer = await api.call(method, path, body, key="other")
    if path == ACCOUNT_PATH and method == "PUT":
        assert answer.status_code == 409
    elif path in {"/v1/accounts", "/v1/calls"}:
        assert answer.json()["next_cursor"] is None
        assert answer.json()["accounts" if path == "/v1/accounts" else "calls"] == []
    elif path in {LETTERS, f"{LETTERS}/replay"}:
        counts = [value for value in answer.json().values() if isinstance(value, int)]
        assert not any(counts)
        assert not answer.json().get("dead_letters")
    elif path == "/v1/live?once=true":
        assert json.loads(answer.text)["calls"] == []
    elif path == "/v1/overview":
        assert (answer.json()["accounts"], answer.json()["calls"]["total"]) == (0, 0)
    elif path.startswith("/v1/accounts:"):
        assert "101" not in answer.text
    else:
        assert answer.status_code == 404
    assert await ours() == before


@pytest.mark.parametrize(("method", "path", "body", "scope", "own"), ROUTES, ids=IDS)
async def test_a_devices_own_key_opens_its_own_corner(
    api: Api, method: str, path: str, body: Any, scope: str, own: int
) -> None:
    """Its device, its account's status, its account's calls: nothing else."""
    key = await api.device_key()
    answer = await api.call(method, path, body, key=key)
    assert answer.status_code == own, answer.text


@pytest.mark.parametrize(("method", "path", "body", "scope", "own"), ROUTES, ids=IDS)
async def test_a_device_key_of_another_account_finds_nothing(
    api: Api, method: str, path: str, body: Any, scope: str, own: int
) -> None:
    """Another account's device key gets 404 (or 403 where device keys open nothing)."""
    key = await api.device_key("102")
    answer = await api.call(method, path, body, key=key)
    if path == "/v1/calls":
        assert answer.json()["calls"] == []
    else:
        assert answer.status_code == (403 if own == 403 else 404)


async def test_a_device_key_sees_and_touches_its_own_device_only(api: Api) -> None:
    """Of its account's other devices it learns nothing."""
    key = await api.device_key(name="d2")
    for method, body in (("GET", None), ("PUT", DEVICE), ("DELETE", None)):
        assert (await api.call(method, DEVICE_PATH, body, key=key)).status_code == 404
    assert (await api.call("POST", f"{DEVICE_PATH}/key", key=key)).status_code == 404
    listed = (await api.call("GET", f"{ACCOUNT_PATH}/devices", key=key)).json()["devices"]
    status = (await api.call("GET", ACCOUNT_PATH, key=key)).json()["status"]["devices"]
    assert [one["device"] for one in listed] == [one["device"] for one in status] == ["d2"]
    refused = await api.call("GET", "/v1/calls?account=102", key=key)
    assert refused.status_code == 404
