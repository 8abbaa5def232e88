"""How many nodes there are, and how many may be away."""

from typing import Any

import pytest

from tests.deploy.chart import Helm, Release, example


def budget(release: Release) -> dict[str, Any] | None:
    """The PodDisruptionBudget's spec."""
    found = release.all("PodDisruptionBudget")
    return found[0]["spec"] if found else None


def test_either_the_operator_counts_nodes_or_the_autoscaler(release: Release) -> None:
    """A number in the StatefulSet would undo the autoscaler's at every upgrade."""
    assert ("replicas" in release.one("StatefulSet")["spec"]) != bool(
        release.all("HorizontalPodAutoscaler")
    )


def test_one_node_can_be_moved_at_any_time(release: Release) -> None:
    """One at a time where there are several; a single node must not block maintenance."""
    spec = release.one("StatefulSet")["spec"]
    if spec.get("replicas") == 1:
        assert budget(release) is None
        return
    found = budget(release)
    assert found is not None
    assert found["maxUnavailable"] == 1
    assert found["unhealthyPodEvictionPolicy"] == "AlwaysAllow"


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"podDisruptionBudget": {"minAvailable": 2}}, "the other one is null"),
        (
            {"podDisruptionBudget": {"minAvailable": 3, "maxUnavailable": None}},
            "minAvailable: 3 of 3 nodes",
        ),
        ({"autoscaling": {"minReplicas": 9}}, "minReplicas is more than maxReplicas"),
        (
            {"autoscaling": {"waitingCallsPerNode": None, "registrationsPerNode": None}},
            "autoscaling: give",
        ),
    ],
)
def test_numbers_that_cannot_work_are_refused(
    helm: Helm, values: dict[str, Any], said: str
) -> None:
    """A budget that forbids everything, an autoscaler that looks at nothing."""
    assert said in helm.refusal(example("three-nodes-redis", **values))


def test_a_budget_of_those_that_stay(helm: Helm) -> None:
    """Instead of those that go; also as a share."""
    pdb = {"minAvailable": "60%", "maxUnavailable": None}
    found = budget(helm.release(example("three-nodes-redis", podDisruptionBudget=pdb)))
    assert found is not None
    assert found["minAvailable"] == "60%"
    assert "maxUnavailable" not in found


def test_the_autoscaler_looks_at_calls_and_registrations_and_shrinks_slowly(helm: Helm) -> None:
    """A node that goes hands over thousands of registrations: one at a time, after a long calm."""
    (scaler,) = helm.release(example("three-nodes-redis")).all("HorizontalPodAutoscaler")
    spec = scaler["spec"]
    assert spec["scaleTargetRef"] == {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "name": "pp-push-proxy",
    }
    assert {each["pods"]["metric"]["name"] for each in spec["metrics"]} == {
        "push_proxy_waiting_calls",
        "push_proxy_registrations",
    }
    down = spec["behavior"]["scaleDown"]
    assert down["stabilizationWindowSeconds"] >= 600
    assert down["policies"] == [{"type": "Pods", "value": 1, "periodSeconds": 600}]


def test_nodes_start_together_and_are_replaced_one_by_one(release: Release) -> None:
    """Each after the former has been ready for a while: its share of the accounts has moved."""
    spec = release.one("StatefulSet")["spec"]
    assert spec["podManagementPolicy"] == "Parallel"
    assert spec["updateStrategy"] == {"type": "RollingUpdate"}
    assert spec["minReadySeconds"] >= 10


def test_nodes_spread_over_hosts_and_zones(helm: Helm) -> None:
    """One host that fails takes one node with it."""
    spread = helm.release(example("gke")).pod["topologySpreadConstraints"]
    assert [each["topologyKey"] for each in spread] == [
        "kubernetes.io/hostname",
        "topology.kubernetes.io/zone",
    ]


def test_a_changed_configuration_replaces_the_nodes(helm: Helm) -> None:
    """And nothing else does."""

    def mark(**more: Any) -> str:
        template = helm.release(example("gke", **more)).one("StatefulSet")["spec"]["template"]
        return str(template["metadata"]["annotations"]["checksum/config"])

    assert mark() == mark(replicas=5) != mark(config={"wake": {"deadline_s": 20}})
