"""Dashboard and rules ask for nothing that the service does not have."""

import json
import re
from pathlib import Path

import pytest
import yaml

from deploy.grafana.dashboard import TARGET, dashboard
from push_proxy.observability.metrics import Metrics

RULES = Path(__file__).parents[2] / "deploy" / "prometheus" / "push-proxy.rules.yaml"
_NAME = re.compile(r"\bpush_proxy[a-z0-9_]*(?::[a-z0-9_]+)*")
_STRINGS = re.compile(r'"[^"]*"')


def panel_queries() -> dict[str, str]:
    """Every query of the dashboard, by panel and letter."""
    return {
        f"{panel['title']} {target['refId']}": target["expr"]
        for panel in dashboard()["panels"]
        for target in panel.get("targets", ())
    }


def rule_queries() -> dict[str, str]:
    """Every expression of the rules, by name."""
    groups = yaml.safe_load(RULES.read_text())["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    return {rule.get("alert") or rule["record"]: rule["expr"] for rule in rules}


QUERIES = panel_queries() | rule_queries()


def known() -> set[str]:
    """All that Prometheus finds here, and what the rules record of it."""
    families = re.findall(r"(?m)^# TYPE (\S+) (\S+)$", Metrics().render().decode())
    names = {name for name, _ in families}
    for name, kind in families:
        if kind == "histogram":
            names |= {f"{name}_bucket", f"{name}_count", f"{name}_sum"}
    return names | {name for name in rule_queries() if ":" in name}


def labels() -> set[str]:
    """Every label of every metric, and those that Prometheus adds."""
    registry = Metrics().registry
    found = {"instance", "job", "le"}
    for collector in list(registry._collector_to_names):
        found |= set(getattr(collector, "_labelnames", ()))
        for family in collector.collect():
            found |= {label for sample in family.samples for label in sample.labels}
            found |= set(getattr(family, "_labelnames", ()))
    return found


@pytest.mark.parametrize("query", QUERIES.values(), ids=QUERIES.keys())
def test_metrics_and_labels_exist(query: str) -> None:
    """A query for a metric that was renamed shows nothing, and nobody notices."""
    asked = set(_NAME.findall(_STRINGS.sub("", query)))
    assert asked <= known() | {"up"}
    inside = re.findall(r"\{([^}]*)\}", query)
    matched = {name for part in inside for name in re.findall(r"(\w+)\s*(?:=~|!=|!~|=)", part)}
    grouped = re.findall(r"\b(?:by|without) \(([^)]*)\)", query)
    matched |= {name.strip() for part in grouped for name in part.split(",")}
    assert matched <= labels()


def test_the_dashboard_is_the_one_that_the_code_makes() -> None:
    """Mend: python -m deploy.grafana.dashboard."""
    assert json.loads(TARGET.read_text()) == dashboard()


def test_panels_lie_side_by_side() -> None:
    """None hides another, and none has no query."""
    taken: set[tuple[int, int]] = set()
    for panel in dashboard()["panels"]:
        at = panel["gridPos"]
        cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert at["x"] + at["w"] <= 24
        assert not cells & taken, panel["title"]
        taken |= cells
        assert panel["type"] == "row" or panel["targets"]
