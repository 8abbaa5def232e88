"""The overview: the tenant's numbers, the node's and the providers' health."""

import dataclasses

from push_proxy.core.ids import AccountId, Instant, TenantId, account_key
from push_proxy.core.model import Address, Fault, Outcome, Verdict
from push_proxy.core.model import CallState as State
from push_proxy.core.registration_status import RegistrationState, RegistrationStatus
from push_proxy.http.backend import Readiness, ReadyState
from push_proxy.ports import AppHealth, AppState
from push_proxy.runtime.pbx_watch import PbxState

from .conftest import TENANT, Api

BUSY = Outcome(
    verdict=Verdict.BUSY, fault=Fault.NOBODY, phase=State.RINGING, ended_by="device", status=486
)


async def test_numbers_are_of_the_tenant(api: Api) -> None:
    """Accounts, devices, registrations by state, and how calls ended; nothing of other tenants."""
    for name in ("101", "102"):
        await api.account(name)
    await api.device()
    api.bind()
    registered = RegistrationStatus(state=RegistrationState.REGISTERED)
    api.registrations.known[account_key(TENANT, AccountId("101"))] = registered
    record = await api.call_record()
    api.verdicts.on_outcome(dataclasses.replace(record, outcome=BUSY))
    found = (await api.call("GET", "/v1/overview")).json()
    assert found["accounts"] == 2
    assert found["devices"] == {"total": 1, "wakeable": 1, "connected": 1}
    assert found["registrations"] == {"registered": 1, "unused": 1}
    assert found["calls"]["verdicts"] == [{"verdict": "busy", "calls": 1}]
    assert found["wake_latency"] == []
    (pbx,) = found["pbxs"]
    assert (pbx["name"], pbx["accounts"]) == ("sip:pbx.example.com", 2)
    other = (await api.call("GET", "/v1/overview", key="other")).json()
    assert (other["accounts"], other["calls"]["total"], other["pbxs"]) == (0, 0, [])


async def test_health_says_what_to_do(api: Api) -> None:
    """Of the node and of each app at its provider; a good one needs no advice."""
    api.readiness = Readiness(ReadyState.DEGRADED, ("Redis does not answer.",))
    api.health = (
        ("apns", AppHealth(app_id="a", state=AppState.BLOCKED, reason="BadTopic")),
        ("fcm", AppHealth(app_id="b", state=AppState.OK, credential_ends_at=1_800_000_000.0)),
    )
    found = (await api.call("GET", "/v1/overview")).json()
    assert found["node"]["status"] == "degraded"
    assert found["node"]["reasons"] == ["Redis does not answer."]
    blocked, good = found["providers"]
    assert "bundle id" in blocked["advice"]
    assert (good["advice"], good["credential_ends_at"]) == ("", "2027-01-15T08:00:00.000Z")


async def test_pbxs_in_trouble_come_first(api: Api) -> None:
    """One that does not answer, before one that refuses, before a large one that is well."""
    states = {
        "1": ("sip:well.example", RegistrationState.REGISTERED, True),
        "2": ("sip:well.example", RegistrationState.REGISTERED, True),
        "3": ("sip:refuses.example", RegistrationState.REJECTED, True),
        "4": ("sip:gone.example", RegistrationState.RETRYING, False),
    }
    for name, (registrar, state, reachable) in states.items():
        await api.account(name, registrar=registrar)
        key = account_key(TenantId("acme"), AccountId(name))
        api.registrations.known[key] = RegistrationStatus(state=state)
        api.pbx_states[key] = PbxState(
            reachable=reachable,
            servers={Address("192.0.2.1", 5060): reachable},
            reason="" if reachable else "no answer",
        )
    found = (await api.call("GET", "/v1/overview")).json()
    names = [pbx["name"] for pbx in found["pbxs"]]
    assert names == ["sip:gone.example", "sip:refuses.example", "sip:well.example"]
    assert (found["pbxs"][0]["reachable"], found["pbxs"][0]["reason"]) == (False, "no answer")
    assert found["pbxs_total"] == 3


async def test_the_count_is_kept_for_a_few_seconds(api: Api) -> None:
    """Many who look cost one count."""
    await api.account()
    assert (await api.call("GET", "/v1/overview")).json()["accounts"] == 1
    await api.account("102")
    assert (await api.call("GET", "/v1/overview")).json()["accounts"] == 1
    api.clock.time = Instant(api.clock.time + 6)
    assert (await api.call("GET", "/v1/overview")).json()["accounts"] == 2
