"""``providers`` of the configuration as adapters, their keys read."""

from collections.abc import Callable, Iterator

from .core.payload import Privacy
from .ports import Clock, PushProvider
from .providers.webhook import WebhookEndpoint, WebhookProvider, read_hmac_key
from .settings import Settings


def configured_providers(settings: Settings, clock: Clock) -> list[PushProvider]:
    """One adapter per provider with an app. Nothing is sent, nothing runs yet.

    A library that only one provider needs is imported when that provider is configured.
    Raises `errors.ConfigurationError`, which names the key and what to do.
    """
    return [provider for make in _MAKERS for provider in make(settings, clock)]


def _webhook(settings: Settings, clock: Clock) -> Iterator[PushProvider]:
    endpoints = [
        WebhookEndpoint(
            app_id=entry.app_id,
            url=str(entry.url),
            hmac_key=None
            if entry.hmac_key_file is None
            else read_hmac_key(f"providers.webhook[{number}].hmac_key_file", entry.hmac_key_file),
        )
        for number, entry in enumerate(settings.providers.webhook)
    ]
    if endpoints:
        yield WebhookProvider(endpoints, clock, privacy=Privacy(settings.privacy))


_MAKERS: tuple[Callable[[Settings, Clock], Iterator[PushProvider]], ...] = (_webhook,)
