"""Nodes die, pause and are restarted: who registers the accounts then, and what the PBX sees."""

import asyncio
import json
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime

import pytest

from push_proxy.core.shards import shard_of
from push_proxy.tasks import spawn
from tests.cluster.conftest import StartCluster
from tests.cluster.extensions import Extensions
from tests.lab.cluster import ClusterOptions, Node
from tests.lab.fixtures import StartKamailio
from tests.lab.kamailio import Kamailio, KamailioOptions
from tests.lab.service import ServiceOptions

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

ACCOUNTS = 18
LEASE_S = 2.0
SHORT_S = 10.0
"""Registrations of so many seconds are refreshed after 7.5 to 8.5."""


async def stage(
    start_cluster: StartCluster,
    kamailio: Kamailio,
    *,
    lease_s: float = LEASE_S,
    heartbeat_s: float = 0.5,
    nodes: int = 3,
) -> Extensions:
    service = ServiceOptions(pbxes={"office": {"registrar": f"sip:{kamailio.domain}"}})
    cluster = {"lease_s": lease_s, "heartbeat_s": heartbeat_s}
    options = ClusterOptions(count=nodes, service=service, cluster=cluster)
    found = Extensions(await start_cluster(options), kamailio, ACCOUNTS)
    await found.put()
    return found


@asynccontextmanager
async def always_bound(extensions: Extensions) -> AsyncIterator[list[dict[str, list[str]]]]:
    """Looks at the PBX's bindings all the time; at the end each extension always had one."""
    seen: list[dict[str, list[str]]] = []

    async def look() -> None:
        while True:
            seen.append(await extensions.hosts())
            await asyncio.sleep(0.02)

    looking = spawn(look(), name="looking at the PBX")
    try:
        yield seen
    finally:
        looking.cancel()
    gaps = [{user for user, at in hosts.items() if not at} for hosts in seen]
    assert not any(gaps), f"without any Contact: {set().union(*gaps)}"
    doubles = [{user for user, at in hosts.items() if len(at) > 1} for hosts in seen]
    assert not any(doubles), f"with two Contacts: {set().union(*doubles)}"


async def test_the_others_take_a_killed_nodes_accounts(
    start_cluster: StartCluster, kamailio: Kamailio
) -> None:
    """Kill -9 of one of three, with the times of the defaults: within 10 s its accounts are
    registered from the others, by one REGISTER each, and the PBX has exactly one Contact of each.
    """
    extensions = await stage(start_cluster, kamailio, lease_s=6.0, heartbeat_s=2.0)
    dead, *alive = extensions.cluster.nodes
    hosts = await extensions.hosts()
    orphans = extensions.at(dead, hosts)
    assert orphans
    assert all(extensions.at(node, hosts) for node in alive)
    before = len(kamailio.events())
    async with always_bound(extensions):
        dead.kill()
        await extensions.each_at_one_of(alive, within_s=10)
    registers = extensions.registers(since=before)
    for user in orphans:
        # One REGISTER, challenged at most once, both removes and binds.
        assert len([event for event in registers if event.to_user == user]) <= 2, registers
    taken = sum([await node.metric("push_proxy_takeovers_total") for node in alive])
    assert taken >= len({shard_of(extensions.key(user)) for user in orphans})


async def test_a_paused_node_registers_nothing_that_it_lost(
    start_cluster: StartCluster, start_kamailio: StartKamailio
) -> None:
    """SIGSTOP until the others have taken all and every refresh is due, then SIGCONT: until the
    node has been given its accounts again, no REGISTER comes from it.
    """
    kamailio = await start_kamailio(KamailioOptions(max_expires_s=int(SHORT_S)))
    extensions = await stage(start_cluster, kamailio)
    paused, *alive = extensions.cluster.nodes
    assert extensions.at(paused, await extensions.hosts())
    paused.pause()
    paused_at = time.monotonic()
    try:
        await extensions.each_at_one_of(alive, within_s=10)
        await asyncio.sleep(max(0.0, paused_at + SHORT_S - time.monotonic()))
        before, told = len(kamailio.events()), paused.process.output_size()
    finally:
        paused.resume()
    async with always_bound(extensions):
        await extensions.each_at_one_of(extensions.cluster.nodes, within_s=15)
    gained_at = first_gain(paused.process.output(since=told))
    early = [event for event in extensions.registers(since=before) if event.at < gained_at]
    assert not [event for event in early if event.source.startswith(paused.host)]
    again = extensions.from_node(paused, since=before)
    assert again
    assert max(again.values()) <= 2, again


async def test_a_rolling_restart_leaves_no_gap(
    start_cluster: StartCluster, kamailio: Kamailio
) -> None:
    """One node after the other is stopped and started again: the PBX has one Contact of each
    extension at every moment, and when a node's process has ended, none at that node.
    """
    extensions = await stage(start_cluster, kamailio, nodes=2)
    nodes = extensions.cluster.nodes
    async with always_bound(extensions):
        for node in nodes:
            await ended(node)
            hosts = await extensions.hosts()
            assert not extensions.at(node, hosts), hosts
            await node.start()
            await extensions.cluster.settled(nodes)
            await extensions.each_at_one_of(nodes, within_s=15)


async def ended(node: Node) -> None:
    """Asked once to stop, it takes its time."""
    os.kill(node.process.pid, signal.SIGTERM)
    await node.process.wait_exit(within_s=15)
    await node.stop()


def first_gain(log: str) -> float:
    """When the first shards were gained, in seconds since the epoch."""
    for line in log.splitlines():
        entry = json.loads(line)
        if entry["event"] == "shards gained":
            return datetime.fromisoformat(entry["at"]).timestamp()
    raise AssertionError(f"no shards gained in:\n{log}")
