"""Pushes by HTTP POST to the app's own backend, signed (docs/contracts.md)."""

import hmac
import json
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from ..core.events import PushOutcome
from ..core.payload import Privacy, Push, payload
from ..core.push_advice import push_advice
from ..errors import ConfigurationError
from ..ports import AppHealth, Check, Clock, PushResult, SharedValues
from .attempt import Attempt
from .delivery import Delivery, on_wall_clock
from .http_post import HttpPoster

SIGNATURE_HEADER = "X-Push-Proxy-Signature"
_SHORTEST_KEY = 8


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
        self._delivery = Delivery(self.name, clock, request_s=request_s)

    def serves(self, app_id: str) -> bool:
        """Whether this app is configured."""
        return app_id in self._endpoints

    def app_for(self, pn_param: str) -> str | None:  # noqa: ARG002 - the port's
        """None: RFC 8599 has no name for webhooks."""
        return None

    def start(self, shared: SharedValues) -> None:
        """Nothing runs in the background."""

    async def send(self, push: Push) -> PushResult:
        """POST the push; once more, byte for byte the same, on silence, a broken connection or 5xx.

        No request outlives the push's expiry.
        """
        endpoint = self._endpoints.get(push.device.app_id)
        if endpoint is None:
            return PushResult(outcome=PushOutcome.MISCONFIGURED, reason="unknown_app", attempts=0)
        said = on_wall_clock(push, self._clock.now())
        body = json.dumps(
            payload(said, privacy=self._privacy, with_token=True),
            ensure_ascii=False,
            separators=(",", ":"),
        ).encode(errors="replace")  # a caller's name may hold anything
        headers = sign(endpoint.hmac_key, body, unix=int(said.sent_at))

        async def post(_: int, timeout_s: float) -> Attempt:
            return await self._poster.post(endpoint.url, body, headers, timeout_s=timeout_s)

        return await self._delivery.deliver(push, post)

    def health(self) -> Sequence[AppHealth]:
        """How each app's backend does."""
        return [self._delivery.circuits.health(app_id) for app_id in self._endpoints]

    async def check(self) -> AsyncIterator[Check]:
        """Whether each backend takes connections. No request is sent."""
        for endpoint in self._endpoints.values():
            what = f"webhook {endpoint.app_id}"
            fault = await self._poster.connect_fault(endpoint.url, timeout_s=self._request_s)
            advice = push_advice(self.name, fault)
            text = f"{_host(endpoint.url)}: {fault}: {advice}" if fault else "takes connections"
            yield Check(what=what, ok=not fault, text=text)

    async def aclose(self) -> None:
        """Close connections."""
        await self._poster.aclose()


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
