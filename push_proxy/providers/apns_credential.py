"""What a provider proves to APNs: provider tokens of a .p8 key, or a client certificate."""

import ssl
import time
from pathlib import Path
from typing import Protocol

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from ..errors import ConfigurationError
from ..ports import SharedValues
from .apns_token import ApnsKey, ProviderToken


class Credential(Protocol):
    """Shared by all connections that show it."""

    identity: str
    """Equal for equal ones: apps with the same share connections."""

    @property
    def ends_at(self) -> float | None:
        """Unix time; None: it does not end."""

    @property
    def current(self) -> str | None:
        """The provider token of new connections; None: a certificate, or there is none yet."""

    async def ready(self) -> str | None:
        """As `current`, as soon as it is there."""

    def usable(self, token: str | None) -> bool:
        """Whether connections that began with this token may go on."""

    async def expired(self, token: str | None) -> bool:
        """APNs says that this token is too old; whether there is another one now."""

    def too_many(self, token: str | None) -> None:
        """APNs says that this token came too soon after the last one."""

    def fault(self) -> str:
        """Why nothing need be sent at all, as a reason; empty: nothing is wrong."""

    def tls(self, ca_file: Path | None) -> ssl.SSLContext:
        """For its connections."""

    def start(self, shared: SharedValues | None) -> None:
        """Begin what runs in the background."""

    async def aclose(self) -> None:
        """End it."""


class KeyCredential:
    """Provider tokens, made with a .p8 key."""

    def __init__(self, key: ApnsKey, *, token: ProviderToken | None = None) -> None:
        self.identity = f"key {key.fingerprint}"
        self._token = token or ProviderToken(key)

    @property
    def ends_at(self) -> float | None:
        """A key does not end."""
        return None

    @property
    def current(self) -> str | None:
        """See `Credential.current`."""
        return self._token.current

    async def ready(self) -> str | None:
        """See `Credential.ready`."""
        return await self._token.ready()

    def usable(self, token: str | None) -> bool:
        """See `Credential.usable`."""
        return token is not None and self._token.usable(token)

    async def expired(self, token: str | None) -> bool:
        """See `Credential.expired`."""
        return token is not None and await self._token.expired(token)

    def too_many(self, token: str | None) -> None:
        """See `Credential.too_many`."""
        if token is not None:
            self._token.too_many(token)

    def fault(self) -> str:
        """None that can be seen from here."""
        return ""

    def tls(self, ca_file: Path | None) -> ssl.SSLContext:
        """See `Credential.tls`."""
        return tls_context(ca_file)

    def start(self, shared: SharedValues | None) -> None:
        """See `Credential.start`."""
        self._token.start(shared)

    async def aclose(self) -> None:
        """See `Credential.aclose`."""
        await self._token.aclose()


class CertificateCredential:
    """A client certificate."""

    current: None = None

    def __init__(self, name: str, certificate: Path, key: Path | None) -> None:
        """``name`` of the entry (``providers.apns[0]``), for the errors' texts.

        Raises `errors.ConfigurationError` when the files cannot be used.
        """
        text = _read(f"{name}.certificate_file", certificate)
        try:
            shown = x509.load_pem_x509_certificates(text)[0]
        except ValueError:
            raise ConfigurationError(
                f"{name}.certificate_file: {certificate} holds no certificate in PEM: convert it "
                "(openssl pkcs12 -in FILE.p12 -out FILE.pem -nodes)"
            ) from None
        self._name = name
        self._files = certificate, key
        self._ends_at = shown.not_valid_after_utc.timestamp()
        self.identity = f"certificate {certificate} {key} {shown.serial_number}"
        self.tls(None)

    @property
    def ends_at(self) -> float | None:
        """See `Credential.ends_at`."""
        return self._ends_at

    async def ready(self) -> str | None:
        """At once: it shows itself when a connection is made."""
        return None

    def usable(self, token: str | None) -> bool:
        """See `Credential.usable`."""
        return token is None

    async def expired(self, token: str | None) -> bool:  # noqa: ARG002 - the protocol's
        """There is no other."""
        return False

    def too_many(self, token: str | None) -> None:
        """There are no tokens."""

    def fault(self) -> str:
        """Whether its time is over."""
        return "certificate_expired" if time.time() >= self._ends_at else ""

    def tls(self, ca_file: Path | None) -> ssl.SSLContext:
        """See `Credential.tls`."""
        context = tls_context(ca_file)
        certificate, key = self._files
        try:
            # Without a password function OpenSSL would ask at the terminal.
            context.load_cert_chain(certificate, key, password=lambda: b"")
        except (ssl.SSLError, ValueError):
            where = "certificate_file" if key is None else "certificate_key_file"
            raise ConfigurationError(
                f"{self._name}.{where}: {key or certificate} holds no private key for the "
                "certificate, or an encrypted one: put the right key there, without pass phrase"
            ) from None
        except OSError as error:
            raise ConfigurationError(
                f"{self._name}.certificate_key_file: cannot read {key}: {error.strerror}"
            ) from None
        return context

    def start(self, shared: SharedValues | None) -> None:
        """Nothing runs in the background."""

    async def aclose(self) -> None:
        """Nothing is open."""


def read_key(name: str, path: Path, *, team_id: str, key_id: str) -> ApnsKey:
    """The key of a .p8 file; ``name`` is the configuration key that names it.

    Raises `errors.ConfigurationError`.
    """
    how = "it must be the .p8 file as Apple gave it"
    try:
        key = load_pem_private_key(_read(name, path), password=None)
    except TypeError:
        raise ConfigurationError(f"{name}: {path} is encrypted: {how}") from None
    except (ValueError, UnsupportedAlgorithm):
        raise ConfigurationError(f"{name}: {path} holds no private key in PEM: {how}") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.curve.name != "secp256r1":
        raise ConfigurationError(f"{name}: {path} holds no key of the curve P-256: {how}")
    return ApnsKey.of(key, team_id=team_id, key_id=key_id)


def tls_context(ca_file: Path | None, *, name: str = "ca_file") -> ssl.SSLContext:
    """For HTTP/2 to a server that the system trusts, or that ``ca_file`` vouches for.

    ``name`` is the configuration key that names it. Raises `errors.ConfigurationError`.
    """
    try:
        context = ssl.create_default_context(cafile=ca_file)
    except (OSError, ssl.SSLError) as error:
        raise ConfigurationError(f"{name}: {ca_file} cannot be used: {error}") from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["h2"])
    return context


def _read(name: str, path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"{name}: cannot read {path}: {error.strerror}") from None
