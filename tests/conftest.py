"""Fixtures for every test: the laboratory, and the guard against silent skips."""

pytest_plugins = [
    "tests.lab.fixtures",
    "tests.lab.asterisk.fixtures",
    "tests.doubles.fixtures",
    "tests.skip_guard",
]
