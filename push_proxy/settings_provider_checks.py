"""``providers``, ``devices`` and ``events``: what one key alone cannot show.

What is inside key files is the adapters' business: they read them anyway.
"""

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from pydantic import AnyHttpUrl

from .core.pbx import is_literal
from .public_addresses import is_odd_literal, is_public
from .settings import Settings
from .settings_certificates import key_warnings
from .settings_providers import ApnsSection, DevicesSection, EventWebhookSection
from .settings_section import Section
from .settings_types import Fault

_ELSEWHERE = {
    "apns": ("Apple", ("base_url", "sandbox_base_url")),
    "fcm": ("Google", ("base_url", "token_uri")),
    "hms": ("Huawei", ("base_url", "token_uri")),
    "rustore": ("RuStore", ("base_url",)),
}
"""Whom the keys of a provider's entry stand in for."""
_SECRETS = frozenset(
    {
        "key_file", "certificate_file", "certificate_key_file", "service_account_file",
        "vapid_key_file", "client_secret_file", "service_token_file", "hmac_key_file",
    }
)  # fmt: skip


def provider_contradictions(settings: Settings) -> Iterator[Fault]:
    """Entries that do not hold together, and files that are not there."""
    for provider, entries in _entries(settings):
        yield from twice(f"providers.{provider}", (app_id for _, _, app_id in entries), "app_id")
        for key, entry, _ in entries:
            yield from _files(key, entry)
            if isinstance(entry, ApnsSection):
                yield from _apns(key, entry)
    yield from _devices(settings.devices)
    for number, webhook in enumerate(settings.events.webhooks):
        yield from _files(f"events.webhooks[{number}]", webhook)
        yield from _event_url(f"events.webhooks[{number}]", webhook)


def provider_warnings(settings: Settings) -> Iterator[str]:
    """What works and had better be said."""
    for provider, entries in _entries(settings):
        for key, entry, app_id in entries:
            yield from _diverted(key, provider, entry)
            yield from _open_secrets(key, entry)
            if provider == "webhook" and getattr(entry, "hmac_key_file", None) is None:
                yield (
                    f"{key}.hmac_key_file is not set: pushes for {app_id} are not signed, so "
                    "their receiver cannot tell who sent them"
                )
            if provider == "webpush" and getattr(entry, "allow_private", False):
                yield (
                    f"{key}.allow_private is true: every app with a device key can make this "
                    "service send requests to addresses inside your network"
                )
    for number, webhook in enumerate(settings.events.webhooks):
        key = f"events.webhooks[{number}]"
        yield from _open_secrets(key, webhook)
        if webhook.hmac_key_file is None:
            yield (
                f"{key}.hmac_key_file is not set: events are not signed, so their receiver "
                "cannot tell who sent them"
            )


def twice(key: str, values: Iterable[str], what: str = "") -> Iterator[Fault]:
    """A fault for each value that is there more than once; ``what`` it is."""
    for value, count in Counter(values).items():
        if count > 1:
            yield key, f"{what} {value!r} is given {count} times; once is enough".lstrip()


def file_faults(key: str, path: Path) -> Iterator[Fault]:
    """A file that is not there, or not for us."""
    if not path.is_file():
        yield key, f"there is no file {path}; create it, or remove the key"
    elif not os.access(path, os.R_OK):
        yield key, f"{path} cannot be read by this user (uid {os.getuid()}); change its owner"


def _entries(settings: Settings) -> Iterator[tuple[str, list[tuple[str, Section, str]]]]:
    """Each provider with its entries: the key's full name, the entry, its app."""
    for provider in type(settings.providers).model_fields:
        entries = getattr(settings.providers, provider)
        yield (
            provider,
            [
                (f"providers.{provider}[{number}]", entry, entry.app_id)
                for number, entry in enumerate(entries)
            ],
        )


def _paths(entry: Section) -> Iterator[tuple[str, Path]]:
    for name, value in entry:
        if isinstance(value, Path):
            yield name, value


def _files(key: str, entry: Section) -> Iterator[Fault]:
    for name, path in _paths(entry):
        yield from file_faults(f"{key}.{name}", path)


def _open_secrets(key: str, entry: Section) -> Iterator[str]:
    for name, path in _paths(entry):
        apart = isinstance(entry, ApnsSection) and entry.certificate_key_file is not None
        if name in _SECRETS and not (name == "certificate_file" and apart):
            yield from key_warnings(f"{key}.{name}", path)


def _apns(key: str, entry: ApnsSection) -> Iterator[Fault]:
    by_key = {name: getattr(entry, name) for name in ("team_id", "key_id", "key_file")}
    given = [name for name, value in by_key.items() if value is not None]
    certificate = entry.certificate_file is not None
    if given and certificate:
        yield (
            key,
            f"has {', '.join(given)} and certificate_file: keep the .p8 key or the certificate",
        )
    elif certificate or given:
        for name in [] if certificate else [n for n in by_key if n not in given]:
            yield f"{key}.{name}", "is missing; team_id, key_id and key_file go together"
    else:
        yield key, "has no credentials: give team_id, key_id and key_file, or certificate_file"
    if entry.certificate_key_file is not None and not certificate:
        yield f"{key}.certificate_key_file", "is given without certificate_file; give both"
    if entry.app_id.endswith(".voip"):
        bundle = entry.app_id.removesuffix(".voip")
        yield f"{key}.app_id", f"is the bundle id alone: {bundle}; .voip is added by us"


def _devices(devices: DevicesSection) -> Iterator[Fault]:
    idle, refresh = devices.idle_days, devices.refresh_days
    if idle is not None and refresh is not None and refresh >= idle:
        text = (
            f"{refresh:g} is not less than devices.idle_days ({idle:g}); make it smaller, or null"
        )
        yield "devices.refresh_days", text


def _event_url(key: str, webhook: EventWebhookSection) -> Iterator[Fault]:
    if webhook.allow_private:
        return
    if webhook.url.scheme != "https":
        yield f"{key}.url", "is not https; use https, or set allow_private for a host of your own"
    if not _is_public(webhook.url.host or ""):
        yield f"{key}.url", "is a private address; set allow_private if that is meant"


def _is_public(host: str) -> bool:
    """False for an address that is private; names are looked at when they are used."""
    bare = host.strip("[]").rstrip(".").lower()
    return is_public(bare) if is_literal(bare) else bare != "localhost" and not is_odd_literal(bare)


def _diverted(key: str, provider: str, entry: Section) -> Iterator[str]:
    owner, names = _ELSEWHERE.get(provider, ("", ()))
    for name in names:
        url: AnyHttpUrl | None = getattr(entry, name)
        if url is None:
            continue
        plain = "" if url.scheme == "https" else ", unencrypted"
        what = "credentials are shown" if name == "token_uri" else "pushes go"
        port = "" if url.port is None else f":{url.port}"
        yield f"{key}.{name} is set: {what} to {url.host}{port} instead of {owner}{plain}"
