"""Pushes by RuStore, for phones in Russia without Google's services."""

import time
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from ..core.events import PushOutcome
from ..core.payload import Privacy, Push, fitted, payload
from ..core.push_advice import push_advice
from ..ports import AppHealth, Check, Clock, PushResult, SharedValues
from ..public_http import PublicHttp, Unanswered
from .android_message import LONGEST, MADE_UP_TOKEN, encoded, ttl
from .attempt import Attempt
from .delivery import Delivery, on_wall_clock
from .retry_after import retry_after_s
from .rustore_verdicts import TOO_LARGE, judge, said
from .unanswered import judge_silence

BASE_URL = "https://vkpns.rustore.ru"


@dataclass(frozen=True, slots=True, kw_only=True)
class RustoreApp:
    """An app of a project in RuStore's console."""

    app_id: str
    project_id: str
    service_token: str = field(repr=False)
    base_url: str = BASE_URL
    ca_file: Path | None = None


class _App:
    def __init__(self, app: RustoreApp) -> None:
        self.config = app
        project = quote(app.project_id, safe="")
        self.url = f"{app.base_url.rstrip('/')}/v1/projects/{project}/messages:send"
        # The operator has chosen where it goes.
        self.http = PublicHttp(allow_private=True, ca_file=app.ca_file)
        self._headers = {
            "Authorization": f"Bearer {app.service_token}",
            "Content-Type": "application/json",
        }

    async def post(self, content: bytes, *, timeout_s: float) -> Attempt:
        """One message."""
        try:
            answer = await self.http.post(self.url, content, self._headers, timeout_s=timeout_s)
        except Unanswered as fault:
            return judge_silence(fault)
        later_s = retry_after_s(answer.headers.get("Retry-After"), unix=time.time())
        return judge(answer.status, said(answer.body), retry_after_s=later_s)


class RustoreProvider:
    """`ports.PushProvider` by RuStore."""

    name = "rustore"

    def __init__(
        self,
        apps: Iterable[RustoreApp],
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

    def serves(self, app_id: str) -> bool:
        """Whether this app is configured."""
        return app_id in self._apps

    def app_for(self, pn_param: str) -> str | None:
        """By RuStore's id of its project, or ours of the app."""
        for app_id, app in self._apps.items():
            if pn_param in {app_id, app.config.project_id}:
                return app_id
        return None

    def start(self, shared: SharedValues) -> None:
        """Nothing runs in the background: a service token does not end."""

    async def send(self, push: Push) -> PushResult:
        """POST the push; once more when that may help.

        No request outlives the push's expiry.
        """
        app = self._apps.get(push.device.app_id)
        if app is None:
            return PushResult(outcome=PushOutcome.MISCONFIGURED, reason="unknown_app", attempts=0)
        said_push = on_wall_clock(push, self._clock.now())
        longest = LONGEST

        async def post(_: int, timeout_s: float) -> Attempt:
            nonlocal longest
            content = _body(said_push, privacy=self._privacy, longest=longest)
            attempt = await app.post(content, timeout_s=timeout_s)
            if attempt.reason == TOO_LARGE:
                longest = 0
            return attempt

        return await self._delivery.deliver(push, post)

    def health(self) -> Sequence[AppHealth]:
        """How each app does."""
        return [self._delivery.circuits.health(app_id) for app_id in self._apps]

    async def check(self) -> AsyncIterator[Check]:
        """Have a message looked at that is for nobody."""
        trial = encoded({"validate_only": True, "message": {"token": MADE_UP_TOKEN, "data": {}}})
        for app_id, app in self._apps.items():
            attempt = await app.post(trial, timeout_s=self._request_s)
            # The token is made up: that it is refused means that everything else is right.
            ok = attempt.outcome in {PushOutcome.ACCEPTED, PushOutcome.REJECTED}
            advice = push_advice(self.name, attempt.reason)
            text = "RuStore takes the service token" if ok else f"{attempt.reason}: {advice}"
            yield Check(what=f"rustore {app_id}: credentials", ok=ok, text=text)

    async def aclose(self) -> None:
        """Close connections."""
        for app in self._apps.values():
            await app.http.aclose()


def _body(push: Push, *, privacy: Privacy, longest: int) -> bytes:
    """A data message of at most so many bytes, as far as that can be."""

    def message(fields: Mapping[str, str]) -> bytes:
        said = {"token": push.device.token, "data": fields, "android": {"ttl": ttl(push)}}
        return encoded({"message": said})

    fields = fitted(payload(push, privacy=privacy), lambda some: len(message(some)), longest)
    return message(fields)
