"""Verdicts of the last hour, per tenant."""

import dataclasses

from push_proxy.core.ids import AccountKey, CallId, Instant, TenantId
from push_proxy.core.model import CallRecord, CallState, Direction, Fault, Outcome, Verdict
from push_proxy.runtime.clock import ManualClock
from push_proxy.runtime.verdict_counts import SPAN_S, VerdictCounts

ACME, OTHER = TenantId("acme"), TenantId("other")
CALL = CallRecord(
    id=CallId("a"),
    account=AccountKey("acme/101"),
    direction=Direction.INCOMING,
    sip_call_id="c@pbx",
    started_at=Instant(1.0),
    outcome=Outcome(
        verdict=Verdict.BUSY,
        fault=Fault.NOBODY,
        phase=CallState.RINGING,
        ended_by="device",
        status=486,
    ),
)


def test_counts_are_of_one_tenant_and_of_the_last_hour() -> None:
    """What is older is forgotten; what another tenant's calls did is not told."""
    clock = ManualClock()
    began, counts = clock.now(), VerdictCounts(clock)
    counts.on_outcome(CALL)
    clock.advance(SPAN_S / 2)
    counts.on_outcome(CALL)
    counts.on_outcome(dataclasses.replace(CALL, account=AccountKey("other/9")))
    assert counts.of(ACME) == (began, {Verdict.BUSY: 2})
    assert counts.of(OTHER)[1] == {Verdict.BUSY: 1}
    clock.advance(SPAN_S / 2 + 60)
    since, found = counts.of(ACME)
    assert found == {Verdict.BUSY: 1}
    assert since == clock.now() - SPAN_S
    clock.advance(SPAN_S)
    assert counts.of(ACME)[1] == {}


def test_a_call_without_an_outcome_does_not_count() -> None:
    """Only what was decided."""
    counts = VerdictCounts(ManualClock())
    counts.on_outcome(dataclasses.replace(CALL, outcome=None))
    assert counts.of(ACME)[1] == {}
