"""core.unheard: the call has ended, and the INVITE of a pushed phone never arrived."""

from typing import Any

import pytest

from push_proxy.core.actions import LateInvite, PushType, StoreInvite
from push_proxy.core.events import BranchFailed, CallerCancelled, InviteStored
from push_proxy.core.forking import COMPLETED_ELSEWHERE
from push_proxy.core.ids import BranchId
from tests.unit.core.playbook import (
    Answered,
    Playbook,
    Push,
    Ring,
    Took,
    Wait,
    asleep,
    binding,
    registers,
)

UNSENT = BranchFailed(branch=BranchId(1), reason="the INVITE has been cancelled")


def rung_and_cancelled(*, reason: str = "", **device: Any) -> Playbook:
    """The phone registers, and the caller's CANCEL is there before its INVITE has left."""
    call = Playbook(asleep("p", **device), late_invite_s=30)
    _ = call << Push("p") << StoreInvite() >> InviteStored(ok=True)
    call.skip()
    call >> Took("p")
    call.skip()
    _ = call >> registers("p") << Ring("p") >> CallerCancelled(reason)
    assert not any(getattr(action, "push", None) for action in call.waiting)
    return call.skip()


@pytest.mark.parametrize(
    ("reason", "kind"),
    [("", PushType.CANCEL), (COMPLETED_ELSEWHERE, PushType.ANSWERED_ELSEWHERE)],
)
def test_invite_that_was_not_sent(reason: str, kind: PushType) -> None:
    """It has its 200 and no INVITE: the push is taken back by push, once."""
    call = rung_and_cancelled(reason=reason)
    _ = call >> UNSENT << Push("p", kind) >> UNSENT >> registers("p") >> Wait(60)


def test_an_iphone_is_told_by_sip_too() -> None:
    """Its connection lives: INVITE and CANCEL at once, for it will not register again."""
    call = rung_and_cancelled(late_invite=True)
    _ = call >> UNSENT << Push("p", PushType.CANCEL)
    _ = call << LateInvite(binding=binding("p"), reason="") >> registers("p") >> Wait(60)


def test_an_iphone_whose_connection_died() -> None:
    """The INVITE went nowhere: it is told where it registers next."""
    call = rung_and_cancelled(late_invite=True)
    _ = call >> Answered("p", 430, local=True) << Push("p", PushType.CANCEL)
    _ = call >> registers("p", port=9) << LateInvite(binding=binding("p", port=9), reason="")
    call >> Wait(60)


@pytest.mark.parametrize("status", [100, 180, 486, 487])
def test_one_that_has_heard(status: int) -> None:
    """Any response of the phone's: it is called off by SIP, and no push is due."""
    call = rung_and_cancelled()
    call >> Answered("p", status) >> UNSENT >> Wait(60)


def test_too_late_to_matter() -> None:
    """A timeout of 32 s: no phone shows the call any more."""
    call = rung_and_cancelled()
    call >> Wait(32) >> Answered("p", 408, local=True) >> Wait(60)
