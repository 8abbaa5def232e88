"""Where a Web Push goes: what a browser or a UnifiedPush app hands in as its token."""

import base64
import binascii
import json
import re
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from cryptography.hazmat.primitives.asymmetric import ec

_VISIBLE = re.compile(r"[\x21-\x7e]{1,2048}")
_BASE64URL = re.compile(r"[0-9A-Za-z_-]+={0,2}")
_POINT_BYTES = 65
_AUTH_BYTES = 16


class BadSubscription(ValueError):
    """Its text says what is wrong, and holds nothing of the subscription."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WebSubscription:
    """A push resource (RFC 8030 §2), with the keys to encrypt for it (RFC 8291 §2) if any."""

    endpoint: str = field(repr=False)
    """Whoever knows it may push: a secret."""
    origin: str
    """Scheme, host and port of the push service."""
    p256dh: bytes = field(default=b"", repr=False)
    """The app's public key, an uncompressed point of P-256; empty: pushes carry no body."""
    auth: bytes = field(default=b"", repr=False)


def web_subscription(token: str) -> WebSubscription:
    """Read a PushSubscription as JSON, or the bare URL of its endpoint.

    Raises `BadSubscription`.
    """
    if not token.lstrip().startswith("{"):
        return WebSubscription(endpoint=token, origin=_origin(token))
    try:
        said = json.loads(token)
    except (ValueError, RecursionError):
        raise BadSubscription("is no JSON: give PushSubscription.toJSON()") from None
    endpoint = said.get("endpoint")
    keys = said.get("keys")
    if not isinstance(endpoint, str) or not isinstance(keys, dict):
        raise BadSubscription("must have endpoint and keys: give PushSubscription.toJSON()")
    return WebSubscription(
        endpoint=endpoint,
        origin=_origin(endpoint),
        p256dh=_point(keys.get("p256dh")),
        auth=_bytes("auth", keys.get("auth"), length=_AUTH_BYTES),
    )


def _origin(endpoint: str) -> str:
    """Of a URL that pushes may go to."""
    if not _VISIBLE.fullmatch(endpoint):
        raise BadSubscription("must be an https URL of at most 2048 ASCII characters, or JSON")
    try:
        parts = urlsplit(endpoint)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise BadSubscription("must hold a URL that can be read") from None
    if parts.scheme != "https" or not host:
        raise BadSubscription("must hold an https URL with a host (RFC 8030 §8)")
    if "@" in parts.netloc or parts.fragment:
        raise BadSubscription("must hold a URL without user, password and fragment")
    bracketed = f"[{host}]" if ":" in host else host
    return f"https://{bracketed}" + ("" if port in {None, 443} else f":{port}")


def _point(text: object) -> bytes:
    point = _bytes("p256dh", text, length=_POINT_BYTES)
    try:
        ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)
    except ValueError:
        raise BadSubscription("keys.p256dh must be a point of P-256") from None
    return point


def _bytes(name: str, text: object, *, length: int) -> bytes:
    fault = f"keys.{name} must be {length} bytes in base64url"
    if not isinstance(text, str) or not _BASE64URL.fullmatch(text):
        raise BadSubscription(fault)
    bare = text.rstrip("=")
    try:
        value = base64.urlsafe_b64decode(bare + "=" * (-len(bare) % 4))
    except binascii.Error:
        raise BadSubscription(fault) from None
    if len(value) != length:
        raise BadSubscription(fault)
    return value
