"""How the demo's phone is pushed: straight by webhook, or through a platform's double.

The doubles are child processes that stand for Apple and Google; they are a part of the tests, so
an installed package has none.
"""

from __future__ import annotations

import json
import secrets
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from .process import Process, ProcessError
from .service import APP_ID

ProviderName = Literal["webhook", "apns", "fcm"]
PROVIDERS: tuple[ProviderName, ...] = get_args(ProviderName)
SOURCE_TREE = Path(__file__).resolve().parents[2]
START_S = 15.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Pushing:
    """One way to the phone, ready for use."""

    provider: ProviderName
    device: dict[str, Any] = field(repr=False)
    """The body of the device's PUT."""
    sections: dict[str, Any]
    """The service's `providers`."""
    double: Process | None = None

    async def stop(self) -> None:
        """End the double."""
        if self.double is not None:
            await self.double.stop()


def check(provider: ProviderName) -> None:
    """Raises `ProcessError` when this provider cannot be shown from where we are installed."""
    if provider != "webhook" and not _program(provider).is_file():
        raise ProcessError(
            f"--provider {provider} needs the project's source tree: what stands for the platform "
            f"is its tests/doubles/{provider}.py; run ./dev demo --provider {provider} there"
        )


def webhook(url: str, *, key_file: Path) -> Pushing:
    """POST straight to the phone, signed."""
    section = {"app_id": APP_ID, "url": url, "hmac_key_file": str(key_file)}
    return Pushing(
        provider="webhook",
        device={**_device("webhook"), "token": "demo-phone"},
        sections={"webhook": [section]},
    )


async def through_double(provider: ProviderName, directory: Path, url: str) -> Pushing:
    """Start the platform's double, which hands every push to the phone's `url`.

    Raises `ProcessError`.
    """
    tokens = {"token": secrets.token_hex(32)}
    told = ["--device", tokens["token"], url]
    if provider == "apns":
        tokens["alert_token"] = secrets.token_hex(32)
        told += ["--alert-device", tokens["alert_token"], url]
    files = directory / provider
    double = Process(
        [sys.executable, "-m", f"tests.doubles.{provider}", "--directory", str(files), *told],
        name=f"double of {provider}",
        log=directory / f"{provider}.log",
        cwd=SOURCE_TREE,
    )
    double.start()
    await double.wait_for(r'"event": "listening"', within_s=START_S)
    found = json.loads((files / f"{provider}.json").read_text())
    return Pushing(
        provider=provider,
        device={**_device(provider), **tokens},
        sections={provider: [_SECTIONS[provider](found)]},
        double=double,
    )


def _apns_section(found: dict[str, Any]) -> dict[str, Any]:
    return {
        "app_id": APP_ID,
        "team_id": found["team_id"],
        "key_id": found["key_id"],
        "key_file": found["key_file"],
        "base_url": "https://{}:{}".format(*found["production"]),
        "sandbox_base_url": "https://{}:{}".format(*found["sandbox"]),
        "ca_file": found["ca_file"],
    }


def _fcm_section(found: dict[str, Any]) -> dict[str, Any]:
    section = {"app_id": APP_ID, "service_account_file": found["service_account_file"]}
    for name in ("base_url", "token_uri", "ca_file"):
        if found.get(name):
            section[name] = found[name]
    return section


_SECTIONS: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "apns": _apns_section,
    "fcm": _fcm_section,
}


def _device(provider: ProviderName) -> dict[str, Any]:
    platform = {"apns": "ios", "fcm": "android", "webhook": "demo"}[provider]
    return {"provider": provider, "app_id": APP_ID, "platform": platform}


def _program(provider: str) -> Path:
    return SOURCE_TREE / "tests" / "doubles" / f"{provider}.py"
