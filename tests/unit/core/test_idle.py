"""When a silent device is asked, when its token goes, and who gives way to a new device."""

from dataclasses import replace

import pytest

from push_proxy.core.device_limit import giving_way
from push_proxy.core.idle import IdleRules, IdleStep, idle_at, idle_step
from push_proxy.core.ids import AccountKey, DeviceId, Instant
from push_proxy.core.model import Address, Binding, Device

DAY = 86_400.0
RULES = IdleRules(idle_s=90 * DAY, refresh_s=7 * DAY)
SEEN = 1_000 * DAY
PHONE = Device(
    account=AccountKey("acme/alice"),
    device=DeviceId("phone"),
    provider="fcm",
    app_id="com.example.phone",
    token="t1",
    seen_at=SEEN,
)
NOTHING, REFRESH, DROP = IdleStep.NOTHING, IdleStep.REFRESH, IdleStep.DROP


def bound(name: str, heard_at: float = SEEN) -> Binding:
    """A live binding."""
    return Binding(
        account=PHONE.account,
        device=DeviceId(name),
        contact="sip:alice@192.0.2.7",
        source=Address("192.0.2.7", 5060),
        local=Address("192.0.2.1", 5060),
        call_id="c1",
        cseq=1,
        expires_at=Instant(SEEN + 1e9),
        heard_at=Instant(heard_at),
    )


def due(device: Device, day: float, *, pushable: bool = True, rules: IdleRules = RULES) -> IdleStep:
    """What is due so many days after its last sign of life."""
    return idle_step(device, None, rules, pushable=pushable, now=Instant(SEEN + day * DAY))


@pytest.mark.parametrize(
    ("day", "step"), [(0, NOTHING), (82.9, NOTHING), (83, REFRESH), (96.9, REFRESH), (97, DROP)]
)
def test_a_silent_device_is_asked_before_its_end(day: float, step: IdleStep) -> None:
    """At 90 - 7 days; one that could not be asked in all that time loses its token later."""
    assert due(PHONE, day) is step


@pytest.mark.parametrize(
    ("asked", "day", "step"),
    [(83, 84, NOTHING), (83, 89.9, NOTHING), (83, 90, DROP), (89, 95.9, NOTHING), (89, 96, DROP)],
)
def test_it_is_asked_once_and_has_its_time(asked: float, day: float, step: IdleStep) -> None:
    """Asked late, since we or its provider were away, it still gets seven days."""
    assert due(replace(PHONE, refresh_sent_at=SEEN + asked * DAY), day) is step


def test_a_sign_of_life_begins_a_new_time() -> None:
    """What was asked before it does not count: it will be asked again."""
    again = replace(PHONE, refresh_sent_at=SEEN - DAY)
    assert due(again, 83) is REFRESH
    named = replace(PHONE, token_at=SEEN + 50 * DAY)
    assert due(named, 100) is NOTHING
    assert due(named, 133) is REFRESH


def test_what_cannot_be_asked_ends_at_its_day() -> None:
    """No refresh on this platform, or none wanted."""
    assert due(PHONE, 89.9, pushable=False) is NOTHING
    assert due(PHONE, 90, pushable=False) is DROP
    unasked = IdleRules(idle_s=90 * DAY)
    assert due(PHONE, 89.9, rules=unasked) is NOTHING
    assert due(PHONE, 90, rules=unasked) is DROP


def test_who_is_left_alone() -> None:
    """A bound phone, one without token, and everybody where nothing ages."""
    now = Instant(SEEN + 1_000 * DAY)
    assert idle_step(PHONE, bound("phone"), RULES, pushable=True, now=now) is NOTHING
    assert due(replace(PHONE, token=""), 1_000) is NOTHING
    assert due(PHONE, 1_000, rules=IdleRules()) is NOTHING
    assert idle_at(PHONE, bound("phone"), RULES) is None
    assert idle_at(PHONE, None, RULES) == SEEN + 90 * DAY


def test_a_device_of_before_counts_from_now() -> None:
    """Stored by a version that noted no signs of life: it is seen first."""
    assert due(replace(PHONE, seen_at=0.0), 1_000) is IdleStep.SEEN


def device(name: str, seen_at: float) -> Device:
    return replace(PHONE, device=DeviceId(name), token=name, seen_at=seen_at)


@pytest.mark.parametrize(
    ("names", "bindings", "limit", "gone"),
    [
        ("ab", "", 2, ""),
        ("abc", "", 2, "a"),
        ("abc", "a", 2, "b"),
        ("abc", "ab", 2, "a"),
        ("abcd", "", 2, "ab"),
        ("abcd", "a", 1, "bca"),
    ],
)
def test_who_gives_way(names: str, bindings: str, limit: int, gone: str) -> None:
    """The one heard of longest ago, but no bound one while another is not; never the new one.

    Devices are named in the order of their signs of life; the last one is new.
    """
    devices = [device(name, SEEN + age) for age, name in enumerate(names)]
    devices[-1] = replace(devices[-1], seen_at=0.0)
    found = giving_way(
        devices, [bound(name) for name in bindings], new=DeviceId(names[-1]), limit=limit
    )
    assert "".join(found) == gone


def test_sip_is_a_sign_of_life_too() -> None:
    """A bound phone that was heard long after its last PUT outlives a quieter one."""
    devices = [device("a", SEEN), device("b", SEEN + 1), device("new", SEEN + 2)]
    bindings = [bound("a", SEEN + 10), bound("b", SEEN + 1)]
    assert giving_way(devices, bindings, new=DeviceId("new"), limit=2) == ("b",)
