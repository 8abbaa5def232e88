"""The nodes that share the store: their ids, their clocks, and whether SIP reaches them."""

import asyncio
import time

from ..cluster.node import NodeRecord
from ..cluster_ports import ClusterStore
from ..core.model import Address
from ..settings_cluster import node_sip
from .finding import Chart
from .sip_options import options_status

_FINE_S, _WRONG_S = 0.2, 1.0
_LOOK_S = 0.05
_ANSWER_S = 3.0


async def examine(chart: Chart) -> None:
    """Every node that lives; with the embedded Valkey there is one alone."""
    settings = chart.settings
    if settings.redis.url is None:
        chart.ok("cluster", "one node: no redis.url is configured")
        return
    if chart.store is None:
        chart.hint("cluster", "not examined: the store is empty, or cannot be used as it is")
        return
    await chart.store.open()
    records = await chart.store.nodes()
    if not records:
        chart.ok("cluster", "no node is running")
        return
    _own_id(chart, records)
    clocks, answers = await asyncio.gather(
        _clocks(chart.store, records, within_s=2.5 * settings.cluster.heartbeat_s + 0.5),
        asyncio.gather(*(_reached(record.sip) for record in records)),
    )
    for record, fault in zip(records, answers, strict=True):
        what, where = f"node {record.id}", str(record.sip)
        if fault:
            chart.fail(
                what,
                f"{where} {fault}: open it between nodes, or set cluster.sip there to where it can "
                "be reached",
            )
        else:
            chart.ok(what, f"{record.state.value}, answers at {where}")
        _clock(chart, what, clocks.get(record.id))


def _own_id(chart: Chart, records: tuple[NodeRecord, ...]) -> None:
    settings = chart.settings
    name = settings.node.id
    found = next((record for record in records if record.id == name), None)
    listening = settings.sip.listen_addresses
    own = node_sip(settings.cluster, listening, host=settings.node_address)
    if found is not None and own.port and found.sip != own:
        chart.fail(
            "node.id",
            f"{name!r} is in use by a node at {found.sip}, and this one's SIP is at {own}: give "
            "each node an id of its own",
        )
    else:
        chart.ok("node.id", f"{name!r} of {len(records)} that live")


async def _clocks(
    store: ClusterStore, records: tuple[NodeRecord, ...], *, within_s: float
) -> dict[str, float]:
    """By how much each node's clock is ahead of ours, as seen at its next heartbeat."""
    before, found = {record.id: record.at for record in records}, dict[str, float]()
    end = time.monotonic() + within_s
    while len(found) < len(before) and time.monotonic() < end:
        await asyncio.sleep(_LOOK_S)
        asked = time.time()
        for record in await store.nodes():
            if record.id in before and record.id not in found and record.at != before[record.id]:
                found[record.id] = record.at - (asked + time.time()) / 2
    return found


def _clock(chart: Chart, what: str, ahead_s: float | None) -> None:
    if ahead_s is None:
        chart.hint(what, "sent no heartbeat meanwhile: it is stopping, or stands still")
        return
    text = f"its clock is {abs(ahead_s):.1f} s {'ahead of' if ahead_s > 0 else 'behind'} this one's"
    # Its heartbeat may be as old as the time between two looks.
    off_s = abs(ahead_s) - _LOOK_S
    if off_s > _WRONG_S:
        chart.fail(what, f"{text}: set up NTP on both; which phone moved last is told by time")
    elif off_s > _FINE_S:
        chart.hint(what, f"{text}: see that NTP runs")


async def _reached(sip: Address) -> str:
    """Why it is not reached; empty: it is."""
    try:
        async with asyncio.timeout(_ANSWER_S):
            if sip.transport == "udp":
                await options_status(sip, name=sip.host, timeout_s=_ANSWER_S)
            else:
                _, writer = await asyncio.open_connection(sip.host, sip.port)
                writer.close()
    except TimeoutError:
        return f"does not answer within {_ANSWER_S:g} s"
    except OSError as error:
        return f"cannot be reached ({error.strerror or error})"
    return ""
