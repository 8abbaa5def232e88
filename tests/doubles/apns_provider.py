"""Who may push: provider tokens (JWT, ES256) and client certificates, as APNs judges them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import jwt

from .apns_world import App, ProviderKey
from .h2_line import H2Line

FUTURE_S = 60.0
"""How far a provider's clock may be ahead."""


@dataclass(slots=True, kw_only=True)
class ProviderRules:
    """Judges authentication; `token_update_s` and `token_life_s` are Apple's 20 and 60 minutes."""

    keys: Mapping[str, ProviderKey]
    apps: Mapping[str, App]
    token_life_s: float = 3600.0
    token_update_s: float = 1200.0
    one_token_per_connection: bool = True
    seen: list[str] = field(default_factory=list)
    """Distinct tokens with a good signature, in order of arrival."""
    _issued_at: dict[str, float] = field(default_factory=dict)

    def fault(self, line: H2Line, headers: Mapping[str, str], *, now: float) -> str:
        """The reason why this provider may not push on this connection, or nothing."""
        shown = line.client_certificate
        if shown is not None:
            return self._certificate_fault(shown, line)
        scheme, _, token = headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            return "MissingProviderToken"
        key = self._key_of(token)
        if key is None:
            return "InvalidProviderToken"
        age_s = now - self._issued_at[token]
        if age_s > self.token_life_s:
            return "ExpiredProviderToken"
        if age_s < -FUTURE_S:
            return "InvalidProviderToken"
        if line.environment not in key.environments:
            return "BadEnvironmentKeyIdInToken"
        if self._updated_too_often(line, key, token, now=now):
            line.notes["spoiled"] = True
            return "TooManyProviderTokenUpdates"
        return self._topic_fault(headers.get("apns-topic", ""), key)

    def _key_of(self, token: str) -> ProviderKey | None:
        """The key that signed a well-formed token."""
        try:
            head = jwt.get_unverified_header(token)
            key = self.keys.get(str(head.get("kid")))
            if key is None or key.revoked or head.get("alg") != "ES256":
                return None
            if token not in self._issued_at:
                claims = jwt.decode(
                    token,
                    key.public,
                    algorithms=["ES256"],
                    issuer=key.team_id,
                    options={"require": ["iss", "iat"], "verify_iat": False},
                )
                self._issued_at[token] = float(claims["iat"])
                self.seen.append(token)
        except (jwt.InvalidTokenError, ValueError):
            return None
        return key

    def _updated_too_often(self, line: H2Line, key: ProviderKey, token: str, *, now: float) -> bool:
        first = line.notes.setdefault("token", token)
        if line.notes.get("spoiled") or (self.one_token_per_connection and first != token):
            return True
        if token == key.newest or token in key.retired:
            return False
        if key.newest and now - key.newest_at < self.token_update_s:
            return True
        if key.newest:
            key.retired.add(key.newest)
        key.newest, key.newest_at = token, now
        return False

    def _topic_fault(self, topic: str, key: ProviderKey) -> str:
        app = app_of(self.apps, topic)
        if app is None:
            return ""  # what is wrong with the topic itself is judged with the headers
        if app.team_id != key.team_id:
            return "InvalidProviderToken"
        if key.bundles is not None and app.bundle not in key.bundles:
            return "UnrelatedKeyIdInToken"
        return ""

    def _certificate_fault(self, shown: Mapping[str, Any], line: H2Line) -> str:
        names = {key: value for part in shown.get("subject", ()) for key, value in part}
        bundle, _, environment = str(names.get("commonName", "")).partition("@")
        if bundle not in self.apps:
            return "BadCertificate"
        if environment and environment != line.environment:
            return "BadCertificateEnvironment"
        line.notes["certificate_of"] = bundle
        return ""


def app_of(apps: Mapping[str, App], topic: str) -> App | None:
    """The app that a topic belongs to."""
    return next((app for app in apps.values() if topic in app.topics), None)
