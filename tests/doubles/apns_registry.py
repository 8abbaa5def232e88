"""What an APNs double is told before anybody pushes: apps, provider keys, certificates, devices."""

from __future__ import annotations

import secrets
import time
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.lab.certificates import Authority

from .apns_world import PRODUCTION, ApnsDevice, App, Deliver, ProviderKey

BUNDLE = "com.example.phone"
TEAM = "LABTEAM001"
FIRST_KEY = "LABKEY0001"


class ApnsRegistry:
    """Apple's side of what a developer orders, and what phones register."""

    def __init__(self, directory: Path, authority: Authority | None = None) -> None:
        self.directory = directory
        self.authority = authority or Authority(directory / "ca", name="apns")
        self.ahead_s = 0.0
        """The double's clock is so far ahead of ours."""
        self.apps: dict[str, App] = {}
        self.keys: dict[str, ProviderKey] = {}
        self.devices: dict[str, ApnsDevice] = {}
        self._first_key = self.key(FIRST_KEY)

    def now(self) -> float:
        """The double's wall clock."""
        return time.time() + self.ahead_s

    @property
    def ca_file(self) -> Path:
        """Whom a client must believe."""
        return self.authority.ca

    @property
    def key_file(self) -> Path:
        """The .p8 of the first key."""
        return self._first_key.file

    @property
    def key_id(self) -> str:
        """Of the first key."""
        return self._first_key.key_id

    @property
    def team_id(self) -> str:
        """Of the first key."""
        return self._first_key.team_id

    def key(self, key_id: str, *, team_id: str = TEAM, **limits: Any) -> ProviderKey:
        """Make one more provider key; `limits` are fields of `ProviderKey`."""
        private = ec.generate_private_key(ec.SECP256R1())
        self.directory.mkdir(parents=True, exist_ok=True)
        file = self.directory / f"AuthKey_{key_id}.p8"
        file.touch(mode=0o600)
        file.write_bytes(
            private.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        key = ProviderKey(
            key_id=key_id, team_id=team_id, file=file, public=private.public_key(), **limits
        )
        self.keys[key_id] = key
        return key

    def certificate(
        self, bundle: str = BUNDLE, *, environment: str = "", expired: bool = False
    ) -> Path:
        """One PEM file with certificate and key of a provider that has no .p8."""
        self.app(bundle)
        name = f"{bundle}@{environment}" if environment else bundle
        identity = self.authority.issue(name, expired=expired)
        assert identity.certificate is not None
        assert identity.key is not None
        file = identity.certificate.with_suffix(".both.pem")
        file.touch(mode=0o600)
        file.write_bytes(identity.certificate.read_bytes() + identity.key.read_bytes())
        return file

    def app(self, bundle: str = BUNDLE, *, team_id: str = TEAM) -> App:
        """Make a bundle id known; again is fine."""
        return self.apps.setdefault(bundle, App(bundle=bundle, team_id=team_id))

    def device(
        self,
        bundle: str = BUNDLE,
        *,
        token: str | None = None,
        kind: str = "voip",
        environment: str = PRODUCTION,
        deliver: Deliver | None = None,
    ) -> ApnsDevice:
        """Register a device token (64 hex digits unless given), and its app if need be.

        `deliver` is called, or awaited in the background, with each `Delivery`.
        """
        self.app(bundle)
        device = ApnsDevice(
            token=token or secrets.token_hex(32),
            bundle=bundle,
            kind=kind,
            environment=environment,
            deliver=deliver,
        )
        self.devices[device.token.lower()] = device
        return device

    def unregister(
        self, token: str, *, reason: str = "Unregistered", ago_s: float = 0.0
    ) -> ApnsDevice:
        """The app is gone from that phone since `ago_s`."""
        device = self.devices[token.lower()]
        device.unregister(at_ms=int((self.now() - ago_s) * 1000), reason=reason)
        return device
