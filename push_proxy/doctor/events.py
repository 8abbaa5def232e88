"""Event webhooks: their keys, and whether they take connections. No event is sent."""

import asyncio
from urllib.parse import urlsplit

from ..core.push_advice import push_advice
from ..errors import ConfigurationError
from ..events.configured import configured_webhooks
from ..events.webhook import Webhook
from ..providers.http_post import HttpPoster
from .finding import Chart

_TIMEOUT_S = 5.0


async def examine(chart: Chart) -> None:
    """Each of ``events.webhooks``."""
    try:
        webhooks = configured_webhooks(chart.settings.events)
    except ConfigurationError as error:
        chart.fail("configured", str(error))
        return
    if not webhooks:
        chart.ok("configured", "none: nobody is told of events")
    await asyncio.gather(*(_connect(chart, webhook) for webhook in webhooks))


async def _connect(chart: Chart, webhook: Webhook) -> None:
    what = urlsplit(webhook.url).hostname or "webhook"
    poster = HttpPoster(ca_file=webhook.ca_file)
    fault = await poster.connect_fault(webhook.url, timeout_s=_TIMEOUT_S)
    if fault:
        chart.fail(what, f"{fault}: {push_advice('webhook', fault)}")
    else:
        chart.ok(what, "takes connections")
