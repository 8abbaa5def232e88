"""Each node knows its own name and address, and tells them to the right ones."""

from typing import Any

import pytest

from tests.deploy.chart import Helm, Object, Release, example


def env(release: Release) -> dict[str, Object]:
    """Variables by name."""
    return {item["name"]: item for item in release.container["env"]}


def field(release: Release, name: str) -> str:
    """What the downward API gives a variable."""
    return str(env(release)[name]["valueFrom"]["fieldRef"]["fieldPath"])


def test_a_node_is_called_like_its_pod(release: Release) -> None:
    """Names differ between live nodes, and come back with the pod."""
    assert field(release, "PUSH_PROXY_NODE__ID") == "metadata.name"
    assert "id" not in release.config["node"]


def test_a_node_has_an_address_of_its_own(release: Release) -> None:
    """By the downward API: the pod's, or its host's."""
    expected = "status.hostIP" if release.pod.get("hostNetwork") else "status.podIP"
    assert field(release, "PUSH_PROXY_SIP__NODE_ADDRESS") == expected


def test_variables_stand_once(release: Release) -> None:
    """The last one would win, silently."""
    names = [item["name"] for item in release.container["env"]]
    assert len(names) == len(set(names))


def test_an_address_for_all_from_the_configuration(helm: Helm) -> None:
    """Nothing overrules it then."""
    values = example(
        "one-node-embedded-valkey",
        nodeAddress="config",
        config={"sip": {"node_address": "203.0.113.5"}},
    )
    found = helm.release(values)
    assert "PUSH_PROXY_SIP__NODE_ADDRESS" not in env(found)
    assert found.config["sip"]["node_address"] == "203.0.113.5"


def test_host_network_uses_the_cluster_s_names(helm: Helm) -> None:
    """Without the policy the host's resolver knows no Service, Redis among them."""
    found = helm.release(example("bare-metal-host-network"))
    assert found.pod["hostNetwork"] is True
    assert found.pod["dnsPolicy"] == "ClusterFirstWithHostNet"
    assert "hostNetwork" not in helm.release(example("gke")).pod


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({}, "udp:$(POD_IP):5060"),
        ({"service": {"ipFamilies": ["IPv6"]}}, "udp:[$(POD_IP)]:5060"),
        (
            {"config": {"sip": {"listen": ["tcp:0.0.0.0:5070"]}}, "tls": {"existingSecret": ""}},
            "tcp:$(POD_IP):5070",
        ),
    ],
)
def test_nodes_meet_at_their_pods_addresses_whatever_the_pbx_is_told(
    helm: Helm, more: dict[str, Any], expected: str
) -> None:
    """With hostIP and no hostNetwork: what comes to the host may land at any node."""
    found = helm.release(example("gke", nodeAddress="hostIP", **more))
    assert env(found)["PUSH_PROXY_CLUSTER__SIP"]["value"] == expected
    names = list(env(found))
    assert names.index("POD_IP") < names.index("PUSH_PROXY_CLUSTER__SIP")


@pytest.mark.parametrize("name", ["gke", "bare-metal-host-network", "one-node-embedded-valkey"])
def test_otherwise_node_address_is_enough(helm: Helm, name: str) -> None:
    """It is where nodes reach each other; one node has none to meet."""
    assert "PUSH_PROXY_CLUSTER__SIP" not in env(helm.release(example(name)))


def test_the_operator_s_own_word_for_it_stays(helm: Helm) -> None:
    """`cluster.sip` in the configuration."""
    config = {"cluster": {"sip": "udp:10.0.0.7:5060"}}
    found = helm.release(example("gke", nodeAddress="hostIP", config=config))
    assert "PUSH_PROXY_CLUSTER__SIP" not in env(found)
