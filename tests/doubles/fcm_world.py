"""What the FCM double knows: projects, service accounts, devices, and what it was asked."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import rsa


@dataclass(slots=True, kw_only=True)
class ServiceAccount:
    """Who may ask for access tokens. Its troubles can be changed while the double runs."""

    email: str
    project_id: str
    key_id: str
    file: Path
    """The JSON that the Firebase console gives."""
    public: rsa.RSAPublicKey = field(repr=False)
    disabled: bool = False
    deleted: bool = False
    key_revoked: bool = False
    may_send: bool = True
    """Has the role that FCM wants."""


@dataclass(slots=True, kw_only=True)
class Project:
    """A Firebase project."""

    project_id: str
    sender_id: str
    api_enabled: bool = True


@dataclass(slots=True, kw_only=True)
class AccessToken:
    """As the token endpoint gave it out."""

    value: str = field(repr=False)
    account: ServiceAccount
    ends_at: float
    """The double's wall clock."""
    revoked: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """What the phone got."""

    token: str = field(repr=False)
    data: dict[str, str]
    priority: str
    """`high` or `normal`."""
    ttl_s: float | None
    """None: FCM's four weeks."""
    message_id: str
    at: float
    """Wall clock."""


Deliver = Callable[[Delivery], Awaitable[object] | object]


@dataclass(slots=True, kw_only=True)
class FcmDevice:
    """One app on one phone."""

    token: str = field(repr=False)
    """A registration token, or a Firebase installation id."""
    kind: str = "token"
    """`token` or `fid`."""
    project_id: str
    deliver: Deliver | None = None
    gone: bool = False
    """The app was uninstalled: 404 UNREGISTERED."""
    online: bool = True
    dozing: bool = False
    """Only high priority gets through."""
    received: list[Delivery] = field(default_factory=list)
    stored: list[Delivery] = field(default_factory=list)
    """What waits until it is online and awake (ttl 0 never does)."""

    def reachable(self, delivery: Delivery) -> bool:
        """Whether it would get this one now."""
        return self.online and (delivery.priority == "high" or not self.dozing)


@dataclass(slots=True, kw_only=True)
class Request:
    """One send request as it arrived, and what became of it."""

    project_id: str
    headers: dict[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    message: dict[str, Any] = field(repr=False)
    """`message` of the body; empty when there is none."""
    validate_only: bool
    http: str
    """`2` or `1.1`."""
    connection: int
    arrived_at: float
    """Wall clock."""
    arrived_s: float
    """Monotonic clock."""
    status: int | None = None
    """What was answered; None: nothing yet, or never."""
    code: str = ""
    """FCM's errorCode, or Google's status; empty for 200."""
    message_id: str = ""
    delivered: bool = False
    cancelled: bool = False
    """The client reset the stream before the answer."""

    @property
    def token(self) -> str:
        """Whom it was for, however that was said."""
        return str(self.message.get("token") or self.message.get("fid") or "")

    @property
    def data(self) -> dict[str, str]:
        """The payload."""
        data: dict[str, str] = self.message.get("data", {})
        return data

    @property
    def android(self) -> dict[str, Any]:
        """`message.android`."""
        android: dict[str, Any] = self.message.get("android", {})
        return android

    @property
    def label(self) -> str:
        """The analytics label."""
        options: dict[str, str] = self.message.get("fcm_options", {})
        return options.get("analytics_label", "")

    @property
    def bearer(self) -> str:
        """The access token."""
        return self.headers.get("authorization", "").removeprefix("Bearer ")


@dataclass(slots=True, kw_only=True)
class OauthRequest:
    """One request for an access token."""

    form: dict[str, str] = field(repr=False)
    claims: dict[str, Any]
    """Of the assertion, unverified; empty when it is no JWT."""
    arrived_s: float
    """Monotonic clock."""
    status: int | None = None
    error: str = ""
