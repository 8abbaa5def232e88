"""A Firebase project, and the apps of ours in it."""

import asyncio
from dataclasses import dataclass, replace
from pathlib import Path

import structlog
from firebase_admin import messaging

from ..core.push_advice import push_advice
from ..ports import Clock
from ..public_http import PublicHttp
from .attempt import ACCEPTED, Attempt
from .fcm_account import ServiceAccount
from .fcm_lines import Lines
from .fcm_sdk import Sdk
from .fcm_token import AccessToken
from .fcm_verdicts import THIRD_PARTY, UNAUTHENTICATED, verdict
from .http_post import tls_context
from .suspicion import Suspicion

_log = structlog.get_logger(__name__)

BASE_URL = "https://fcm.googleapis.com"


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


class Project:
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
        self._told = ""
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

    def weighed(self, attempt: Attempt, token: str) -> Attempt:
        """Without blocking everybody for what may be the fault of one device.

        A project without an APNs key cannot push to the one iPhone that came here by mistake.
        """
        if attempt.outcome is ACCEPTED:
            self.suspicion.ends()
        if attempt.reason in THIRD_PARTY and not self.suspicion.holds(token):
            return replace(attempt, blocks_s=0.0)
        return attempt

    def tell(self, fault: Attempt | None) -> None:
        """Log what comes of fetching access tokens, when it changes."""
        before, self._told = self._told, fault.reason if fault else ""
        if self._told == before:
            return
        if fault is None:
            _log.info("access tokens of FCM come again", project=self.project_id)
            return
        _log.warning(
            "no access token of FCM",
            project=self.project_id,
            reason=fault.reason,
            advice=push_advice("fcm", fault.reason),
        )

    async def aclose(self) -> None:
        """Close connections."""
        await self.access.aclose()
        await self.lines.aclose()
