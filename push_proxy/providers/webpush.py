"""Pushes by Web Push, which UnifiedPush speaks, too (RFC 8030, 8291, 8292)."""

import time
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..core.events import PushOutcome
from ..core.payload import Privacy, Push
from ..core.web_subscription import BadSubscription, web_subscription
from ..ports import AppHealth, Check, Clock, PushResult, SharedValues, TokenFate
from ..public_http import PublicHttp, Unanswered
from .attempt import Attempt
from .delivery import Delivery, admitted, on_wall_clock
from .retry_after import retry_after_s
from .unanswered import judge_silence
from .vapid import VapidKey
from .webpush_message import body, headers
from .webpush_service import PushServices
from .webpush_verdicts import TOO_LARGE, judge


@dataclass(frozen=True, slots=True, kw_only=True)
class WebpushApp:
    """An app and the key that its subscriptions are made for."""

    app_id: str
    key: VapidKey
    allow_private: bool = False
    ca_file: Path | None = None


class _App:
    def __init__(self, app: WebpushApp) -> None:
        self.app_id = app.app_id
        self.key = app.key
        self.http = PublicHttp(allow_private=app.allow_private, ca_file=app.ca_file)
        self.services = PushServices(app.key)


class WebpushProvider:
    """`ports.PushProvider` by Web Push."""

    name = "webpush"

    def __init__(
        self,
        apps: Iterable[WebpushApp],
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
        self._delivery = Delivery(self.name, clock, request_s=request_s)

    def serves(self, app_id: str) -> bool:
        """Whether this app is configured."""
        return app_id in self._apps

    def app_for(self, pn_param: str) -> str | None:
        """The app of this id; of an empty one (RFC 8599 has no ``pn-param`` here) the only app."""
        if pn_param:
            return pn_param if pn_param in self._apps else None
        return next(iter(self._apps)) if len(self._apps) == 1 else None

    def public_key(self, app_id: str) -> str | None:
        """What the app subscribes with, in base64url; ``sip.vapid`` of RFC 8599."""
        app = self._apps.get(app_id)
        return None if app is None else app.key.public

    def start(self, shared: SharedValues) -> None:
        """Nothing runs in the background."""

    async def send(self, push: Push) -> PushResult:
        """Encrypt and POST; once more when that may help.

        No request outlives the push's expiry.
        """
        app = self._apps.get(push.device.app_id)
        if app is None:
            return PushResult(outcome=PushOutcome.MISCONFIGURED, reason="unknown_app", attempts=0)
        try:
            subscription = web_subscription(push.device.token)
        except BadSubscription:
            return PushResult(
                outcome=PushOutcome.REJECTED,
                reason="bad_subscription",
                attempts=0,
                token=TokenFate.DEAD,
            )
        service = app.services.at(subscription.origin)
        if (blocked := await admitted(service.blocked, push, self._clock)) is not None:
            return PushResult(outcome=blocked.outcome, reason=blocked.reason, attempts=0)
        said = on_wall_clock(push, self._clock.now())
        shortest = False
        content: bytes | None = None

        async def post(_: int, timeout_s: float) -> Attempt:
            nonlocal content, shortest
            if content is None:
                # 0.2 ms, with the signature of a new statement: not worth a thread.
                content = body(said, subscription, privacy=self._privacy, shortest=shortest)
            sent = headers(said, subscription, authorization=service.statement.header())
            try:
                answer = await app.http.post(
                    subscription.endpoint, content, sent, timeout_s=timeout_s
                )
            except Unanswered as fault:
                return judge_silence(fault)
            later_s = retry_after_s(answer.headers.get("Retry-After"), unix=time.time())
            attempt = judge(answer.status, retry_after_s=later_s)
            service.judged(attempt, token=push.device.token, now=self._clock.now())
            if attempt.reason == TOO_LARGE:
                content, shortest = None, True
            # What blocks does so at this service alone, never the app's pushes elsewhere.
            return replace(attempt, blocks_s=0.0)

        return await self._delivery.deliver(push, post)

    def health(self) -> Sequence[AppHealth]:
        """How each app does."""
        return [app.services.health(app_id) for app_id, app in self._apps.items()]

    async def check(self) -> AsyncIterator[Check]:
        """The key of each app. Only a subscription could show whether a push service takes it."""
        for app_id, app in self._apps.items():
            text = f"the key is good; apps subscribe with applicationServerKey {app.key.public}"
            yield Check(what=f"webpush {app_id}: VAPID key", ok=True, text=text)

    async def aclose(self) -> None:
        """Close connections."""
        for app in self._apps.values():
            await app.http.aclose()
