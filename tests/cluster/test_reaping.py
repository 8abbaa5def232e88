"""Calls of a node that does not come back are ended by the others; those of one that is only cut
off from the store are left to it.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from push_proxy.runtime.node_probe import WITHIN_S
from tests.lab import sdp
from tests.lab.cluster import LEASE_S, Cluster, ClusterOptions, Node
from tests.lab.pbx import Pbx
from tests.lab.push_sink import PushSink
from tests.lab.redis_process import RedisProcess, until
from tests.lab.service import ServiceOptions
from tests.lab.sip_call import OutgoingCall
from tests.lab.tcp_relay import TcpRelay

from .conftest import StartCluster

pytestmark = pytest.mark.slow

ACCOUNT, AOR, PASSWORD = "alice", "sip:101@pbx.test", "pw-101"
HELD = "pp:{held:n1}"
REAPED_S = 3 * LEASE_S + WITHIN_S + 10
"""A lease until it counts as dead, two for its return, the question; the rest is for slow machines.
"""


@dataclass(slots=True, kw_only=True)
class Scene:
    """Nodes that take calls for one account, with a phone that sleeps; the first node holds one."""

    cluster: Cluster
    redis: RedisProcess
    link: TcpRelay
    """Between the first node and the store."""
    sink: PushSink
    call: OutgoingCall

    async def lost(self, *, left: set[str]) -> None:
        """Waits until the call has been ended by the nodes that are left: once, and as lost."""
        await self.sink.wait(1, kind="cancel", within=REAPED_S)
        await self.sink.wait(1, kind="missed", within=5)
        await self.forgotten(left)
        alive = [node for node in self.cluster.nodes if node.node in left]
        for node in alive:
            record = await node.call_record(account=ACCOUNT)
            assert (record["verdict"], record["fault"]) == ("pbx_lost", "pbx")
            assert [each["verdict"] for each in await missed(node)] == ["pbx_lost"]
        assert sum([await calls_ended(node) for node in alive]) == 1
        assert sorted(push.type for push in self.sink.pushes) == ["call", "cancel", "missed"]

    async def forgotten(self, left: set[str]) -> None:
        """Waits until the store knows these nodes alone, and the first holds nothing."""

        async def seen() -> bool:
            names = {name.decode() for name in await self.redis.ask("SMEMBERS", "pp:nodes")}
            return names == left and not await self.redis.ask("EXISTS", HELD)

        await until(seen, what=f"nodes {left} alone", within_s=10)

    async def expired(self, *names: str) -> None:
        """Waits until nothing says any more where these nodes were."""
        keys = [f"pp:node:{name}" for name in names]

        async def gone() -> bool:
            return not await self.redis.ask("EXISTS", *keys)

        await until(gone, what="end of the nodes' leases")


StartStage = Callable[[int], Awaitable[Scene]]


@pytest.fixture
async def redis(workdir: Path) -> AsyncIterator[RedisProcess]:
    """The store, on a port."""
    process = RedisProcess(workdir / "redis", "--appendfsync", "everysec")
    await process.start()
    yield process
    process.kill()


@pytest.fixture
async def link(redis: RedisProcess) -> AsyncIterator[TcpRelay]:
    """The first node's way to the store."""
    async with TcpRelay(("127.0.0.1", redis.port), host="127.0.1.99") as relay:
        yield relay


@pytest.fixture
async def stage(
    start_cluster: StartCluster, redis: RedisProcess, link: TcpRelay, pbx: Pbx, push_sink: PushSink
) -> StartStage:
    """Starts so many nodes, and a call that the first one holds: its phone has been pushed."""
    service = ServiceOptions(
        webhook_url=push_sink.url,
        webhook_key=push_sink.key,
        pbxes={"trunk": {"registrar": "sip:127.0.0.1:9", "peers": ["127.0.0.1"]}},
        wake={"deadline_s": 60, "repush_after_s": None},
    )
    first = f"redis://{link.address[0]}:{link.address[1]}/0"

    async def start(count: int) -> Scene:
        cluster = await start_cluster(
            ClusterOptions(
                count=count,
                service=service,
                url=redis.url,
                each=lambda number: {} if number else {"redis": {"url": first}},
            )
        )
        auth = {"user": "101", "realm": "pbx.test", "password": PASSWORD}
        await cluster.put_account(ACCOUNT, AOR, topology="trunk", pbx="trunk", app_auth=auth)
        await cluster[0].put_device(ACCOUNT)
        call = pbx.call("101", next_hop=cluster[0].sip_address)
        await push_sink.wait(1, kind="call", within=10)
        await call.expect(180)
        scene = Scene(cluster=cluster, redis=redis, link=link, sink=push_sink, call=call)

        async def stored() -> bool:
            return bool(await redis.ask("EXISTS", HELD))

        await until(stored, what="held INVITE")
        return scene

    return start


async def missed(node: Node) -> list[dict[str, str]]:
    answer = await node.expect("GET", f"/v1/accounts/{ACCOUNT}/missed-calls")
    found: list[dict[str, str]] = answer["missed_calls"]
    return found


async def calls_ended(node: Node) -> float:
    return await count(node, r"push_proxy_calls_total{[^}]*}")


async def questions(node: Node) -> float:
    """OPTIONS that came; nobody but other nodes asks here."""
    asked = r'push_proxy_sip_messages_total{direction="received",method="OPTIONS"}'
    return await count(node, asked)


async def count(node: Node, sample: str) -> float:
    """Nothing is counted yet where there is no such sample."""
    text = await node.expect("GET", "/metrics")
    return sum(float(value) for value in re.findall(rf"^{sample} (\S+)$", text, re.MULTILINE))


async def test_a_node_that_does_not_come_back(stage: StartStage) -> None:
    """One of three is killed with a call in its hands: another ends it on record as lost with its
    PBX, once; it is kept as missed, and the phone is told to stop.
    """
    scene = await stage(3)
    scene.cluster[0].kill()
    await scene.lost(left={"n2", "n3"})


async def test_a_whole_cluster_of_which_one_node_comes_back(stage: StartStage) -> None:
    """All nodes are killed and only one is started again: it never saw the other live, and ends its
    call all the same. The store forgets the other's name.
    """
    scene = await stage(2)
    for node in scene.cluster.nodes:
        node.kill()
    await scene.expired("n1", "n2")
    await scene.cluster[1].restart()
    await scene.lost(left={"n2"})


@pytest.mark.parametrize("restarted", [False, True], ids=["seen", "never seen"])
async def test_a_node_that_is_cut_off_from_the_store(stage: StartStage, restarted: bool) -> None:
    """It holds a call for longer than a dead node's calls last: another node, which has seen it
    live or was started meanwhile, asks it and lets it go on. The phone registers there and answers;
    when the store can be reached again the call is on record as answered, and nobody was told
    anything else.
    """
    scene = await stage(2)
    cut_off, other = scene.cluster.nodes
    await scene.link.__aexit__()
    await other.sees(1)
    if restarted:
        other.kill()
        await scene.expired("n1")
        await other.restart()

    async def asked_twice() -> bool:
        return await questions(cut_off) >= 2

    await until(asked_twice, what="questions whether it lives", within_s=REAPED_S)
    async with cut_off.phone(AOR, password=PASSWORD, device="handset") as phone:
        assert (await phone.register()).status == 200
        incoming = await phone.incoming()
        incoming.accept(sdp.ANSWER)
        dialog = await scene.call.answered()
        await incoming.expect_ack()
        await scene.link.__aenter__()
        await scene.cluster.settled(scene.cluster.nodes)
        dialog.send("BYE")
        await incoming.dialog().expect_bye()
        record = await other.call_record(account=ACCOUNT)
    assert (record["verdict"], record["node"]) == ("answered", "n1")
    assert await missed(other) == []
    assert await calls_ended(other) == 0
    assert [push.type for push in scene.sink.pushes] == ["call"]
    await scene.forgotten({"n1", "n2"})


async def test_a_node_that_stood_still(stage: StartStage) -> None:
    """A process that is paused cannot be told from a dead one: its call is ended as lost, and told
    as missed. When it goes on before the PBX has given up, the phone can still answer; every node
    then shows the call as answered.
    """
    scene = await stage(2)
    paused, other = scene.cluster.nodes
    paused.pause()
    try:
        await scene.sink.wait(1, kind="missed", within=REAPED_S)
        assert (await other.call_record(account=ACCOUNT))["verdict"] == "pbx_lost"
    finally:
        paused.resume()
    await scene.cluster.settled(scene.cluster.nodes)
    async with paused.phone(AOR, password=PASSWORD, device="handset") as phone:
        assert (await phone.register()).status == 200
        incoming = await phone.incoming()
        incoming.accept(sdp.ANSWER)
        dialog = await scene.call.answered()
        await incoming.expect_ack()
        dialog.send("BYE")
        await incoming.dialog().expect_bye()
    for node in scene.cluster.nodes:
        await node.eventually(
            partial(node.call_record, account=ACCOUNT),
            lambda record: record["verdict"] == "answered",
            within=5,
            what="answered call",
        )
