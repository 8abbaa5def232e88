"""``sip`` and ``pbxes``: what one key alone cannot show, certificates among it."""

import ipaddress
from collections.abc import Iterator
from itertools import combinations

from .core.uri import SipUri
from .settings import PbxSection, Settings
from .settings_certificates import (
    authority_faults,
    ends_at,
    identity_faults,
    key_warnings,
    utc_now,
    warnings,
)
from .settings_types import Fault

_End = tuple[str, str, int]
"""A key's name, and the host and port that it takes."""


def sip_contradictions(settings: Settings) -> Iterator[Fault]:
    """Listeners, certificates and PBXs that do not go together."""
    yield from _ports(settings)
    yield from _listener(settings)
    for name, pbx in settings.pbxes.items():
        yield from _pbx(f"pbxes.{name}", pbx, settings)


def sip_warnings(settings: Settings, *, public_address: str) -> Iterator[str]:
    """What works and had better be said."""
    now, tls = utc_now(), settings.sip.tls
    named = public_address if _has_tls_listener(settings) else None
    yield from warnings("sip.tls", tls.certificate, now=now, must_name=named)
    yield from key_warnings("sip.tls.key", tls.key)
    for name, pbx in settings.pbxes.items():
        if pbx.tls is not None:
            yield from warnings(f"pbxes.{name}.tls", pbx.tls.certificate, now=now)
            yield from key_warnings(f"pbxes.{name}.tls.key", pbx.tls.key)
            if not pbx.tls.verify:
                yield (
                    f"pbxes.{name}.tls.verify is false: whoever stands between us and this PBX "
                    "can read and change its calls"
                )


def certificates_end(settings: Settings) -> dict[str, float]:
    """When each configured certificate ends (Unix seconds), by its section's name."""
    sections = {"sip.tls": settings.sip.tls.certificate}
    for name, pbx in settings.pbxes.items():
        if pbx.tls is not None:
            sections[f"pbxes.{name}.tls"] = pbx.tls.certificate
    for number, entry in enumerate(settings.providers.apns):
        sections[f"providers.apns[{number}]"] = entry.certificate_file
    ends = ((section, ends_at(path)) for section, path in sections.items() if path is not None)
    return {section: at for section, at in ends if at is not None}


def _ports(settings: Settings) -> Iterator[Fault]:
    """TCP and TLS listeners, and HTTP's, share one kind of port."""
    taken: list[_End] = [
        ("sip.listen", address.host, address.port)
        for address in settings.sip.listen_addresses
        if address.transport != "udp"
    ]
    taken.append(("http.listen", *settings.http.listen_address))
    if (admin := settings.http.admin_address) is not None:
        taken.append(("http.admin_listen", *admin))
    for (first, host, port), (second, other, other_port) in combinations(taken, 2):
        if first.startswith("http") or port == 0 or port != other_port:
            continue
        if _overlap(host, other):
            what = "two TCP or TLS listeners" if first == second else f"{first}, also over TCP,"
            yield second, f"TCP port {port} is taken by {what}; use another port"


def _overlap(one: str, other: str) -> bool:
    first, second = ipaddress.ip_address(one), ipaddress.ip_address(other)
    if first.version != second.version:
        return False
    return first == second or first.is_unspecified or second.is_unspecified


def _listener(settings: Settings) -> Iterator[Fault]:
    tls, now = settings.sip.tls, utc_now()
    if _has_tls_listener(settings) and tls.certificate is None and tls.key is None:
        yield (
            "sip.tls.certificate",
            "is missing: a tls: listener shows one; give certificate and key (PEM files)",
        )
    yield from identity_faults("sip.tls", tls.certificate, tls.key, now=now)
    yield from authority_faults("sip.tls.ca", tls.ca, now=now)


def _pbx(key: str, pbx: PbxSection, settings: Settings) -> Iterator[Fault]:
    if pbx.registrar is None and not pbx.peers and not pbx.tls_names:
        yield key, "names no PBX; give registrar (sip:host), peers, tls_names, or several of them"
    said = None if pbx.registrar is None else SipUri.parse(pbx.registrar).params.get("transport")
    if said is not None and pbx.transport is not None and said != pbx.transport:
        yield f"{key}.transport", f"is {pbx.transport}, but the registrar's URI says {said}"
    if pbx.tls is not None:
        transport = pbx.transport or said
        if transport in {"udp", "tcp"}:
            yield f"{key}.tls", f"does nothing over {transport}; set transport: tls, or remove it"
        yield from identity_faults(f"{key}.tls", pbx.tls.certificate, pbx.tls.key, now=utc_now())
        yield from authority_faults(f"{key}.tls.ca", pbx.tls.ca, now=utc_now())
    if pbx.tls_names and not _has_tls_listener(settings):
        yield (
            f"{key}.tls_names",
            "nobody can show a certificate without a tls: listener; add one to sip.listen",
        )


def _has_tls_listener(settings: Settings) -> bool:
    return any(address.transport == "tls" for address in settings.sip.listen_addresses)
