"""One node keeps its state on a volume; several keep it in Redis."""

from typing import Any

import pytest

from tests.deploy.chart import Helm, Release, example


def claims(release: Release) -> list[Any]:
    """What each node gets a volume by."""
    return list(release.one("StatefulSet")["spec"].get("volumeClaimTemplates", []))


def test_a_volume_exactly_where_the_embedded_valkey_is(release: Release) -> None:
    """With Redis nothing that matters is on a node."""
    embedded = not any(item["name"] == "PUSH_PROXY_REDIS__URL" for item in release.container["env"])
    assert len(claims(release)) == embedded
    if embedded:
        spec = release.one("StatefulSet")["spec"]
        assert spec["replicas"] == 1
        assert spec["persistentVolumeClaimRetentionPolicy"]["whenDeleted"] == "Retain"
        assert claims(release)[0]["metadata"]["name"] == "data"


@pytest.mark.parametrize("values", [{"replicas": 2}, {"autoscaling": {"enabled": True}}])
def test_several_nodes_without_redis_are_refused(helm: Helm, values: dict[str, Any]) -> None:
    """Each would have accounts of its own."""
    said = helm.refusal(example("one-node-embedded-valkey", **values))
    assert "More than one node needs Redis: set redis.existingSecret" in said


def test_the_volume_is_as_the_operator_wants_it(helm: Helm) -> None:
    """Size, class and annotations."""
    persistence = {"size": "20Gi", "storageClass": "fast", "annotations": {"backup": "daily"}}
    (claim,) = claims(helm.release(example("defaults", persistence=persistence)))
    assert claim["spec"]["storageClassName"] == "fast"
    assert claim["spec"]["resources"] == {"requests": {"storage": "20Gi"}}
    assert claim["metadata"]["annotations"] == {"backup": "daily"}
    (claim,) = claims(helm.release(example("defaults", persistence={"storageClass": "-"})))
    assert claim["spec"]["storageClassName"] == ""
    (claim,) = claims(helm.release(example("defaults")))
    assert "storageClassName" not in claim["spec"]


def test_a_trial_without_a_volume_is_said_to_forget(helm: Helm) -> None:
    """Possible, and never silent."""
    found = helm.release(example("defaults", persistence={"enabled": False}))
    assert claims(found) == []
    assert {"name": "data", "emptyDir": {"sizeLimit": "8Gi"}} in found.pod["volumes"]
    assert "accounts, devices and keys are lost with the pod" in found.notes
