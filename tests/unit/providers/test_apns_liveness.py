"""When a connection is asked whether it lives, and when it is given up."""

from push_proxy.providers.apns_liveness import Due, Liveness
from push_proxy.providers.apns_request import ApnsTimes

TIMES = ApnsTimes(ping_s=30, ack_s=5, silent_s=0.7, silent_ack_s=1, suspect_s=0.4)


def test_idle_connection() -> None:
    """It is asked after half a minute, suspect soon after, and dead without an answer."""
    line = Liveness(TIMES, now=0)
    assert line.due(29, None) is Due.NOTHING
    assert line.due(30, None) is Due.PING
    assert not line.suspect(30.3)
    assert line.suspect(30.5)
    assert line.due(34.9, None) is Due.NOTHING
    assert line.due(35, None) is Due.END


def test_answered_ping() -> None:
    """An answer makes it good for another half minute."""
    line = Liveness(TIMES, now=0)
    assert line.due(30, None) is Due.PING
    line.heard(30.1)
    line.answered()
    assert not line.suspect(31)
    assert line.due(60, None) is Due.NOTHING
    assert line.due(60.1, None) is Due.PING


def test_request_without_answer() -> None:
    """Silence since a request was sent is looked into soon; anything heard since is no silence."""
    line = Liveness(TIMES, now=0)
    assert line.due(10.6, 10) is Due.NOTHING
    assert line.due(10.8, 10) is Due.PING
    assert line.due(11.7, 10) is Due.NOTHING
    assert line.due(11.8, 10) is Due.END
    other = Liveness(TIMES, now=0)
    other.heard(10.1)
    assert other.due(20, 10) is Due.NOTHING, "APNs is slow with this one push, not gone"


def test_request_while_asked() -> None:
    """A request that comes while an idle connection is being asked does not wait so long."""
    line = Liveness(TIMES, now=0)
    assert line.due(30, None) is Due.PING
    assert line.due(30.8, 30.2) is Due.NOTHING
    assert line.due(31, 30.2) is Due.END


def test_neighbour() -> None:
    """A neighbour's silence makes for a question, unless it was heard of just now."""
    line = Liveness(TIMES, now=0)
    line.heard(9.9)
    assert line.doubt(10) is Due.NOTHING
    assert line.doubt(10.4) is Due.PING
    assert line.doubt(10.5) is Due.NOTHING
    assert line.due(11.3, None) is Due.NOTHING
    assert line.due(11.4, None) is Due.END
