"""Push providers: credentials and reachability, by the adapters themselves. No phone notices."""

import asyncio
from datetime import UTC, datetime

from ..configured_providers import configured_providers
from ..errors import ConfigurationError
from ..ports import PushProvider
from .certificates import tell_end
from .finding import Chart
from .lone_values import LoneValues

_PROVIDER_S = 15.0


async def examine(chart: Chart) -> None:
    """All providers at once, each app's lines as they come."""
    try:
        found = configured_providers(chart.settings, chart.clock)
    except ConfigurationError as error:
        chart.fail("configured", str(error))
        return
    if not found:
        chart.fail("configured", "none: no phone can be woken; add one under providers")
    tried = [provider for provider in found if not _is_left_alone(chart, provider)]
    for provider in tried:
        # With the nodes' common credentials: some providers punish who makes too many.
        provider.start(chart.shared or LoneValues())
    try:
        await asyncio.gather(*(_check(chart, provider) for provider in tried))
    finally:
        await asyncio.gather(*(provider.aclose() for provider in found))


def _is_left_alone(chart: Chart, provider: PushProvider) -> bool:
    """APNs takes one new provider token per key in 20 minutes.

    Made here and not shared, it would cost the service that starts next its own.
    """
    if provider.name != "apns" or chart.shared is not None:
        return False
    if all(entry.key_file is None for entry in chart.settings.providers.apns):
        return False
    for app in provider.health():
        chart.hint(
            f"apns {app.app_id}: credentials",
            "not tried, only read: Apple takes one new provider token in 20 minutes, and the "
            "service's own cannot be shared while it does not run; examine it again then",
        )
    return True


async def _check(chart: Chart, provider: PushProvider) -> None:
    for app in provider.health():
        if app.credential_ends_at is not None:
            end = datetime.fromtimestamp(app.credential_ends_at, UTC)
            tell_end(chart, f"{provider.name} {app.app_id}: credential", end)
    try:
        async with asyncio.timeout(_PROVIDER_S):
            async for check in provider.check():
                (chart.ok if check.ok else chart.fail)(check.what, check.text)
    except TimeoutError:
        chart.fail(
            provider.name,
            f"no answer within {_PROVIDER_S:g} s: does a firewall let this machine out?",
        )
