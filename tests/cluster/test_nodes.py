"""Which nodes live: the others learn of a death and of a return by themselves."""

import asyncio

from tests.lab.cluster import LEASE_S, Cluster


async def test_a_killed_node_is_missed_and_welcomed_back(cluster: Cluster) -> None:
    """A node that is killed is gone for the others within its lease, and back with its start."""
    cluster[1].kill()
    await cluster.settled([cluster[0], cluster[2]])
    await cluster[1].restart()
    await cluster.settled(cluster.nodes)


async def test_a_stopped_node_says_so(cluster: Cluster) -> None:
    """A node that ends by itself is gone at once, long before its lease would have run out."""
    await cluster[2].stop()
    for node in cluster.nodes[:2]:
        await node.sees(2, within=LEASE_S)


async def test_a_paused_node_comes_back_as_itself(cluster: Cluster) -> None:
    """A process that stood still is taken for dead, and for alive as soon as it goes on."""
    cluster[0].pause()
    await cluster.settled(cluster.nodes[1:])
    cluster[0].resume()
    await cluster.settled(cluster.nodes)


async def test_the_store_away_kills_nobody(cluster: Cluster) -> None:
    """While Valkey stands still for longer than the lease, and as it comes back, no node is
    taken for dead.
    """
    assert cluster.valkey is not None
    cluster.valkey.pause()
    await asyncio.sleep(LEASE_S * 1.5)
    cluster.valkey.resume()
    await asyncio.sleep(1.0)
    await cluster.settled(cluster.nodes)
    assert not any("node is gone" in node.process.output() for node in cluster.nodes)
