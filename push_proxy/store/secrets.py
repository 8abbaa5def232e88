"""Secrets at rest: AES-256-GCM with a key ring.

A ciphertext reads ``1.<key id>.<base64url of nonce, ciphertext and tag>`` and is bound to
the place it belongs to (account and field): copied to another account it does not open.
To rotate, put a new key first in the ring and keep the old ones behind it; values are sealed
with the new key as they are next written.
"""

import base64
import binascii
import os
from collections.abc import Mapping
from pathlib import Path

import structlog
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from ..errors import ConfigurationError

_log = structlog.get_logger(__name__)
_FORMAT = "1"
_NONCE_BYTES = 12
_KEY_BYTES = 32
KEY_FILE = "secrets.key"
_HOW = "each line is an id, a colon and 32 bytes in base64 (openssl rand -base64 32)"


class KeyRing:
    """Seals with the first key, opens with any."""

    def __init__(self, keys: Mapping[str, bytes]) -> None:
        """``keys``: 32 bytes by id; the first one seals."""
        if not keys:
            raise ConfigurationError(f"the key ring is empty: {_HOW}")
        self._ciphers = {name: AESGCM(key) for name, key in keys.items()}
        self._active = next(iter(keys))

    def outdated(self, sealed: str) -> bool:
        """Whether a key other than the first one sealed it: time to seal it again."""
        return sealed.split(".", 2)[1:2] != [self._active]

    def seal(self, plain: bytes, place: str) -> str:
        """Encrypt for this place."""
        nonce = os.urandom(_NONCE_BYTES)
        sealed = nonce + self._ciphers[self._active].encrypt(nonce, plain, place.encode())
        return f"{_FORMAT}.{self._active}.{base64.urlsafe_b64encode(sealed).decode()}"

    def unseal(self, sealed: str, place: str) -> bytes:
        """Decrypt what was sealed for this place.

        Raises `errors.ConfigurationError` when the key is missing or wrong.
        """
        form, _, rest = sealed.partition(".")
        name, _, text = rest.partition(".")
        if form != _FORMAT:
            raise ConfigurationError(
                f"{place}: this version cannot read a secret sealed in form {form[:8]!r}"
            )
        cipher = self._ciphers.get(name)
        if cipher is None:
            have = ", ".join(self._ciphers)
            raise ConfigurationError(
                f"{place}: sealed with key {name!r}, which is not in the key ring (it has {have}): "
                "add that key to secrets.key_file"
            )
        try:
            raw = base64.urlsafe_b64decode(text)
            return cipher.decrypt(raw[:_NONCE_BYTES], raw[_NONCE_BYTES:], place.encode())
        except (InvalidTag, ValueError):
            raise ConfigurationError(
                f"{place}: cannot be opened with key {name!r}: the ring has another key under "
                "that id, or the stored value was changed or moved; restore the right key"
            ) from None


def parse_key_ring(text: str, *, source: str) -> KeyRing:
    """A key ring from lines (or comma-separated items) of ``id:base64``; ``#`` starts a comment.

    Raises `errors.ConfigurationError` naming ``source`` and the line, never the key.
    """
    keys: dict[str, bytes] = {}
    for number, line in enumerate(text.replace(",", "\n").splitlines(), 1):
        item = line.partition("#")[0].strip()
        if not item:
            continue
        name, colon, encoded = item.partition(":")
        name = name.strip()
        try:
            key = base64.b64decode(encoded.strip(), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            key = b""
        if not colon or not name or "." in name or name in keys or len(key) != _KEY_BYTES:
            raise ConfigurationError(
                f"{source}, line {number}: not a key, or its id is used twice; {_HOW}"
            )
        keys[name] = key
    if not keys:
        raise ConfigurationError(f"{source} holds no key: {_HOW}")
    return KeyRing(keys)


def load_key_ring(*, keys: str | None, key_file: Path | None, data_dir: Path) -> KeyRing:
    """The configured key ring; else one kept in ``data_dir``, made at first use.

    ``keys`` is the ring's text itself (from the environment) and goes before ``key_file``.
    Raises `errors.ConfigurationError`.
    """
    if keys:
        return parse_key_ring(keys, source="secrets.keys")
    if key_file is not None:
        return parse_key_ring(_read(key_file, "secrets.key_file"), source=str(key_file))
    path = data_dir / KEY_FILE
    if not path.exists():
        _make(path)
    return parse_key_ring(_read(path, "node.data_dir"), source=str(path))


def _read(path: Path, setting: str) -> str:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{setting}: cannot read {path}: {error}") from None


def _make(path: Path) -> None:
    text = f"1:{base64.b64encode(os.urandom(_KEY_BYTES)).decode()}\n"
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(descriptor)
        try:
            # A link appears whole or not at all, and never replaces a key that is in use.
            os.link(draft, path)
        except FileExistsError:
            return
        finally:
            draft.unlink()
    except OSError as error:
        raise ConfigurationError(
            f"cannot make the key file {path}: {error}; make node.data_dir writable or give "
            "secrets.key_file"
        ) from None
    _log.warning(
        "made a key for secrets at rest: back it up, without it stored passwords are lost",
        file=str(path),
    )
