"""Alerts, dashboard and metrics: the repository's own, in the form that operators read."""

import json
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from push_proxy.observability.metrics import Metrics
from tests.deploy.chart import CHART, ROOT, Helm, Object, Release, example

COPIES = {
    "push-proxy.rules.yaml": ROOT / "deploy" / "prometheus" / "push-proxy.rules.yaml",
    "push-proxy.json": ROOT / "deploy" / "grafana" / "push-proxy.json",
}
_DURATION = re.compile(r"[0-9]+(ms|s|m|h)$")


@pytest.fixture
def watched(helm: Helm) -> Release:
    """The example with everything on."""
    return helm.release(example("three-nodes-redis"))


@pytest.mark.parametrize(("name", "source"), COPIES.items(), ids=list(COPIES))
def test_the_chart_has_the_repository_s_own(name: str, source: Path) -> None:
    """Byte for byte. Mend: copy deploy/prometheus/*.rules.yaml and deploy/grafana/*.json there."""
    assert (CHART / "files" / name).read_bytes() == source.read_bytes()


def test_the_rules_arrive_unchanged(watched: Release) -> None:
    """Prometheus' templates ({{ $value }}) are not taken for Helm's."""
    spec = watched.one("PrometheusRule")["spec"]
    assert spec == yaml.safe_load(COPIES["push-proxy.rules.yaml"].read_text())


def test_the_rules_have_the_operator_s_shape(watched: Release) -> None:
    """What monitoring.coreos.com/v1 asks of a PrometheusRule, and no field beyond."""
    found = watched.one("PrometheusRule")
    assert found["apiVersion"] == "monitoring.coreos.com/v1"
    assert found["spec"].keys() == {"groups"}
    groups: list[Object] = found["spec"]["groups"]
    assert len({group["name"] for group in groups}) == len(groups)
    for group in groups:
        assert {"name", "rules"} <= group.keys() <= {"name", "rules", "interval"}
        assert _DURATION.match(group.get("interval", "30s"))
        for rule in group["rules"]:
            assert ("alert" in rule) != ("record" in rule)
            assert isinstance(rule["expr"], str)
            assert _DURATION.match(rule.get("for", "1m"))
            assert rule.keys() <= {"alert", "record", "expr", "for", "labels", "annotations"}
            texts = {**rule.get("labels", {}), **rule.get("annotations", {})}
            assert all(isinstance(text, str) for text in texts.values())


def test_the_dashboard_arrives_unchanged(watched: Release) -> None:
    """With the label that Grafana's sidecar looks for, and below the size of a ConfigMap."""
    found = watched.one("ConfigMap", "push-proxy-dashboard")
    assert found["metadata"]["labels"]["grafana_dashboard"] == "1"
    text = found["data"]["push-proxy.json"]
    assert json.loads(text) == json.loads(COPIES["push-proxy.json"].read_text())
    assert len(text) < 900_000


def test_the_monitor_has_the_operator_s_shape(watched: Release) -> None:
    """What monitoring.coreos.com/v1 asks of a ServiceMonitor, and no field beyond."""
    found = watched.one("ServiceMonitor")
    assert found["apiVersion"] == "monitoring.coreos.com/v1"
    assert found["metadata"]["labels"]["release"] == "kube-prometheus-stack"
    assert found["spec"].keys() == {"selector", "namespaceSelector", "endpoints"}
    assert found["spec"]["namespaceSelector"] == {"matchNames": ["voip"]}
    (endpoint,) = found["spec"]["endpoints"]
    assert endpoint.keys() <= {"port", "path", "interval", "scrapeTimeout", "relabelings"}
    assert endpoint["path"] == "/metrics"
    assert _DURATION.match(endpoint["interval"])
    assert _DURATION.match(endpoint["scrapeTimeout"])


def test_the_monitor_finds_the_metrics_and_nothing_else(watched: Release) -> None:
    """One Service, by its labels and the name of its port."""
    spec = watched.one("ServiceMonitor")["spec"]
    chosen = [
        service
        for service in watched.all("Service")
        if spec["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    ]
    assert [each["metadata"]["name"] for each in chosen] == ["pp-push-proxy-admin"]
    assert spec["endpoints"][0]["port"] in {port["name"] for port in chosen[0]["spec"]["ports"]}


def test_the_job_is_the_one_that_the_alerts_look_for(watched: Release) -> None:
    """PushProxyDown asks for it; the operator would call it after the Service."""
    (endpoint,) = watched.one("ServiceMonitor")["spec"]["endpoints"]
    (job,) = (each for each in endpoint["relabelings"] if each["targetLabel"] == "job")
    (asked,) = re.findall(r'job=~"([^"]+)"', COPIES["push-proxy.rules.yaml"].read_text())
    assert re.fullmatch(asked, job["replacement"])


def test_scaling_asks_for_metrics_that_exist(watched: Release) -> None:
    """By the names that prometheus-adapter's example gives them."""
    (scaler,) = watched.all("HorizontalPodAutoscaler")
    asked = {
        each["pods"]["metric"]["name"]
        for each in scaler["spec"]["metrics"]
        if each["type"] == "Pods"
    }
    adapter = yaml.safe_load((CHART / "examples" / "prometheus-adapter-values.yaml").read_text())
    rules = adapter["rules"]["custom"]
    assert asked == {rule["name"]["as"] for rule in rules}
    rendered = Metrics().render().decode()
    for rule in rules:
        series = rule["seriesQuery"].partition("{")[0]
        assert f"# TYPE {series} gauge" in rendered
        assert rule["name"]["matches"] == series


def test_scaling_s_queries_are_promql(tmp_path: Path) -> None:
    """With what the adapter puts into its templates."""
    adapter = yaml.safe_load((CHART / "examples" / "prometheus-adapter-values.yaml").read_text())
    rules = []
    for number, rule in enumerate(adapter["rules"]["custom"]):
        query = rule["metricsQuery"].replace("<<.Series>>", rule["name"]["matches"])
        query = query.replace("<<.LabelMatchers>>", 'namespace="voip",pod=~"pp-push-proxy-0"')
        rules.append({"record": f"tried:{number}", "expr": query.replace("<<.GroupBy>>", "pod")})
    file = tmp_path / "rules.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "adapter", "rules": rules}]}))
    done = subprocess.run(
        ["promtool", "check", "rules", str(file)], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
