"""How a push service knows who pushes: a signed statement in each request (RFC 8292)."""

import base64
import time
from dataclasses import dataclass, field
from pathlib import Path

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)

from ..errors import ConfigurationError

VALID_S = 12 * 3600
"""Of one statement; more than 24 hours are refused (RFC 8292 §2)."""
_RENEWED_S = VALID_S - 3600


@dataclass(frozen=True, slots=True)
class VapidKey:
    """The key that an app's subscriptions are made for."""

    private: ec.EllipticCurvePrivateKey = field(repr=False)
    subject: str
    """Whom a push service may write to: ``mailto:`` or ``https:``."""

    @property
    def public(self) -> str:
        """What apps subscribe with (``applicationServerKey``), in base64url."""
        point = self.private.public_key().public_bytes(
            Encoding.X962, PublicFormat.UncompressedPoint
        )
        return base64.urlsafe_b64encode(point).decode().rstrip("=")

    def authorization(self, origin: str, *, unix: float) -> str:
        """The Authorization header for one push service."""
        claims = {"aud": origin, "exp": int(unix) + VALID_S, "sub": self.subject}
        return f"vapid t={jwt.encode(claims, self.private, algorithm='ES256')},k={self.public}"


class Statement:
    """The statement for one push service, the same for many pushes."""

    def __init__(self, key: VapidKey, origin: str) -> None:
        self._key = key
        self._origin = origin
        self._header = ""
        self._made_at = 0.0

    def header(self) -> str:
        """As it stands, or a new one in time before it ends."""
        unix = time.time()
        if not self._header or not 0 <= unix - self._made_at < _RENEWED_S:
            self._header = self._key.authorization(self._origin, unix=unix)
            self._made_at = unix
        return self._header

    def forget(self) -> None:
        """It was refused: the next push makes a new one."""
        self._header = ""


def read_vapid_key(name: str, path: Path, *, subject: str) -> VapidKey:
    """The private key of a PEM file.

    ``name`` is the configuration key that names the file, for the error's text.

    Raises `errors.ConfigurationError`.
    """
    make = "make one: openssl ecparam -name prime256v1 -genkey -noout"
    try:
        key = load_pem_private_key(path.read_bytes(), password=None)
    except OSError as error:
        raise ConfigurationError(f"{name}: cannot read {path}: {error.strerror}") from None
    except TypeError:
        raise ConfigurationError(f"{name}: {path} is encrypted: give it without pass phrase") from (
            None
        )
    except (ValueError, UnsupportedAlgorithm):
        raise ConfigurationError(f"{name}: {path} holds no private key in PEM: {make}") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.curve.name != "secp256r1":
        raise ConfigurationError(f"{name}: {path} holds no key of the curve P-256: {make}")
    return VapidKey(key, subject)
