"""SIP gets in with the callers' addresses, at the ports where the service listens."""

import pytest

from tests.deploy.chart import Helm, Object, Release, example


def sip_services(release: Release) -> list[Object]:
    """Those that phones and PBXs use."""
    begins = f"{release.one('StatefulSet')['metadata']['name']}-sip"
    return [each for each in release.all("Service") if each["metadata"]["name"].startswith(begins)]


def listeners(release: Release) -> set[tuple[str, int]]:
    """Protocol and port of each SIP listener in the configuration."""
    parts = [item.split(":") for item in release.config["sip"]["listen"]]
    return {("UDP" if part[0] == "udp" else "TCP", int(part[-1])) for part in parts}


def test_services_keep_the_callers_addresses(release: Release) -> None:
    """Otherwise every PBX and phone would look like one of the cluster's hosts."""
    found = sip_services(release)
    assert found or release.pod["hostNetwork"]
    for service in found:
        assert service["spec"]["type"] == "LoadBalancer"
        assert service["spec"]["externalTrafficPolicy"] == "Local"


def test_every_listener_is_reachable(release: Release) -> None:
    """By a Service of its protocol, or at the host."""
    inside = {
        (port["protocol"], port["containerPort"])
        for port in release.container["ports"]
        if port["name"].startswith("sip-")
    }
    assert inside == listeners(release)
    for services in (sip_services(release), [release.one("Service", "push-proxy-nodes")]):
        ports = [port for each in services for port in each["spec"]["ports"]]
        if ports:
            assert {(port["protocol"], port["port"]) for port in ports} == listeners(release)


def test_services_lead_to_ports_that_exist(release: Release) -> None:
    """By name, and with the same protocol."""
    ports = {port["name"]: port["protocol"] for port in release.container["ports"]}
    for service in release.all("Service"):
        for port in service["spec"]["ports"]:
            assert ports[port["targetPort"]] == port["protocol"]


@pytest.mark.parametrize(("mode", "count"), [("separate", 3), ("mixed", 1)])
def test_clouds_that_cannot_mix_get_one_service_per_transport(
    helm: Helm, mode: str, count: int
) -> None:
    """UDP and TCP at one load balancer only where that was asked for."""
    found = helm.release(example("three-nodes-redis", service={"sip": {"mode": mode}}))
    services = sip_services(found)
    assert len(services) == count
    mixes = [len({port["protocol"] for port in each["spec"]["ports"]}) > 1 for each in services]
    assert any(mixes) == (mode == "mixed")


def test_what_is_said_of_one_transport_is_its_alone(helm: Helm) -> None:
    """Ports, addresses and annotations; those of all are there as well."""
    sip = {
        "annotations": {"all": "yes"},
        "loadBalancerIP": "192.0.2.1",
        "loadBalancerSourceRanges": ["198.51.100.0/24"],
        "tls": {"port": 443, "loadBalancerIP": "192.0.2.2", "annotations": {"tls": "yes"}},
    }
    found = helm.release(example("three-nodes-redis", service={"sip": sip}))
    tls = found.one("Service", "push-proxy-sip-tls")
    udp = found.one("Service", "push-proxy-sip-udp")
    assert tls["metadata"]["annotations"] == {"all": "yes", "tls": "yes"}
    assert udp["metadata"]["annotations"] == {"all": "yes"}
    assert tls["spec"]["ports"][0]["port"] == 443
    assert [each["spec"]["loadBalancerIP"] for each in (udp, tls)] == ["192.0.2.1", "192.0.2.2"]
    assert udp["spec"]["loadBalancerSourceRanges"] == ["198.51.100.0/24"]
    said = helm.refusal(example("three-nodes-redis", service={"sip": sip | {"mode": "mixed"}}))
    assert "service.sip.tls: there is one Service for all" in said


def test_console_and_metrics_are_never_published(release: Release) -> None:
    """They have a port and a Service of their own, inside; the ingress leads to the API."""
    admin = release.one("Service", "push-proxy-admin")
    assert admin["spec"]["type"] == "ClusterIP"
    assert [port["targetPort"] for port in admin["spec"]["ports"]] == ["admin"]
    for service in release.all("Service"):
        if service is not admin:
            assert "admin" not in {port["targetPort"] for port in service["spec"]["ports"]}
    for ingress in release.all("Ingress"):
        backends = [
            path["backend"]["service"]
            for rule in ingress["spec"]["rules"]
            for path in rule["http"]["paths"]
        ]
        assert {each["name"] for each in backends} == {"pp-push-proxy-api"}


def test_an_ingress_with_the_console_behind_it_is_refused(helm: Helm) -> None:
    """Without a port of their own, console and metrics are on the API's."""
    values = example(
        "defaults",
        config={"http": {"admin_listen": None}},
        ingress={"enabled": True, "hosts": ["push.example.com"]},
    )
    assert "console and metrics would be published" in helm.refusal(values)
    values["ingress"]["enabled"] = False
    admin = helm.release(values).one("Service", "push-proxy-admin")
    assert admin["spec"]["ports"][0]["targetPort"] == "http"


def test_nodes_that_drain_are_still_found_by_the_others(release: Release) -> None:
    """Their calls go on; load balancers have left them by then."""
    nodes = release.one("Service", "push-proxy-nodes")
    assert nodes["spec"]["clusterIP"] == "None"
    assert nodes["spec"]["publishNotReadyAddresses"] is True
    assert release.one("StatefulSet")["spec"]["serviceName"] == nodes["metadata"]["name"]
    assert not any(each["spec"].get("publishNotReadyAddresses") for each in sip_services(release))


@pytest.mark.parametrize(
    ("listen", "said"),
    [
        (["udp:0.0.0.0:0"], "need a port that is known beforehand"),
        (["udp:10.0.0.1:5060", "udp:10.0.0.1:5070"], "is the second port for udp"),
        (["tcp:0.0.0.0:5060", "tls:0.0.0.0:5060"], "cannot share a port"),
    ],
)
def test_listeners_that_no_service_can_lead_to_are_refused(
    helm: Helm, listen: list[str], said: str
) -> None:
    """Before anything is installed."""
    values = example("defaults", config={"sip": {"listen": listen}}, tls={"existingSecret": "t"})
    assert said in helm.refusal(values)


def test_two_families_of_addresses_share_a_port(helm: Helm) -> None:
    """IPv4 and IPv6 listeners of a transport are one port for Kubernetes."""
    listen = ["udp:0.0.0.0:5060", "udp:[::]:5060"]
    found = helm.release(example("defaults", config={"sip": {"listen": listen}}))
    assert [port["name"] for port in found.container["ports"]] == ["sip-udp", "http", "admin"]
