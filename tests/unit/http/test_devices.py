"""Devices by HTTP."""

from typing import Any

import pytest

from push_proxy.core.ids import AccountId, DeviceId, account_key
from push_proxy.core.model import Address

from .conftest import DEVICE, TENANT, Api

KEY = account_key(TENANT, AccountId("101"))
PATH = "/v1/accounts/101/devices/d1"


async def test_a_device_learns_how_to_register_with_us(api: Api) -> None:
    """PUT answers with the sip block: ourselves as registrar and proxy, realm and user."""
    await api.account(auth_user="u101")
    made = await api.device()
    assert made.status_code == 201
    assert made.json()["sip"] == {
        "aor": "sip:101@pbx.example.com",
        "registrar": "sip:push.example.com:5070",
        "outbound_proxy": "sip:push.example.com:5070;lr",
        "transports": ["udp"],
        "registrars": ["sip:push.example.com:5070"],
        "realm": "pbx.example.com",
        "user": "u101",
    }
    await api.account(auth_user="u101", app_auth={"user": "app", "realm": "r", "password": "p"})
    sip = (await api.call("GET", PATH)).json()["sip"]
    assert (sip["realm"], sip["user"]) == ("r", "app")


async def test_the_listeners_decide_how_a_device_reaches_us(api: Api) -> None:
    """TLS first, then TCP, then UDP; each with its port, as an app writes it."""
    api.listening = (
        Address("0.0.0.0", 5060, "udp"),
        Address("::", 5090, "udp"),
        Address("0.0.0.0", 5061, "tls"),
        Address("0.0.0.0", 5062, "tcp"),
    )
    await api.account()
    sip = (await api.device()).json()["sip"]
    assert sip["registrar"] == "sip:push.example.com:5061;transport=tls"
    assert sip["outbound_proxy"] == "sip:push.example.com:5061;transport=tls;lr"
    assert sip["transports"] == ["tls", "tcp", "udp"]
    assert sip["registrars"] == [
        "sip:push.example.com:5061;transport=tls",
        "sip:push.example.com:5062;transport=tcp",
        "sip:push.example.com:5060",
    ]


async def test_the_token_is_write_only_and_kept_when_omitted(api: Api) -> None:
    """No answer shows the token; a PUT without it keeps it; null is refused."""
    await api.account()
    made = await api.device(token="very-secret-token")
    assert made.json()["has_token"] is True
    body = {name: value for name, value in DEVICE.items() if name != "token"}
    kept = await api.call("PUT", PATH, {**body, "platform": "android"})
    assert kept.status_code == 200
    device = api.directory.device(KEY, DeviceId("d1"))
    assert device is not None
    assert (device.token, device.platform) == ("very-secret-token", "android")
    assert (await api.call("PUT", PATH, {**body, "token": None})).status_code == 422
    listed = await api.call("GET", "/v1/accounts/101/devices")
    assert "very-secret-token" not in made.text + kept.text + listed.text


async def test_a_repeated_put_changes_nothing_and_keeps_the_key(api: Api) -> None:
    """The same PUT again: same ETag, no listener hears of it, the device key still opens."""
    await api.account()
    await api.device()
    key = await api.device_key()
    etag = (await api.call("GET", PATH)).headers["ETag"]
    heard: list[Any] = []
    api.directory.subscribe(heard.append)
    again = await api.device()
    assert (again.status_code, again.headers["ETag"], heard) == (200, etag, [])
    rotated = await api.device(token="another token")
    assert rotated.headers["ETag"] != etag
    assert (await api.call("GET", PATH, key=key)).status_code == 200


async def test_a_rotated_key_ends_the_former_one(api: Api) -> None:
    """POST …/key answers a new key; the old one opens nothing any more."""
    await api.account()
    await api.device()
    old = await api.device_key()
    new = (await api.call("POST", f"{PATH}/key", key=old)).json()["device_key"]
    assert (await api.call("GET", PATH, key=old)).status_code == 401
    assert (await api.call("GET", PATH, key=new)).status_code == 200


async def test_an_exclusive_token_leaves_other_devices(api: Api) -> None:
    """The same app and token on another account takes it away from the first, by default."""
    await api.account()
    await api.account("102")
    await api.device("101", token="shared")
    await api.device("102", token="shared", exclusive=False)
    assert (await api.call("GET", PATH)).status_code == 200
    await api.device("102", token="shared", exclusive=True)
    assert (await api.call("GET", PATH)).status_code == 404


async def test_a_deleted_device_is_gone_with_its_key(api: Api) -> None:
    """DELETE answers 204 once; its key opens nothing any more."""
    await api.account()
    await api.device()
    key = await api.device_key()
    assert (await api.call("DELETE", PATH, key=key)).status_code == 204
    assert (await api.call("DELETE", PATH)).status_code == 404
    assert (await api.call("GET", PATH, key=key)).status_code == 401


async def test_if_match_guards_a_device_too(api: Api) -> None:
    """An old ETag is refused with 412."""
    await api.account()
    old = (await api.device()).headers["ETag"]
    await api.device(platform="ios")
    body = {**DEVICE, "platform": "android"}
    assert (await api.call("PUT", PATH, body, headers={"If-Match": old})).status_code == 412


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"provider": "carrier pigeon"}, "provider"),
        ({"app_id": "com.example.unknown"}, "app_id"),
        ({"token": ""}, "token"),
        ({"token": "x" * 4097}, "token"),
        ({"platform": "a\nb"}, "platform"),
        ({"permissions": {"notifications": "yes"}}, "permissions.notifications"),
        ({"permissions": {"flying": True}}, "permissions.flying"),
        ({"key_sha256": "0" * 64}, "key_sha256"),
    ],
)
async def test_a_wrong_value_is_refused_by_name(
    api: Api, change: dict[str, Any], field: str
) -> None:
    """422 names the field, and there is no such device."""
    await api.account()
    refused = await api.call("PUT", PATH, {**DEVICE, **change})
    assert refused.status_code == 422
    assert field in [error["field"] for error in refused.json()["errors"]]
    assert api.directory.devices(KEY) == ()


@pytest.mark.parametrize("name", ["~abc", "a b", "a%2Fb", "x" * 65, "..."])
async def test_device_names_are_checked(api: Api, name: str) -> None:
    """Names are 1 to 64 safe characters; a leading ~ is ours."""
    await api.account()
    refused = await api.call("PUT", f"/v1/accounts/101/devices/{name}", DEVICE)
    assert refused.status_code in {404, 422}
    assert api.directory.devices(KEY) == ()


async def test_there_is_no_device_without_an_account(api: Api) -> None:
    """404 for devices of an account that does not exist."""
    assert (await api.device("nobody")).status_code == 404
    assert (await api.call("GET", "/v1/accounts/nobody/devices")).status_code == 404
