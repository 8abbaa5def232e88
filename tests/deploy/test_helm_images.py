"""What runs is known to the version."""

import re
import tomllib

import yaml

from tests.deploy.chart import CHART, ROOT, Helm, Release, example

_PINNED = re.compile(r"[^:@]+(:[0-9][A-Za-z0-9_.-]*|@sha256:[0-9a-f]{64})$")


def test_every_image_is_pinned(release: Release) -> None:
    """A version or a digest, never what is newest."""
    images = [c["image"] for pod in release.pod_specs() for c in pod["containers"]]
    assert len(images) == 2
    assert all(_PINNED.match(image) for image in images)


def test_the_default_is_this_version_of_the_service() -> None:
    """Chart and service are released together."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert yaml.safe_load((CHART / "Chart.yaml").read_text())["appVersion"] == version


def test_pods_run_as_the_image_s_user(release: Release) -> None:
    """What the image's folders belong to; and it starts what the image has."""
    dockerfile = (ROOT / "deploy" / "Dockerfile").read_text()
    context = release.pod["securityContext"]
    assert f"USER {context['runAsUser']}:{context['runAsGroup']}\n" in dockerfile
    assert f'VOLUME ["{release.config["node"]["data_dir"]}"]' in dockerfile
    assert "command" not in release.container


def test_tag_and_digest(helm: Helm) -> None:
    """A digest wins: it is the more exact one."""
    image = {"repository": "registry.example.com:5000/push-proxy", "tag": "0.2.0"}
    found = helm.release(example("defaults", image=image))
    assert found.container["image"] == "registry.example.com:5000/push-proxy:0.2.0"
    image["digest"] = "sha256:" + "a" * 64
    found = helm.release(example("defaults", image=image))
    assert found.container["image"] == f"registry.example.com:5000/push-proxy@{image['digest']}"
