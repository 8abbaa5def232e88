"""Google's token endpoint: JWT bearer grants (RFC 7523) of service accounts."""

from __future__ import annotations

import secrets
from typing import Any
from urllib.parse import parse_qsl

import jwt

from .fcm_errors import Refusal, oauth
from .fcm_world import AccessToken, ServiceAccount

GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
AUDIENCE = "https://oauth2.googleapis.com/token"
"""What clients of Google name, wherever their token_uri points to."""
LONGEST_S = 3600
SKEW_S = 300
SENDING = frozenset(
    {
        "https://www.googleapis.com/auth/firebase.messaging",
        "https://www.googleapis.com/auth/cloud-platform",
    }
)
"""A token needs one of these scopes to send."""
FORM = "application/x-www-form-urlencoded"


class TokenEndpoint:
    """Judges assertions and remembers which tokens it gave out."""

    def __init__(self, *, life_s: float) -> None:
        self.life_s = life_s
        """Of the tokens that it gives from now on."""
        self.accounts: dict[str, ServiceAccount] = {}
        """By email."""
        self.tokens: dict[str, AccessToken] = {}
        self.audiences: set[str] = {AUDIENCE}

    def answer(
        self, headers: dict[str, str], form: dict[str, str], *, now: float
    ) -> Refusal | AccessToken:
        """A token, or why there is none."""
        if headers.get("content-type", "").partition(";")[0] != FORM:
            return oauth("invalid_request", "Bad Request")
        if form.get("grant_type") != GRANT:
            return oauth("unsupported_grant_type", f"Invalid grant_type: {form.get('grant_type')}")
        assertion = form.get("assertion", "")
        found = self._account(assertion)
        if isinstance(found, Refusal):
            return found
        fault = self._claims_fault(claims_of(assertion), now=now)
        if fault is not None:
            return fault
        if found.disabled:
            return oauth("invalid_grant", "Account disabled")
        token = AccessToken(
            value="ya29.c." + secrets.token_urlsafe(48),
            account=found,
            ends_at=now + self.life_s,
        )
        self.tokens[token.value] = token
        return token

    def _account(self, assertion: str) -> ServiceAccount | Refusal:
        try:
            header = jwt.get_unverified_header(assertion)
        except jwt.InvalidTokenError:
            return oauth("invalid_grant", "Invalid JWT: Failed to parse JWT.")
        account = self.accounts.get(str(claims_of(assertion).get("iss")))
        if account is None or account.deleted:
            return oauth("invalid_grant", "Invalid grant: account not found")
        if account.key_revoked or header.get("kid", account.key_id) != account.key_id:
            return oauth("invalid_grant", "Invalid JWT Signature.")
        try:
            jwt.decode(
                assertion,
                account.public,
                algorithms=["RS256"],
                options={"verify_aud": False, "verify_iat": False, "verify_exp": False},
            )
        except jwt.InvalidTokenError:
            return oauth("invalid_grant", "Invalid JWT Signature.")
        return account

    def _claims_fault(self, claims: dict[str, Any], *, now: float) -> Refusal | None:
        if claims.get("aud") not in self.audiences:
            return oauth("invalid_grant", "Invalid JWT: audience is not the token endpoint.")
        issued, ends = claims.get("iat"), claims.get("exp")
        timely = (
            isinstance(issued, int | float)
            and isinstance(ends, int | float)
            and issued <= now + SKEW_S
            and now - SKEW_S <= ends
            and 0 < ends - issued <= LONGEST_S
        )
        if not timely:
            return oauth(
                "invalid_grant",
                "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable "
                "timeframe. Check your iat and exp values in the JWT claim.",
            )
        if not SENDING & set(str(claims.get("scope", "")).split()):
            return oauth("invalid_scope", "Invalid OAuth scope or ID token audience provided.")
        return None


def form_of(body: bytes) -> dict[str, str]:
    """A form's fields."""
    return dict(parse_qsl(body.decode(errors="replace"), keep_blank_values=True))


def claims_of(assertion: str) -> dict[str, Any]:
    """What a JWT says, unverified; nothing when it is none."""
    try:
        claims: dict[str, Any] = jwt.decode(assertion, options={"verify_signature": False})
    except jwt.InvalidTokenError:
        return {}
    return claims
