"""The service takes the configuration that the chart gives it, with files, variables and all."""

import base64
import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from typer.testing import CliRunner

from push_proxy.cli import app
from tests.deploy.chart import EXAMPLES, Helm, Release, example
from tests.lab.certificates import Authority

SECRETS = {
    "url": "redis://:swordfish@redis.example.com:6379/0",
    "api-keys.json": json.dumps(
        [{"name": "backend", "tenant": "acme", "key_sha256": "0" * 64, "scopes": ["calls"]}]
    ),
}
FIELDS = {
    "metadata.name": "pp-push-proxy-0",
    "status.podIP": "10.1.2.3",
    "status.hostIP": "192.0.2.10",
}
_PLACES = ("/etc/push-proxy/", "/var/lib/push-proxy")


def pem(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> bytes:
    """As vendors hand keys out."""
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


@pytest.fixture(scope="session")
def material(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What stands in the files of the Secrets, by their names."""
    authority = Authority(tmp_path_factory.mktemp("authority"))
    identity = authority.issue("push.example.com")
    assert identity.certificate is not None
    assert identity.key is not None
    account = {
        "type": "service_account",
        "project_id": "phones",
        "private_key_id": "1",
        "private_key": pem(rsa.generate_private_key(65537, 2048)).decode(),
        "client_email": "push@phones.iam.gserviceaccount.com",
        "token_uri": "https://oauth2.googleapis.com/token",
    }
    return {
        "tls.crt": identity.certificate.read_bytes(),
        "tls.key": identity.key.read_bytes(),
        "ca.crt": authority.ca.read_bytes(),
        "secrets.key": b"1:" + base64.b64encode(os.urandom(32)) + b"\n",
        "cluster.key": base64.b64encode(os.urandom(32)) + b"\n",
        "old.key": os.urandom(32).hex().encode(),
        "apns.p8": pem(ec.generate_private_key(ec.SECP256R1())),
        "firebase.json": json.dumps(account).encode(),
    }


def variables(release: Release) -> dict[str, str]:
    """The container's environment, as the kubelet makes it."""
    made: dict[str, str] = {}
    for item in release.container["env"]:
        source = item.get("valueFrom", {})
        if "fieldRef" in source:
            value = FIELDS[source["fieldRef"]["fieldPath"]]
        elif "secretKeyRef" in source:
            value = SECRETS[source["secretKeyRef"]["key"]]
        else:
            value = item["value"]
        made[item["name"]] = re.sub(r"\$\((\w+)\)", lambda found: made[found[1]], value)
    return made


def checked(release: Release, root: Path, material: dict[str, bytes]) -> tuple[int, str]:
    """`push-proxy check-config` in the pod: its exit status, and what it says."""

    def inside(text: str) -> str:
        for place in _PLACES:
            text = text.replace(place, f"{root}{place}")
        return text

    for path in re.findall(r"/etc/push-proxy/\S+", release.config_text):
        file = Path(inside(path))
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(material[file.name])
        file.chmod(0o440)
    environment = {name: inside(value) for name, value in variables(release).items()}
    config = Path(environment["PUSH_PROXY_CONFIG"])
    config.parent.mkdir(parents=True, exist_ok=True)
    config.write_text(inside(release.config_text))
    done = CliRunner().invoke(app, ["check-config"], env=environment)
    return done.exit_code, done.output


@pytest.mark.parametrize("name", ["defaults", *EXAMPLES])
def test_check_config_takes_it(
    helm: Helm, name: str, tmp_path: Path, material: dict[str, bytes]
) -> None:
    """Every example, with the node's name and address from the pod."""
    release = helm.release(example(name))
    status, said = checked(release, tmp_path, material)
    assert status == 0, said
    assert "The configuration can be used." in said
    assert "node     pp-push-proxy-0, data in" in said
    address = "192.0.2.10" if release.pod.get("hostNetwork") else "10.1.2.3"
    assert f"PBXs {address}" in said
    store = "embedded Valkey" if "embedded" in name or name == "defaults" else "Redis"
    assert f"store    {store}" in said


def test_check_config_takes_all_that_is_mounted(
    helm: Helm, tmp_path: Path, material: dict[str, bytes]
) -> None:
    """Two cluster keys, an authority, a node behind its host's address."""
    values = example(
        "three-nodes-redis",
        nodeAddress="hostIP",
        secrets={"clusterTokens": {"keys": ["cluster.key", "old.key"]}},
        tls={"ca": {"existingSecret": "authorities"}},
    )
    release = helm.release(values)
    assert variables(release)["PUSH_PROXY_CLUSTER__SIP"] == "udp:10.1.2.3:5060"
    assert len(release.config["cluster"]["token_keys"]) == 2
    status, said = checked(release, tmp_path, material)
    assert status == 0, said


def test_a_configuration_that_the_service_refuses_is_seen_to_be_refused(
    helm: Helm, tmp_path: Path, material: dict[str, bytes]
) -> None:
    """The proof of this file: check-config is really asked."""
    release = helm.release(example("defaults", config={"wake": {"deadline": 20}}))
    status, said = checked(release, tmp_path, material)
    assert status != 0
    assert "wake.deadline" in said


@pytest.mark.parametrize(
    "config",
    [
        {"http": {"max_import_bytes": 1073741824, "requests_per_second": 0.5}},
        {"wake": {"repush_after_s": None, "fresh_s": 0}},
        {"node": {"log_level": "debug"}, "privacy": "ids_only"},
        {"sip": {"listen": ["udp:[::]:5060"], "nameservers": ["10.0.0.53:5353"]}},
        {"devices": {"refresh_pushes": False, "idle_days": None, "refresh_days": None}},
    ],
)
def test_settings_arrive_as_they_were_written(helm: Helm, config: dict[str, Any]) -> None:
    """Large numbers, nulls, zeros and false survive Helm's merging."""
    found = yaml.safe_load(helm.release(example("defaults", config=config)).config_text)
    for section, given in config.items():
        if isinstance(given, dict):
            assert found[section].items() >= given.items()
        else:
            assert found[section] == given
