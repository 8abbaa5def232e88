"""Recording and alerting rules: Prometheus takes them, and each alert has been seen firing."""

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

PROMETHEUS = Path(__file__).parents[2] / "deploy" / "prometheus"
RULES = PROMETHEUS / "push-proxy.rules.yaml"
TRIED = PROMETHEUS / "push-proxy.tests.yaml"


def promtool(*arguments: str) -> str:
    """Prometheus' own checker; its output. Fails the test when it is not content."""
    done = subprocess.run(
        ["promtool", *arguments], cwd=PROMETHEUS, check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def alerts() -> dict[str, dict[str, Any]]:
    """All alerting rules by name."""
    groups = yaml.safe_load(RULES.read_text())["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    return {rule["alert"]: rule for rule in rules if "alert" in rule}


def tried() -> Iterator[tuple[str, bool]]:
    """Each alert that a situation asks for: its name, and whether it has to fire there."""
    for situation in yaml.safe_load(TRIED.read_text())["tests"]:
        for asked in situation["alert_rule_test"]:
            yield asked["alertname"], bool(asked.get("exp_alerts"))


def test_prometheus_takes_the_rules() -> None:
    """Syntax and PromQL."""
    assert "SUCCESS" in promtool("check", "rules", RULES.name)


def test_alerts_fire_in_their_situations_and_not_when_all_is_well() -> None:
    """With the summary that a person gets."""
    assert "SUCCESS" in promtool("test", "rules", TRIED.name)


@pytest.mark.parametrize("fires", [True, False])
def test_every_alert_was_tried_both_ways(fires: bool) -> None:
    """An alert that nobody has seen firing may never do so."""
    assert set(alerts()) == {name for name, fired in tried() if fired is fires}


@pytest.mark.parametrize("name", alerts())
def test_an_alert_says_how_urgent_it_is_and_what_to_do(name: str) -> None:
    """Whoever is woken by it knows nothing of the rules."""
    rule = alerts()[name]
    assert rule["labels"]["severity"] in {"page", "ticket"}
    assert rule["annotations"]["summary"]
    assert len(rule["annotations"]["description"]) > 30
