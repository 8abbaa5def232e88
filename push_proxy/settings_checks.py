"""What one key cannot show: contradictions, keys of the contract that are not built yet."""

import ipaddress
from collections.abc import Iterator, Mapping
from typing import Any

from .advice.texts import load_texts
from .core.model import Ringing
from .errors import ConfigurationError
from .settings import Settings
from .settings_certificates import key_warnings
from .settings_defaults import guess_address
from .settings_provider_checks import (
    file_faults,
    provider_contradictions,
    provider_warnings,
    twice,
)
from .settings_sip_checks import sip_contradictions, sip_warnings
from .settings_types import NOT_BUILT, Fault

_LATER: Mapping[str, str] = {
    "http.tls": "HTTPS (put a TLS proxy in front)",
}
"""Keys of the contract that this version lacks: refused, never ignored."""


def without_later(raw: Mapping[str, Any]) -> tuple[dict[str, Any], list[Fault]]:
    """The configuration without the keys that are not built yet, and a fault for each used one.

    Null or empty asks for nothing: it may stand there. So may a section without any key.
    """
    cleaned = {
        key: dict(value) if isinstance(value, Mapping) else value
        for key, value in raw.items()
        if value is not None
    }
    faults: list[Fault] = []
    for key, what in _LATER.items():
        *sections, name = key.split(".")
        place: Any = cleaned.get(sections[0]) if sections else cleaned
        if isinstance(place, dict) and place.pop(name, None) not in (None, "", [], {}):
            faults.append((key, f"{what}: {NOT_BUILT}; remove the key"))
    faults.extend(_later_values(cleaned))
    return cleaned, faults


def _later_values(raw: Mapping[str, Any]) -> Iterator[Fault]:
    sip, wake = raw.get("sip"), raw.get("wake")
    threads = sip.get("worker_threads", 1) if isinstance(sip, Mapping) else 1
    if threads not in (1, "1"):
        yield "sip.worker_threads", f"{threads!r}: only one worker thread is built; set it to 1"
    ringing = wake.get("ringing") if isinstance(wake, Mapping) else None
    if ringing in (182, "182", "announcement"):
        yield "wake.ringing", f"{ringing}: {NOT_BUILT}; use one of {', '.join(Ringing)}"


def contradictions(settings: Settings) -> Iterator[Fault]:
    """Keys that are right by themselves and wrong together, and files that are not there."""
    yield from _addresses(settings)
    yield from _names(settings)
    yield from _times(settings)
    yield from sip_contradictions(settings)
    if settings.secrets.key_file is not None and settings.secrets.keys is not None:
        yield "secrets.keys", "is given beside secrets.key_file; keep one of them"
    if settings.secrets.key_file is not None:
        yield from file_faults("secrets.key_file", settings.secrets.key_file)
    yield from provider_contradictions(settings)
    if settings.recorder.hep is not None and (file := settings.recorder.hep.password_file):
        yield from file_faults("recorder.hep.password_file", file)
    yield from _advice(settings)
    yield from _cluster(settings)


def _cluster(settings: Settings) -> Iterator[Fault]:
    cluster = settings.cluster
    if cluster.heartbeat_s * 2 > cluster.lease_s:
        lease = f"cluster.lease_s ({cluster.lease_s:g})"
        text = f"{cluster.heartbeat_s:g} is more than half of {lease}: one lost heartbeat kills us"
        yield "cluster.heartbeat_s", f"{text}; make it smaller"
    for path in cluster.token_keys:
        yield from file_faults("cluster.token_keys", path)
    name = settings.sip.node_address
    if settings.redis.url is not None and name and cluster.sip is None and not _is_literal(name):
        text = f"is needed where sip.node_address is a name ({name}): nodes reach each other at IP"
        yield "cluster.sip", f"{text} addresses; write it like udp:10.0.0.7:5060"


def _is_literal(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _advice(settings: Settings) -> Iterator[Fault]:
    if settings.advice.file is None:
        return
    try:
        load_texts(settings.advice.file)
    except ConfigurationError as error:
        for line in str(error).splitlines():
            yield "advice.file", line


def _addresses(settings: Settings) -> Iterator[Fault]:
    yield from twice("sip.listen", (item for item in settings.sip.listen if item[-2:] != ":0"))
    http = settings.http
    if http.admin_address == http.listen_address and http.listen_address[1] != 0:
        yield "http.admin_listen", "is the same as http.listen; use another port, or remove it"


def _names(settings: Settings) -> Iterator[Fault]:
    keys = settings.http.api_keys
    yield from twice("http.api_keys", (key.name for key in keys), "name")
    yield from twice("http.api_keys", (key.key_sha256 for key in keys), "key_sha256")


def _times(settings: Settings) -> Iterator[Fault]:
    wake = settings.wake
    optional = (("repush_after_s", wake.repush_after_s), ("ack_s", wake.ack_s))
    for name, value in (*optional, ("together_s", wake.together_s)):
        if value is not None and value >= wake.deadline_s and name in wake.model_fields_set:
            deadline = f"wake.deadline_s ({wake.deadline_s:g})"
            or_null = "" if name == "together_s" else ", or null"
            text = f"{value:g} never comes before {deadline}; make it smaller{or_null}"
            yield f"wake.{name}", text


def with_addresses(settings: Settings) -> Settings:
    """The same settings with our addresses filled in, and a warning for each one guessed."""
    warnings: list[str] = []
    sip = settings.sip
    node = sip.node_address
    if node is None:
        node = guess_address(sip.listen_addresses)
        warnings.append(
            f"sip.node_address is not set: assuming {node}, which the PBX must be able to reach"
        )
    public = sip.public_address
    if public is None:
        public = node
        warnings.append(
            f"sip.public_address is not set: assuming {public}, which phones must be able to reach"
        )
    warnings.extend(provider_warnings(settings))
    warnings.extend(sip_warnings(settings, public_address=public))
    if settings.recorder.hep is not None:
        password = settings.recorder.hep.password_file
        warnings.extend(key_warnings("recorder.hep.password_file", password))
    filled = sip.model_copy(update={"node_address": node, "public_address": public})
    return settings.model_copy(update={"sip": filled}).with_warnings(warnings)
