"""Pushes by Huawei Push Kit, for phones without Google's services."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from urllib.parse import quote

import structlog

from ..core.events import PushOutcome
from ..core.payload import Privacy, Push
from ..core.push_advice import push_advice
from ..ports import AppHealth, AppState, Check, Clock, PushResult, SharedValues
from ..public_http import PublicHttp, Unanswered
from ..tasks import spawn
from .attempt import ACCEPTED, Attempt
from .delivery import Delivery, on_wall_clock
from .hms_message import body, trial
from .hms_token import AccessToken, NoToken
from .hms_verdicts import (
    CREDENTIALS,
    NO_HIGH_URGENCY,
    NO_PERMISSION,
    SMALLER_HELPS,
    judge,
    said,
)
from .retry_after import retry_after_s
from .suspicion import Suspicion
from .unanswered import judge_silence

_log = structlog.get_logger(__name__)

BASE_URL = "https://push-api.cloud.huawei.com"
TOKEN_URI = "https://oauth-login.cloud.huawei.com/oauth2/v3/token"  # noqa: S105 - a URL


@dataclass(frozen=True, slots=True, kw_only=True)
class HmsApp:
    """An app of AppGallery Connect."""

    app_id: str
    hms_app_id: str
    """Its client id there, digits."""
    client_secret: str = field(repr=False)
    base_url: str = BASE_URL
    token_uri: str = TOKEN_URI
    ca_file: Path | None = None


class _App:
    def __init__(self, app: HmsApp) -> None:
        self.config = app
        hms_app_id = quote(app.hms_app_id, safe="")
        self.url = f"{app.base_url.rstrip('/')}/v1/{hms_app_id}/messages:send"
        # The operator has chosen where it goes.
        self.http = PublicHttp(allow_private=True, ca_file=app.ca_file)
        self.access = AccessToken(
            self.http,
            token_uri=app.token_uri,
            client_id=app.hms_app_id,
            client_secret=app.client_secret,
        )
        self.suspicion = Suspicion()
        self.high = True
        """Until Huawei says that the app may not ask for urgency."""
        self.pushed = False
        """Some push was taken."""

    async def post(self, content: bytes, token: str, *, timeout_s: float) -> Attempt:
        """One message, with the time for an access token in it."""
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + timeout_s
        try:
            access, renewed = await self.access.get(timeout_s=timeout_s)
            headers = {
                "Authorization": f"Bearer {access}",
                "Content-Type": "application/json; charset=UTF-8",
            }
            answer = await self.http.post(
                self.url, content, headers, timeout_s=ends_at - loop.time()
            )
        except NoToken as fault:
            return fault.attempt
        except Unanswered as fault:
            return judge_silence(fault)
        attempt = judge(
            answer.status,
            said(answer.body, token=token),
            retry_after_s=retry_after_s(answer.headers.get("Retry-After"), unix=time.time()),
            renewed=renewed,
        )
        if attempt.reason in CREDENTIALS:
            self.access.forget(access)
        return attempt

    def weighed(self, attempt: Attempt, token: str) -> Attempt:
        """Without blocking everybody for what may be the fault of one device."""
        if attempt.outcome is ACCEPTED:
            self.suspicion.ends()
            self.pushed = True
        if attempt.reason == NO_PERMISSION and not self.suspicion.holds(token):
            return replace(attempt, blocks_s=0.0)
        return attempt


class HmsProvider:
    """`ports.PushProvider` by Huawei Push Kit."""

    name = "hms"

    def __init__(
        self,
        apps: Iterable[HmsApp],
        clock: Clock,
        *,
        privacy: Privacy = Privacy.FULL,
        request_s: float = 2.5,
    ) -> None:
        """``request_s``: how long each of the (at most two) requests may take.

        Raises `errors.ConfigurationError` when a ``ca_file`` cannot be read.
        """
        self._apps = {app.app_id: _App(app) for app in apps}
        self._clock = clock
        self._privacy = privacy
        self._request_s = request_s
        self._delivery = Delivery(self.name, clock, request_s=request_s)
        self._tasks: list[asyncio.Task[None]] = []

    def serves(self, app_id: str) -> bool:
        """Whether this app is configured."""
        return app_id in self._apps

    def app_for(self, pn_param: str) -> str | None:
        """By Huawei's id of it, or ours."""
        for app_id, app in self._apps.items():
            if pn_param in {app_id, app.config.hms_app_id}:
                return app_id
        return None

    def start(self, shared: SharedValues) -> None:  # noqa: ARG002 - the port's
        """Fetch access tokens now, and each again before it ends."""
        self._tasks = [
            spawn(app.access.keep(partial(self._told, app_id)), name="hms-oauth")
            for app_id, app in self._apps.items()
        ]

    async def send(self, push: Push) -> PushResult:
        """POST the push; once more when that may help.

        No request outlives the push's expiry.
        """
        app = self._apps.get(push.device.app_id)
        if app is None:
            return PushResult(outcome=PushOutcome.MISCONFIGURED, reason="unknown_app", attempts=0)
        said_push = on_wall_clock(push, self._clock.now())
        shortest = False

        async def post(_: int, timeout_s: float) -> Attempt:
            nonlocal shortest
            content = body(said_push, privacy=self._privacy, shortest=shortest, high=app.high)
            attempt = await app.post(content, push.device.token, timeout_s=timeout_s)
            shortest = attempt.reason in SMALLER_HELPS
            if attempt.reason == NO_HIGH_URGENCY:
                app.high = False
                _log.warning(
                    "Huawei refuses urgent data messages: sleeping phones wake late or not at all",
                    app_id=push.device.app_id,
                    advice="apply for high-priority data messages (VOIP) in AppGallery Connect, "
                    "then reload",
                )
            return app.weighed(attempt, push.device.token)

        return await self._delivery.deliver(push, post)

    def health(self) -> Sequence[AppHealth]:
        """How each app does."""
        return [self._health(app_id, app) for app_id, app in self._apps.items()]

    async def check(self) -> AsyncIterator[Check]:
        """Fetch a token, then have a message looked at that is for nobody."""
        for app_id, app in self._apps.items():
            what = f"hms {app_id}: credentials"
            try:
                await app.access.get(timeout_s=2 * self._request_s)
            except NoToken as fault:
                reason = fault.attempt.reason
                yield Check(what=what, ok=False, text=f"{reason}: {push_advice(self.name, reason)}")
                continue
            yield Check(what=what, ok=True, text="Huawei gives an access token")
            attempt = await app.post(trial(), "", timeout_s=self._request_s)
            # The token is made up: that it is refused means that everything else is right.
            ok = attempt.outcome in {PushOutcome.ACCEPTED, PushOutcome.REJECTED}
            text = (
                "Push Kit takes messages"
                if ok
                else f"{attempt.reason}: {push_advice(self.name, attempt.reason)}"
            )
            yield Check(what=f"hms {app_id}: permission to push", ok=ok, text=text)

    async def aclose(self) -> None:
        """Close connections."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for app in self._apps.values():
            await app.http.aclose()

    def _health(self, app_id: str, app: _App) -> AppHealth:
        known = self._delivery.circuits.health(app_id)
        if app.suspicion and known.state in {AppState.UNKNOWN, AppState.OK} and not app.pushed:
            # Too little to stop sending, enough to have somebody look.
            return replace(known, state=AppState.BLOCKED, reason=NO_PERMISSION)
        return known

    def _told(self, app_id: str, fault: Attempt | None) -> None:
        """Credentials that are refused show before the first call, and so does their return."""
        circuits = self._delivery.circuits
        now = self._clock.now()
        if fault is not None:
            circuits.judged(app_id, fault, now)
        elif circuits.health(app_id).reason.startswith("oauth_"):
            circuits.judged(app_id, Attempt(ACCEPTED, "oauth"), now)
