"""The push services that an app's subscriptions lie at: what is known of each.

Subscriptions are chosen by apps, so nothing that one of them brings about may touch the pushes
of another service, and hardly those of its own.
"""

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import replace

from ..core.ids import Instant
from ..ports import AppHealth, AppState
from .attempt import ACCEPTED, Attempt
from .circuit import Circuits
from .suspicion import Suspicion
from .vapid import Statement, VapidKey
from .webpush_verdicts import VAPID_FAULTS

_MOST = 1000


class PushService:
    """One origin, for one app."""

    def __init__(self, key: VapidKey, origin: str) -> None:
        self.statement = Statement(key, origin)
        self._circuits = Circuits()
        self._refused = Suspicion()
        self._throttled = Suspicion()
        self._fault = ""

    def blocked(self, now: Instant) -> Attempt | None:
        """Why nothing is to be sent there now; None: send."""
        return self._circuits.blocked("", now)

    def judged(self, attempt: Attempt, *, token: str, now: Instant) -> None:
        """Learn from an answer to a push to this subscription."""
        refused = attempt.reason in VAPID_FAULTS
        if refused:
            self.statement.forget()
            self._fault = attempt.reason
        if attempt.blocks_s:
            suspicion = self._refused if refused else self._throttled
            if not suspicion.holds(token):
                attempt = replace(attempt, blocks_s=0.0)
        elif attempt.outcome is ACCEPTED:
            self._refused.ends()
            self._throttled.ends()
        self._circuits.judged("", attempt, now)

    def health(self) -> tuple[AppState, str]:
        """How it does there, and why."""
        known = self._circuits.health("")
        if self._refused and known.state is AppState.UNKNOWN:
            # Too little to stop sending, enough to have somebody look.
            return AppState.BLOCKED, self._fault
        return known.state, known.reason


class PushServices:
    """Those of one app; the ones not used for longest are forgotten."""

    def __init__(self, key: VapidKey) -> None:
        self._key = key
        self._services: OrderedDict[str, PushService] = OrderedDict()

    def at(self, origin: str) -> PushService:
        """The service of this origin."""
        service = self._services.get(origin)
        if service is None:
            service = self._services[origin] = PushService(self._key, origin)
            if len(self._services) > _MOST:
                self._services.popitem(last=False)
        self._services.move_to_end(origin)
        return service

    def health(self, app_id: str) -> AppHealth:
        """How the app does: as well as at the best of its services."""
        for best in (AppState.OK, AppState.BLOCKED, AppState.THROTTLED):
            for state, reason in self._states():
                if state is best:
                    return AppHealth(app_id=app_id, state=state, reason=reason)
        return AppHealth(app_id=app_id, state=AppState.UNKNOWN)

    def _states(self) -> Iterator[tuple[AppState, str]]:
        return (service.health() for service in self._services.values())
