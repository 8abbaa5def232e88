"""``providers`` of the configuration as adapters, their keys read."""

from collections.abc import Callable, Iterator

from .core.payload import Privacy
from .ports import Clock, PushProvider
from .providers import hms, rustore
from .providers.secret_file import read_secret
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


def _fcm(settings: Settings, clock: Clock) -> Iterator[PushProvider]:
    if not settings.providers.fcm:
        return
    from .providers.fcm import FcmProvider
    from .providers.fcm_account import read_service_account
    from .providers.fcm_project import BASE_URL, FcmApp

    apps = [
        FcmApp(
            app_id=entry.app_id,
            account=read_service_account(
                f"providers.fcm[{number}].service_account_file", entry.service_account_file
            ),
            sender_id=entry.sender_id,
            base_url=str(entry.base_url or BASE_URL),
            token_uri=str(entry.token_uri) if entry.token_uri else None,
            ca_file=entry.ca_file,
            direct_boot_ok=entry.direct_boot_ok,
        )
        for number, entry in enumerate(settings.providers.fcm)
    ]
    yield FcmProvider(apps, clock, privacy=Privacy(settings.privacy))


def _webpush(settings: Settings, clock: Clock) -> Iterator[PushProvider]:
    if not settings.providers.webpush:
        return
    from .providers.vapid import read_vapid_key
    from .providers.webpush import WebpushApp, WebpushProvider

    apps = [
        WebpushApp(
            app_id=entry.app_id,
            key=read_vapid_key(
                f"providers.webpush[{number}].vapid_key_file",
                entry.vapid_key_file,
                subject=entry.subject,
            ),
            allow_private=entry.allow_private,
            ca_file=entry.ca_file,
        )
        for number, entry in enumerate(settings.providers.webpush)
    ]
    yield WebpushProvider(apps, clock, privacy=Privacy(settings.privacy))


def _hms(settings: Settings, clock: Clock) -> Iterator[PushProvider]:
    apps = [
        hms.HmsApp(
            app_id=entry.app_id,
            hms_app_id=entry.hms_app_id,
            client_secret=read_secret(
                f"providers.hms[{number}].client_secret_file", entry.client_secret_file
            ),
            base_url=str(entry.base_url or hms.BASE_URL),
            token_uri=str(entry.token_uri or hms.TOKEN_URI),
            ca_file=entry.ca_file,
        )
        for number, entry in enumerate(settings.providers.hms)
    ]
    if apps:
        yield hms.HmsProvider(apps, clock, privacy=Privacy(settings.privacy))


def _rustore(settings: Settings, clock: Clock) -> Iterator[PushProvider]:
    apps = [
        rustore.RustoreApp(
            app_id=entry.app_id,
            project_id=entry.project_id,
            service_token=read_secret(
                f"providers.rustore[{number}].service_token_file", entry.service_token_file
            ),
            base_url=str(entry.base_url or rustore.BASE_URL),
            ca_file=entry.ca_file,
        )
        for number, entry in enumerate(settings.providers.rustore)
    ]
    if apps:
        yield rustore.RustoreProvider(apps, clock, privacy=Privacy(settings.privacy))


def _apns(settings: Settings, clock: Clock) -> Iterator[PushProvider]:
    if settings.providers.apns:
        from .providers.apns import ApnsProvider
        from .providers.apns_app import apns_apps

        apps = tuple(apns_apps(settings.providers.apns))
        yield ApnsProvider(apps, clock, privacy=Privacy(settings.privacy))


_MAKERS: tuple[Callable[[Settings, Clock], Iterator[PushProvider]], ...] = (
    _fcm,
    _apns,
    _webpush,
    _hms,
    _rustore,
    _webhook,
)
