"""Pushes by Firebase Cloud Messaging (HTTP v1)."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import replace

from ..core.events import PushOutcome
from ..core.payload import Privacy, Push
from ..ports import AppHealth, AppState, Check, Clock, PushResult, SharedValues
from ..tasks import spawn
from .attempt import MISCONFIGURED, UNAVAILABLE, Attempt
from .delivery import PATIENCE_S, Delivery, on_wall_clock
from .fcm_check import checked
from .fcm_message import message
from .fcm_project import FcmApp, Project
from .fcm_token import NoToken
from .fcm_verdicts import TOO_BIG, UNAUTHENTICATED

_SENDING_S = 0.1
"""Of a push's time: not for waiting for an access token."""


class FcmProvider:
    """`ports.PushProvider` by FCM."""

    name = "fcm"

    def __init__(
        self,
        apps: Iterable[FcmApp],
        clock: Clock,
        *,
        privacy: Privacy = Privacy.FULL,
        request_s: float = 2.5,
    ) -> None:
        """``request_s``: how long each of the (at most two) requests may take.

        Raises `errors.ConfigurationError` when a ``ca_file`` cannot be read.
        """
        self._apps = {app.app_id: app for app in apps}
        self._clock = clock
        self._privacy = privacy
        self._request_s = request_s
        self._delivery = Delivery(self.name, clock, request_s=request_s)
        self._projects: dict[str, Project] = {}
        """By app; apps with the same account have the same one."""
        self._keeping: list[asyncio.Task[None]] = []
        shared: dict[object, Project] = {}
        for app in self._apps.values():
            alike = (app.account, app.base_url, app.token_uri, app.ca_file)
            if alike not in shared:
                shared[alike] = Project(app, clock)
            self._projects[app.app_id] = shared[alike]

    def serves(self, app_id: str) -> bool:
        """Whether this app is configured."""
        return app_id in self._apps

    def app_for(self, pn_param: str) -> str | None:
        """By our name of it, the project's number or the project; the first one of several."""
        if pn_param in self._apps:
            return pn_param
        apps = self._apps.values()
        by_number = [app.app_id for app in apps if app.sender_id == pn_param]
        by_project = [app.app_id for app in apps if app.account.project_id == pn_param]
        return next(iter(by_number + by_project), None)

    def start(self, shared: SharedValues) -> None:  # noqa: ARG002 - the port's
        """Fetch access tokens now, and each again well before it ends."""
        self._keeping = [
            spawn(project.access.keep(project.tell), name="fcm-oauth-keep")
            for project in self._distinct()
        ]

    async def send(self, push: Push) -> PushResult:
        """Send the push; once more when that may help.

        No request outlives the push's expiry.
        """
        app = self._apps.get(push.device.app_id)
        if app is None:
            return PushResult(outcome=PushOutcome.MISCONFIGURED, reason="unknown_app", attempts=0)
        project = self._projects[app.app_id]
        began = self._clock.now()
        if not project.access.good:
            # The time for it is the push's, not that of its first request.
            wait_s = min(push.expires_at - began, PATIENCE_S) - _SENDING_S
            await project.access.settle(timeout_s=wait_s)
        said = on_wall_clock(push, self._clock.now())
        requests, shortest, refused = 0, False, False

        async def ask(_: int, timeout_s: float) -> Attempt:
            nonlocal requests, shortest, refused
            made = message(
                said, privacy=self._privacy, shortest=shortest, direct_boot=app.direct_boot_ok
            )
            try:
                # A place among those that are asked: not kept while the push waits to be repeated.
                async with project.lines.turn(timeout_s=push.expires_at - self._clock.now()):
                    left_s = push.expires_at - self._clock.now()
                    if left_s <= 0:
                        return Attempt(UNAVAILABLE, "expired")
                    attempt = await project.send(
                        made, timeout_s=min(timeout_s, left_s), renewed=refused
                    )
            except NoToken as none:
                return none.attempt
            requests += 1
            shortest = attempt.reason == TOO_BIG
            refused = attempt.reason == UNAUTHENTICATED
            return project.weighed(attempt, push.device.token)

        result = await self._delivery.deliver(push, ask)
        return replace(result, attempts=requests, elapsed_s=self._clock.now() - began)

    def health(self) -> Sequence[AppHealth]:
        """How each app does. A service account's key has no end that we could know.

        One whose renewal is refused is blocked also while its last access token is still good.
        """
        return [self._health(app_id) for app_id in self._apps]

    async def check(self) -> AsyncIterator[Check]:
        """Fetch an access token, then let FCM look at a message that is for nobody."""
        for app_id, project in self._projects.items():
            async for found in checked(app_id, project, request_s=self._request_s):
                yield found

    async def aclose(self) -> None:
        """Close connections."""
        for keeping in self._keeping:
            keeping.cancel()
        await asyncio.gather(*self._keeping, return_exceptions=True)
        for project in self._distinct():
            await project.aclose()

    def _distinct(self) -> tuple[Project, ...]:
        return tuple(dict.fromkeys(self._projects.values()))

    def _health(self, app_id: str) -> AppHealth:
        access = self._projects[app_id].access
        if (fault := access.fault) is not None:
            if fault.outcome is MISCONFIGURED:
                return AppHealth(app_id=app_id, state=AppState.BLOCKED, reason=fault.reason)
            if not access.good:
                return AppHealth(app_id=app_id, state=AppState.THROTTLED, reason=fault.reason)
        return self._delivery.circuits.health(app_id)
