"""Secrets come by reference; none ever stands in an object that anybody may read."""

import re
from typing import Any

import pytest

from tests.deploy.chart import Helm, Object, Release, example

SECRET = "swordfish"
_SECRET_LOOKS = re.compile(r"PRIVATE KEY|://[^/@\s]*:[^/@\s]+@|key_sha256|password|swordfish")
REDIS = {"redis": {"existingSecret": "r"}, "secrets": {"keyRing": {"existingSecret": "k"}}}


def test_no_object_is_a_secret_and_no_configmap_holds_one(release: Release) -> None:
    """The chart makes no Secret, for Helm would keep its content in the release."""
    assert release.all("Secret") == []
    assert not _SECRET_LOOKS.search(release.config_text)


@pytest.mark.parametrize(
    ("config", "key"),
    [
        ({"redis": {"url": "redis://redis:6379"}}, "config.redis.url"),
        ({"http": {"api_keys": [{"name": "x", "key_sha256": "0"}]}}, "config.http.api_keys"),
        ({"secrets": {"keys": f"1:{SECRET}"}}, "config.secrets.keys"),
        (
            {"providers": {"webhook": [{"url": f"https://u:{SECRET}@h/push"}]}},
            "config.providers.webhook[0].url",
        ),
        (
            {"providers": {"webhook": [{"url": f"https://h/push?a=b&token={SECRET}"}]}},
            "config.providers.webhook[0].url",
        ),
        (
            {"providers": {"hms": [{"app_id": "a", "client_secret": SECRET}]}},
            "config.providers.hms[0].client_secret",
        ),
        (
            {"providers": {"hms": [{"client_secret_file": SECRET}]}},
            "config.providers.hms[0].client_secret_file",
        ),
        (
            {"providers": {"apns": [{"key_file": f"-----BEGIN PRIVATE KEY-----\n{SECRET}"}]}},
            "config.providers.apns[0].key_file",
        ),
        ({"sip": {"tls": {"key": f"-----BEGIN EC PRIVATE KEY-----\n{SECRET}"}}}, "config.sip.tls"),
        ({"recorder": {"hep": {"password": SECRET}}}, "config.recorder.hep.password"),
        ({"pbxes": {"a": {"registrar": f"sip:u:{SECRET}@pbx"}}}, "config.pbxes.a.registrar"),
    ],
)
def test_a_secret_in_the_configuration_is_refused(
    helm: Helm, config: dict[str, Any], key: str
) -> None:
    """The error names the key and the way, and does not show the secret."""
    said = helm.refusal(example("defaults", config=config))
    assert key in said
    assert "would stand in a ConfigMap. Put it into a Secret" in said
    assert SECRET not in said


@pytest.mark.parametrize(
    "config",
    [
        {"pbxes": {"a": {"registrar": "sip:pbx.example.com:5060;transport=tcp"}}},
        {"providers": {"webpush": [{"app_id": "a", "subject": "mailto:ops@example.com"}]}},
        {"cluster": {"token_keys": ["/etc/push-proxy/secrets/c/cluster.key"]}},
        {"providers": {"fcm": [{"token_uri": "https://relay.example.com:8443/token"}]}},
        {"recorder": {"hep": {"address": "udp:[2001:db8::1]:9060"}}},
    ],
)
def test_what_only_looks_like_one_is_taken(helm: Helm, config: dict[str, Any]) -> None:
    """Ports, addresses of people, paths of key files."""
    helm.release(example("defaults", config=config))


def test_variables_are_read_from_secrets(helm: Helm) -> None:
    """Redis' URL with its password, and the API keys."""
    found = helm.release(
        example("defaults", **REDIS)
        | {
            "replicas": 2,
            "secrets": {"keyRing": {"existingSecret": "k"}, "apiKeys": {"existingSecret": "a"}},
        }
    )
    sources = {item["name"]: item.get("valueFrom") for item in found.container["env"]}
    assert sources["PUSH_PROXY_REDIS__URL"] == {"secretKeyRef": {"name": "r", "key": "url"}}
    assert sources["PUSH_PROXY_HTTP__API_KEYS"] == {
        "secretKeyRef": {"name": "a", "key": "api-keys.json"}
    }


def test_a_plain_value_is_no_way_around(helm: Helm) -> None:
    """What is not secret belongs into `config`, where check-config sees it."""
    item = {"name": "PUSH_PROXY_SECRETS__KEYS", "value": SECRET}
    said = helm.refusal(example("defaults", extraEnv=[item]))
    assert "extraEnv: PUSH_PROXY_SECRETS__KEYS" in said
    assert SECRET not in said


def test_variables_that_the_chart_must_know_are_refused(helm: Helm) -> None:
    """A drain that is longer than Kubernetes waits, a port that no Service has."""
    source = {"secretKeyRef": {"name": "x", "key": "y"}}
    for name in ("PUSH_PROXY_DRAIN__DEADLINE_S", "PUSH_PROXY_SIP__LISTEN", "PUSH_PROXY_CONFIG"):
        item = {"name": name, "valueFrom": source}
        assert f"{name} is the chart's" in helm.refusal(example("defaults", extraEnv=[item]))


def paths(value: Any) -> list[str]:
    """Every absolute path in the configuration."""
    if isinstance(value, dict):
        return [path for inner in value.values() for path in paths(inner)]
    if isinstance(value, list):
        return [path for inner in value for path in paths(inner)]
    return [value] if isinstance(value, str) and value.startswith("/") else []


def test_each_file_that_the_configuration_names_is_mounted(release: Release) -> None:
    """In a folder of its Secret; a folder, so that a renewed Secret arrives without a restart."""
    folders = {mount["mountPath"] for mount in release.container["volumeMounts"]}
    for path in paths(release.config):
        assert path in folders or path.rpartition("/")[0] in folders
    assert not any("subPath" in mount for mount in release.container["volumeMounts"])


def test_files_of_secrets_are_for_the_process_alone(release: Release) -> None:
    """Its group may read, nobody writes, and the volume is mounted read-only."""
    secret = {each["name"]: each["secret"] for each in release.pod["volumes"] if "secret" in each}
    assert all(each["defaultMode"] == 0o440 for each in secret.values())
    mounts: list[Object] = release.container["volumeMounts"]
    assert all(mount.get("readOnly") for mount in mounts if mount["name"] in secret)


def test_volumes_and_mounts_are_the_same_set(release: Release) -> None:
    """No mount without a volume, no volume that nobody mounts."""
    claims = release.one("StatefulSet")["spec"].get("volumeClaimTemplates", [])
    volumes = [each["name"] for each in release.pod["volumes"]]
    volumes += [each["metadata"]["name"] for each in claims]
    assert sorted(volumes) == sorted(m["name"] for m in release.container["volumeMounts"])
