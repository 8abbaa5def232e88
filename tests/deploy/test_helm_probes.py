"""Kubernetes asks the right things, at ports that exist, and with patience."""

from tests.deploy.chart import Helm, Release, example


def test_each_probe_asks_what_it_should(release: Release) -> None:
    """Alive is /healthz; calls come where /readyz says so; a slow start is no death."""
    asked = {
        probe: release.container[probe]["httpGet"]
        for probe in ("startupProbe", "readinessProbe", "livenessProbe")
    }
    assert asked == {
        "startupProbe": {"path": "/healthz", "port": "http"},
        "readinessProbe": {"path": "/readyz", "port": "http"},
        "livenessProbe": {"path": "/healthz", "port": "http"},
    }
    assert "http" in {port["name"] for port in release.container["ports"]}


def test_a_start_may_take_minutes_and_a_pause_half_a_minute(release: Release) -> None:
    """A restart costs more than a pause: liveness is the most patient, readiness the quickest."""

    def patience(probe: str) -> int:
        settings = release.container[probe]
        return int(settings["periodSeconds"] * settings["failureThreshold"])

    assert patience("startupProbe") >= 120
    assert patience("livenessProbe") >= 30
    assert patience("readinessProbe") <= 15


def test_probes_follow_the_port_of_the_api(helm: Helm) -> None:
    """`http.listen` moves, the port of the container moves."""
    found = helm.release(example("defaults", config={"http": {"listen": "0.0.0.0:18080"}}))
    ports = {port["name"]: port["containerPort"] for port in found.container["ports"]}
    assert ports["http"] == 18080
    env = {item["name"]: item.get("value") for item in found.container["env"]}
    assert env["PUSH_PROXY_URL"] == "http://127.0.0.1:18080"
