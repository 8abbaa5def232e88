"""All push platforms at once, each by its double, and what must never be seen of them."""

from __future__ import annotations

import contextlib
import json
import re
import secrets
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.doubles.apns import ApnsDouble
from tests.doubles.fcm import FcmDouble
from tests.doubles.hms import HmsDouble
from tests.doubles.rustore import RustoreDouble
from tests.doubles.webpush import WebpushDouble, vapid_key_file
from tests.lab.certificates import Authority
from tests.lab.push_sink import PushSink
from tests.lab.service import APP_ID

from .apple import apns_section

BY_CERTIFICATE = "com.example.certified"
_PEM_LINE = re.compile(r"^[A-Za-z0-9+/=]{24,}$", re.MULTILINE)


@dataclass(slots=True)
class Platforms:
    """The doubles, the service's `providers`, and the body of a device for each way of pushing."""

    apns: ApnsDouble
    fcm: FcmDouble
    webpush: WebpushDouble
    hms: HmsDouble
    rustore: RustoreDouble
    sections: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    devices: dict[str, dict[str, Any]] = field(default_factory=dict)
    secrets: dict[str, str] = field(default_factory=dict)
    """By a name that may be shown."""

    def keep_secret(self, name: str, *texts: str) -> None:
        """These must not be seen anywhere."""
        for number, text in enumerate(texts):
            self.secrets[f"{name} {number}"] = text

    def shown_to_platforms(self) -> Iterator[tuple[str, str]]:
        """What the service has proved itself with, by now."""
        for number, shown in enumerate(sorted(self.apns.tokens_seen)):
            yield f"APNs provider token {number}", shown
        for number, request in enumerate(self.fcm.requests):
            yield f"FCM access token {number}", request.bearer
        for number, asked in enumerate(self.fcm.oauth_requests):
            yield f"FCM assertion {number}", asked.form.get("assertion", "")
        for number, statement in enumerate(sorted(self.webpush.statements)):
            yield f"VAPID statement {number}", statement
        for name, platform in (("hms", self.hms), ("rustore", self.rustore)):
            for number, push in enumerate(platform.requests):
                bearer = push.headers.get("Authorization", "").partition(" ")[2]
                yield f"{name} access token {number}", bearer


@contextlib.asynccontextmanager
async def all_platforms(
    directory: Path, authority: Authority, *, webhook: PushSink
) -> AsyncIterator[Platforms]:
    """Start them; keys in `directory`."""
    async with contextlib.AsyncExitStack() as stack:
        made = Platforms(
            apns=await stack.enter_async_context(ApnsDouble(directory / "apns")),
            fcm=await stack.enter_async_context(FcmDouble(directory / "fcm")),
            webpush=await stack.enter_async_context(WebpushDouble(authority)),
            hms=await stack.enter_async_context(HmsDouble()),
            rustore=await stack.enter_async_context(RustoreDouble()),
        )
        _configure(made, directory, webhook)
        yield made


def _configure(made: Platforms, directory: Path, webhook: PushSink) -> None:
    certificate = made.apns.certificate(BY_CERTIFICATE)
    by_certificate = {"team_id": None, "key_id": None, "key_file": None}
    vapid = directory / "vapid.pem"
    public = vapid_key_file(vapid)
    hms, rustore, hook = (directory / name for name in ("hms", "rustore", "hook"))
    hms.write_text(made.hms.client_secret)
    rustore.write_text(made.rustore.service_token)
    hook.write_bytes(webhook.key)
    made.sections = {
        "apns": [
            apns_section(made.apns),
            apns_section(
                made.apns,
                app_id=BY_CERTIFICATE,
                certificate_file=str(certificate),
                **by_certificate,
            ),
        ],
        "fcm": [
            {
                "app_id": APP_ID,
                "service_account_file": str(made.fcm.service_account_file),
                "base_url": made.fcm.base_url,
                "ca_file": str(made.fcm.ca_file),
            }
        ],
        "webpush": [
            {
                "app_id": APP_ID,
                "vapid_key_file": str(vapid),
                "subject": "mailto:operator@example.com",
                "allow_private": True,
                "ca_file": str(made.webpush.ca_file),
            }
        ],
        "hms": [
            {
                "app_id": APP_ID,
                "hms_app_id": made.hms.app_id,
                "client_secret_file": str(hms),
                "base_url": made.hms.url,
                "token_uri": made.hms.token_uri,
            }
        ],
        "rustore": [
            {
                "app_id": APP_ID,
                "project_id": made.rustore.project_id,
                "service_token_file": str(rustore),
                "base_url": made.rustore.url,
            }
        ],
        "webhook": [{"app_id": APP_ID, "url": webhook.url, "hmac_key_file": str(hook)}],
    }
    _add_devices(made, public)
    account = json.loads(made.fcm.service_account_file.read_text())
    for name, text in (
        ("APNs key", made.apns.key_file.read_text()),
        ("APNs certificate's key", certificate.read_text().partition("PRIVATE KEY")[2]),
        ("service account's key", account["private_key"]),
        ("VAPID key", vapid.read_text()),
    ):
        made.keep_secret(name, *_PEM_LINE.findall(text))
    made.keep_secret("Huawei's client secret", made.hms.client_secret)
    made.keep_secret("RuStore's service token", made.rustore.service_token)
    made.keep_secret("webhook's key", webhook.key.decode())


def _add_devices(made: Platforms, public: str) -> None:
    subscription = made.webpush.subscribe(public)
    iphone, alert = made.apns.device(APP_ID), made.apns.device(APP_ID, kind="alert")
    certified = made.apns.device(BY_CERTIFICATE)
    made.devices = {
        "iphone": {"provider": "apns", "token": iphone.token, "alert_token": alert.token},
        "certified": {"provider": "apns", "app_id": BY_CERTIFICATE, "token": certified.token},
        "android": {"provider": "fcm", "token": made.fcm.device().token},
        "browser": {"provider": "webpush", "token": subscription.token},
        "huawei": {"provider": "hms", "token": made.hms.device()},
        "rustore": {"provider": "rustore", "token": made.rustore.device()},
        "own": {"provider": "webhook", "token": f"own-{secrets.token_hex(24)}"},
    }
    for body in made.devices.values():
        body.setdefault("app_id", APP_ID)
        if body["provider"] != "webpush":
            made.keep_secret(f"token of {body['provider']} {body['app_id']}", body["token"])
    made.keep_secret("alert token", alert.token)
    asked = json.loads(subscription.token)
    made.keep_secret(
        "subscription",
        asked["endpoint"].rpartition("/")[2],
        asked["keys"]["auth"],
        asked["keys"]["p256dh"],
    )
