"""A push service of the Web (RFC 8030), with the apps that subscribed to it (RFC 8291, 8292)."""

from __future__ import annotations

import base64
import json
import os
import re
import secrets
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import http_ece
import jwt
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from tests.lab.certificates import Authority

from .http_platform import Deliver, HttpPlatform, PlatformRequest

LONGEST = 4096
DAY_S = 24 * 3600
_TOPIC = re.compile(r"[0-9A-Za-z_-]{1,32}")
_URGENCIES = frozenset({"very-low", "low", "normal", "high"})


def b64(value: bytes) -> str:
    """Base64url as browsers write it."""
    return base64.urlsafe_b64encode(value).decode().rstrip("=")


def point(key: ec.EllipticCurvePrivateKey) -> bytes:
    """The public key as RFC 8291 writes it."""
    return key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


def vapid_key_file(path: Path, curve: ec.EllipticCurve | None = None) -> str:
    """Write a private key; what apps subscribe with."""
    key = ec.generate_private_key(curve or ec.SECP256R1())
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return b64(point(key))


@dataclass(slots=True, kw_only=True)
class Subscription:
    """An app's: keys of its own, and whom it takes pushes from."""

    endpoint: str
    server_key: str
    """`applicationServerKey`."""
    deliver: Deliver | None = None
    key: ec.EllipticCurvePrivateKey = field(
        default_factory=lambda: ec.generate_private_key(ec.SECP256R1())
    )
    auth: bytes = field(default_factory=lambda: os.urandom(16))
    expired: bool = False

    @property
    def token(self) -> str:
        """As the app hands it in: PushSubscription.toJSON()."""
        keys = {"p256dh": b64(point(self.key)), "auth": b64(self.auth)}
        return json.dumps({"endpoint": self.endpoint, "expirationTime": None, "keys": keys})

    def read(self, body: bytes) -> dict[str, Any]:
        """What only the app can read."""
        text = http_ece.decrypt(
            body, private_key=self.key, auth_secret=self.auth, version="aes128gcm"
        )
        said: dict[str, Any] = json.loads(text)
        return said


class WebpushDouble(HttpPlatform):
    """Strict: whoever is not identified, or says what RFC 8030 does not know, is refused."""

    def __init__(self, authority: Authority, *, longest: int = LONGEST) -> None:
        super().__init__(tls=authority.issue().server_context())
        self.ca_file = authority.ca
        self.longest = longest
        self.statements: set[str] = set()
        """Distinct VAPID tokens."""
        self._subscriptions: dict[str, Subscription] = {}

    def subscribe(self, server_key: str, deliver: Deliver | None = None) -> Subscription:
        """A new app."""
        path = f"/push/{secrets.token_urlsafe(16)}"
        made = Subscription(endpoint=self.url + path, server_key=server_key, deliver=deliver)
        self._subscriptions[path] = made
        return made

    def add_routes(self, app: web.Application) -> None:
        """Push resources."""
        app.router.add_post("/push/{id}", self._take)

    async def _take(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        subscription = self._subscriptions.get(request.path)
        said: dict[str, Any] = {}
        status, fault = self._fault(request, body, subscription)
        if subscription is not None and not fault and body:
            try:
                said = subscription.read(body)
            except (http_ece.ECEException, ValueError) as error:
                status, fault = 400, f"the app cannot read it: {error}"
        self.requests.append(
            PlatformRequest(
                path=request.path,
                headers=dict(request.headers),
                body=body,
                said=said,
                fault=fault,
            )
        )
        played = await self.play(request)
        if played is not None:
            return played
        if fault:
            return web.Response(status=status, text=fault)
        if subscription is not None:
            await self.give(said, subscription.deliver)
        return web.Response(status=201, headers={"Location": f"{self.url}/message/1"})

    def _fault(
        self, request: web.Request, body: bytes, subscription: Subscription | None
    ) -> tuple[int, str]:
        if subscription is None:
            return 404, "no such subscription"
        if subscription.expired:
            return 410, "unsubscribed"
        if fault := self._vapid_fault(request, subscription):
            return 403, fault
        if not request.headers.get("TTL", "").isdigit():
            return 400, "TTL must be given (RFC 8030 §5.2)"
        if request.headers.get("Urgency", "normal") not in _URGENCIES:
            return 400, "no such urgency"
        topic = request.headers.get("Topic")
        if topic is not None and not _TOPIC.fullmatch(topic):
            return 400, "a topic has up to 32 characters of base64url (RFC 8030 §5.4)"
        if len(body) > self.longest:
            return 413, "too long"
        if body and request.headers.get("Content-Encoding") != "aes128gcm":
            return 415, "not encrypted"
        if not body and "Content-Encoding" in request.headers:
            return 400, "nothing is encrypted"
        return 200, ""

    def _vapid_fault(self, request: web.Request, subscription: Subscription) -> str:
        scheme, _, text = request.headers.get("Authorization", "").partition(" ")
        fields = dict(part.strip().partition("=")[::2] for part in text.split(","))
        if scheme.lower() != "vapid" or fields.keys() != {"t", "k"}:
            return "no VAPID (RFC 8292 §3)"
        if fields["k"] != subscription.server_key:
            return "the subscription is for another key"
        raw = base64.urlsafe_b64decode(fields["k"] + "=" * (-len(fields["k"]) % 4))
        public = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), raw)
        try:
            claims = jwt.decode(fields["t"], public, algorithms=["ES256"], audience=self.url)
        except jwt.InvalidTokenError as error:
            return f"the token is not good: {error}"
        if claims.get("exp", 0) > time.time() + DAY_S:
            return "valid for more than a day (RFC 8292 §2)"
        if not str(claims.get("sub", "")).startswith(("mailto:", "https://")):
            return "nobody to write to"
        self.statements.add(fields["t"])
        return ""
