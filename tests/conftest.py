"""Fixtures for every test: the laboratory, and the guard against silent skips."""

from hypothesis import HealthCheck, settings

pytest_plugins = [
    "tests.lab.fixtures",
    "tests.lab.asterisk.fixtures",
    "tests.doubles.fixtures",
    "tests.skip_guard",
    "tests.standstill",
]

# By itself Hypothesis fails an example that took 200 ms: on a busy machine any of them may.
settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")
