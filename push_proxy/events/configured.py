"""``events`` of the configuration, with its key files read."""

from ..core.ids import TenantId
from ..errors import ConfigurationError
from ..providers.http_post import tls_context
from ..providers.webhook import read_hmac_key
from ..settings_providers import EventsSection
from .webhook import Webhook


def configured_webhooks(events: EventsSection) -> tuple[Webhook, ...]:
    """The webhooks. Raises `errors.ConfigurationError`."""
    found: dict[str, Webhook] = {}
    for number, entry in enumerate(events.webhooks):
        name = f"events.webhooks[{number}]"
        key = entry.hmac_key_file
        tls_context(entry.ca_file)  # refused here, where nothing has changed yet
        webhook = Webhook(
            url=str(entry.url),
            hmac_key=None if key is None else read_hmac_key(f"{name}.hmac_key_file", key),
            types=entry.types,
            tenant=None if entry.tenant is None else TenantId(entry.tenant),
            allow_private=entry.allow_private,
            ca_file=entry.ca_file,
        )
        if webhook.key in found:
            raise ConfigurationError(
                f"{name}.url: is given twice for the same tenant; put all its types into one entry"
            )
        found[webhook.key] = webhook
    return tuple(found.values())
