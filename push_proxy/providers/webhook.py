"""Pushes by HTTP POST to the app's own backend, signed (docs/contracts.md)."""

import asyncio
import hmac
import json
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from urllib.parse import urlsplit

import structlog

from ..core.events import PushOutcome
from ..core.ids import Instant
from ..core.payload import Privacy, Push, payload
from ..errors import ConfigurationError
from ..ports import Clock, PushResult
from .http_post import Attempt, HttpPoster

_log = structlog.get_logger(__name__)

SIGNATURE_HEADER = "X-Push-Proxy-Signature"
ATTEMPTS = 2
_QUIET_S = 60.0
_SHORTEST_KEY = 8
_ADVICE: Mapping[str, str] = MappingProxyType(
    {
        "tls_failed": "its certificate is not trusted: renew it, or give the right ca_file",
        "dns_failed": "its name does not resolve: check the url",
        "connect_failed": "nothing listens there: check the url and that the backend runs",
        "timeout": "it does not answer in time: look at the backend's load",
        "bad_url": "the url cannot be used: correct it",
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookEndpoint:
    """Where the pushes of one app go."""

    app_id: str
    url: str
    hmac_key: bytes | None = field(default=None, repr=False)
    """None: not signed."""


def read_hmac_key(name: str, path: Path) -> bytes:
    """The key in a file: its bytes without white space around them.

    ``name`` is the configuration key that names the file, for the error's text.

    Raises `errors.ConfigurationError`.
    """
    try:
        key = path.read_bytes().strip()
    except OSError as error:
        raise ConfigurationError(f"{name}: cannot read {path}: {error.strerror}") from None
    if len(key) < _SHORTEST_KEY:
        raise ConfigurationError(
            f"{name}: {path}: {len(key)} bytes are too few, at least {_SHORTEST_KEY} are "
            "needed (openssl rand -hex 32)"
        )
    return key


class WebhookProvider:
    """`ports.PushProvider` by HTTP POST."""

    name = "webhook"

    def __init__(
        self,
        endpoints: Iterable[WebhookEndpoint],
        clock: Clock,
        *,
        privacy: Privacy = Privacy.FULL,
        request_s: float = 2.5,
        ca_file: Path | None = None,
    ) -> None:
        """``request_s``: how long each of the (at most two) requests may take.

        Raises `errors.ConfigurationError` when ``ca_file`` cannot be read.
        """
        self._endpoints = {endpoint.app_id: endpoint for endpoint in endpoints}
        self._clock = clock
        self._privacy = privacy
        self._request_s = request_s
        self._poster = HttpPoster(ca_file=ca_file)
        self._told: dict[tuple[str, str], float] = {}

    def serves(self, app_id: str) -> bool:
        """Whether this app is configured."""
        return app_id in self._endpoints

    async def send(self, push: Push) -> PushResult:
        """POST the push; once more, byte for byte the same, on silence, a broken connection or 5xx.

        No request outlives the push's expiry.
        """
        endpoint = self._endpoints.get(push.device.app_id)
        if endpoint is None:
            return PushResult(outcome=PushOutcome.MISCONFIGURED, reason="unknown_app", attempts=0)
        started = self._clock.now()
        # What others compare with their own clocks; ours may lag behind after a suspension.
        skew_s = time.time() - started
        said = replace(
            push,
            sent_at=Instant(push.sent_at + skew_s),
            expires_at=Instant(push.expires_at + skew_s),
        )
        body = json.dumps(
            payload(said, privacy=self._privacy, with_token=True),
            ensure_ascii=False,
            separators=(",", ":"),
        ).encode(errors="replace")  # a caller's name may hold anything
        headers = sign(endpoint.hmac_key, body, unix=int(started + skew_s))
        last = Attempt(PushOutcome.UNAVAILABLE, "expired")
        attempts = 0
        while attempts < ATTEMPTS:
            left_s = push.expires_at - self._clock.now()
            if left_s <= 0:
                break
            last = await self._poster.post(
                endpoint.url, body, headers, timeout_s=min(self._request_s, left_s)
            )
            attempts += 1
            if not last.again:
                break
            if attempts < ATTEMPTS and last.pause_s:
                await asyncio.sleep(last.pause_s)
        if last.outcome is not PushOutcome.ACCEPTED:
            self._tell(endpoint, last)
        return PushResult(
            outcome=last.outcome,
            reason=last.reason,
            attempts=attempts,
            elapsed_s=self._clock.now() - started,
        )

    async def aclose(self) -> None:
        """Close connections."""
        await self._poster.aclose()

    def _tell(self, endpoint: WebhookEndpoint, attempt: Attempt) -> None:
        """Log a failure, at most once a minute for each app and reason."""
        now = self._clock.now()
        if now - self._told.get((endpoint.app_id, attempt.reason), -_QUIET_S) < _QUIET_S:
            return
        self._told[endpoint.app_id, attempt.reason] = now
        _log.warning(
            "push not taken by the webhook",
            app_id=endpoint.app_id,
            host=_host(endpoint.url),
            outcome=attempt.outcome.value,
            reason=attempt.reason,
            advice=_ADVICE.get(attempt.reason, "see what the backend logs for this request"),
        )


def _host(url: str) -> str:
    """What may be logged of a URL: user, password and query may be secret."""
    try:
        return urlsplit(url).netloc.rpartition("@")[2]
    except ValueError:
        return "not a URL"


def sign(key: bytes | None, body: bytes, *, unix: int) -> dict[str, str]:
    """The signature header: HMAC-SHA256 of ``t.body``, so that a recorded push grows stale."""
    if key is None:
        return {}
    digest = hmac.digest(key, b"%d." % unix + body, "sha256").hex()
    return {SIGNATURE_HEADER: f"t={unix},sha256={digest}"}
