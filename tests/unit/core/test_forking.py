"""core.forking: the best of several answers (RFC 3261 §16.7 step 6)."""

import pytest

from push_proxy.core.forking import Answer, Branch, best, is_flow_failure, superseded_by
from push_proxy.core.ids import AccountKey, BranchId, DeviceId, Instant, ResponseId
from push_proxy.core.model import Address, Binding


def answer(status: int, *, ours: bool = False) -> Answer:
    if ours:
        return Answer(status=status)
    return Answer(status=status, branch=BranchId(1), response=ResponseId(1))


@pytest.mark.parametrize(
    ("statuses", "chosen"),
    [
        ([486], 486),
        ([486, 603], 603),
        ([500, 404], 404),
        ([404, 302], 302),
        ([486, 415], 415),
        ([486, 407], 407),
        ([480, 486], 480),
        ([503, 500], 503),
        ([600, 603], 600),
    ],
)
def test_best(statuses: list[int], chosen: int) -> None:
    """6xx, else the lowest class, what helps the caller first, else who came first."""
    found = best(answer(status) for status in statuses)
    assert found is not None
    assert found.status == chosen


def test_the_phones_own_words_first() -> None:
    """A phone's 486 says more than our 480 for one that did not come."""
    found = best([answer(480, ours=True), answer(486)])
    assert found is not None
    assert found.status == 486


def test_nothing_to_choose_from() -> None:
    """No answer, no best one."""
    assert best([]) is None


@pytest.mark.parametrize(
    ("status", "local", "dead"),
    [
        (408, True, True),
        (503, True, True),
        (430, False, True),
        (430, True, True),
        (408, False, False),
        (503, False, False),
        (486, True, False),
    ],
)
def test_dead_flows(status: int, local: bool, dead: bool) -> None:
    """Our own timeout is a dead flow; the same status from the phone is its answer."""
    assert is_flow_failure(status=status, local=local) is dead


@pytest.mark.parametrize(
    ("contact", "moves"),
    [
        ("sip:101@h:9;ob;pn-prid=T2;pn-param=b", False),
        ("sip:101@h:9;ob", False),
        ("sip:101@h:9", True),
        ("sip:101@h:10;ob;pn-prid=T1", True),
    ],
)
def test_another_push_token_is_no_other_flow(contact: str, *, moves: bool) -> None:
    """A phone that registers again with another token keeps the INVITE that it has."""
    branch = Branch(
        id=BranchId(1),
        device=DeviceId("phone"),
        instance="urn:x",
        contact="sip:101@h:9;pn-prid=T1;ob",
        source=Address("192.0.2.7", 40000),
        made_at=Instant(0.0),
        timer_c_at=Instant(180.0),
    )
    binding = Binding(
        account=AccountKey("t/a"),
        device=DeviceId("phone"),
        contact=contact,
        source=branch.source,
        local=Address("192.0.2.1", 5060),
        call_id="c",
        cseq=1,
        expires_at=Instant(600.0),
        instance="urn:x",
    )
    assert superseded_by(branch, binding) is moves
