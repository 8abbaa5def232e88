"""Who reaches a node, and whom a node can be made to reach."""

import ipaddress

from tests.deploy.chart import Helm, Object, Release, example


def policy(release: Release) -> Object:
    """Its spec."""
    (found,) = release.all("NetworkPolicy")
    return dict(found["spec"])


def test_every_port_is_in_the_policy_and_no_other(helm: Helm) -> None:
    """As the container has them."""
    found = helm.release(example("three-nodes-redis"))
    allowed = {
        (port["protocol"], port["port"])
        for rule in policy(found)["ingress"]
        for port in rule["ports"]
    }
    assert allowed == {(p["protocol"], p["containerPort"]) for p in found.container["ports"]}


def test_console_and_metrics_are_for_those_who_were_named(helm: Helm) -> None:
    """The release's own namespace when nobody was."""

    def guests(name: str) -> list[Object]:
        found = policy(helm.release(example(name)))
        (rule,) = (r for r in found["ingress"] if r["ports"][0]["port"] == 8081)
        return list(rule["from"])

    assert guests("gke") == [{"podSelector": {}}]
    assert guests("three-nodes-redis") == [
        {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}
    ]


def test_nodes_reach_each_other_however_few_may_call(helm: Helm) -> None:
    """A list of PBXs must not cut the cluster in pieces."""
    peers = [{"ipBlock": {"cidr": "198.51.100.0/24"}}]
    found = policy(helm.release(example("gke", networkPolicy={"sip": peers, "egress": [{}]})))
    ourselves = {"podSelector": found["podSelector"]}
    assert found["ingress"][0]["from"] == [*peers, ourselves]
    assert any(ourselves in rule.get("to", []) for rule in found["egress"])


def test_nobody_can_make_us_ask_the_cloud_for_its_credentials(helm: Helm) -> None:
    """Apps choose push endpoints, accounts choose redirects: the metadata service is cut off."""
    rules = policy(helm.release(example("gke")))["egress"]
    anywhere = [
        peer["ipBlock"]
        for rule in rules
        for peer in rule.get("to", [])
        if peer.get("ipBlock", {}).get("cidr") == "0.0.0.0/0"
    ]
    metadata = ipaddress.ip_address("169.254.169.254")
    assert anywhere
    assert all(
        any(metadata in ipaddress.ip_network(cut) for cut in block["except"]) for block in anywhere
    )


def test_metadata_addresses_of_both_families(helm: Helm) -> None:
    """Each is cut out of its own block: Kubernetes refuses a network outside of it."""
    metadata = ["169.254.169.254/32", "fd00:ec2::254/128"]
    rules = policy(helm.release(example("gke", networkPolicy={"metadata": metadata})))["egress"]
    blocks = [p["ipBlock"] for r in rules for p in r.get("to", []) if "ipBlock" in p]
    assert [block["except"] for block in blocks] == [[metadata[0]], [metadata[1]]]


def test_names_can_always_be_looked_up(helm: Helm) -> None:
    """Also with rules of the operator's own."""
    found = policy(helm.release(example("gke", networkPolicy={"egress": [{"to": []}]})))
    dns = {"ports": [{"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}]}
    assert dns in found["egress"]
