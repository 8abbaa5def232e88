"""What runs has no rights that it does not need."""

from tests.deploy.chart import Release


def test_nobody_is_root(release: Release) -> None:
    """By the pod's word, with a number that Kubernetes can check."""
    for pod in release.pod_specs():
        context = pod["securityContext"]
        assert context["runAsNonRoot"] is True
        assert min(context["runAsUser"], context["runAsGroup"], context["fsGroup"]) > 0
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}


def test_containers_can_neither_rise_nor_write(release: Release) -> None:
    """No capability, no escalation, a file system that is read-only."""
    for pod in release.pod_specs():
        for container in pod["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "privileged": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }


def test_what_the_service_writes_is_on_volumes(release: Release) -> None:
    """Its data and temporary files; nothing else can be written."""
    writable = {
        mount["mountPath"]
        for mount in release.container["volumeMounts"]
        if not mount.get("readOnly", False)
    }
    assert writable == {"/var/lib/push-proxy", "/tmp"}
    assert release.config["node"]["data_dir"] == "/var/lib/push-proxy"


def test_no_pod_can_speak_to_kubernetes(release: Release) -> None:
    """The service never does: there is no token to steal."""
    assert all(pod["automountServiceAccountToken"] is False for pod in release.pod_specs())
    (account,) = release.all("ServiceAccount")
    assert account["automountServiceAccountToken"] is False
    assert release.pod["serviceAccountName"] == account["metadata"]["name"]


def test_memory_is_limited_and_the_processor_is_not(release: Release) -> None:
    """A limit of CPU makes calls late while the host idles; a leak must not take the host."""
    for pod in release.pod_specs():
        for container in pod["containers"]:
            assert {"cpu", "memory"} <= container["resources"]["requests"].keys()
            assert container["resources"]["limits"].keys() == {"memory"}


def test_other_services_put_nothing_into_the_environment(release: Release) -> None:
    """Kubernetes' service links would set PUSH_PROXY_… variables of its own."""
    assert all(pod["enableServiceLinks"] is False for pod in release.pod_specs())


def test_strict_clusters_take_it(release: Release) -> None:
    """Pod Security Standard "restricted": besides the above, no folder or port of the host."""
    kinds = {"configMap", "emptyDir", "secret"}
    for pod in release.pod_specs():
        assert all(kinds >= volume.keys() - {"name"} for volume in pod.get("volumes", ()))
        assert not pod.get("hostPID")
        assert not pod.get("hostIPC")
        for container in pod["containers"]:
            assert not any("hostPort" in port for port in container.get("ports", ()))
