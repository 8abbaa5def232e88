"""Values to store: every field set, so that a lost one is noticed."""

from dataclasses import replace
from typing import Any

from push_proxy.core.app_log import AppLog
from push_proxy.core.evidence import (
    AppReason,
    AppWords,
    Evidence,
    Network,
    Priority,
    WakesBefore,
)
from push_proxy.core.ids import AccountId, AccountKey, CallId, DeviceId, Instant, TenantId
from push_proxy.core.message_summary import Mailbox
from push_proxy.core.missed import MissedCall
from push_proxy.core.model import (
    Account,
    Address,
    Algorithm,
    AppAuth,
    Binding,
    CallRecord,
    CallState,
    Credentials,
    Device,
    Direction,
    Enrolment,
    Fault,
    HeldInvite,
    Outcome,
    RegisterPolicy,
    RegistrationRecord,
    Ringing,
    RingMode,
    TimelineEntry,
    TokenFault,
    TokenState,
    Topology,
    Verdict,
    WakeOverrides,
)
from push_proxy.core.policy_rules import Policy, Rejection, Rule, When
from push_proxy.core.wake_health import WakeEnd, WakeResult

ACME = TenantId("acme")
ALICE = AccountKey("acme/alice")
BOB = AccountKey("acme/bob")
PHONE = DeviceId("phone")
PASSWORD = "correct-horse-battery"
HA1 = "939e7578ed9e3c518a452acee763bce9"
TOKEN = "device-token-4711-secret"
PRID = "prid-0815-secret"


def account(name: str = "alice", tenant: str = "acme", **changes: Any) -> Account:
    base = Account(
        tenant=TenantId(tenant),
        account=AccountId(name),
        aor=f"sip:{name}@{tenant}.example.com",
        topology=Topology.TRUNK,
        pbx="office",
        registrar="sip:pbx.example.com",
        outbound_proxy="sip:out.example.com;lr",
        auth_user="auth-user",
        credentials=Credentials(password=PASSWORD),
        app_auth=AppAuth(
            user="app",
            realm="apps",
            credentials=Credentials(ha1={Algorithm.MD5: HA1}, realm="apps"),
        ),
        register=RegisterPolicy.ALWAYS,
        enabled=False,
        expires_s=300,
        wake=WakeOverrides(
            deadline_s=20.0,
            ringing=Ringing.IMMEDIATELY,
            ring_mode=RingMode.TOGETHER,
            together_s=8.0,
        ),
        policy=Policy(
            rules=(
                Rule(when=(When.ALWAYS,), callers=("+4420*",), reject=Rejection(486, "Busy")),
                Rule(when=(When.BUSY, When.NOT_WOKEN), redirect="tel:+442079460000"),
            ),
            targets=("tel:+44*",),
        ),
        language="de",
        region="DE",
        contact_token=f"token-{tenant}-{name}",
        created_at=1.5,
        updated_at=2.5,
    )
    return replace(base, **changes)


def device(
    key: AccountKey = ALICE, name: str = "phone", token: str = TOKEN, **changes: Any
) -> Device:
    base = Device(
        account=key,
        device=DeviceId(name),
        provider="webhook",
        app_id="com.example.phone",
        token=token,
        token_kind="fid",
        alert_token="alert-token-secret",
        environment="production",
        token_at=3.5,
        token_fault=TokenFault(
            state=TokenState.WRONG_APP, reason="mismatch", at=Instant(4.5), token_sha256="cd" * 32
        ),
        seen_at=5.5,
        refresh_sent_at=6.5,
        by_register=True,
        purr=True,
        platform="android",
        vendor="Acme",
        model="One",
        os_version="15",
        app_version="1.2",
        install_source="store",
        instance_id="urn:uuid:0",
        permissions={"notifications": True, "overlay": False, "sound": None},
        key_sha256="ab" * 32,
        created_at=1.5,
        updated_at=2.5,
    )
    return replace(base, **changes)


def binding(now: float, key: AccountKey = ALICE, name: str = "phone", **changes: Any) -> Binding:
    base = Binding(
        account=key,
        device=DeviceId(name),
        contact=f"sip:alice@192.0.2.7:40000;pn-prid={PRID}",
        source=Address("192.0.2.7", 40000),
        local=Address("2001:db8::1", 5060, "tcp"),
        call_id="c1",
        cseq=7,
        expires_at=Instant(now + 60),
        instance="urn:uuid:0",
        user_agent="Phone/1",
        route_key="00112233aabbccdd",
        heard_at=Instant(now),
        wants_refresh=True,
        purr=True,
    )
    return replace(base, **changes)


def held(now: float, call: str = "call-1", **changes: Any) -> HeldInvite:
    base = HeldInvite(
        call=CallId(call),
        account=ALICE,
        raw=b"INVITE sip:alice@192.0.2.1 SIP/2.0\r\n\r\n\x00\xff\xc3\xa4",
        source=Address("192.0.2.10", 5060),
        local=Address("192.0.2.1", 5060),
        to_tag="tag",
        received_at=Instant(now),
        deadline=Instant(now + 15),
    )
    return replace(base, **changes)


EVIDENCE = Evidence(
    device=PHONE,
    provider="fcm",
    platform="android",
    vendor="Xiaomi",
    os_version="15",
    install_source="com.android.vending",
    permissions={"battery_saver": True, "sound": False},
    token_state="dead",
    token_reason="UNREGISTERED",
    words=AppWords(
        at=Instant(1_800_000_000.5),
        priority=Priority.NORMAL,
        original_priority=Priority.HIGH,
        network=Network.NONE,
        reason=AppReason.FORCE_STOPPED,
        detail="Jörg's phone",
    ),
    registration="registered",
    other_contacts=2,
    evictions=1,
    wakes=WakesBefore(failed_in_a_row=2, proven=True),
)


def call(
    started_at: float, name: str = "call-1", key: AccountKey = ALICE, **changes: Any
) -> CallRecord:
    base = CallRecord(
        id=CallId(name),
        account=key,
        direction=Direction.INCOMING,
        sip_call_id=f"sip-{name}",
        caller="+4930123456",
        caller_name="Jörg",
        callee="alice",
        video=True,
        started_at=Instant(started_at),
        answered_at=Instant(started_at + 1),
        ended_at=Instant(started_at + 2),
        state=CallState.ENDED,
        outcome=Outcome(
            verdict=Verdict.ANSWERED,
            fault=Fault.NOBODY,
            phase=CallState.ANSWERED,
            ended_by="caller",
            status=200,
            advice="none",
            cause="no_internet",
            device=PHONE,
            led_by=Verdict.NOT_WOKEN,
        ),
        timeline=(TimelineEntry(Instant(started_at), "push_sent", PHONE, "webhook"),),
        evidence=EVIDENCE,
    )
    return replace(base, **changes)


def missed(at: float, name: str = "call-1", key: AccountKey = ALICE) -> MissedCall:
    return MissedCall(
        call=CallId(name),
        account=key,
        sip_call_id=f"sip-{name}",
        caller="+4930123456",
        caller_name="Jörg",
        video=True,
        verdict=Verdict.NOT_WOKEN,
        started_at=Instant(at - 15),
        missed_at=Instant(at),
        owed=(PHONE, DeviceId("tablet")),
    )


def wake(
    at: float, name: str = "call-1", end: WakeEnd = WakeEnd.WOKE, **changes: Any
) -> WakeResult:
    base = WakeResult(
        at=Instant(at),
        over_at=Instant(at + 15),
        call=CallId(name),
        end=end,
        beside=True,
        verdict=Verdict.NOT_WOKEN if end is WakeEnd.FAILED else Verdict.ANSWERED,
        wake_s=1.25 if end is WakeEnd.WOKE else None,
        provider="fcm",
        reason="200",
    )
    return replace(base, **changes)


def app_log(at: float, name: str = "log-1", **changes: Any) -> AppLog:
    return replace(AppLog(id=name, at=Instant(at), size=3, call=CallId("call-1")), **changes)


def registration(now: float) -> RegistrationRecord:
    return RegistrationRecord(
        account=ALICE,
        call_id="reg-1",
        cseq=12,
        contact="sip:alice@192.0.2.1;pp=x",
        expires_at=Instant(now + 600),
    )


def mailbox(now: float, **changes: Any) -> Mailbox:
    base = Mailbox(
        account=ALICE,
        event="message-summary;id=1",
        state="active;expires=60",
        content_type="application/simple-message-summary",
        body=b"Messages-Waiting: yes\r\n\x00\xff",
        received_at=Instant(now),
        told=(PHONE, DeviceId("~2")),
    )
    return replace(base, **changes)


def enrolment(now: float, code: str = "aa" * 32) -> Enrolment:
    return Enrolment(code_sha256=code, account=ALICE, expires_at=Instant(now + 900))
