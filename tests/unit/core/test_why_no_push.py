"""An INVITE that leads to no push says why, device by device."""

from dataclasses import replace

import pytest

from push_proxy.core.actions import Finish, Fork, Note, SendPush
from push_proxy.core.events import Candidate, Invite, WakeSettings
from push_proxy.core.ids import CallId, DeviceId
from push_proxy.core.model import CallState, Verdict
from push_proxy.core.wake import start

from .playbook import START, asleep, fresh, plain


def reasons(*candidates: Candidate) -> list[tuple[str | None, str, str]]:
    """What is said of devices that were not pushed; every other device was."""
    invite = Invite(call=CallId("call"), received_at=START)
    _, actions = start(invite, candidates, WakeSettings(), START)
    said = [
        (note.device, note.event, note.detail)
        for note in actions
        if isinstance(note, Note) and note.event in {"not_pushed", "token_dead"}
    ]
    pushed = {order.device for order in actions if isinstance(order, SendPush)}
    assert pushed.isdisjoint(device for device, *_ in said)
    assert pushed | {device for device, *_ in said} >= {each.device for each in candidates}
    return said


@pytest.mark.parametrize(
    ("candidate", "event", "detail"),
    [
        (fresh("a"), "not_pushed", "awake"),
        (plain("a"), "not_pushed", "no_token"),
        (replace(plain("a"), unpushable="unknown_app"), "not_pushed", "unknown_app"),
        (Candidate(device=DeviceId("a"), pushable=False), "not_pushed", "no_token"),
        (
            Candidate(device=DeviceId("a"), pushable=False, token_fault="Unregistered"),
            "token_dead",
            "Unregistered",
        ),
    ],
    ids=["awake", "only registered", "no provider", "nothing", "dead"],
)
def test_each_device_says_why(candidate: Candidate, event: str, detail: str) -> None:
    """Alone, and beside a phone that is pushed."""
    assert reasons(candidate) == [("a", event, detail)]
    assert reasons(asleep("b"), candidate) == [("a", event, detail)]


def test_who_is_pushed_says_nothing() -> None:
    """The push itself is in the timeline."""
    assert reasons(asleep("a"), asleep("b")) == []


def test_without_any_device() -> None:
    """It is the account that has nothing."""
    assert reasons() == [(None, "not_pushed", "no_device")]


def test_an_invite_that_is_over_as_it_comes() -> None:
    """`Expires: 0` reaches nobody: 487, and it is not said that devices are missing."""
    invite = Invite(call=CallId("call"), received_at=START, expires_s=0)
    state, actions = start(invite, (asleep("a"), fresh("b")), WakeSettings(), START)
    assert Note("not_pushed", None, "expired") in actions
    assert not any(isinstance(order, SendPush | Fork) for order in actions)
    (finish,) = [order for order in actions if isinstance(order, Finish)]
    assert finish.outcome.verdict is Verdict.CALLER_CANCELLED
    assert (finish.outcome.phase, finish.outcome.status) == (CallState.WAKING, 487)
    assert state.finished  # type: ignore[union-attr]
