"""core.missed: which calls count as missed, and what is told of them."""

from dataclasses import replace

import pytest

from push_proxy.core.ids import AccountKey, CallId, Instant
from push_proxy.core.missed import missed_notice
from push_proxy.core.model import CallRecord, CallState, Direction, Fault, Verdict
from push_proxy.core.notices import NoticeType
from push_proxy.core.outcome import outcome
from push_proxy.core.payload import Privacy

NOW = Instant(2_000.0)
NOT_MISSED = {Verdict.ANSWERED, Verdict.ANSWERED_ELSEWHERE, Verdict.DECLINED, Verdict.REFUSED}


def call(verdict: Verdict = Verdict.NO_ANSWER) -> CallRecord:
    return CallRecord(
        id=CallId("call-1"),
        account=AccountKey("acme/101"),
        direction=Direction.INCOMING,
        sip_call_id="abc@192.0.2.1",
        caller="+4930123456",
        caller_name="Jörg",
        started_at=Instant(1_000.5),
        outcome=outcome(verdict, phase=CallState.RINGING, ended_by="pbx", status=487),
    )


def test_what_is_told() -> None:
    """Enough to show a missed call, and to find its story."""
    notice = missed_notice(call(), privacy=Privacy.FULL, now=NOW)
    assert notice is not None
    assert (notice.type, notice.at, notice.account) == (
        NoticeType.CALL_MISSED, NOW, AccountKey("acme/101"),
    )  # fmt: skip
    assert notice.data == {
        "call_id": "call-1",
        "sip_call_id": "abc@192.0.2.1",
        "verdict": "no_answer",
        "started_at": "1970-01-01T00:16:40.500Z",
        "caller_number": "+4930123456",
        "caller_name": "Jörg",
    }


def test_the_cause_is_told_where_it_is_known() -> None:
    """So that an operator's system can group them without asking for each call."""
    known = call(Verdict.NOT_WOKEN)
    assert known.outcome is not None
    because = replace(known, outcome=replace(known.outcome, cause="battery_saver"))
    notice = missed_notice(because, privacy=Privacy.IDS_ONLY, now=NOW)
    assert notice is not None
    assert notice.data["cause"] == "battery_saver"


@pytest.mark.parametrize("fault", [Fault.NOBODY, Fault.PHONE_OR_NETWORK])
def test_forwarded(fault: Fault) -> None:
    """Sent elsewhere on purpose is not missed; because no phone could be woken, it is."""
    sent_on = replace(
        outcome(Verdict.FORWARDED, phase=CallState.WAKING, ended_by="proxy", status=302),
        fault=fault,
    )
    notice = missed_notice(replace(call(), outcome=sent_on), privacy=Privacy.FULL, now=NOW)
    assert (notice is None) is (fault is Fault.NOBODY)


@pytest.mark.parametrize("verdict", [each for each in Verdict if each is not Verdict.FORWARDED])
def test_missed_is_what_nobody_took(verdict: Verdict) -> None:
    """Incoming, and not answered, declined, answered elsewhere or refused."""
    notice = missed_notice(call(verdict), privacy=Privacy.FULL, now=NOW)
    assert (notice is None) is (verdict in NOT_MISSED)


@pytest.mark.parametrize(
    "changes", [{"direction": Direction.OUTGOING}, {"outcome": None}], ids=["outgoing", "open"]
)
def test_other_calls_are_not_missed(changes: dict[str, object]) -> None:
    """The app's own, and those that go on."""
    other = replace(call(), **changes)  # type: ignore[arg-type]
    assert missed_notice(other, privacy=Privacy.FULL, now=NOW) is None


def test_ids_only_names_nobody() -> None:
    """Neither number nor name."""
    notice = missed_notice(call(), privacy=Privacy.IDS_ONLY, now=NOW)
    assert notice is not None
    assert notice.data.keys() == {"call_id", "sip_call_id", "verdict", "started_at"}


def test_a_caller_who_asked_for_privacy_is_not_named() -> None:
    """The record has neither number nor name then (RFC 3323)."""
    notice = missed_notice(
        replace(call(), caller="", caller_name=""), privacy=Privacy.FULL, now=NOW
    )
    assert notice is not None
    assert not notice.data.keys() & {"caller_number", "caller_name"}
