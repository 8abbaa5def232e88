"""`push-proxy doctor` looks at the nodes that share the store."""

import json
import os
import subprocess
import sys
from typing import Any

import yaml

from tests.lab.cluster import Cluster


def findings(cluster: Cluster, number: int, **node: Any) -> list[dict[str, str]]:
    """What doctor says of the nodes, with this one's configuration, changed by `node`."""
    config = cluster[number].config
    if node:
        sections = yaml.safe_load(config.read_text())
        sections["node"] |= node
        config = config.with_name("doctor.yaml")
        config.write_text(yaml.safe_dump(sections))
    done = subprocess.run(
        [sys.executable, "-m", "push_proxy", "doctor", "--json"],
        env={**os.environ, "PUSH_PROXY_CONFIG": str(config)},
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    told: list[dict[str, str]] = json.loads(done.stdout.splitlines()[-1])["findings"]
    return [one for one in told if one["hop"] == "nodes"]


async def test_doctor_knows_the_nodes(cluster: Cluster) -> None:
    """All living nodes with an answer to OPTIONS and a right clock; one that stands still is told;
    a configuration with another node's id fails.
    """
    told = findings(cluster, 0)
    assert {one["state"] for one in told} == {"ok"}, told
    assert {one["what"] for one in told} == {"node.id", "node n1", "node n2", "node n3"}
    cluster[2].pause()
    try:
        told = findings(cluster, 0, id="n2")
    finally:
        cluster[2].resume()
    own = next(one for one in told if one["what"] == "node.id")
    assert own["state"] == "FAIL"
    assert "'n2' is in use by a node at udp:127.0.1.2:" in own["text"]
