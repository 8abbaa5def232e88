"""A throw-away certificate authority, and what it signs: good, expired and wrong certificates."""

from __future__ import annotations

import datetime as dt
import ipaddress
import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

LOOPBACK = "127.0.0.1"
_DAY = dt.timedelta(days=1)


@dataclass(frozen=True, slots=True)
class TlsIdentity:
    """PEM files: what one side of TLS shows, and whom it believes."""

    ca: Path
    certificate: Path | None = None
    key: Path | None = None

    @property
    def files(self) -> dict[str, str]:
        """As in the service's configuration: `certificate`, `key`, `ca`."""
        found = {"ca": self.ca, "certificate": self.certificate, "key": self.key}
        return {name: str(path) for name, path in found.items() if path is not None}

    def believing(self, ca: Path) -> TlsIdentity:
        """The same certificate, believing another authority."""
        return TlsIdentity(ca, self.certificate, self.key)

    def server_context(self) -> ssl.SSLContext:
        """For a listener: clients may show a certificate, and it must be good then."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._show(context)
        context.load_verify_locations(self.ca)
        context.verify_mode = ssl.CERT_OPTIONAL
        return context

    def client_context(self) -> ssl.SSLContext:
        """For connecting: the server's certificate must be good and name it."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(self.ca)
        if self.certificate is not None:
            self._show(context)
        return context

    def _show(self, context: ssl.SSLContext) -> None:
        if self.certificate is None:
            raise ValueError("a TLS listener needs a certificate")
        context.load_cert_chain(self.certificate, self.key)


@dataclass(slots=True)
class Authority:
    """Signs certificates into files of `directory`; `ca` is its own certificate there."""

    directory: Path
    name: str = "lab"
    _key: ec.EllipticCurvePrivateKey = field(init=False, repr=False)
    _own: x509.Certificate = field(init=False, repr=False)
    _issued: int = 0

    def __post_init__(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        self._key = ec.generate_private_key(ec.SECP256R1())
        subject = _named(f"{self.name} authority")
        self._own = (
            _started(subject, subject, self._key, expired=False)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_CA_USAGE, critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self.ca.write_bytes(self._own.public_bytes(serialization.Encoding.PEM))

    @property
    def ca(self) -> Path:
        """Its certificate: the file that verifiers are given."""
        return self.directory / f"{self.name}-ca.pem"

    @property
    def trust(self) -> TlsIdentity:
        """Of a client that shows no certificate."""
        return TlsIdentity(self.ca)

    def issue(
        self,
        *names: str,
        sip_domains: Sequence[str] = (),
        expired: bool = False,
        for_linphone: bool = False,
    ) -> TlsIdentity:
        """A certificate and key for these DNS names and IP addresses (default: 127.0.0.1).

        `sip_domains` become URI names `sip:DOMAIN` (RFC 5922 §7.1). It is good for server and
        client alike; `expired` since yesterday. Linphone's mbedTLS knows DNS names alone:
        `for_linphone` says an address as one, too.
        """
        names = names or (() if sip_domains else (LOOPBACK,))
        self._issued += 1
        stem = self.directory / f"{self.name}-{self._issued}"
        key = ec.generate_private_key(ec.SECP256R1())
        subject = _named(next(iter((*names, *sip_domains))))
        alternatives = [_general_name(name) for name in names]
        alternatives += [x509.DNSName(name) for name in names if for_linphone]
        alternatives += [x509.UniformResourceIdentifier(f"sip:{name}") for name in sip_domains]
        purposes = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        certificate = (
            _started(subject, self._own.subject, key, expired=expired)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
            .add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()),
                critical=False,
            )
            .sign(self._key, hashes.SHA256())
        )
        identity = TlsIdentity(self.ca, stem.with_suffix(".pem"), stem.with_suffix(".key"))
        stem.with_suffix(".pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        stem.with_suffix(".key").write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        return identity


_CA_USAGE = x509.KeyUsage(
    digital_signature=True,
    key_cert_sign=True,
    crl_sign=True,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    encipher_only=False,
    decipher_only=False,
)


def _named(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _started(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, *, expired: bool
) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - 9 * _DAY)
        .not_valid_after(now - _DAY if expired else now + 30 * _DAY)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
