"""All hops in the order in which a call needs them, each with a time limit."""

import asyncio
import time
from collections.abc import Awaitable, Callable

from ..errors import PushProxyError
from ..settings_file import load
from . import addresses, certificates, clock, events, nodes, pbxes, providers, service, store
from .finding import Chart, Finding, State

TOTAL_S = 90.0
_HOP_S = 20.0

Hop = Callable[[Chart], Awaitable[None]]
HOPS: tuple[tuple[str, Hop], ...] = (
    ("store", store.examine),
    ("service", service.examine),
    ("nodes", nodes.examine),
    ("addresses", addresses.examine),
    ("certificates", certificates.examine),
    ("pbxes", pbxes.examine),
    ("clock", clock.examine),
    ("providers", providers.examine),
    ("events", events.examine),
)


async def examine(
    tell: Callable[[Finding], None],
    *,
    begin: Callable[[str], None],
    total_s: float = TOTAL_S,
    hop_s: float = _HOP_S,
) -> bool:
    """Examine the configuration and what it names; True when nothing failed.

    ``tell`` gets each finding at once, ``begin`` each hop's name before it. No hop takes longer
    than ``hop_s``, and all together no longer than ``total_s``.
    """
    begin("configuration")
    failed = False

    def note(finding: Finding) -> None:
        nonlocal failed
        failed = failed or finding.state is State.FAIL
        tell(finding)

    try:
        settings = load()
    except PushProxyError as error:
        note(Finding(hop="configuration", what="file", state=State.FAIL, text=str(error)))
        return False
    chart = Chart(settings, note)
    chart.hop = "configuration"
    chart.ok("file", "can be used")
    for warning in settings.warnings:
        chart.hint("file", warning)
    end = time.monotonic() + total_s
    for name, hop in HOPS:
        begin(name)
        chart.hop = name
        await _run(hop, chart, min(hop_s, end - time.monotonic()))
    for close in chart.closing:
        await close()
    return not failed


async def _run(hop: Hop, chart: Chart, limit_s: float) -> None:
    if limit_s <= 0:
        chart.fail("time", "not examined: the hops before took all of it; mend those first")
        return
    try:
        async with asyncio.timeout(limit_s):
            await hop(chart)
    except TimeoutError:
        chart.fail("time", f"not finished within {limit_s:.0f} s: what is missing above hangs")
    except PushProxyError as error:
        chart.fail("use", str(error))
