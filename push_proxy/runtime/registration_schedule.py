"""When each registration's turn is: one timer for all of them, and the pace of each PBX."""

from collections.abc import Callable, Mapping
from heapq import heappop, heappush
from itertools import count

from ..core.ids import Instant
from .clock import Timer, TimerClock
from .live_registration import LiveRegistration
from .pbx_lane import PbxLane, urgency

Due = Callable[[int, LiveRegistration, Instant], None]


class RegistrationSchedule:
    """Calls ``due`` for each registration whose time has come and whose PBX bears it."""

    def __init__(self, clock: TimerClock, live: Mapping[int, LiveRegistration], due: Due) -> None:
        self._clock = clock
        self._live = live
        self._due = due
        self._lanes: dict[str, PbxLane] = {}
        self._heap: list[tuple[Instant, int, int | str]] = []
        self._order = count()
        self._lane_at: dict[str, Instant] = {}
        self._held: set[str] = set()
        self._timer: Timer | None = None
        self._armed_at: Instant | None = None

    def aclose(self) -> None:
        """Call nobody any more."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._armed_at = None
        self._heap.clear()

    def set_rate(self, lane: str, rate: float) -> None:
        """The pace of this PBX from now on."""
        if lane in self._lanes:
            self._lanes[lane].set_rate(rate)
            return
        self._lanes[lane] = made = PbxLane(rate, self._clock.now())
        if lane in self._held:
            made.hold(self._clock.now())

    def put(self, number: int, live: LiveRegistration) -> None:
        """It is due when its state says so; one that waits for its turn goes on waiting."""
        at = live.state.due_at
        if not live.queued and at is not None and at != live.scheduled:
            live.scheduled = at
            heappush(self._heap, (at, next(self._order), number))

    def postpone(self, number: int, live: LiveRegistration, until: Instant) -> None:
        """It is due, but has to wait for something that is no PBX."""
        live.scheduled = until
        heappush(self._heap, (until, next(self._order), number))

    def sent(self, lane: str) -> None:
        """A request left for this PBX."""
        self._lanes[lane].unanswered += 1

    def landed(self, lane: str) -> None:
        """One was answered, or never will be."""
        self._lanes[lane].unanswered -= 1

    def go_on(self, lane: str) -> None:
        """An answer has come: what waited for one may go."""
        if lane in self._lanes and len(self._lanes[lane]) and lane not in self._lane_at:
            self._drain(lane, self._clock.now())

    def hold(self, lane: str) -> None:
        """This PBX does not answer: its registrations wait."""
        self._held.add(lane)
        if lane in self._lanes:
            self._lanes[lane].hold(self._clock.now())

    def release(self, lane: str) -> None:
        """It does."""
        self._held.discard(lane)
        if lane in self._lanes and self._lanes[lane].held:
            self._lanes[lane].release()
            self._lane_at.pop(lane, None)
            self._drain(lane, self._clock.now())
            self.arm()

    def arm(self) -> None:
        """Set the timer to what comes first; to be called after anything was changed."""
        # Each REGISTER leaves an entry for the case that it is not answered: none of those that
        # were may wake us.
        while self._heap and not self._is_awaited(self._heap[0]):
            heappop(self._heap)
        first = self._heap[0][0] if self._heap else None
        if first == self._armed_at:
            return
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._armed_at = first
        if first is not None:
            self._timer = self._clock.call_at(first, self._tick)

    def _is_awaited(self, entry: tuple[Instant, int, int | str]) -> bool:
        when, _, what = entry
        if isinstance(what, str):
            return self._lane_at.get(what) == when
        live = self._live.get(what)
        return live is not None and live.scheduled == when

    def _tick(self) -> None:
        now = self._clock.now()
        self._armed_at = None
        lanes: set[str] = set()
        while self._heap and self._heap[0][0] <= now:
            when, _, what = heappop(self._heap)
            if isinstance(what, str):
                if self._lane_at.get(what) == when:
                    del self._lane_at[what]
                    lanes.add(what)
            elif (live := self._live.get(what)) is not None and live.scheduled == when:
                live.scheduled = None
                if live.state.doing is not None:
                    self._due(what, live, now)
                elif not live.queued:
                    live.queued = True
                    waits = urgency(live.state, now, check=live.check)
                    self._lanes[live.lane].push(what, waits)
                    lanes.add(live.lane)
        for name in lanes:
            self._drain(name, now)
        self.arm()

    def _drain(self, name: str, now: Instant) -> None:
        lane = self._lanes[name]
        while (number := lane.pop(now)) is not None:
            live = self._live.get(number)
            # What has gone, or waits in another lane by now, has left its number here.
            if live is not None and live.queued and live.lane == name:
                live.queued = False
                self._due(number, live, now)
        if name not in self._lane_at and (at := lane.next_at()) is not None:
            self._lane_at[name] = at
            heappush(self._heap, (at, next(self._order), name))
