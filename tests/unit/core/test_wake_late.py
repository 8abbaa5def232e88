"""core.wake after the end: a phone that shows the call since its push, and wakes too late."""

from typing import Any

from push_proxy.core.actions import Finish, ForgetInvite, LateInvite, Move, PushType, StoreInvite
from push_proxy.core.events import CallerCancelled, InviteStored
from push_proxy.core.forking import COMPLETED_ELSEWHERE
from push_proxy.core.model import CallState, Verdict
from tests.unit.core.playbook import (
    Answered,
    Over,
    Playbook,
    Push,
    Relay,
    Reply,
    Ring,
    Took,
    Wait,
    asleep,
    binding,
    registers,
)

ANSWERED, ENDED = Move(CallState.ANSWERED), Move(CallState.ENDED)
HUNG_UP = 'SIP;cause=487;text="ORIGINATOR_CANCEL"'


def iphone(device: str = "iphone", **fields: Any) -> Any:
    return asleep(device, late_invite=True, repush=False, **fields)


def cancelled(call: Playbook, *devices: str, reason: str = HUNG_UP) -> None:
    """The caller gives up while all of them wake."""
    farewell = PushType.CANCEL if reason == HUNG_UP else PushType.ANSWERED_ELSEWHERE
    for device in devices:
        _ = call << Push(device)
    _ = call << StoreInvite() >> InviteStored(ok=True)
    _ = call << call.waiting[0]  # 100
    for device in devices:
        _ = call >> Took(device)
        if device == devices[0]:
            _ = call << Reply(180)
    _ = call >> CallerCancelled(reason) << Reply(487)
    for device in devices:
        _ = call << Push(device, farewell)
    _ = call << ForgetInvite() << ENDED << Finish


def test_a_late_iphone_is_told_that_the_call_is_over() -> None:
    """It registers after the CANCEL: INVITE and CANCEL, with what the PBX said."""
    call = Playbook(iphone(), late_invite_s=30)
    cancelled(call, "iphone")
    _ = call >> Wait(29.9) >> registers("iphone", port=7)
    _ = call << LateInvite(binding=binding("iphone", port=7), reason=HUNG_UP)


def test_once_only() -> None:
    """Apps register in bursts: one INVITE for a call that is over."""
    call = Playbook(iphone())
    cancelled(call, "iphone")
    _ = call >> registers("iphone") << LateInvite >> registers("iphone", port=7)
    call >> Wait(1)


def test_not_after_its_time() -> None:
    """Whoever comes after ``late_invite_s`` has long closed the call by itself."""
    call = Playbook(iphone(), late_invite_s=30)
    cancelled(call, "iphone")
    call >> Wait(30) >> registers("iphone") >> Wait(60)


def test_not_when_it_is_off() -> None:
    """``late_invite_s`` 0: never."""
    call = Playbook(iphone(), late_invite_s=0)
    cancelled(call, "iphone")
    call >> registers("iphone") >> Wait(60)


def test_other_phones_ask() -> None:
    """A phone that shows the call by itself asks what became of it: no INVITE."""
    call = Playbook(asleep("android"))
    cancelled(call, "android")
    call >> registers("android") >> Wait(60)


def test_answered_elsewhere_in_the_pbx() -> None:
    """The Reason that the PBX gave reaches the late phone: no missed call is shown there."""
    call = Playbook(iphone())
    cancelled(call, "iphone", reason=COMPLETED_ELSEWHERE)
    _ = call >> registers("iphone")
    _ = call << LateInvite(binding=binding("iphone"), reason=COMPLETED_ELSEWHERE)


def test_answered_by_the_other_phone() -> None:
    """One phone answers while an iPhone still wakes: that one hears of it when it comes."""
    call = Playbook(iphone(), asleep("other"))
    _ = call << Push("iphone") << Push("other") << StoreInvite() >> Took("iphone") >> Took("other")
    _ = call >> registers("other") << Ring("other") >> Answered("other", 200) << Relay(1)
    _ = call << Push("iphone", PushType.ANSWERED_ELSEWHERE) << ANSWERED << Over(Verdict.ANSWERED)
    _ = call >> registers("iphone")
    _ = call << LateInvite(binding=binding("iphone"), reason=COMPLETED_ELSEWHERE)


def test_one_that_was_rung_hears_by_sip() -> None:
    """It registered in time and was cancelled by SIP: nothing more is due."""
    call = Playbook(iphone())
    _ = call << Push("iphone") << StoreInvite() >> Took("iphone") >> registers("iphone")
    _ = call << Ring("iphone") >> CallerCancelled(HUNG_UP) << Reply(487)
    while call.waiting:
        call.waiting.pop(0)
    call >> registers("iphone", port=7) >> Wait(60)


def test_nothing_is_kept_for_ever() -> None:
    """When its time is over the wake is finished, whoever never came."""
    call = Playbook(iphone(), late_invite_s=30)
    cancelled(call, "iphone")
    assert not call.state.finished  # type: ignore[union-attr]
    call >> Wait(41)
    assert call.state.finished  # type: ignore[union-attr]
