"""Pushes by Firebase Cloud Messaging (HTTP v1)."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import structlog
from firebase_admin import messaging

from ..core.events import PushOutcome
from ..core.payload import Privacy, Push
from ..core.push_advice import push_advice
from ..ports import AppHealth, AppState, Check, Clock, PushResult, SharedValues
from ..public_http import PublicHttp
from ..tasks import spawn
from .android_message import MADE_UP_TOKEN
from .attempt import ACCEPTED, MISCONFIGURED, Attempt
from .delivery import Delivery, on_wall_clock
from .fcm_account import ServiceAccount
from .fcm_lines import Lines
from .fcm_message import aimed, message
from .fcm_sdk import Sdk
from .fcm_token import AccessToken, NoToken
from .fcm_verdicts import THIRD_PARTY, TOO_BIG, UNAUTHENTICATED, verdict
from .http_post import tls_context
from .suspicion import Suspicion

_log = structlog.get_logger(__name__)

BASE_URL = "https://fcm.googleapis.com"
_SKEW_S = 60.0
_SENDING_S = 0.1
"""Of a push's time: not for waiting for an access token."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FcmApp:
    """An app of a Firebase project."""

    app_id: str
    account: ServiceAccount
    sender_id: str | None = None
    base_url: str = BASE_URL
    token_uri: str | None = None
    """None: as the account's file says."""
    ca_file: Path | None = None
    direct_boot_ok: bool = False


class _Project:
    """What the apps of one service account share: access token and connections."""

    def __init__(self, app: FcmApp, clock: Clock) -> None:
        self.project_id = app.account.project_id
        self.access = AccessToken(
            # The operator has chosen where it goes.
            PublicHttp(allow_private=True, ca_file=app.ca_file),
            app.account,
            clock,
            token_uri=app.token_uri or app.account.token_uri,
        )
        self.lines = Lines(tls_context(app.ca_file))
        self.sdk = Sdk(self.lines, base_url=app.base_url, project_id=self.project_id)
        self.suspicion = Suspicion()
        self.told = ""
        """The reason that was logged last for having no access token; empty: none."""

    async def send(
        self, made: messaging.Message, *, timeout_s: float, renewed: bool, dry_run: bool = False
    ) -> Attempt:
        """One request, with the time for an access token in it. Raises `NoToken`."""
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + timeout_s
        bearer = await self.access.get(timeout_s=timeout_s)
        answer = await self.sdk.send(
            made, bearer=bearer, timeout_s=ends_at - loop.time(), dry_run=dry_run
        )
        attempt = verdict(answer, renewed=renewed)
        if attempt.reason == UNAUTHENTICATED:
            self.access.forget(bearer)
        return attempt

    async def aclose(self) -> None:
        """Close connections."""
        await self.access.aclose()
        await self.lines.aclose()


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
        self._projects: dict[str, _Project] = {}
        """By app; apps with the same account have the same one."""
        self._keeping: list[asyncio.Task[None]] = []
        shared: dict[object, _Project] = {}
        for app in self._apps.values():
            alike = (app.account, app.base_url, app.token_uri, app.ca_file)
            if alike not in shared:
                shared[alike] = _Project(app, clock)
            self._projects[app.app_id] = shared[alike]

    def serves(self, app_id: str) -> bool:
        """Whether this app is configured."""
        return app_id in self._apps

    def app_for(self, pn_param: str) -> str | None:
        """By our name of it, the project's number or the project; the first one of several."""
        by_name = (app.app_id for app in self._apps.values() if app.app_id == pn_param)
        by_number = (app.app_id for app in self._apps.values() if app.sender_id == pn_param)
        by_project = (
            app.app_id for app in self._apps.values() if app.account.project_id == pn_param
        )
        return next((found for each in (by_name, by_number, by_project) for found in each), None)

    def start(self, shared: SharedValues) -> None:  # noqa: ARG002 - the port's
        """Fetch access tokens now, and each again well before it ends."""
        self._keeping = [
            spawn(project.access.keep(partial(_tell, project)), name="fcm-oauth-keep")
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
            await project.access.settle(timeout_s=push.expires_at - began - _SENDING_S)
        said = on_wall_clock(push, self._clock.now())
        requests, shortest, refused = 0, False, False

        async def ask(_: int, timeout_s: float) -> Attempt:
            nonlocal requests, shortest, refused
            made = message(
                said, privacy=self._privacy, shortest=shortest, direct_boot=app.direct_boot_ok
            )
            try:
                attempt = await project.send(made, timeout_s=timeout_s, renewed=refused)
            except NoToken as none:
                return none.attempt
            requests += 1
            shortest = attempt.reason == TOO_BIG
            refused = attempt.reason == UNAUTHENTICATED
            return _weighed(project, attempt, push.device.token)

        result = await self._delivery.deliver(push, ask)
        return replace(result, attempts=requests, elapsed_s=self._clock.now() - began)

    def health(self) -> Sequence[AppHealth]:
        """How each app does. A service account's key has no end that we could know.

        One whose renewal is refused is blocked also while its last access token is still good.
        """
        return [self._health(app_id) for app_id in self._apps]

    async def check(self) -> AsyncIterator[Check]:
        """Fetch an access token, then let FCM look at a message that is for nobody."""
        for app_id in self._apps:
            project = self._projects[app_id]
            what = f"fcm {app_id}: credentials"
            try:
                await project.access.get(timeout_s=2 * self._request_s)
            except NoToken as none:
                yield Check(what=what, ok=False, text=_explained(none.attempt.reason))
                continue
            yield _clock_check(what, project.access.skew_s)
            trial = aimed(messaging.Message(data={"v": "1"}), MADE_UP_TOKEN)
            what = f"fcm {app_id}: permission to push"
            try:
                attempt = await project.send(
                    trial, timeout_s=self._request_s, renewed=True, dry_run=True
                )
            except NoToken as none:
                attempt = none.attempt
            # The token is made up: that it is refused means that everything else is right.
            ok = attempt.outcome in {PushOutcome.ACCEPTED, PushOutcome.REJECTED}
            text = f"FCM takes messages of {project.project_id}"
            yield Check(what=what, ok=ok, text=text if ok else _explained(attempt.reason))

    async def aclose(self) -> None:
        """Close connections."""
        for keeping in self._keeping:
            keeping.cancel()
        await asyncio.gather(*self._keeping, return_exceptions=True)
        for project in self._distinct():
            await project.aclose()

    def _distinct(self) -> tuple[_Project, ...]:
        return tuple(dict.fromkeys(self._projects.values()))

    def _health(self, app_id: str) -> AppHealth:
        access = self._projects[app_id].access
        if (fault := access.fault) is not None:
            if fault.outcome is MISCONFIGURED:
                return AppHealth(app_id=app_id, state=AppState.BLOCKED, reason=fault.reason)
            if not access.good:
                return AppHealth(app_id=app_id, state=AppState.THROTTLED, reason=fault.reason)
        return self._delivery.circuits.health(app_id)


def _tell(project: _Project, fault: Attempt | None) -> None:
    """Log what comes of fetching access tokens, when it changes."""
    before, project.told = project.told, fault.reason if fault else ""
    if project.told == before:
        return
    if fault is None:
        _log.info("access tokens of FCM come again", project=project.project_id)
        return
    _log.warning(
        "no access token of FCM",
        project=project.project_id,
        reason=fault.reason,
        advice=push_advice("fcm", fault.reason),
    )


def _weighed(project: _Project, attempt: Attempt, token: str) -> Attempt:
    """Without blocking everybody for what may be the fault of one device.

    A project without an APNs key cannot push to the one iPhone that came here by mistake.
    """
    if attempt.outcome is ACCEPTED:
        project.suspicion.ends()
    if attempt.reason in THIRD_PARTY and not project.suspicion.holds(token):
        return replace(attempt, blocks_s=0.0)
    return attempt


def _clock_check(what: str, skew_s: float | None) -> Check:
    if skew_s is not None and abs(skew_s) > _SKEW_S:
        side = "ahead of" if skew_s > 0 else "behind"
        text = (
            f"this machine's clock is {abs(skew_s):.0f} s {side} Google's: set it, keep it by NTP"
        )
        return Check(what=what, ok=False, text=text)
    return Check(what=what, ok=True, text="Google gives an access token")


def _explained(reason: str) -> str:
    return f"{reason}: {push_advice('fcm', reason)}"
