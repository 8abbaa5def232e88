"""Nonsense is refused before anything is installed, and every value is explained."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from push_proxy.settings import Settings
from tests.deploy.chart import CHART, Helm, Values, example

VALUES = CHART / "values.yaml"
SCHEMA = json.loads((CHART / "values.schema.json").read_text())


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"replicaCount": 3}, "replicaCount"),
        ({"replicas": 0}, "replicas"),
        ({"replicas": "three"}, "replicas"),
        ({"image": {"tag": "latest"}}, "tag"),
        ({"image": {"digest": "sha256:12"}}, "digest"),
        ({"image": {"repositry": "x"}}, "repositry"),
        ({"nodeAddress": "podIp"}, "nodeAddress"),
        ({"service": {"sip": {"mode": "both"}}}, "mode"),
        ({"service": {"sip": {"externalTrafficPolicy": "local"}}}, "externalTrafficPolicy"),
        ({"service": {"sip": {"udp": {"port": 70000}}}}, "port"),
        ({"service": {"sip": {"loadBalancerSourceRanges": ["10.0.0.1"]}}}, "loadBalancer"),
        ({"persistence": {"size": "8 GB"}}, "size"),
        ({"secrets": {"redis": "x"}}, "redis"),
        ({"secrets": {"files": [{"name": "a b", "existingSecret": "x"}]}}, "name"),
        ({"podSecurityContext": {"runAsUser": 0}}, "runAsUser"),
        ({"podSecurityContext": {"runAsNonRoot": False}}, "runAsNonRoot"),
        ({"config": {"sip": {"listen": []}}}, "listen"),
        ({"config": {"sip": {"listen": ["5060"]}}}, "listen"),
        ({"config": {"wakes": {}}}, "wakes"),
        ({"config": {"privacy": "some"}}, "privacy"),
        ({"probes": {"liveness": {"path": "/"}}}, "path"),
        ({"serviceMonitor": {"interval": "30"}}, "interval"),
        ({"extraEnv": [{"name": "A-B"}]}, "name"),
        ({"commonLabels": {"a": 1}}, "commonLabels"),
    ],
)
def test_nonsense_is_refused(helm: Helm, values: Values, named: str) -> None:
    """By the schema, which names the place."""
    said = helm.refusal(example("defaults", **values))
    assert named in said
    assert "schema" in said


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"config": {"node": {"id": "a"}}}, "each node is called like its pod"),
        ({"config": {"node": {"data_dir": "/a"}}}, "config.node.data_dir is the chart's"),
        ({"config": {"sip": {"node_address": "10.0.0.1"}}}, "would be overruled"),
        ({"nodeAddress": "config"}, "set config.sip.node_address"),
        ({"config": {"sip": {"listen": ["tls:0.0.0.0:5061"]}}}, "tls.existingSecret is missing"),
        ({"tls": {"existingSecret": "t"}}, "has no tls: listener"),
        ({"tls": {"ca": {"existingSecret": "a", "existingConfigMap": "b"}}}, "not both"),
        ({"redis": {"existingSecret": "r"}}, "secrets.keyRing.existingSecret is missing"),
        ({"ingress": {"enabled": True}}, "ingress.hosts is empty"),
        (
            {
                "secrets": {"keyRing": {"existingSecret": "k"}},
                "config": {"secrets": {"key_file": "/k"}},
            },
            "keep one of them",
        ),
    ],
)
def test_contradictions_are_refused_with_the_way_out(helm: Helm, values: Values, said: str) -> None:
    """Values that are right by themselves."""
    assert said in helm.refusal(example("defaults", **values))


def test_sections_of_the_configuration_are_the_service_s() -> None:
    """A new section of the service has to be named in values.schema.json (config.properties)."""
    assert set(SCHEMA["properties"]["config"]["properties"]) == set(Settings.model_fields)


def known(schema: dict[str, Any], values: Any, path: str = "") -> Iterator[str]:
    """Keys of values.yaml that the schema does not name."""
    schema = (
        SCHEMA["definitions"][schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema
    )
    if not isinstance(values, dict) or schema.get("additionalProperties") is not False:
        return
    for key, value in values.items():
        inner = schema["properties"].get(key)
        if inner is None:
            yield f"{path}{key}"
        else:
            yield from known(inner, value, f"{path}{key}.")


def test_the_schema_names_every_value_and_no_other() -> None:
    """Both ways, for the first level; deeper ones as far as values.yaml shows them."""
    values = yaml.safe_load(VALUES.read_text())
    assert list(known(SCHEMA, values)) == []
    assert set(SCHEMA["properties"]) == {*values, "global"}


def unexplained(lines: list[str]) -> Iterator[str]:
    """Keys without a comment above them, above their group of lines, or right below."""
    explained: set[int] = set()
    for number, line in enumerate(lines):
        indent = len(line) - len(line.lstrip())
        if not line.strip():
            explained.clear()
            continue
        explained = {level for level in explained if level <= indent}
        if line.lstrip().startswith("#"):
            explained.add(indent)
        elif re.match(r" *[A-Za-z]+:", line):
            below = next((later for later in lines[number + 1 :] if later.strip()), "")
            if not explained and not below.startswith(" " * (indent + 2) + "#"):
                yield line


def test_every_value_is_explained() -> None:
    """A comment says what it is for, what its default means, what else it may be."""
    assert list(unexplained(VALUES.read_text().splitlines())) == []
    assert list(unexplained(["# text", "a: 1", "", "b: 2"])) == ["b: 2"]
