"""What must happen once happens once, whichever node it begins at and the phone comes to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.lab.cluster import Cluster, ClusterOptions
from tests.lab.pbx import Pbx
from tests.lab.phone import Phone
from tests.lab.push_sink import PushSink, Reply
from tests.lab.service import ServiceOptions
from tests.lab.sip_message import Message

from .conftest import StartCluster

ACCOUNT, AOR, PASSWORD = "alice", "sip:101@pbx.test", "pw-101"
QUIET_S = 1.5
"""So long a second one is waited for."""


@pytest.fixture
async def events() -> AsyncIterator[PushSink]:
    """Where the events for operators go."""
    async with PushSink() as sink:
        yield sink


@pytest.fixture
async def cluster(start_cluster: StartCluster, push_sink: PushSink, events: PushSink) -> Cluster:
    """Three nodes that accept MESSAGEs for sleeping phones, and tell events."""
    service = ServiceOptions(
        webhook_url=push_sink.url,
        webhook_key=push_sink.key,
        listen=("udp",),
        pbxes={"trunk": {"registrar": "sip:127.0.0.1:9", "peers": ["127.0.0.1"]}},
        wake={"deadline_s": 5, "repush_after_s": None},
        extra={
            "messages": {"policy": "accept"},
            "events": {"webhooks": [{"url": events.url, "allow_private": True}]},
        },
    )
    cluster = await start_cluster(ClusterOptions(service=service))
    auth = {"user": "101", "realm": "pbx.test", "password": PASSWORD}
    await cluster.put_account(ACCOUNT, AOR, topology="trunk", pbx="trunk", app_auth=auth)
    await cluster[0].put_device(ACCOUNT)
    return cluster


def phone_at(cluster: Cluster, number: int) -> Phone:
    return cluster[number].phone(AOR, password=PASSWORD, device="handset")


def told(events: PushSink, kind: str) -> list[dict[str, Any]]:
    return [push.payload for push in events.pushes if push.payload.get("type") == kind]


async def test_a_missed_call_is_pushed_once(
    cluster: Cluster, pbx: Pbx, push_sink: PushSink, events: PushSink
) -> None:
    """A call missed at one node: its push fails, the phone registers at another node and gets it
    there, and not again at a third; the operator hears of the call once.
    """
    push_sink.reply = Reply(status=503)
    call = pbx.call("101", next_hop=cluster[0].sip_address)
    await push_sink.wait(1, kind="call", within=10)
    await call.cancel()
    await events.wait(1, kind="call.missed", within=10)
    await push_sink.wait(1, kind="missed", within=10)
    push_sink.reply = Reply()
    before = len([push for push in push_sink.pushes if push.type == "missed"])
    async with phone_at(cluster, 1) as phone:
        assert (await phone.register()).status == 200
        await push_sink.wait(before + 1, kind="missed", within=10)
    async with phone_at(cluster, 2) as phone:
        assert (await phone.register()).status == 200
        await asyncio.sleep(QUIET_S)
    missed = [push for push in push_sink.pushes if push.type == "missed"]
    assert len(missed) == before + 1
    assert len({push.call_id for push in missed}) == 1
    assert len(told(events, "call.missed")) == 1


async def test_a_message_is_handed_over_once(
    cluster: Cluster, pbx: Pbx, push_sink: PushSink
) -> None:
    """A MESSAGE accepted by one node reaches the phone at the node where it registers, once; also
    when it then registers at every other node.
    """
    accepted = await pbx_message(pbx, cluster, 0)
    assert accepted.status == 202
    await push_sink.wait(1, kind="message", within=10)
    async with phone_at(cluster, 1) as phone:
        assert (await phone.register()).status == 200
        message = await phone.agent.expect(method="MESSAGE", within=10)
        assert message.body == b"hello"
        phone.agent.respond(message, 200, "OK")
        for node in (cluster[2], cluster[0]):
            phone.proxy = node.sip_address
            assert (await phone.register()).status == 200
        await phone.agent.expect_nothing(within=QUIET_S, method="MESSAGE")


async def test_a_message_reaches_an_awake_phone_at_another_node(
    cluster: Cluster, pbx: Pbx, push_sink: PushSink
) -> None:
    """A phone that is awake at one node gets at once, once, and without a push, what another node
    accepts for it.
    """
    async with phone_at(cluster, 1) as phone:
        assert (await phone.register()).status == 200
        await cluster[0].knows(ACCOUNT)
        assert (await pbx_message(pbx, cluster, 0)).status == 202
        message = await phone.agent.expect(method="MESSAGE", within=10)
        phone.agent.respond(message, 200, "OK")
        await phone.agent.expect_nothing(within=QUIET_S, method="MESSAGE")
    assert not push_sink.pushes


async def test_a_moved_token_is_told_once(cluster: Cluster, events: PushSink) -> None:
    """A push token that comes to another account by another node: the operator hears of it once."""
    auth = {"user": "102", "realm": "pbx.test", "password": PASSWORD}
    fields = {"topology": "trunk", "pbx": "trunk", "app_auth": auth}
    await cluster.put_account("bob", "sip:102@pbx.test", **fields)
    await cluster[1].put_device("bob", token=f"token-{ACCOUNT}-handset")
    await events.wait(1, kind="device.moved", within=10)
    await asyncio.sleep(QUIET_S)
    assert len(told(events, "device.moved")) == 1
    for node in cluster.nodes:
        devices = await node.expect("GET", f"/v1/accounts/{ACCOUNT}/devices")
        assert devices["devices"] == []


async def pbx_message(pbx: Pbx, cluster: Cluster, number: int) -> Message:
    """A MESSAGE of the PBX that comes to this node; its final response."""
    caller = pbx.as_caller("200")
    caller.proxy = cluster[number].sip_address
    return await caller.request(
        "MESSAGE", f"sip:101@{pbx.domain}", body=b"hello", headers=(("Content-Type", "text/plain"),)
    )
