"""Labels and selectors: whoever looks for our pods finds them, and nothing else."""

from tests.deploy.chart import NAMESPACE, Helm, Object, Release, example

RECOMMENDED = {
    *("app.kubernetes.io/name", "app.kubernetes.io/instance", "app.kubernetes.io/version"),
    *("app.kubernetes.io/managed-by", "helm.sh/chart"),
}


def fits(selector: Object, labels: Object) -> bool:
    """As Kubernetes matches."""
    return bool(selector) and selector.items() <= labels.items()


def test_objects_say_what_they_belong_to(release: Release) -> None:
    """The recommended labels, and the release's namespace."""
    for found in release.objects:
        assert found["metadata"]["labels"].keys() >= RECOMMENDED
        assert found["metadata"]["namespace"] == NAMESPACE


def test_no_two_objects_share_a_name(release: Release) -> None:
    """Of one kind: Helm would let the last one win."""
    names = [(found["kind"], found["metadata"]["name"]) for found in release.objects]
    assert len(names) == len(set(names))


def test_every_selector_finds_the_nodes(release: Release) -> None:
    """Services, budget, policy and spreading, by labels that the pods have."""
    stateful = release.one("StatefulSet")["spec"]
    labels = stateful["template"]["metadata"]["labels"]
    selectors = [stateful["selector"]["matchLabels"]]
    selectors += [each["spec"]["selector"] for each in release.all("Service")]
    selectors += [
        each["spec"]["selector"]["matchLabels"] for each in release.all("PodDisruptionBudget")
    ]
    selectors += [
        each["spec"]["podSelector"]["matchLabels"] for each in release.all("NetworkPolicy")
    ]
    selectors += [
        each["labelSelector"]["matchLabels"] for each in release.pod["topologySpreadConstraints"]
    ]
    assert all(fits(selector, labels) for selector in selectors)


def test_the_pod_of_helm_test_gets_no_calls(release: Release) -> None:
    """It is no node."""
    labels = release.one("Pod", "push-proxy-test")["metadata"]["labels"]
    assert not any(fits(each["spec"]["selector"], labels) for each in release.all("Service"))


def test_labels_of_selectors_never_change(helm: Helm) -> None:
    """Kubernetes refuses an upgrade that changes them: no version in them, no operator's label."""
    plain = helm.release(example("defaults")).one("StatefulSet")["spec"]
    other = helm.release(
        example("defaults", image={"tag": "9.9.9"}, commonLabels={"a": "b"}, podLabels={"c": "d"})
    ).one("StatefulSet")["spec"]
    assert plain["selector"] == other["selector"]
    assert plain["volumeClaimTemplates"] == other["volumeClaimTemplates"]
    assert other["template"]["metadata"]["labels"].items() >= {"a": "b", "c": "d"}.items()


def test_operators_labels_cannot_lead_a_selector_astray(helm: Helm) -> None:
    """Those that selectors look for stay ours."""
    found = helm.release(example("defaults", podLabels={"app.kubernetes.io/component": "x"}))
    spec = found.one("StatefulSet")["spec"]
    assert fits(spec["selector"]["matchLabels"], spec["template"]["metadata"]["labels"])
