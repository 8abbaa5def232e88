"""Nodes die, pause and are restarted: who registers the accounts then, and what the PBX sees."""

import time

from tests.cluster.conftest import StartCluster
from tests.cluster.extensions import Extensions
from tests.lab.cluster import ClusterOptions
from tests.lab.kamailio import Kamailio
from tests.lab.service import ServiceOptions

ACCOUNTS = 18


async def stage(start_cluster: StartCluster, kamailio: Kamailio, **cluster: object) -> Extensions:
    service = ServiceOptions(pbxes={"office": {"registrar": f"sip:{kamailio.domain}"}})
    nodes = await start_cluster(ClusterOptions(service=service, cluster=cluster))
    found = Extensions(nodes, kamailio, ACCOUNTS)
    await found.put()
    return found


async def test_each_account_is_registered_once_by_the_node_that_is_to_have_it(
    start_cluster: StartCluster, kamailio: Kamailio
) -> None:
    """Three nodes share the accounts: the PBX has one Contact of each, spread over all three."""
    extensions = await stage(start_cluster, kamailio)
    hosts = await extensions.hosts()
    for node in extensions.cluster.nodes:
        assert extensions.at(node, hosts), f"{node.node} has none of {hosts}"
        assert await node.metric("push_proxy_shards", state="owned") in {84, 85, 86}


async def test_the_others_take_a_killed_nodes_accounts(
    start_cluster: StartCluster, kamailio: Kamailio
) -> None:
    """Kill -9 of one of three, with the leases of the defaults: within 10 s its accounts are
    registered from the others, and the PBX has exactly one Contact of each.
    """
    extensions = await stage(start_cluster, kamailio, lease_s=6.0, heartbeat_s=2.0)
    dead, *alive = extensions.cluster.nodes
    orphans = extensions.at(dead, await extensions.hosts())
    assert orphans
    before = len(kamailio.events())
    dead.kill()
    killed_at = time.monotonic()
    await extensions.each_at_one_of(alive, within_s=10)
    print(f"taken over after {time.monotonic() - killed_at:.1f} s")
    for user in orphans:
        # One REGISTER, challenged at most once, both removes and binds.
        asked = [e for e in extensions.registers(since=before) if e.to_user == user]
        assert len(asked) <= 2, asked
