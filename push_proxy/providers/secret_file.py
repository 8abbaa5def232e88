"""Secrets that the configuration names by file."""

import re
from pathlib import Path

from ..errors import ConfigurationError

_VISIBLE = re.compile(rb"[\x21-\x7e]+")


def read_secret(name: str, path: Path) -> str:
    """One line of visible ASCII, without white space around it.

    ``name`` is the configuration key that names the file, for the error's text.

    Raises `errors.ConfigurationError`.
    """
    try:
        secret = path.read_bytes().strip()
    except OSError as error:
        raise ConfigurationError(f"{name}: cannot read {path}: {error.strerror}") from None
    if not secret:
        raise ConfigurationError(f"{name}: {path} is empty: put the secret into it")
    if not _VISIBLE.fullmatch(secret):
        raise ConfigurationError(
            f"{name}: {path} must hold the secret alone, one line of ASCII without spaces"
        )
    return secret.decode("ascii")
