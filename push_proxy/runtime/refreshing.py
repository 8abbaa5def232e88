"""Bindings of phones that announced themselves for pushes are refreshed by one before their end.

RFC 8599 §5.5. One push per binding: a phone that does not come by it would not come by a second
one either, and a call will push again. A phone that is awake refreshes by itself, so it is given
time to.
"""

from dataclasses import dataclass, replace
from heapq import heappop, heappush

from ..core.feature_caps import refresh_before_s
from ..core.ids import AccountKey, DeviceId, Instant
from ..core.model import Binding
from .changes import BindingChanged, Change
from .clock import Timer, TimerClock
from .directory import Directory
from .index import Place
from .refresh_pushes import RefreshPushes

AT_ONCE, EVERY_S = 10, 0.1
"""So many pushes in so many seconds: thousands of bindings may end together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Plan:
    due_at: Instant
    last_at: Instant
    """When a phone that seems awake is pushed to all the same."""


class Refreshing:
    """Watches the bindings."""

    def __init__(
        self,
        *,
        directory: Directory,
        pushes: RefreshPushes,
        clock: TimerClock,
        fresh_s: float,
        enabled: bool,
    ) -> None:
        """``fresh_s``: a phone heard that recently is awake. A reload may change ``enabled``.

        Each node pushes for the bindings that it has itself.
        """
        self.enabled = enabled
        self._directory = directory
        self._pushes = pushes
        self._clock = clock
        self._fresh_s = fresh_s
        self._plans: dict[Place, _Plan] = {}
        self._notes: list[tuple[Instant, AccountKey, DeviceId]] = []
        self._noted: dict[Place, Instant] = {}
        self._timer: Timer | None = None
        self._timer_at = Instant(0.0)

    def start(self) -> None:
        """Begin with the stored bindings, and follow their changes."""
        for account in self._directory.accounts():
            for binding in self._directory.bindings(account.key):
                self._watch(binding)
        self._directory.subscribe(self._on_change)

    def aclose(self) -> None:
        """Push no more."""
        self._plans.clear()
        if self._timer is not None:
            self._timer.cancel()

    def _on_change(self, change: Change) -> None:
        if not isinstance(change, BindingChanged):
            return
        if change.new is not None:
            self._watch(change.new)
        elif change.old is not None:
            self._plans.pop((change.old.account, change.old.device), None)

    def _watch(self, binding: Binding) -> None:
        place = (binding.account, binding.device)
        if not binding.wants_refresh or not self._directory.nodes.is_me(binding.node):
            self._plans.pop(place, None)
            return
        before_s = refresh_before_s(binding.expires_at - self._clock.now())
        plan = _Plan(
            due_at=Instant(binding.expires_at - before_s),
            last_at=Instant(binding.expires_at - before_s / 2),
        )
        self._plans[place] = plan
        self._note(place, plan.due_at)

    def _note(self, place: Place, at: Instant) -> None:
        """Look at the place then, or sooner if that has been noted: one note for each."""
        if place in self._noted and self._noted[place] <= at:
            return
        self._noted[place] = at
        heappush(self._notes, (at, *place))
        self._set_timer(at)

    def _set_timer(self, at: Instant) -> None:
        if self._timer is not None:
            if self._timer_at <= at:
                return
            self._timer.cancel()
        self._timer_at = at
        self._timer = self._clock.call_at(at, self._some)

    def _some(self) -> None:
        """What is due, in portions."""
        self._timer = None
        now, pushed = self._clock.now(), 0
        while self._notes and self._notes[0][0] <= now and pushed < AT_ONCE:
            at, key, device = heappop(self._notes)
            place = (key, device)
            if self._noted.get(place) != at:
                continue  # noted again for sooner
            del self._noted[place]
            if (plan := self._plans.get(place)) is None:
                continue
            if plan.due_at > now:
                self._note(place, plan.due_at)
            else:
                pushed += self._due(place, plan, now)
        if self._notes:
            next_at = self._notes[0][0]
            self._set_timer(Instant(now + EVERY_S) if next_at <= now else next_at)

    def _due(self, place: Place, plan: _Plan, now: Instant) -> bool:
        binding = self._directory.binding(*place)
        device = self._directory.device(*place)
        if binding is not None and now < plan.last_at and self._is_awake(binding, now):
            self._plans[place] = replace(plan, due_at=plan.last_at)
            self._note(place, plan.last_at)
            return False
        del self._plans[place]
        if binding is None or device is None or not self.enabled:
            return False
        return self._pushes.send(device, within_s=binding.expires_at - now)

    def _is_awake(self, binding: Binding, now: Instant) -> bool:
        connected = binding.source.transport != "udp" and self._directory.has_flow(binding)
        return connected or now - binding.heard_at <= self._fresh_s
