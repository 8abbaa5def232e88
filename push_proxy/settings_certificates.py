"""Certificates, keys and authorities in PEM files: whether they can be used, and until when."""

import stat
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)

from .settings_types import Fault

SOON = timedelta(days=14)
"""Left lifetime below which a certificate is warned of."""


def identity_faults(
    section: str, certificate: Path | None, key: Path | None, *, now: datetime
) -> Iterator[Fault]:
    """What keeps a certificate and its key from being shown; ``section`` is their key's name."""
    if certificate is None and key is None:
        return
    if certificate is None or key is None:
        missing = "key" if key is None else "certificate"
        yield f"{section}.{missing}", "is missing; certificate and key go together"
        return
    chain = _chain(certificate)
    if isinstance(chain, str):
        yield f"{section}.certificate", chain
        return
    leaf = chain[0]
    if (fault := _time_fault(leaf, certificate, now)) is not None:
        yield f"{section}.certificate", fault
    if (fault := _key_fault(leaf, certificate, key)) is not None:
        yield f"{section}.key", fault


def authority_faults(name: str, path: Path | None, *, now: datetime) -> Iterator[Fault]:
    """What keeps a file of authorities from being believed; ``name`` is its key's name."""
    if path is None:
        return
    authorities = _chain(path)
    if isinstance(authorities, str):
        yield name, authorities
    elif all(authority.not_valid_after_utc <= now for authority in authorities):
        yield name, f"every certificate in {path} has expired; replace the file"


def warnings(
    section: str, certificate: Path | None, *, now: datetime, must_name: str | None = None
) -> Iterator[str]:
    """What works and had better be said: a near end, a name that phones will miss."""
    chain = None if certificate is None else _chain(certificate)
    if chain is None or isinstance(chain, str):
        return
    left = chain[0].not_valid_after_utc - now
    if timedelta(0) < left < SOON:
        yield (
            f"{section}.certificate expires in {_days(left)} "
            f"({chain[0].not_valid_after_utc:%Y-%m-%d %H:%M} UTC): renew it, then send SIGHUP"
        )
    if must_name is not None and not names(chain[0], must_name):
        yield (
            f"{section}.certificate does not name {must_name}, which phones use "
            "(sip.public_address): a phone that verifies refuses it"
        )


def key_warnings(name: str, key: Path | None) -> Iterator[str]:
    """Who else can read a private key; ``name`` is its key's name."""
    if key is not None and key.stat().st_mode & stat.S_IROTH:
        yield f"{name}: every user of this machine can read {key}; chmod o-r it"


def ends_at(path: Path) -> float | None:
    """When the certificate in a file ends, Unix seconds; None when it cannot be read."""
    chain = _chain(path)
    return None if isinstance(chain, str) else chain[0].not_valid_after_utc.timestamp()


def names(certificate: x509.Certificate, host: str) -> bool:
    """Whether the certificate is for ``host``, a DNS name or an IP literal (RFC 5922 §7.1).

    A wildcard stands for one label, as HTTPS clients and most phones have it.
    """
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        common = certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
        return any(str(name.value).lower() == host for name in common)
    own = {name.lower() for name in found.get_values_for_type(x509.DNSName)}
    own.update(str(address) for address in found.get_values_for_type(x509.IPAddress))
    own.update(
        uri.partition(":")[2]
        for uri in found.get_values_for_type(x509.UniformResourceIdentifier)
        if uri.lower().startswith("sip:")
    )
    return host in own or f"*.{host.partition('.')[2]}" in own


def _chain(path: Path) -> list[x509.Certificate] | str:
    """The certificates of a PEM file, or what is wrong with it."""
    try:
        return x509.load_pem_x509_certificates(path.read_bytes())
    except OSError as error:
        return f"{path} cannot be read: {error.strerror}; check path and owner"
    except ValueError:
        return f"{path} holds no certificate in PEM form (-----BEGIN CERTIFICATE-----)"


def _time_fault(leaf: x509.Certificate, path: Path, now: datetime) -> str | None:
    if leaf.not_valid_after_utc <= now:
        return f"{path} has expired ({leaf.not_valid_after_utc:%Y-%m-%d %H:%M} UTC); renew it"
    if leaf.not_valid_before_utc > now:
        since = f"{leaf.not_valid_before_utc:%Y-%m-%d %H:%M} UTC"
        return f"{path} is not valid before {since}; is this machine's clock right?"
    return None


def _key_fault(leaf: x509.Certificate, certificate: Path, key: Path) -> str | None:
    try:
        private = load_pem_private_key(key.read_bytes(), password=None)
    except OSError as error:
        return f"{key} cannot be read: {error.strerror}; check path and owner"
    except TypeError:
        return f"{key} is encrypted; store it without a passphrase, readable by the service alone"
    except (ValueError, UnsupportedAlgorithm):
        return f"{key} holds no private key in PEM form"
    form = Encoding.DER, PublicFormat.SubjectPublicKeyInfo
    if private.public_key().public_bytes(*form) != leaf.public_key().public_bytes(*form):
        return f"{key} is not the key of the first certificate in {certificate}"
    return None


def _days(left: timedelta) -> str:
    return f"{left.days} days" if left.days > 1 else f"{int(left.total_seconds() // 3600)} hours"


def utc_now() -> datetime:
    """Now, as certificates have it."""
    return datetime.now(UTC)
