"""Kubernetes waits until a node has finished its calls."""

from typing import Any

import pytest

from push_proxy.settings import Settings
from tests.deploy.chart import Helm, Release, example


def longest_stop(config: dict[str, Any]) -> float:
    """Seconds from SIGTERM to the end of the last call, by the service's own settings."""
    settings = Settings.model_validate(
        {key: config[key] for key in ("wake", "drain") if key in config}
    )
    wake, drain = settings.wake, settings.drain
    together = wake.together_s if wake.ring_mode == "together" else 0
    return max(drain.deadline_s, drain.hand_over_s + wake.deadline_s + together)


def test_the_grace_period_is_above_the_longest_wake_and_drain(release: Release) -> None:
    """With a margin for the last answers and for closing the store."""
    assert release.pod["terminationGracePeriodSeconds"] >= longest_stop(release.config) + 10


@pytest.mark.parametrize(
    "config",
    [
        {"drain": {"deadline_s": 300}},
        {"drain": {"deadline_s": 0, "hand_over_s": 0}},
        {"wake": {"deadline_s": 60}, "drain": {"deadline_s": 20, "hand_over_s": 30.5}},
        {
            "wake": {"deadline_s": 50, "ring_mode": "together", "together_s": 40},
            "drain": {"deadline_s": 30},
        },
        {"wake": None, "drain": None},
    ],
)
def test_it_grows_with_the_settings(helm: Helm, config: dict[str, Any]) -> None:
    """Nobody has to remember it when a deadline changes."""
    given = {key: value for key, value in config.items() if value is not None}
    found = helm.release(example("defaults", config=config))
    grace = found.pod["terminationGracePeriodSeconds"]
    assert longest_stop(given) + 10 <= grace <= longest_stop(given) + 20


def test_a_shorter_one_is_refused(helm: Helm) -> None:
    """It would cut off calls, at the very moment when nobody looks."""
    said = helm.refusal(example("defaults", terminationGracePeriodSeconds=30))
    assert "terminationGracePeriodSeconds: 30 would cut off calls" in said
    assert "give 65 at least" in said


def test_a_longer_one_is_taken(helm: Helm) -> None:
    """The operator may be more patient."""
    found = helm.release(example("defaults", terminationGracePeriodSeconds=600))
    assert found.pod["terminationGracePeriodSeconds"] == 600
