"""runtime.latecomers: who comes after the end of the call that should have woken it."""

from push_proxy.core.ids import AccountKey, CallId, DeviceId, Instant
from push_proxy.runtime import latecomers
from push_proxy.runtime.latecomers import REMEMBERED_S, Latecomers

KEY = AccountKey("acme/101")
PHONE = DeviceId("phone")


def at(seconds: float) -> Instant:
    return Instant(1000.0 + seconds)


def test_told_once_for_the_newest_call() -> None:
    """The first REGISTER after the end is late for the newest call; later ones are not late."""
    late = Latecomers()
    late.missed(KEY, PHONE, CallId("one"), at(0))
    late.missed(KEY, PHONE, CallId("two"), at(5))
    assert late.came(KEY, DeviceId("tablet"), at(6)) is None
    assert late.came(KEY, PHONE, at(20)) == "two"
    assert late.came(KEY, PHONE, at(21)) is None


def test_forgotten_in_time() -> None:
    """Who comes much later was opened by its owner; and nothing is kept for ever."""
    late = Latecomers()
    late.missed(KEY, PHONE, CallId("one"), at(0))
    assert late.came(KEY, PHONE, at(REMEMBERED_S)) is None
    late.missed(KEY, PHONE, CallId("one"), at(0))
    late.missed(KEY, DeviceId("tablet"), CallId("two"), at(REMEMBERED_S + 1))
    assert len(late) == 1


def test_bounded() -> None:
    """With too many of them the oldest go."""
    most = latecomers._MOST
    late = Latecomers()
    for number in range(most + 10):
        late.missed(KEY, DeviceId(str(number)), CallId("call"), at(0))
    assert len(late) == most
    assert late.came(KEY, DeviceId("0"), at(1)) is None
