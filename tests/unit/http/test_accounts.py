"""Accounts by HTTP."""

from typing import Any

import pytest

from push_proxy.core.ids import AccountId, Instant, account_key
from push_proxy.core.message_summary import Mailbox
from push_proxy.core.model import (
    Address,
    Algorithm,
    CallState,
    Fault,
    Outcome,
    TimelineEntry,
    Verdict,
)
from push_proxy.core.registration_status import RegistrationState, RegistrationStatus
from push_proxy.runtime.pbx_watch import PbxState

from .conftest import ACCOUNT, TENANT, Api

KEY = account_key(TENANT, AccountId("101"))
MD5, SHA256 = "0" * 32, "a" * 64


async def test_voicemail_is_shown(api: Api) -> None:
    """What the PBX said last of the mailbox; null before that, and in lists."""
    await api.account()
    answer = (await api.call("GET", "/v1/accounts/101")).json()
    assert answer["status"]["voicemail"] is None
    said = Mailbox(
        account=KEY,
        event="message-summary",
        state="active",
        content_type="application/simple-message-summary",
        body=b"Messages-Waiting: yes\r\nVoice-Message: 2/8 (0/2)\r\n",
        received_at=Instant(1.0),
    )
    await api.store.put_mailbox(said)
    answer = (await api.call("GET", "/v1/accounts/101")).json()
    assert answer["status"]["voicemail"] == {"waiting": True, "new": 2, "old": 8}
    (row,) = (await api.call("GET", "/v1/accounts")).json()["accounts"]
    assert row["status"]["voicemail"] is None


async def test_an_account_is_created_and_shown_without_its_secret(api: Api) -> None:
    """PUT answers 201 with Location and ETag; neither it nor GET ever shows the password."""
    made = await api.account()
    assert made.status_code == 201
    assert made.headers["Location"] == "/v1/accounts/101"
    shown = await api.call("GET", "/v1/accounts/101")
    assert shown.status_code == 200
    assert shown.headers["ETag"] == made.headers["ETag"]
    assert shown.json()["secret"] == "password"
    assert shown.json()["created_at"] == "2027-01-15T08:00:00.000Z"
    assert "secret-of-101" not in made.text + shown.text


async def test_an_identical_put_changes_nothing(api: Api) -> None:
    """The same body again: 200, the same ETag, and no listener hears of a change."""
    first = await api.account()
    heard: list[Any] = []
    api.directory.subscribe(heard.append)
    api.clock.time += 60
    again = await api.account()
    assert (again.status_code, again.headers["ETag"]) == (200, first.headers["ETag"])
    assert again.json()["updated_at"] == first.json()["updated_at"]
    assert heard == []


async def test_put_replaces_and_omitted_fields_take_their_defaults(api: Api) -> None:
    """What a second PUT leaves out is gone, except secrets."""
    await api.account(language="de-CH", expires_s=120, wake={"deadline_s": 20})
    again = await api.account(region="eu")
    body = again.json()
    assert (body["language"], body["expires_s"], body["region"]) == (None, None, "eu")
    assert body["wake"]["deadline_s"] is None


async def test_an_omitted_secret_is_kept_and_null_removes_it(api: Api) -> None:
    """Omitted keeps the password; null takes it away, which an enabled hold account refuses."""
    await api.account()
    body = {name: value for name, value in ACCOUNT.items() if name != "password"}
    kept = await api.call("PUT", "/v1/accounts/101", {**body, "language": "de"})
    assert kept.status_code == 200
    account = api.directory.account(KEY)
    assert account is not None
    assert account.credentials is not None
    assert account.credentials.password == "secret-of-101"
    refused = await api.call("PUT", "/v1/accounts/101", {**body, "password": None})
    assert refused.status_code == 422
    staged = await api.call("PUT", "/v1/accounts/101", {**body, "password": None, "enabled": False})
    assert (staged.status_code, staged.json()["secret"]) == (200, None)


async def test_ha1_per_algorithm_replaces_a_password(api: Api) -> None:
    """HA1s come with their realm, are kept in lower case, and survive a PUT without them."""
    await api.account()
    made = await api.account(
        password=None, ha1={"MD5": MD5, "SHA-256": SHA256.upper()}, realm="pbx"
    )
    assert (made.status_code, made.json()["secret"], made.json()["realm"]) == (200, "ha1", "pbx")
    account = api.directory.account(KEY)
    assert account is not None
    assert account.credentials is not None
    assert account.credentials.ha1 == {Algorithm.MD5: MD5, Algorithm.SHA256: SHA256}
    body = {name: value for name, value in ACCOUNT.items() if name != "password"}
    assert (await api.call("PUT", "/v1/accounts/101", body)).json()["realm"] == "pbx"


async def test_app_auth_is_kept_when_omitted_and_removed_by_null(api: Api) -> None:
    """app_auth defaults to the AOR's user and host."""
    made = await api.account(app_auth={"password": "app"})
    assert made.json()["app_auth"] == {
        "user": "101",
        "realm": "pbx.example.com",
        "secret": "password",
    }
    assert (await api.account()).json()["app_auth"] is not None
    assert (await api.account(app_auth=None)).json()["app_auth"] is None


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"aor": "sip:pbx.example.com"}, "aor"),
        ({"aor": "sips:101@pbx.example.com"}, "aor"),
        ({"aor": "sip:101@pbx.example.com:5080"}, "aor"),
        ({"aor": "sip:101@pbx.example.com;x=y"}, "aor"),
        ({"aor": "sip:1%0d%0a@pbx.example.com"}, "aor"),
        ({"aor": "tel:+4144"}, "aor"),
        ({"registrar": "pbx.example.com"}, "registrar"),
        ({"registrar": "sip:pbx..example.com"}, "registrar"),
        ({"registrar": f"sip:{'x' * 64}.example.com"}, "registrar"),
        ({"registrar": "sip:u@pbx.example.com"}, "registrar"),
        ({"registrar": "sips:pbx.example.com;transport=udp"}, "registrar"),
        ({"registrar": "sip:pbx.example.com;transport=sctp"}, "registrar"),
        ({"registrar": "sip:pbx.example.com;transport=tcp", "transport": "tls"}, "transport"),
        ({"transport": "ws"}, "transport"),
        ({"registrar": None}, "registrar"),
        ({"pbx": "office"}, "pbx"),
        ({"registrar": None, "pbx": "nowhere"}, "pbx"),
        ({"registrar": None, "pbx": "peered"}, "pbx"),
        ({"outbound_proxy": "http://x"}, "outbound_proxy"),
        ({"password": ""}, "password"),
        ({"password": "a\r\nb"}, "password"),
        ({"password": "a", "ha1": {"MD5": MD5}, "realm": "r"}, "ha1"),
        ({"password": None, "ha1": {"MD5": MD5}}, "realm"),
        ({"password": None, "ha1": {}, "realm": "r"}, "ha1"),
        ({"password": None, "ha1": {"MD5": "x"}, "realm": "r"}, "ha1.MD5"),
        ({"password": None, "ha1": {"SHA-512": "x"}, "realm": "r"}, "ha1.SHA-512"),
        ({"realm": "r"}, "realm"),
        ({"topology": "trunk"}, "app_auth"),
        ({"app_auth": {}}, "app_auth.password"),
        ({"app_auth": {"user": 'a"b', "password": "x"}}, "app_auth.user"),
        ({"expires_s": 59}, "expires_s"),
        ({"expires_s": "600"}, "expires_s"),
        ({"enabled": "yes"}, "enabled"),
        ({"register": "never"}, "register"),
        ({"wake": {"deadline_s": 4}}, "wake.deadline_s"),
        ({"wake": {"deadline_s": 10, "ack_s": 10}}, "wake.ack_s"),
        ({"wake": {"together_s": 15}}, "wake.together_s"),
        ({"wake": {"ring_mode": "hunt"}}, "wake.ring_mode"),
        ({"language": "german, swiss"}, "language"),
        ({"frobnicate": 1}, "frobnicate"),
    ],
)
async def test_a_wrong_value_is_refused_by_name(
    api: Api, change: dict[str, Any], field: str
) -> None:
    """422 names the field, and nothing is stored."""
    refused = await api.call("PUT", "/v1/accounts/101", {**ACCOUNT, **change})
    assert refused.status_code == 422, refused.text
    assert refused.headers["Content-Type"] == "application/problem+json"
    assert field in [error["field"] for error in refused.json()["errors"]]
    assert api.directory.accounts() == ()


@pytest.mark.parametrize(
    "change",
    [
        {"topology": "transparent"},
        {"wake": {"ringing": "announcement"}},
    ],
)
async def test_what_is_not_built_yet_says_so(api: Api, change: dict[str, Any]) -> None:
    """A field of the contract that this version lacks is refused with that reason."""
    refused = await api.call("PUT", "/v1/accounts/101", {**ACCOUNT, **change})
    assert refused.status_code == 422
    assert "not built yet" in refused.json()["detail"]


@pytest.mark.parametrize(
    ("change", "registrar", "transport"),
    [
        ({}, "sip:pbx.example.com", None),
        ({"transport": "udp"}, "sip:pbx.example.com", "udp"),
        ({"transport": "tcp"}, "sip:pbx.example.com", "tcp"),
        (
            {"registrar": "sips:pbx.example.com:5061"},
            "sip:pbx.example.com:5061;transport=tls",
            "tls",
        ),
        (
            {"registrar": "sip:pbx.example.com;transport=TCP", "transport": "tcp"},
            "sip:pbx.example.com;transport=tcp",
            "tcp",
        ),
        (
            {"outbound_proxy": "sip:10.0.0.1;transport=tls"},
            "sip:pbx.example.com",
            "tls",
        ),
    ],
)
async def test_the_transport_is_what_the_field_or_the_uri_says(
    api: Api, change: dict[str, Any], registrar: str, transport: str | None
) -> None:
    """A sips URI is TLS, and the outbound proxy's URI counts before the registrar's."""
    made = await api.call("PUT", "/v1/accounts/101", {**ACCOUNT, **change})
    assert made.status_code == 201, made.text
    assert (made.json()["registrar"], made.json()["transport"]) == (registrar, transport)


async def test_a_trunk_account_takes_its_calls_from_a_peer(api: Api) -> None:
    """Trunk needs app_auth and no password; its PBX may be known by address alone."""
    made = await api.call(
        "PUT",
        "/v1/accounts/101",
        {
            "aor": "sip:101@pbx.example.com",
            "topology": "trunk",
            "pbx": "peered",
            "app_auth": {"password": "app"},
        },
    )
    assert made.status_code == 201, made.text


async def test_an_aor_belongs_to_one_account(api: Api) -> None:
    """A second account for the same AOR (another spelling) is a conflict."""
    await api.account()
    body = {**ACCOUNT, "aor": "sip:%31%30%31@PBX.example.com"}
    assert (await api.call("PUT", "/v1/accounts/102", body)).status_code == 409


async def test_if_match_guards_against_lost_updates(api: Api) -> None:
    """An old ETag, or one of a deleted namesake, is refused with 412; the right one works."""
    old = (await api.account()).headers["ETag"]
    new = (await api.account(language="de")).headers["ETag"]

    async def put(**headers: str) -> int:
        names = {"if_match": "If-Match", "if_none_match": "If-None-Match"}
        sent = {names[name]: value for name, value in headers.items()}
        done = await api.call(
            "PUT", "/v1/accounts/101", {**ACCOUNT, "language": "fr"}, headers=sent
        )
        return done.status_code

    assert await put(if_match=old) == 412
    assert await put(if_none_match="*") == 412
    assert await put(if_match=f'"other", {new}') == 200
    await api.call("DELETE", "/v1/accounts/101")
    api.clock.time += 1
    assert await put(if_match="*") == 412
    assert await put(if_none_match="*") == 201
    assert await put(if_match=old) == 412


async def test_accounts_are_listed_a_page_at_a_time(api: Api) -> None:
    """Limit and next_cursor walk through all accounts of the tenant, by name."""
    for number in range(5):
        await api.account(f"a{number}")
    seen: list[str] = []
    cursor: str | None = None
    while True:
        params = {"limit": "2"} | ({"cursor": cursor} if cursor else {})
        page = (await api.call("GET", "/v1/accounts", params=params)).json()
        seen += [one["account"] for one in page["accounts"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert seen == [f"a{number}" for number in range(5)]
    assert (await api.call("GET", "/v1/accounts", key="other")).json()["accounts"] == []
    assert (await api.call("GET", "/v1/accounts?limit=0")).status_code == 422
    assert (await api.call("GET", "/v1/accounts?page=2")).status_code == 422


async def test_a_deleted_account_is_gone(api: Api) -> None:
    """DELETE answers 204 once; then the account and its devices do not exist."""
    await api.account()
    await api.device()
    key = await api.device_key()
    assert (await api.call("DELETE", "/v1/accounts/101")).status_code == 204
    assert (await api.call("DELETE", "/v1/accounts/101")).status_code == 404
    assert (await api.call("GET", "/v1/accounts/101")).status_code == 404
    assert (await api.call("GET", "/v1/accounts/101", key=key)).status_code == 401


async def test_the_status_shows_what_the_pbx_said(api: Api) -> None:
    """Registration state, the PBX's last answer, next attempt, other phones and advice."""
    await api.account()
    api.registrations.known[KEY] = RegistrationStatus(
        state=RegistrationState.REJECTED,
        last_status=403,
        last_reason="Forbidden",
        last_answer_at=api.clock.now(),
        other_contacts=("sip:101@192.0.2.77",),
        advice="The PBX refused the password: correct it.",
    )
    status = (await api.call("GET", "/v1/accounts/101")).json()["status"]["registration"]
    assert (status["state"], status["last_status"]) == ("rejected", 403)
    assert status["last_answer_at"] == "2027-01-15T08:00:00.000Z"
    assert status["other_contacts"] == ["sip:101@192.0.2.77"]
    assert "password" in status["advice"]


async def test_an_account_shows_how_its_pbx_is(api: Api) -> None:
    """Each server that was found, and whether it answers; null where nothing is watched."""
    await api.account()
    assert (await api.call("GET", "/v1/accounts/101")).json()["status"]["pbx"] is None
    servers = {Address("192.0.2.10", 5061, "tls"): True, Address("2001:db8::1", 5061, "tls"): None}
    api.pbx_states[KEY] = PbxState(reachable=True, servers=servers)
    assert (await api.call("GET", "/v1/accounts/101")).json()["status"]["pbx"] == {
        "reachable": True,
        "servers": {"tls:192.0.2.10:5061": True, "tls:[2001:db8::1]:5061": None},
        "reason": "",
    }
    api.pbx_states[KEY] = PbxState(reachable=False, servers=servers, reason="Connection refused")
    gone = (await api.call("GET", "/v1/accounts/101")).json()["status"]["pbx"]
    assert gone["reason"] == "Connection refused"


async def test_devices_show_whether_their_connection_stands(api: Api) -> None:
    """A lost connection is sleep; over UDP nobody knows."""

    async def shown() -> tuple[str, str, bool | None]:
        answer = await api.call("GET", "/v1/accounts/101")
        (device,) = answer.json()["status"]["devices"]
        return device["reachability"], device["transport"], device["connected"]

    await api.account()
    await api.device()
    api.bind("d1")
    assert await shown() == ("registered", "udp", None)
    flow = Address("192.0.2.50", 40000, "tls")
    api.bind("d1", source=flow)
    assert await shown() == ("registered", "tls", True)
    api.directory.flow_lost(flow)
    assert await shown() == ("asleep", "tls", False)


async def test_devices_show_reachability_and_app_error(api: Api) -> None:
    """Asleep is fine (0); registered while the PBX is down is 2; woken without SIP is 1."""

    async def shown() -> tuple[str, int]:
        answer = await api.call("GET", "/v1/accounts/101")
        (device,) = answer.json()["status"]["devices"]
        return device["reachability"], device["app_error"]

    await api.account()
    binding = api.bind("d1")
    assert await shown() == ("registered", 0)
    api.directory.delete_binding(KEY, binding.device)
    await api.device()
    assert await shown() == ("asleep", 0)
    api.registrations.known[KEY] = RegistrationStatus(state=RegistrationState.RETRYING)
    assert await shown() == ("asleep", 0)
    api.bind("d1")
    assert await shown() == ("registered", 2)

    api.directory.delete_binding(KEY, binding.device)
    await api.call_record(
        outcome=Outcome(
            verdict=Verdict.WOKE_NOT_REGISTERED,
            fault=Fault.APP,
            phase=CallState.WAKING,
            ended_by="deadline",
            status=480,
        ),
        ended_at=api.clock.now(),
        timeline=(TimelineEntry(api.clock.now(), "push_received", binding.device),),
    )
    assert await shown() == ("asleep", 1)
    api.clock.time += 60
    api.bind("d1")
    api.registrations.known.clear()
    assert await shown() == ("registered", 0)
