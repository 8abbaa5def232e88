"""What a provider's reason for not taking a push says of where the trouble is."""

import re

_THROTTLING = frozenset(
    {
        "http_429",
        "oauth_http_429",
        "TooManyRequests",
        "TooManyProviderTokenUpdates",
        "QUOTA_EXCEEDED",
        "DEVICE_QUOTA_EXCEEDED",
        "TOO_MANY_REQUESTS",
    }
)
_UNREACHABLE = re.compile(
    r"(?:oauth_)?(?:timeout|connect_failed|connect_timeout|dns_failed|tls_failed|disconnected"
    r"|http_error|address_refused|bad_url)|no_connection|no_http2|silent|reset|protocol_error"
)


def is_throttling(reason: str) -> bool:
    """The provider wants fewer pushes for a while."""
    return reason in _THROTTLING


def is_unreachable(reason: str) -> bool:
    """No answer came, or none of the provider's: the way there is at fault, or its front door."""
    return _UNREACHABLE.fullmatch(reason) is not None
