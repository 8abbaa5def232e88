"""What a reload (SIGHUP) takes over from a new configuration, and what needs a restart."""

from collections.abc import Iterator
from typing import Any

from .settings import Settings


def taken_over(running: Settings, new: Settings) -> Settings:
    """The running configuration with those parts of the new one that a reload changes.

    These are API keys, providers, event webhooks, limits of devices, PBXs, certificates,
    recorder, messages and texts of advice.
    """
    http = running.http.model_copy(update={"api_keys": new.http.api_keys})
    sip = running.sip.model_copy(update={"tls": new.sip.tls})
    update = {
        "http": http,
        "sip": sip,
        "pbxes": new.pbxes,
        "providers": new.providers,
        "events": new.events,
        "devices": new.devices,
        "recorder": new.recorder,
        "messages": new.messages,
        "advice": new.advice,
    }
    return running.model_copy(update=update).with_warnings(new.warnings)


def changed_at_once(running: Settings, new: Settings) -> tuple[str, ...]:
    """Keys that differ and count from now on, by their full names."""
    after = taken_over(running, new).model_dump()
    return tuple(_differences(running.model_dump(), after, ""))


def need_restart(running: Settings, new: Settings) -> tuple[str, ...]:
    """Keys that differ and only count after a restart, by their full names."""
    after = taken_over(running, new).model_dump()
    return tuple(_differences(after, new.model_dump(), ""))


def _differences(one: Any, other: Any, place: str) -> Iterator[str]:
    if isinstance(one, dict) and isinstance(other, dict):
        for name in sorted({*one, *other}):
            yield from _differences(one.get(name), other.get(name), f"{place}.{name}".lstrip("."))
    elif one != other:
        yield place
