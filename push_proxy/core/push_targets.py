"""Whether a device's push tokens can be tokens of its provider at all.

A typing error is cheaper found when the app hands its token in than at the first call.
"""

import re

from .web_subscription import BadSubscription, web_subscription

LONGEST = 4096
_FID = "fid"
_APNS = re.compile(r"(?:[0-9A-Fa-f]{2}){32,256}")
_OPAQUE = re.compile(rf"[\x21-\x7e]{{1,{LONGEST}}}")
_INSTALLATION = re.compile(r"[0-9A-Za-z_-]{22}")
_ANY = re.compile(rf"[^\x00-\x1f\x7f]{{1,{LONGEST}}}")


def target_fault(
    provider: str,
    token: str | None,
    *,
    alert_token: str | None,
    token_kind: str = "token",  # noqa: S107 - a kind, no token
) -> str | None:
    """What is wrong, beginning with the name of the field; None: nothing that can be seen.

    A token of None was not given and is not looked at. No text holds any part of a token.
    """
    if token_kind == _FID and provider != "fcm":
        return f"token_kind fid is a Firebase installation: {provider} has none"
    if alert_token is not None:
        if provider != "apns":
            return f"alert_token is for apns alone: {provider} has one token for all pushes"
        if not _APNS.fullmatch(alert_token):
            return f"alert_token {_HEX}"
    if token is None:
        return None
    fault = _token_fault(provider, token, token_kind=token_kind)
    return f"token {fault}" if fault else None


_HEX = "must be the device token as hexadecimal digits, an even number of 64 to 512"


def _token_fault(provider: str, token: str, *, token_kind: str) -> str | None:
    match provider:
        case "apns":
            return None if _APNS.fullmatch(token) else _HEX
        case "webpush":
            try:
                web_subscription(token)
            except BadSubscription as error:
                return str(error)
            return None
        case "webhook":
            return None if _ANY.fullmatch(token) else f"must be 1 to {LONGEST} characters of text"
    if token_kind == _FID and not _INSTALLATION.fullmatch(token):
        return "must be a Firebase installation id: 22 characters of base64url"
    if not _OPAQUE.fullmatch(token):
        return f"must be 1 to {LONGEST} visible ASCII characters without spaces"
    return None
