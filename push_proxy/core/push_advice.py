"""What a person should do about a push that was not taken: one sentence for each reason.

`providers` gives the reasons; those that several providers share stand in `_ANY`.
"""

import re
from collections.abc import Mapping
from types import MappingProxyType

ACCEPTED = (
    "The provider took it. If the phone does not wake, look at the phone: is it on and online, and "
    "may the app receive pushes in the background?"
)
_HAND_IN = "the app has to hand in a new one, at its next start at the latest"
_OUR_FAULT = "This is a fault of this service: report it with the log lines around it."
_CLOCK = "check this machine's clock (NTP), and the key in the provider's console"
_ENTRY = "correct the entry under providers, then send SIGHUP"

_ANY: Mapping[str, str] = MappingProxyType(
    {
        "no_target": "The device has no push token: the app has to hand one in (PUT of the device, "
        "or pn-prid in its REGISTER).",
        "unknown_app": "No provider is configured for the device's app: add it under providers, "
        "then send SIGHUP.",
        "no_alert_token": "Nothing was sent: on iOS only calls may be VoIP pushes. For anything "
        "else the app has to hand in an alert_token as well.",
        "expired": "It was too late to send it: the call was over. Nothing to do, unless it "
        "happens often; then look at this machine's load.",
        "timeout": "The provider did not answer in time: look at the connection from here to it, "
        "and at its status page.",
        "connect_failed": "No connection: is the address right, and does the firewall let this "
        "machine out?",
        "dns_failed": "The provider's name does not resolve: check this machine's DNS, and the URL "
        "if you have set one.",
        "tls_failed": "The other side's certificate is not trusted: set the right ca_file, or "
        "look who intercepts the connection.",
        "disconnected": "The connection broke twice: look at the network between here and the "
        "provider.",
        "http_error": "The answer was no proper HTTP: is this really the provider? A proxy in "
        "between may interfere.",
        "bad_url": f"The URL cannot be used: {_ENTRY}.",
        "internal_error": _OUR_FAULT,
    }
)
_STATUS: Mapping[int, str] = MappingProxyType(
    {
        400: _OUR_FAULT,
        401: f"The other side does not accept our credentials: {_ENTRY}.",
        403: f"The other side does not allow this: {_ENTRY}.",
        404: f"The token is not known any more: {_HAND_IN}.",
        410: f"The token is not known any more: {_HAND_IN}.",
        413: "The payload is too long for the other side, even shortened.",
        429: "Too many pushes: fewer are taken for a while. It ends by itself.",
    }
)
_APNS: Mapping[str, str] = MappingProxyType(
    {
        "BadDeviceToken": "Apple does not know the token, neither in production nor in the "
        f"sandbox: it is not of this app, or malformed; {_HAND_IN}.",
        "Unregistered": f"The app was removed from the phone, or has another token: {_HAND_IN}.",
        "ExpiredToken": f"The token has ended: {_HAND_IN}.",
        "DeviceTokenNotForTopic": "The token is another app's: app_id must be the bundle id of the "
        "app that the token comes from. Correct app_id in the app or under providers.apns.",
        "BadTopic": f"Apple does not know the topic: app_id must be the bundle id; {_ENTRY}.",
        "MissingTopic": _OUR_FAULT,
        "TopicDisallowed": "The credentials may not push to this bundle id: use those of the team "
        "that owns the app; with a certificate, one for VoIP services.",
        "InvalidProviderToken": "Apple does not accept the key: key_id, team_id and key_file do "
        f"not belong together, or the key was revoked; {_CLOCK}.",
        "ExpiredProviderToken": f"Apple finds our proof of identity too old: {_CLOCK}.",
        "MissingProviderToken": f"Apple got no proof of identity from us: {_ENTRY}.",
        "UnrelatedKeyIdInToken": f"The key is not for this app: {_CLOCK}.",
        "BadEnvironmentKeyIdInToken": "The key is for the other environment: make one for both, "
        "or for the one that is configured.",
        "BadCertificate": "Apple does not accept the certificate: make a new one, "
        "and set certificate_file.",
        "BadCertificateEnvironment": "The certificate is for the other environment: set "
        "environment, or make a certificate for both.",
        "Forbidden": "Apple refuses us without saying why: look at the team's account, agreements "
        "and keys.",
        "TooManyProviderTokenUpdates": "Apple finds that this team shows new proofs of identity "
        "too often: does another service use the same team's keys? It ends by itself.",
        "TooManyRequests": "Too many pushes to one phone: it ends by itself.",
        "PayloadTooLarge": "The payload is too long, even shortened: report it.",
        "InternalServerError": "A fault at Apple's: it ends by itself.",
        "ServiceUnavailable": "Apple is overloaded: it ends by itself.",
        "Shutdown": "Apple restarted a server, twice in a row: it ends by itself.",
        "IdleTimeout": "Apple closed the connection twice: it ends by itself.",
        **dict.fromkeys(
            (
                "BadCollapseId", "BadExpirationDate", "BadMessageId", "BadPriority",
                "DuplicateHeaders", "InvalidPushType", "MissingDeviceToken", "PayloadEmpty",
                "BadPath", "MethodNotAllowed",
            ),
            _OUR_FAULT,
        ),
    }
)  # fmt: skip

_BY_PROVIDER: Mapping[str, Mapping[str, str]] = MappingProxyType({"apns": _APNS})
_HTTP = re.compile(r"http_(\d{3})")
_FALLBACK = "See docs/operator-guide.md, Push providers."


def push_advice(provider: str, reason: str) -> str:
    """What to do about this reason of this provider; a hint where to read on, if it is unknown."""
    return known_advice(provider, reason) or _FALLBACK


def known_advice(provider: str, reason: str) -> str:
    """As `push_advice`; empty for a reason that is not in the tables."""
    own = _BY_PROVIDER.get(provider, {}).get(reason) or _ANY.get(reason)
    if own is not None:
        return own
    if (status := _HTTP.fullmatch(reason)) is None:
        return ""
    number = int(status[1])
    if number >= 500:
        return "The other side has a fault of its own: look at its log or status page."
    return _STATUS.get(number, f"The other side refuses such requests: {_ENTRY}.")
