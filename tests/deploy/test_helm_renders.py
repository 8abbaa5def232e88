"""The chart is sound, and Kubernetes takes what it renders."""

import functools
from collections.abc import Iterator

import kubernetes_validate
import pytest
from kubernetes_validate import utils

from tests.deploy.chart import EXAMPLES, Helm, Object, Release, example

OLDEST, NEWEST = "1.27", "1.37"
CUSTOM = {"ServiceMonitor", "PrometheusRule"}
"""Kinds of the Prometheus operator, of which Kubernetes has no schema: test_helm_watching.py."""


@pytest.fixture(scope="module", autouse=True)
def schemas_read_once() -> Iterator[None]:
    """The validator reads megabytes of JSON for each object."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(utils, "schema_contents", functools.cache(utils.schema_contents))
        yield


@pytest.mark.parametrize("name", ["defaults", *EXAMPLES])
def test_helm_finds_nothing_to_say(helm: Helm, name: str) -> None:
    """`helm lint --strict` with each example."""
    assert helm.lint(example(name)) == []


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
def test_kubernetes_takes_each_object(release: Release, version: str) -> None:
    """By the strict schemas (unknown fields refused) of the oldest and newest version we name."""
    for found in release.objects:
        if found["kind"] not in CUSTOM:
            kubernetes_validate.validate(found, version, strict=True)


def test_the_chart_says_which_kubernetes_it_needs(helm: Helm) -> None:
    """The oldest one that is tried here."""
    text = (EXAMPLES["gke"].parents[1] / "Chart.yaml").read_text()
    assert f'kubeVersion: ">={OLDEST}.0-0"' in text


def test_everything_on_renders(helm: Helm) -> None:
    """What no example asks for: every optional object and field at once, still valid."""
    found = helm.release(
        example(
            "three-nodes-redis",
            image={"digest": "sha256:" + "0" * 64},
            imagePullSecrets=[{"name": "registry"}],
            commonLabels={"team": "voice"},
            commonAnnotations={"example.com/owner": "voice"},
            podLabels={"tier": "sip"},
            podAnnotations={"example.com/log": "json"},
            nodeAddress="hostIP",
            tls={"ca": {"existingConfigMap": "authorities"}},
            service={
                "ipFamilyPolicy": "PreferDualStack",
                "ipFamilies": ["IPv6", "IPv4"],
                "sip": {
                    "loadBalancerSourceRanges": ["192.0.2.0/24"],
                    "loadBalancerClass": "example.com/lb",
                    "udp": {"nodePort": 30060, "port": 5062, "loadBalancerIP": "192.0.2.7"},
                },
            },
            updateStrategy={"rollingUpdate": {"partition": 1}},
            affinity={"nodeAffinity": {}},
            tolerations=[{"key": "voice", "operator": "Exists"}],
            priorityClassName="calls",
            dnsConfig={"options": [{"name": "ndots", "value": "1"}]},
            extraEnv=[{"name": "TZ", "value": "UTC"}],
            extraVolumes=[{"name": "more", "emptyDir": {}}],
            extraVolumeMounts=[{"name": "more", "mountPath": "/more"}],
            autoscaling={"cpuUtilization": 70},
            networkPolicy={"egress": [{"ports": [{"port": 443, "protocol": "TCP"}]}]},
        )
    )
    for each in found.objects:
        if each["kind"] not in CUSTOM:
            kubernetes_validate.validate(each, NEWEST, strict=True)
    kinds = {each["kind"] for each in found.objects}
    assert kinds == CUSTOM | {
        *("ConfigMap", "HorizontalPodAutoscaler", "Ingress", "NetworkPolicy", "Pod"),
        *("PodDisruptionBudget", "Service", "ServiceAccount", "StatefulSet"),
    }


def test_no_name_is_too_long(helm: Helm) -> None:
    """Names of Services and of revisions are labels: 63 characters, whatever the release's name."""
    found = helm.release(example("three-nodes-redis", fullnameOverride="x" * 80))

    def longest(each: Object) -> int:
        return len(each["metadata"]["name"]) + (11 if each["kind"] == "StatefulSet" else 0)

    assert max(longest(each) for each in found.objects) <= 63
