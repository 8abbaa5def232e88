"""What Helm prints helps: what to do next, and what to mind."""

from typing import Any

import pytest

from tests.deploy.chart import Helm, Release, example


def test_the_way_to_console_and_first_key_is_there(release: Release) -> None:
    """With names that exist."""
    assert "port-forward service/pp-push-proxy-admin 8081" in release.notes
    assert "exec pp-push-proxy-0 -- push-proxy doctor" in release.notes
    keyed = any(item["name"] == "PUSH_PROXY_HTTP__API_KEYS" for item in release.container["env"])
    assert ("Your API keys are those of Secret" in release.notes) == keyed
    assert ("No API key" in release.notes) != keyed


@pytest.mark.parametrize(
    ("name", "values", "said"),
    [
        ("defaults", {}, "config.sip.public_address is not set"),
        ("defaults", {}, "config.providers is empty"),
        ("one-node-embedded-valkey", {}, "Back up its volume"),
        ("one-node-embedded-valkey", {}, "no tls: listener"),
        ("bare-metal-host-network", {}, "no NetworkPolicy counts"),
        (
            "gke",
            {"service": {"sip": {"externalTrafficPolicy": "Cluster"}}},
            "nodes see your hosts instead of callers",
        ),
        ("gke", {"serviceMonitor": {"enabled": True}}, "cannot read the metrics"),
        ("three-nodes-redis", {}, "a PBX outside this cluster needs a route"),
        ("gke", {"service": {"sip": {"enabled": False}}}, "nowhere from outside"),
        (
            "gke",
            {"service": {"sip": {"tls": {"port": 443}}}},
            "service.sip.tls.port is 443, but Contact and Record-Route name",
        ),
    ],
)
def test_what_may_surprise_is_said(
    helm: Helm, name: str, values: dict[str, Any], said: str
) -> None:
    """Things that work, and not as one hopes."""
    assert said in helm.release(example(name, **values)).notes


def test_nothing_is_said_twice_or_without_cause(helm: Helm) -> None:
    """A set-up with everything in place has nothing to mind."""
    values = example("three-nodes-redis", config={"sip": {"cluster_address": "push.example.com"}})
    assert "Mind:" not in helm.release(values).notes
