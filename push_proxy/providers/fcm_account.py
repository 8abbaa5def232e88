"""Service accounts of Firebase projects: the JSON files that the console hands out."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from google.auth.crypt import RSASigner

from ..errors import ConfigurationError

TOKEN_URI = "https://oauth2.googleapis.com/token"  # noqa: S105 - a URL
_HOW = "make one in the Firebase console: Project settings, Service accounts, Generate new key"


class Signer(Protocol):
    """Signs by a private key, RS256."""

    key_id: str | None

    def sign(self, message: bytes) -> bytes:
        """The signature."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceAccount:
    """Who asks for access tokens, and proves it by its key."""

    project_id: str
    email: str
    token_uri: str
    signer: Signer = field(repr=False, compare=False)
    key_id: str | None = field(repr=False)


def read_service_account(name: str, path: Path) -> ServiceAccount:
    """The account in a file. ``name`` is the configuration key that names it.

    Raises `errors.ConfigurationError`, whose text holds nothing of the file's content but its
    ``type``.
    """
    said = _read_object(name, path)
    if said.get("type") != "service_account":
        raise ConfigurationError(f"{name}: {path} {_other_kind(said)}: {_HOW}")
    project_id, email = said.get("project_id"), said.get("client_email")
    if not isinstance(project_id, str) or not project_id:
        raise ConfigurationError(f"{name}: {path} names no project_id: {_HOW}")
    if not isinstance(email, str) or not email:
        raise ConfigurationError(f"{name}: {path} names no client_email: {_HOW}")
    try:
        signer: Signer = RSASigner.from_service_account_info(said)  # type: ignore[no-untyped-call]
    except (ValueError, TypeError, AttributeError):
        # Not the error's text: it may quote the key.
        raise ConfigurationError(
            f"{name}: {path} has no usable private_key (PEM of an RSA key): {_HOW}"
        ) from None
    token_uri = said.get("token_uri")
    return ServiceAccount(
        project_id=project_id,
        email=email,
        token_uri=token_uri if isinstance(token_uri, str) and token_uri else TOKEN_URI,
        signer=signer,
        key_id=signer.key_id,
    )


def _read_object(name: str, path: Path) -> Mapping[str, Any]:
    try:
        text = path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"{name}: cannot read {path}: {error.strerror}") from None
    try:
        said = json.loads(text)
    except (ValueError, RecursionError):
        said = None
    if not isinstance(said, dict):
        raise ConfigurationError(f"{name}: {path} is no JSON object: {_HOW}")
    return said


def _other_kind(said: Mapping[str, Any]) -> str:
    if "project_info" in said and "client" in said:
        return "is the app's own google-services.json, not a service account's key"
    kind = said.get("type")
    return f"is of type {str(kind)[:40]!r}, not service_account" if kind else "has no type"
