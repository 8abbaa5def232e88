"""The reference by which a phone is woken for requests inside its dialogs (RFC 8599 §6.2.1)."""

import hashlib
import hmac

from .ids import Instant

PERIOD_S = 7 * 86400
"""A new value each week: one that never changed would mark its phone for ever."""


def purr(key: bytes, route_key: str, now: Instant) -> str:
    """24 hex digits. Says nothing of the phone, and cannot be guessed without the key.

    None is ever looked up: our own route token in the dialog's route names the phone, also to
    those who remember an older value.
    """
    text = f"purr\0{int(now // PERIOD_S)}\0{route_key}"
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()[:24]
