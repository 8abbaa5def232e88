"""runtime.pbx_lane: how many requests a PBX gets, and which first."""

from push_proxy.core.ids import Instant
from push_proxy.runtime.pbx_lane import PbxLane

START = Instant(1_000_000.0)


def filled(count: int, *, rate: float = 10.0) -> PbxLane:
    lane = PbxLane(rate, START)
    for number in range(count):
        lane.push(number, 1)
    return lane


def taken(lane: PbxLane, seconds: float, *, answered: bool = True) -> list[int]:
    """What leaves while time passes in steps of 10 ms."""
    found = []
    for step in range(round(seconds * 100)):
        while (number := lane.pop(Instant(START + step / 100))) is not None:
            found.append(number)
            lane.unanswered += not answered
    return found


def test_urgent_first_then_in_order() -> None:
    """The most urgent first; among equals who came first."""
    lane = filled(2)
    lane.push(7, 0)
    assert taken(lane, 1) == [7, 0, 1]
    assert lane.next_at() is None


def test_at_the_pace() -> None:
    """Ten a second, and the first at once."""
    assert 27 <= len(taken(filled(100), 3)) <= 31


def test_unanswered_requests_stop_it() -> None:
    """Five seconds' worth without an answer: no more, until one comes."""
    lane = filled(100)
    assert len(taken(lane, 20, answered=False)) == 50
    assert lane.next_at() is None
    lane.unanswered -= 1
    later = Instant(START + 20)
    assert lane.next_at() is not None
    assert lane.pop(later) is not None
    lane.unanswered += 1
    assert lane.pop(Instant(later + 1)) is None


def test_held_it_lets_one_go_now_and_then() -> None:
    """Every 5 s, whatever the pace; released it goes on at the pace."""
    lane = filled(100)
    lane.hold(START)
    assert lane.pop(START) is None
    assert lane.next_at() == START + 5
    assert len(taken(lane, 20.5)) == 4
    lane.release()
    assert 9 <= len(taken(lane, 1)) <= 11
