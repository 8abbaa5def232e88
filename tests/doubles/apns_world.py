"""What an APNs double knows: apps, provider keys, devices; and what it keeps of requests."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec

PRODUCTION, SANDBOX = "production", "sandbox"
ENVIRONMENTS = (PRODUCTION, SANDBOX)


@dataclass(slots=True, kw_only=True)
class App:
    """A bundle id of a team."""

    bundle: str
    team_id: str

    @property
    def topics(self) -> tuple[str, ...]:
        """What `apns-topic` may say for it."""
        return self.bundle, f"{self.bundle}.voip", f"{self.bundle}.complication"


@dataclass(slots=True, kw_only=True)
class ProviderKey:
    """A .p8 key. Its limits can be changed while the double runs."""

    key_id: str
    team_id: str
    file: Path
    public: ec.EllipticCurvePublicKey = field(repr=False)
    environments: tuple[str, ...] = ENVIRONMENTS
    bundles: tuple[str, ...] | None = None
    """Apps that it may push to; None: all of its team."""
    revoked: bool = False
    newest: str = field(default="", repr=False)
    """The token that was accepted last."""
    newest_at: float = 0.0
    retired: set[str] = field(default_factory=set, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """What the phone got."""

    token: str = field(repr=False)
    payload: dict[str, Any]
    push_type: str
    topic: str
    priority: str
    apns_id: str
    environment: str
    at: float
    """Wall clock."""


Deliver = Callable[[Delivery], Awaitable[object] | object]


@dataclass(slots=True, kw_only=True)
class ApnsDevice:
    """A device token: one kind of push of one app on one phone."""

    token: str = field(repr=False)
    bundle: str
    kind: str = "voip"
    """`voip` (a PushKit token) or `alert` (everything else)."""
    environment: str = PRODUCTION
    deliver: Deliver | None = None
    received: list[Delivery] = field(default_factory=list)
    gone: str = ""
    """The reason of its 410, once it is gone."""
    gone_at_ms: int = 0

    def takes(self, topic: str) -> bool:
        """Whether this token was made for that topic."""
        return topic == (f"{self.bundle}.voip" if self.kind == "voip" else self.bundle)

    def unregister(self, *, at_ms: int, reason: str = "Unregistered") -> None:
        """From now on 410, with this timestamp."""
        self.gone, self.gone_at_ms = reason, at_ms

    def register_again(self) -> None:
        """The app is back with the same token."""
        self.gone = ""


@dataclass(slots=True, kw_only=True)
class Request:
    """One request as it arrived, and what became of it."""

    token: str = field(repr=False)
    headers: dict[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    payload: dict[str, Any]
    """The body as JSON object; empty when it is none."""
    environment: str
    connection: int
    stream: int
    arrived_at: float
    """Wall clock."""
    arrived_s: float
    """Monotonic clock."""
    apns_id: str = ""
    """As answered: the client's, or one that the double made."""
    status: int | None = None
    """What was answered; None: nothing yet, or never."""
    reason: str = ""
    fault: str = ""
    """What the rules say, also when another answer was demanded."""
    delivered: bool = False
    cancelled: bool = False
    """The client reset the stream before the answer."""

    @property
    def jwt(self) -> str:
        """The provider token; empty for certificate connections."""
        scheme, _, value = self.headers.get("authorization", "").partition(" ")
        return value if scheme.lower() == "bearer" else ""

    @property
    def push_type(self) -> str:
        """`voip`, `alert`, `background`…"""
        return self.headers.get("apns-push-type", "")

    @property
    def topic(self) -> str:
        """`apns-topic`."""
        return self.headers.get("apns-topic", "")
