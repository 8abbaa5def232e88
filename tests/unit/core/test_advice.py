"""core.advice: verdict and evidence -> cause, the most certain evidence first."""

from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from push_proxy.core.advice import RULES, case_of, cause_of, with_cause
from push_proxy.core.advice_details import NAMES, details_of
from push_proxy.core.causes import Cause
from push_proxy.core.evidence import (
    AppReason,
    AppWords,
    Evidence,
    Network,
    Priority,
    WakesBefore,
)
from push_proxy.core.ids import AccountKey, CallId, DeviceId, Instant
from push_proxy.core.model import (
    CallRecord,
    CallState,
    Direction,
    TimelineEntry,
    Verdict,
)
from push_proxy.core.outcome import outcome

PHONE = DeviceId("phone")
START = 1_000.0
END = START + 15.0
PUSHED = ((0.0, "push_sent"), (0.2, "push_accepted"))
WOKE = (*PUSHED, (2.0, "push_received"))
CALLED = (*PUSHED, (2.0, "registered"), (2.1, "invite_sent"))
RANG = (*CALLED, (2.5, "device_ringing", "180 Ringing"))
LATE = (*PUSHED, (40.0, "push_received"))


def refused(event: str, reason: str) -> tuple[tuple[Any, ...], ...]:
    return ((0.0, "push_sent"), (0.2, event, reason))


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    verdict: str
    cause: Cause | None
    timeline: tuple[tuple[Any, ...], ...] = PUSHED
    known: dict[str, Any] = field(default_factory=dict)
    phase: str = "waking"


def may(**permissions: bool) -> dict[str, Any]:
    return {"permissions": permissions}


def said(**words: Any) -> dict[str, Any]:
    return {"words": AppWords(**words)}


LOWERED = said(priority=Priority.NORMAL, original_priority=Priority.HIGH)
TABLE = [
    # nothing but the verdict
    Row("not_woken", None),
    Row("woke_not_registered", None, WOKE),
    Row("registered_not_ringing", None, CALLED),
    Row("device_error", None, (*CALLED, (3.0, "device_refused", "500 Oops"))),
    Row("no_answer", None, RANG, phase="ringing"),
    Row("caller_cancelled", None),
    Row("caller_cancelled", None, RANG, phase="ringing"),
    Row("no_device", None, ()),
    Row("pbx_lost", None),
    Row("outbound_failed", None, ()),
    Row("answered_elsewhere", None, RANG),
    Row("proxy_error", None),
    # what the app says
    Row("not_woken", Cause.FORCE_STOPPED, PUSHED, said(reason=AppReason.FORCE_STOPPED)),
    Row("not_woken", Cause.NO_INTERNET, LATE, said(network=Network.NONE)),
    Row("woke_not_registered", Cause.NO_INTERNET, WOKE, said(network=Network.NONE)),
    Row("woke_not_registered", Cause.NO_INTERNET, WOKE, said(reason=AppReason.NO_NETWORK)),
    Row("not_woken", Cause.NO_INTERNET, LATE, said(at=Instant(START + 1))),
    Row("not_woken", Cause.LATE_PUSH, LATE, said(at=Instant(START + 39))),
    Row("not_woken", Cause.LATE_PUSH, LATE, said(at=Instant(START - 500))),
    Row("not_woken", Cause.PRIORITY_LOWERED, LATE, LOWERED),
    Row("woke_not_registered", Cause.PRIORITY_LOWERED, WOKE, LOWERED),
    Row(
        "not_woken",
        Cause.PRIORITY_LOWERED,
        LATE,
        {"provider": "fcm", **said(priority=Priority.NORMAL)},
    ),
    Row("not_woken", Cause.LATE_PUSH, LATE, said(priority=Priority.NORMAL)),
    Row("not_woken", Cause.LATE_PUSH, LATE, said(priority=Priority.HIGH)),
    Row("not_woken", Cause.LATE_PUSH, LATE),
    Row("caller_cancelled", Cause.LATE_PUSH, LATE),
    Row("woke_not_registered", Cause.SIP_BLOCKED, WOKE, said(reason=AppReason.SIP_FAILED)),
    Row("woke_not_registered", Cause.NO_MEDIA, WOKE, said(reason=AppReason.NO_MEDIA)),
    Row("woke_not_registered", Cause.REGISTERS_ELSEWHERE, (*WOKE, (3.0, "app_registered"))),
    Row("woke_not_registered", Cause.APP_FAILED, (*WOKE, (3.0, "app_failed", "crash"))),
    # what the provider says, and what there was to push to
    Row("push_rejected", None, refused("push_rejected", "device_gone")),
    Row(
        "push_rejected",
        Cause.DEAD_TOKEN,
        refused("push_rejected", "Unregistered"),
        {"token_state": "dead", "token_reason": "Unregistered"},
    ),
    Row("no_device", Cause.DEAD_TOKEN, (), {"token_state": "dead", "token_reason": "idle"}),
    Row(
        "push_rejected",
        Cause.WRONG_APP,
        refused("push_misconfigured", "DeviceTokenNotForTopic"),
        {"token_state": "wrong_app", "token_reason": "DeviceTokenNotForTopic"},
    ),
    Row(
        "push_rejected",
        Cause.PROVIDER_MISCONFIGURED,
        refused("push_misconfigured", "InvalidProviderToken"),
        {"token_state": "wrong_app", "token_reason": "DeviceTokenNotForTopic"},
    ),
    Row(
        "push_rejected",
        Cause.PROVIDER_MISCONFIGURED,
        refused("push_misconfigured", "InvalidProviderToken"),
    ),
    Row("no_device", Cause.NO_TOKEN, ((0.0, "not_pushed", "no_token"),)),
    Row("no_device", Cause.UNKNOWN_APP, ((0.0, "not_pushed", "unknown_app"),)),
    Row(
        "no_device",
        Cause.NOT_FROM_STORE,
        ((0.0, "not_pushed", "no_token"),),
        {"install_source": "com.android.shell"},
    ),
    Row(
        "provider_unavailable",
        Cause.PROVIDER_THROTTLED,
        refused("push_unavailable", "QUOTA_EXCEEDED"),
    ),
    Row(
        "provider_unavailable",
        Cause.PROVIDER_UNREACHABLE,
        refused("push_unavailable", "oauth_connect_timeout"),
    ),
    Row("provider_unavailable", Cause.PROVIDER_DOWN, refused("push_unavailable", "http_500")),
    Row(
        "provider_unavailable",
        Cause.BACKEND_DOWN,
        refused("push_unavailable", "http_500"),
        {"provider": "webhook"},
    ),
    Row("provider_unavailable", None, ((0.0, "push_sent"),)),
    # what the phone answered, and may not show or sound
    Row(
        "device_error",
        Cause.CODEC_MISMATCH,
        (*CALLED, (3.0, "device_refused", "488 Not Acceptable Here")),
    ),
    Row("device_error", Cause.NO_MEDIA, CALLED, may(media=False)),
    Row("registered_not_ringing", Cause.NO_MEDIA, CALLED, may(media=False)),
    Row("registered_not_ringing", Cause.NO_PHONE_ACCOUNT, CALLED, may(phone_account=False)),
    Row("registered_not_ringing", Cause.NOTIFICATIONS_OFF, CALLED, may(notifications=False)),
    Row("no_answer", Cause.NOTIFICATIONS_OFF, RANG, may(notifications=False), "ringing"),
    Row("no_answer", Cause.NO_SOUND, RANG, may(sound=False), "ringing"),
    Row("no_answer", Cause.LOCK_SCREEN, RANG, may(lock_screen=False), "ringing"),
    Row("no_answer", Cause.FULL_SCREEN_OFF, RANG, may(full_screen=False), "ringing"),
    Row("no_answer", Cause.OVERLAY_OFF, RANG, may(overlay=False), "ringing"),
    Row("no_answer", Cause.NO_SOUND, RANG, may(sound=False, overlay=False), "ringing"),
    Row("caller_cancelled", Cause.LOCK_SCREEN, RANG, may(lock_screen=False), "ringing"),
    Row("caller_cancelled", None, PUSHED, may(lock_screen=False)),
    Row("no_answer", None, RANG, may(notifications=True, sound=True), "ringing"),
    # what keeps it asleep
    Row("not_woken", Cause.BACKGROUND_DATA_OFF, PUSHED, may(background_data=False)),
    Row("woke_not_registered", Cause.BACKGROUND_DATA_OFF, WOKE, may(background_data=False)),
    Row("not_woken", Cause.DATA_SAVER, PUSHED, may(data_saver=True)),
    Row("not_woken", Cause.BACKGROUND_RESTRICTED, PUSHED, may(battery_unrestricted=False)),
    Row("not_woken", Cause.BATTERY_SAVER, PUSHED, may(battery_saver=True)),
    Row("not_woken", None, PUSHED, may(battery_saver=False, data_saver=False)),
    Row("not_woken", Cause.CELLULAR_DATA_OFF, PUSHED, may(cellular_data=False)),
    Row(
        "woke_not_registered",
        None,
        WOKE,
        {**may(cellular_data=False), **said(network=Network.WIFI)},
    ),
    Row("not_woken", Cause.NOTIFICATIONS_OFF, PUSHED, may(notifications=False)),
    Row("not_woken", Cause.NOT_FROM_STORE, PUSHED, {"install_source": "sideload"}),
    Row("not_woken", None, PUSHED, {"install_source": "com.android.vending"}),
    Row("not_woken", None, PUSHED, {"install_source": "some new store"}),
    Row("woke_not_registered", Cause.NO_MEDIA, WOKE, may(media=False)),
    # what is left
    Row("not_woken", Cause.LATE_WAKE, (*PUSHED, (31.0, "registered_late"))),
    Row("woke_not_registered", Cause.LATE_WAKE, (*WOKE, (31.0, "registered_late"))),
    Row(
        "not_woken",
        Cause.BATTERY_SAVER,
        (*PUSHED, (31.0, "registered_late")),
        may(battery_saver=True),
    ),
    Row("not_woken", Cause.LATE_PUSH, LATE, may(battery_saver=True)),
    Row(
        "not_woken",
        Cause.STOPPED_WAKING,
        PUSHED,
        {"wakes": WakesBefore(failed_in_a_row=2, proven=True), "vendor": "Xiaomi"},
    ),
    Row("not_woken", None, PUSHED, {"wakes": WakesBefore(failed_in_a_row=9)}),
    Row("not_woken", None, PUSHED, {"wakes": WakesBefore(failed_in_a_row=1, proven=True)}),
    Row("not_woken", Cause.VENDOR_LIMITS, PUSHED, {"vendor": "HUAWEI", "provider": "hms"}),
    Row("not_woken", Cause.VENDOR_LIMITS, PUSHED, {"vendor": "OnePlus", "platform": "android"}),
    Row("not_woken", None, PUSHED, {"vendor": "Google", "platform": "android"}),
    Row("not_woken", None, PUSHED, {"vendor": "Apple", "platform": "ios"}),
    # the PBX
    Row("answered_elsewhere", Cause.BLOCKED_BY_OTHER_REGISTRATION, PUSHED, {"other_contacts": 1}),
    Row("answered_elsewhere", None, RANG, {"other_contacts": 1}),
    Row(
        "outbound_failed",
        Cause.BLOCKED_BY_OTHER_REGISTRATION,
        (),
        {"other_contacts": 1, "evictions": 2},
    ),
    Row("outbound_failed", Cause.PBX_REGISTRATION_DOWN, (), {"registration": "rejected"}),
    Row("pbx_lost", Cause.PBX_REGISTRATION_DOWN, PUSHED, {"registration": "retrying"}),
    Row("outbound_failed", None, (), {"registration": "registered", "other_contacts": 1}),
]


def record(row: Row) -> CallRecord:
    result = outcome(
        Verdict(row.verdict), phase=CallState(row.phase), ended_by="deadline", status=480
    )
    return CallRecord(
        id=CallId("call"),
        account=AccountKey("acme/101"),
        direction=Direction.INCOMING,
        sip_call_id="sip",
        started_at=Instant(START),
        ended_at=Instant(END),
        state=CallState.ENDED,
        outcome=replace(result, device=PHONE),
        evidence=Evidence(device=PHONE, **row.known),
        timeline=tuple(
            TimelineEntry(Instant(START + at), event, PHONE, *rest)
            for at, event, *rest in row.timeline
        ),
    )


def label(row: Row) -> str:
    return f"{row.verdict}-{row.cause or 'unknown'}"


@pytest.mark.parametrize("row", TABLE, ids=label)
def test_the_table(row: Row) -> None:
    """Each verdict and kind of evidence leads to exactly this cause; verdict and fault stay."""
    before = record(row)
    after = with_cause(before)
    assert before.outcome is not None
    assert after.outcome == replace(before.outcome, cause=row.cause or "")


def test_every_cause_and_rule_is_in_the_table() -> None:
    """No cause is out of reach, and no rule stands there for nothing."""
    assert {row.cause for row in TABLE} - {None} == set(Cause)
    first = set()
    for row in TABLE:
        case = case_of(record(row))
        assert case is not None
        holding = (rule for rule in RULES if case.verdict in rule.verdicts and rule.holds(case))
        first.add(next(holding, None))
    assert [rule.cause for rule in RULES if rule not in first] == []


def test_other_devices_are_no_evidence() -> None:
    """Only the device that decided counts: another one's late report explains nothing."""
    plain = record(Row("not_woken", None))
    other = TimelineEntry(Instant(START + 40), "push_received", DeviceId("tablet"))
    told = with_cause(replace(plain, timeline=(*plain.timeline, other)))
    assert told.outcome is not None
    assert told.outcome.cause == ""


def test_a_forwarded_call_is_judged_by_what_had_failed() -> None:
    """A rule sent the call elsewhere after nobody had woken: the cause is that of not waking."""
    row = Row("not_woken", Cause.BATTERY_SAVER, PUSHED, may(battery_saver=True))
    plain = record(row)
    assert plain.outcome is not None
    sent_on = replace(plain.outcome, verdict=Verdict.FORWARDED, led_by=Verdict.NOT_WOKEN)
    case = case_of(replace(plain, outcome=sent_on))
    assert case is not None
    assert cause_of(case) is Cause.BATTERY_SAVER


def test_an_open_call_has_no_case() -> None:
    """Nothing is claimed before the end, nor of a call that needs no explanation."""
    done = record(Row("not_woken", None))
    assert case_of(replace(done, outcome=None)) is None
    assert case_of(replace(done, evidence=None)) is None
    assert with_cause(replace(done, evidence=None)).outcome == done.outcome


@pytest.mark.parametrize("row", TABLE, ids=label)
def test_details_are_whole(row: Row) -> None:
    """Every particular that a text may name has one, whatever is known."""
    case = case_of(record(row))
    assert case is not None
    details = details_of(case)
    assert set(details) == NAMES
    assert all(details.values())


def test_the_earliest_words_count() -> None:
    """Of two reports the one nearest to the push says how it arrived; the later one adds."""
    first = AppWords(priority=Priority.NORMAL, network=Network.NONE)
    second = AppWords(
        priority=Priority.HIGH, network=Network.WIFI, reason=AppReason.SIP_FAILED, detail="503"
    )
    known = Evidence().with_words(first).with_words(second).words
    assert (known.priority, known.network) == (Priority.NORMAL, Network.NONE)
    assert (known.reason, known.detail) == (AppReason.SIP_FAILED, "503")
    assert first.text == "priority normal; network none"
