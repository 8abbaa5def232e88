"""The apps that are pushed to by APNs, as the configuration names them."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from ..errors import ConfigurationError
from ..settings_providers import ApnsSection
from .apns_credential import CertificateCredential, Credential, KeyCredential, read_key, tls_context

PRODUCTION, SANDBOX = "production", "sandbox"
_APPLE = {PRODUCTION: "api.push.apple.com", SANDBOX: "api.development.push.apple.com"}
_KIND = re.compile(r"\.(?:voip|remote)(?:&(?:voip|remote))*$")
"""Which pushes RFC 8599's ``pn-param`` asks for, behind the bundle id."""


@dataclass(frozen=True, slots=True)
class Server:
    """An APNs server."""

    host: str
    port: int = 443


@dataclass(frozen=True, slots=True, kw_only=True)
class ApnsApp:
    """One app."""

    app_id: str
    """Its bundle id."""
    team_id: str | None
    """None: not known, it has a certificate."""
    credential: Credential = field(repr=False)
    environment: str
    """Of devices that do not say theirs."""
    servers: dict[str, Server]
    """By environment."""
    ca_file: Path | None = None

    @property
    def other_environment(self) -> str | None:
        """Where a token may be at home that this one does not know; None: nowhere else."""
        other = SANDBOX if self.environment == PRODUCTION else PRODUCTION
        return None if self.servers[other] == self.servers[self.environment] else other

    def is_meant_by(self, pn_param: str) -> bool:
        """Whether RFC 8599's ``pn-param`` (``TEAM.BUNDLE.voip``) names this app."""
        named = _KIND.sub("", pn_param)
        if named == self.app_id:
            return True
        team, _, bundle = named.partition(".")
        return bundle == self.app_id and self.team_id in {None, team}


def apns_apps(sections: Iterable[ApnsSection]) -> Iterator[ApnsApp]:
    """The apps with their keys read; equal keys are one, whatever their files are called.

    Raises `errors.ConfigurationError`, which names the entry.
    """
    known: dict[str, Credential] = {}
    for number, section in enumerate(sections):
        name = f"providers.apns[{number}]"
        credential = _credential(name, section)
        tls_context(section.ca_file, name=f"{name}.ca_file")
        yield ApnsApp(
            app_id=section.app_id,
            team_id=section.team_id,
            credential=known.setdefault(credential.identity, credential),
            environment=section.environment,
            servers=_servers(name, section),
            ca_file=section.ca_file,
        )


def _credential(name: str, section: ApnsSection) -> Credential:
    if section.certificate_file is not None:
        return CertificateCredential(name, section.certificate_file, section.certificate_key_file)
    if section.key_file is None or section.key_id is None or section.team_id is None:
        raise ConfigurationError(f"{name}: needs team_id, key_id and key_file, or certificate_file")
    return KeyCredential(
        read_key(
            f"{name}.key_file", section.key_file, team_id=section.team_id, key_id=section.key_id
        )
    )


def _servers(name: str, section: ApnsSection) -> dict[str, Server]:
    """A server that stands in for Apple's stands in for both, unless there is one for each."""
    given = {
        PRODUCTION: ("base_url", section.base_url),
        SANDBOX: ("sandbox_base_url", section.sandbox_base_url),
    }
    servers = {
        environment: Server(_APPLE[environment])
        if url is None
        else _server(f"{name}.{key}", str(url))
        for environment, (key, url) in given.items()
    }
    if section.base_url is not None and section.sandbox_base_url is None:
        servers[SANDBOX] = servers[PRODUCTION]
    return servers


def _server(name: str, url: str) -> Server:
    parts = urlsplit(url)
    if parts.scheme != "https" or parts.hostname is None or parts.path not in {"", "/"}:
        raise ConfigurationError(
            f"{name}: must be https://HOST[:PORT] without a path: APNs speaks HTTP/2 over TLS"
        )
    return Server(parts.hostname, parts.port or 443)
