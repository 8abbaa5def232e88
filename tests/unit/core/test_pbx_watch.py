"""core.pbx_watch, core.canary, core.target_health: what silence, answers and absence mean."""

from collections.abc import Callable
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from push_proxy.core import canary, pbx_watch, target_health
from push_proxy.core.canary import Ask, Canary, Lost
from push_proxy.core.ids import Instant
from push_proxy.core.pbx_watch import Finding, Watch
from push_proxy.core.target_health import WELL

START = Instant(1_000_000.0)
NEVER = Instant(0.0)


class Server:
    """One watched server, driven like the runtime drives it."""

    def __init__(self, every_s: float = 30.0) -> None:
        self.now = START
        self.watch = Watch(every_s, START)
        self.found: list[Finding] = []

    def take(self, step: pbx_watch.Step) -> list[Finding]:
        self.watch, findings = step
        self.found += findings
        return list(findings)

    def due(self, *, heard_at: Instant = NEVER) -> list[Finding]:
        self.now = max(self.now, self.watch.at)
        return self.take(pbx_watch.due(self.watch, now=self.now, heard_at=heard_at))

    def say(self, what: Callable[..., pbx_watch.Step]) -> list[Finding]:
        return self.take(what(self.watch, now=self.now))


def answering() -> Server:
    server = Server()
    assert server.due() == [Finding.PROBE]
    assert server.say(pbx_watch.probe_answered) == [Finding.FOUND]
    return server


def gone() -> Server:
    server = answering()
    assert server.due() == [Finding.PROBE]
    assert server.due() == [Finding.PROBE]
    assert server.due() == [Finding.GONE]
    return server


def test_an_answering_server_is_asked_once_a_round() -> None:
    """Every 30 s one OPTIONS, and no finding beyond the first."""
    server = answering()
    for _ in range(5):
        before = server.now
        assert server.due() == [Finding.PROBE]
        assert server.now == before + 30
        assert server.say(pbx_watch.probe_answered) == []


def test_two_silent_probes_mean_that_it_is_gone() -> None:
    """Noticed 8 s after the first of them; then asked every 5 s, and back with the first answer."""
    server = gone()
    assert server.now == START + 30 + 8
    before = server.now
    assert server.due() == [Finding.PROBE]
    assert server.now == before + 5
    assert server.due() == []
    assert server.due() == [Finding.PROBE]
    assert server.say(pbx_watch.probe_answered) == [Finding.BACK]
    assert server.watch.at == server.now + 30


def test_one_lost_probe_means_nothing() -> None:
    """The second one is answered."""
    server = answering()
    server.due()
    assert server.due() == [Finding.PROBE]
    assert server.say(pbx_watch.probe_answered) == []
    assert server.watch.misses == 0


def test_a_refused_connection_needs_no_second_probe() -> None:
    """Our own stack says so: gone at once; a late second failure changes nothing."""
    server = answering()
    server.due()
    assert server.say(pbx_watch.probe_failed) == [Finding.GONE]
    assert server.say(pbx_watch.probe_failed) == []


def test_a_server_that_drops_options_is_not_gone() -> None:
    """It answered something else meanwhile, and from then on its silence to OPTIONS is nothing."""
    server = Server()
    server.due()
    assert server.due(heard_at=Instant(server.now + 1)) == [Finding.FOUND]
    for _ in range(6):
        assert server.due() in ([Finding.PROBE], [])
    assert server.watch.reachable
    assert server.say(pbx_watch.suspect) == [Finding.GONE]
    assert server.say(pbx_watch.heard) == [Finding.BACK]
    assert server.say(pbx_watch.heard) == []


def test_suspicion_asks_at_once_and_only_once() -> None:
    """A broken connection or an unanswered REGISTER does not wait for the next round."""
    server = answering()
    assert server.say(pbx_watch.suspect) == [Finding.PROBE]
    assert server.say(pbx_watch.suspect) == []
    assert gone().say(pbx_watch.suspect) == []


EVENT = st.sampled_from(["due", "probe_answered", "probe_failed", "heard", "suspect", "time"])


@given(st.lists(st.tuples(EVENT, st.floats(0, 60)), max_size=60))
def test_gone_and_back_alternate(events: list[tuple[str, float]]) -> None:
    """Whatever happens in whatever order: GONE and BACK take turns, FOUND comes first or never,
    the state says the last of them, and the next step is always at hand.
    """
    server = Server()
    for name, seconds in events:
        if name == "time":
            server.now = Instant(server.now + seconds)
        elif name == "due":
            server.take(
                pbx_watch.due(server.watch, now=server.now, heard_at=Instant(START + seconds))
            )
        else:
            server.say(getattr(pbx_watch, name))
        assert server.watch.at <= server.now + 30 or server.watch.asked_at is not None
    turns = [finding for finding in server.found if finding is not Finding.PROBE]
    assert all(one is not other for one, other in pairwise(turns))
    assert Finding.FOUND not in turns[1:]
    assert server.watch.reachable is (turns[-1] is not Finding.GONE if turns else None)


def round_of(state: Canary, *present: bool, now: Instant = START) -> tuple[Canary, bool]:
    """One round in which the server is asked for as many accounts as there are answers."""
    state, order = canary.begin(state)
    left = list(present)
    while isinstance(order, Ask):
        count = min(order.count, len(left))
        state, order = canary.asked(state, count, now=now)
        for _ in range(count):
            if order is None:
                state, order = canary.found(state, present=left.pop(0), now=now)
    return state, isinstance(order, Lost)


def test_one_absent_contact_is_an_eviction() -> None:
    """Two more are asked; one that is there acquits the server."""
    for rest in ((True, True), (True, False), (False, True)):
        assert round_of(Canary(), False, *rest)[1] is False


def test_all_absent_is_a_server_without_memory() -> None:
    """Three of three; two of two where there are no more; a single account is itself again."""
    assert round_of(Canary(), False, False, False)[1] is True
    assert round_of(Canary(), False, False)[1] is True
    assert round_of(Canary(), False)[1] is False


def test_a_server_that_never_learns_is_not_asked_for_ever() -> None:
    """Renewals in vain come at 0, 30, 90, 210 s…; a Contact that is found ends that."""
    state, at = Canary(), []
    for seconds in range(0, 1000, 10):
        state, lost = round_of(state, False, False, False, now=Instant(START + seconds))
        if lost:
            at.append(seconds)
    assert at == [0, 30, 90, 210, 450, 930]
    state, _ = round_of(state, True)
    assert state.renewals == 0


def test_after_an_absence_three_are_asked_at_once() -> None:
    """A server that was away may have been restarted: no need to begin with one."""
    state, order = canary.make_sure(Canary())
    assert isinstance(order, Ask)
    assert order.count == 3
    state, order = canary.asked(state, 3, now=START)
    for _ in range(2):
        state, order = canary.found(state, present=False, now=START)
        assert order is None
    state, order = canary.found(state, present=False, now=START)
    assert isinstance(order, Lost)


def fail(health: target_health.TargetHealth, at: float, **more: float | None) -> float:
    return target_health.failed(
        health, now=Instant(START + at), sent_at=Instant(START + at - 1), local=True, **more
    ).avoided_until - (START + at)


def test_a_failing_server_is_avoided_longer_and_longer() -> None:
    """30 s, doubled up to five minutes; an answer forgives; failures together count once."""
    health, now, seen = WELL, START, []
    for _ in range(6):
        health = target_health.failed(health, now=now, sent_at=now, local=True)
        again = target_health.failed(health, now=now, sent_at=now, local=True)
        assert again == health
        seen.append(health.avoided_until - now)
        assert not health.is_well(now)
        now = health.avoided_until
    assert seen == [30, 60, 120, 240, 300, 300]
    health = target_health.heard(health, now=now)
    assert health.is_well(now)
    assert health.penalties == 0


def test_retry_after_is_kept() -> None:
    """However short or long (up to an hour), and an answer to something else does not end it."""
    assert fail(WELL, 0, retry_after_s=3.0) == 3
    assert fail(WELL, 0, retry_after_s=7e9) == 3600
    busy = target_health.failed(WELL, now=START, sent_at=START, local=False, retry_after_s=60.0)
    heard = target_health.heard(busy, now=Instant(START + 1))
    assert not heard.is_well(Instant(START + 59))
    assert heard.is_well(Instant(START + 60))
    assert target_health.heard(busy, now=Instant(START + 61)).asked_to_wait is False


def test_old_silence_proves_nothing() -> None:
    """A request that was lost before the server answered another one."""
    alive = target_health.heard(WELL, now=START)
    late = Instant(START + 32)
    old, new = Instant(START - 1), Instant(START + 1)
    assert target_health.failed(alive, now=late, sent_at=old, local=True) == alive
    assert not target_health.failed(alive, now=late, sent_at=new, local=True).is_well(late)


def test_retry_after_nothing_is_a_503_all_the_same() -> None:
    """``Retry-After: 0`` must not keep everybody at the server that refuses (RFC 3263 §4.3)."""
    now = Instant(START)
    health = target_health.failed(WELL, now=now, sent_at=now, local=False, retry_after_s=0.0)
    assert not health.is_well(now)
