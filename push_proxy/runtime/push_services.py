"""The configured providers, as REGISTER may name them (RFC 8599)."""

from ..core.push_params import PushServices
from ..providers.registry import Providers

_UNNAMED = "webhook"
"""An operator's own way to push, of which apps know nothing: ``pn-provider`` cannot name it."""


def push_services(providers: Providers, purr_key: bytes) -> PushServices:
    """What can be served now."""
    names = dict.fromkeys(name for name in providers.names() if name != _UNNAMED)
    return PushServices(
        names=tuple(names),
        app_for=providers.app_for,
        vapid_key=providers.vapid_key,
        purr_key=purr_key,
    )
