"""core.wake after a restart: the call had been answered, and only now somebody says so."""

import pytest

from push_proxy.core.actions import ForgetInvite, Move, PushType, StoreInvite
from push_proxy.core.events import AnsweredBefore, InviteStored
from push_proxy.core.forking import COMPLETED_ELSEWHERE
from push_proxy.core.ids import DeviceId
from push_proxy.core.model import CallState, Verdict
from push_proxy.core.wake import Live
from push_proxy.core.wake_results import wake_results
from tests.unit.core.playbook import (
    Answered,
    Cancel,
    Over,
    Playbook,
    Push,
    Reply,
    Ring,
    Took,
    Wait,
    asleep,
    registers,
)

ANSWERED = Move(CallState.ANSWERED)
ELSEWHERE = PushType.ANSWERED_ELSEWHERE
PHONE = DeviceId("phone")


def waiting(*devices: str) -> Playbook:
    """All have been pushed, and none has come."""
    call = Playbook(*(asleep(device) for device in devices))
    for device in devices:
        _ = call << Push(device)
    _ = call << StoreInvite() >> InviteStored(ok=True)
    call.skip()
    for device in devices:
        _ = call >> Took(device)
        call.skip()
    return call


def test_the_others_hear_of_it_as_usual() -> None:
    """Who rings is cancelled with its Reason, who sleeps gets the push, who talks gets neither;
    there is no final response of ours, for the device's own has left.
    """
    call = waiting("phone", "tablet", "desk")
    _ = call >> registers("desk") << Ring("desk") >> Answered("desk", 100)
    _ = call >> AnsweredBefore(PHONE, 200) << Cancel(1, COMPLETED_ELSEWHERE)
    _ = call << Push("tablet", ELSEWHERE) << ForgetInvite() << ANSWERED << Over(Verdict.ANSWERED)
    assert call.outcome is not None
    assert (call.outcome.device, call.outcome.status) == (PHONE, 200)
    _ = call >> Wait(60)


def test_who_talks_has_woken() -> None:
    """It came, whatever we know of its REGISTER: no mark against its push."""
    call = waiting("phone")
    _ = call >> Wait(14)
    call.skip()
    assert isinstance(call.state, Live)
    _ = call >> AnsweredBefore(PHONE, 200) << ForgetInvite() << ANSWERED << Over(Verdict.ANSWERED)
    ((device, result),) = wake_results(call.state.last, Verdict.ANSWERED, call.now)  # type: ignore[attr-defined]
    assert (device, result.woke) == (PHONE, True)


@pytest.mark.parametrize(("devices", "device"), [(("phone",), PHONE), (("phone", "b"), None)])
def test_nobody_says_which(devices: tuple[str, ...], device: DeviceId | None) -> None:
    """The only one there is; of several none: and a terminal push could end the talk itself."""
    call = waiting(*devices)
    _ = call >> AnsweredBefore(None, 202) << ForgetInvite() << ANSWERED << Over(Verdict.ANSWERED)
    assert call.outcome is not None
    assert (call.outcome.device, call.outcome.status) == (device, 202)


def test_told_by_a_bye() -> None:
    """No 2xx passes any more: the transaction gets 487, as after a BYE (RFC 3261 §15.1.2)."""
    call = waiting("phone")
    _ = call >> AnsweredBefore(None) << Reply(487)
    _ = call << ForgetInvite() << ANSWERED << Over(Verdict.ANSWERED)


def test_while_a_decline_settles() -> None:
    """Another device's 6xx waits for answers that cross: this is one."""
    call = waiting("phone", "desk", "tablet")
    for device in ("desk", "tablet"):
        _ = call >> registers(device) << Ring(device) >> Answered(device, 100)
    _ = call >> Answered("desk", 603) << Cancel(2)
    call.skip()
    _ = call >> AnsweredBefore(PHONE, 200) << ForgetInvite() << ANSWERED << Over(Verdict.ANSWERED)


def test_too_late() -> None:
    """A call that has its end keeps it."""
    call = waiting("phone")
    _ = call >> Wait(20)
    call.skip()
    assert call.outcome is not None
    assert call.outcome.verdict is Verdict.NOT_WOKEN
    _ = call >> AnsweredBefore(PHONE, 200) >> Wait(1)
