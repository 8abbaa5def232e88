"""core.held_message and core.kept_message: who gets a MESSAGE, and what the PBX hears."""

from dataclasses import replace

import pytest

from push_proxy.core.actions import Fork, Relay, Reply, SendPush, SendTrying
from push_proxy.core.events import (
    Candidate,
    DeviceRegistered,
    GivingUp,
    PushAnswered,
    PushOutcome,
    ResponseReceived,
    TimePassed,
    TokenRotated,
)
from push_proxy.core.held_message import (
    Hold,
    HoldEvent,
    HoldState,
    MessageEnded,
    deadline,
    start,
    step,
)
from push_proxy.core.ids import AccountKey, BranchId, CallId, DeviceId, Instant, ResponseId
from push_proxy.core.incoming import incoming_call
from push_proxy.core.kept_message import Fate, KeptMessage, fate, kept_message
from push_proxy.core.message import parse
from push_proxy.core.model import Address, Binding

KEY = AccountKey("t/1")
T0 = 1_000_000.0


def bound(name: str = "a", *, port: int = 40000, heard_at: float = T0, **more: object) -> Binding:
    """Where a device is registered."""
    values = {
        "account": KEY,
        "device": DeviceId(name),
        "contact": f"sip:1@203.0.113.9:{port}",
        "source": Address("203.0.113.9", port),
        "local": Address("10.0.0.7", 5060),
        "call_id": "r",
        "cseq": 1,
        "expires_at": Instant(T0 + 600),
        "heard_at": Instant(heard_at),
    }
    return Binding(**(values | more))  # type: ignore[arg-type]


def awake(name: str = "a", **more: object) -> Candidate:
    """Heard a moment ago."""
    device = DeviceId(name)
    return Candidate(device=device, pushable=True, binding=bound(name, **more), fresh=True)  # type: ignore[arg-type]


def asleep(name: str = "a") -> Candidate:
    """It can be pushed."""
    return Candidate(device=DeviceId(name), pushable=True)


class Story:
    """One MESSAGE, told what happens to it."""

    def __init__(self, *devices: Candidate, hold_s: float = 15.0) -> None:
        self.now = T0
        self.state: HoldState
        self.actions: list[object] = []
        hold = Hold(message=CallId("m"), received_at=Instant(T0), hold_s=hold_s)
        self._take(*start(hold, devices, Instant(T0)))

    def _take(self, state: HoldState, actions: tuple[object, ...]) -> None:
        self.state = state
        self.actions += actions

    def tell(self, event: HoldEvent, *, after: float = 0.0) -> list[object]:
        """What it leads to, some seconds later."""
        before = len(self.actions)
        self.now += after
        self._take(*step(self.state, event, Instant(self.now)))
        return self.actions[before:]

    def answers(self, branch: int, status: int, *, local: bool = False) -> list[object]:
        """A device answers."""
        return self.tell(
            ResponseReceived(
                branch=BranchId(branch),
                response=ResponseId(branch * 10),
                status=status,
                local=local,
            )
        )

    def until(self, at: float) -> list[object]:
        """Time passes to so many seconds after the arrival."""
        before = len(self.actions)
        while (due := deadline(self.state)) is not None and due <= T0 + at:
            self.now = due
            self._take(*step(self.state, TimePassed(), Instant(due)))
        self.now = T0 + at
        return self.actions[before:]

    @property
    def where(self) -> list[str]:
        """The devices that it was sent to."""
        return [str(a.binding.device) for a in self.actions if isinstance(a, Fork)]

    @property
    def pushed(self) -> list[str]:
        """The devices that were pushed."""
        return [str(a.device) for a in self.actions if isinstance(a, SendPush)]

    @property
    def final(self) -> tuple[object, ...]:
        """What the PBX got, and why."""
        (end,) = [a for a in self.actions if isinstance(a, MessageEnded)]
        said = [a.status for a in self.actions if isinstance(a, Reply)]
        said += [a.response for a in self.actions if isinstance(a, Relay)]
        return (*said, end.result.value, end.reason)


def test_the_newest_awake_device() -> None:
    """One alone, and no push; the next awake one when its flow turns out dead, then pushes."""
    story = Story(awake("a", port=1), awake("b", port=2, heard_at=T0 + 1), asleep("c"))
    assert (story.where, story.pushed) == (["b"], [])
    story.answers(1, 430, local=True)
    assert (story.where, story.pushed) == (["b", "a"], [])
    story.answers(2, 503, local=True)
    assert (story.where, story.pushed) == (["b", "a"], ["a", "b", "c"])


def test_a_silent_device_is_in_doubt() -> None:
    """After two seconds the others are pushed; who comes gets it; the first 2xx counts."""
    story = Story(awake("a", port=1), asleep("b"))
    assert story.until(1.9) == []
    story.until(2.0)
    assert story.pushed == ["a", "b"]
    story.tell(DeviceRegistered(bound("a", port=1)))
    assert story.where == ["a"], "it is on its way there"
    story.tell(DeviceRegistered(bound("b", port=2)))
    assert story.where == ["a", "b"]
    story.answers(1, 200)
    assert story.final == (10, "delivered", "")
    assert story.answers(2, 200) == []


def test_one_that_has_said_something_is_not_in_doubt() -> None:
    """A provisional response: it is given the whole time."""
    story = Story(awake("a"), asleep("b"))
    story.answers(1, 100)
    story.until(14.9)
    assert story.pushed == []
    story.until(15)
    assert story.final == (480, "expired", "not_woken")


def test_one_that_was_in_doubt_and_speaks_has_it() -> None:
    """Silent for too long, and then 100: where it registers anew it gets no second copy."""
    story = Story(awake("a"))
    story.until(2.0)
    story.answers(1, 100)
    story.tell(DeviceRegistered(bound("a", port=2)), after=0.5)
    assert story.where == ["a"]


def test_it_follows_the_phone() -> None:
    """Registered on another flow before it answered: sent there, at once."""
    story = Story(awake("a", port=1))
    story.tell(DeviceRegistered(bound("a", port=2)), after=0.5)
    assert story.where == ["a", "a"]


def test_merged_requests_are_one() -> None:
    """482 on the new flow: the phone has it by the old one, and that answer counts."""
    story = Story(awake("a", port=1))
    story.tell(DeviceRegistered(bound("a", port=2)), after=0.5)
    assert story.answers(2, 482) == []
    story.answers(1, 200)
    assert story.final == (10, "delivered", "")


def test_482_of_a_phone_that_had_it_once_only() -> None:
    """It is a refusal."""
    story = Story(awake("a"))
    story.answers(1, 482)
    assert story.final == (10, "refused", "482")


@pytest.mark.parametrize(("status", "said"), [(415, 10), (500, 10), (503, 500), (603, 10)])
def test_a_refusal_goes_back(status: int, said: int) -> None:
    """As it is; a 503 as 500, for it would make the PBX avoid us (RFC 3261 §16.7 step 6)."""
    story = Story(awake("a"), asleep("b"))
    story.answers(1, status)
    assert story.final == (said, "refused", str(status))
    assert story.pushed == []


def test_a_refusal_waits_for_the_other_one() -> None:
    """Two have it: the one's refusal counts only when the other one does not take it."""
    story = Story(awake("a", port=1), asleep("b"))
    story.until(2)
    story.tell(DeviceRegistered(bound("b", port=2)))
    assert story.answers(1, 486) == []
    story.until(5)
    assert story.tell(DeviceRegistered(bound("a", port=3))) == [], "it has refused"
    again = Story(awake("a", port=1), asleep("b"))
    again.until(2)
    again.tell(DeviceRegistered(bound("b", port=2)))
    again.answers(1, 603)
    assert again.final == (10, "refused", "603"), "a 6xx speaks for all"
    story.until(15)
    assert story.final == (10, "refused", "486")


def test_time() -> None:
    """100 after 3.5 s (RFC 4320 §4.1), once; 480 at the deadline, never later than 25 s."""
    story = Story(asleep(), hold_s=60)
    assert story.until(3.4) == []
    assert story.until(24.9) == [SendTrying()]
    story.until(25)
    assert story.final == (480, "expired", "not_woken")
    assert deadline(story.state) is None
    (push,) = [a for a in story.actions if isinstance(a, SendPush)]
    assert push.deadline_s == 25


def test_a_push_that_is_refused() -> None:
    """The device may be awake where it is registered; without that nobody is waited for."""
    stale = replace(awake("a"), fresh=False)
    for device, where in ((stale, ["a"]), (asleep("a"), [])):
        story = Story(device)
        (push,) = [a for a in story.actions if isinstance(a, SendPush)]
        story.tell(PushAnswered(device=DeviceId("a"), push=push.push, outcome=PushOutcome.REJECTED))
        assert story.where == where
        if not where:
            assert story.final == (480, "expired", "not_woken")


def test_a_rotated_token() -> None:
    """Pushed again, unless the device has come."""
    story = Story(asleep("a"))
    story.tell(TokenRotated(DeviceId("a")))
    assert story.pushed == ["a", "a"]
    pushes = [a.push for a in story.actions if isinstance(a, SendPush)]
    assert len(set(pushes)) == 2
    story.tell(DeviceRegistered(bound("a")))
    story.tell(TokenRotated(DeviceId("a")))
    assert story.pushed == ["a", "a"]
    story.answers(1, 430, local=True)
    story.tell(TokenRotated(DeviceId("a")))
    assert story.pushed == ["a", "a", "a"], "its flow was dead"


def test_no_push_that_comes_too_late() -> None:
    """A flow that fails at the very deadline: nobody is pushed any more."""
    story = Story(awake("a"), asleep("b"))
    story.tell(
        ResponseReceived(
            branch=BranchId(1), response=ResponseId(0), status=430, reason="", local=True
        ),
        after=15,
    )
    assert story.pushed == []
    assert story.final == (480, "expired", "not_woken")


def test_the_service_stops() -> None:
    """503 with Retry-After."""
    story = Story(asleep())
    story.tell(GivingUp("stopped"))
    assert story.final == (503, "dropped", "stopped")


RAW = (
    b"MESSAGE sip:1@10.0.0.7 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKx\r\n"
    b'From: "A \\"B\\" C" <sip:200@pbx;x=1>;tag=t\r\nTo: <sip:1@pbx>\r\nCall-ID: c\r\n'
    b"CSeq: 1 MESSAGE\r\nMax-Forwards: 70\r\nRoute: <sip:10.0.0.7;lr>\r\nX-Push-ID: forged\r\n"
    b"c: text/plain\r\nX-Odd: 1\r\nX-Odd: 2\r\n%sContent-Length: 2\r\n\r\nhi"
)


def keep(headers: bytes = b"", keep_s: float = 60.0) -> KeptMessage | None:
    """What is kept of it."""
    message = parse(RAW % headers)
    return kept_message(
        message, incoming_call(message), account=KEY, now=Instant(T0), keep_s=keep_s
    )


def test_what_is_kept() -> None:
    """Sender without tag, end-to-end headers, body, and when it came; nothing of the way here."""
    kept = keep()
    assert kept is not None
    assert kept.text.sender == '"A \\"B\\" C" <sip:200@pbx;x=1>'
    assert kept.text.body == b"hi"
    assert kept.text.headers == (
        ("Content-Type", "text/plain"),
        ("X-Odd", "1"),
        ("X-Odd", "2"),
        ("Date", "Mon, 12 Jan 1970 13:46:40 GMT"),
    )
    assert kept.until == T0 + 60


def test_its_own_date_and_expiry() -> None:
    """The sender's count; `Expires: 0` is not to be kept at all."""
    dated = keep(b"Date: Sat, 21 Nov 2026 23:00:00 GMT\r\nExpires: 7\r\n")
    assert dated.until == T0 + 7
    dates = [value for name, value in dated.text.headers if name == "Date"]
    assert dates == ["Sat, 21 Nov 2026 23:00:00 GMT"]
    assert keep(b"Expires: 99\r\n").until == T0 + 60
    assert keep(b"Expires: 0\r\n") is None


@pytest.mark.parametrize(
    ("status", "local", "expected"),
    [
        (200, False, Fate.DELIVERED),
        (202, False, Fate.DELIVERED),
        (408, True, Fate.FLOW_DEAD),
        (430, False, Fate.FLOW_DEAD),
        (503, True, Fate.FLOW_DEAD),
        (408, False, Fate.NOT_NOW),
        (480, False, Fate.NOT_NOW),
        (482, False, Fate.NOT_NOW),
        (503, False, Fate.NOT_NOW),
        (600, False, Fate.NOT_NOW),
        (302, False, Fate.NEVER),
        (404, False, Fate.NEVER),
        (415, False, Fate.NEVER),
        (513, False, Fate.NEVER),
        (603, False, Fate.NEVER),
    ],
)
def test_what_an_answer_means(status: int, local: bool, expected: Fate) -> None:
    """Of a device to a kept message."""
    assert fate(status, local=local) is expected
