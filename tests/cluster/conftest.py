"""Several nodes, and who calls through them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from tests.lab.cluster import Cluster, ClusterOptions
from tests.lab.push_sink import PushSink
from tests.lab.service import ServiceOptions

StartCluster = Callable[[ClusterOptions], Awaitable[Cluster]]


@pytest.fixture
async def start_cluster(workdir: Path) -> AsyncIterator[StartCluster]:
    """Starts a cluster with the given options, and waits until all nodes know each other."""
    running: list[Cluster] = []

    async def start(options: ClusterOptions) -> Cluster:
        cluster = Cluster(workdir / f"cluster{len(running)}", options)
        running.append(cluster)
        await cluster.start()
        return cluster

    yield start
    for cluster in running:
        await cluster.stop()


@pytest.fixture
async def cluster(start_cluster: StartCluster, push_sink: PushSink) -> Cluster:
    """Three nodes that push to `push_sink` and take calls from 127.0.0.1 as their trunk."""
    service = ServiceOptions(
        webhook_url=push_sink.url,
        webhook_key=push_sink.key,
        listen=("udp", "tcp"),
        pbxes={"trunk": {"registrar": "sip:127.0.0.1:9", "peers": ["127.0.0.1"]}},
    )
    return await start_cluster(ClusterOptions(service=service))
