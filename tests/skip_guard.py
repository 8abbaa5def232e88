"""Fails a run under CI in which a test was skipped that tests/allowed_skips.txt does not name.

A test that is skipped because a program is missing proves nothing, and nobody notices.
"""

import os
from pathlib import Path

import pytest

ALLOWED = Path(__file__).with_name("allowed_skips.txt")


def allowed_skips() -> set[str]:
    """Node ids of the tests that may be skipped, from lines of `node id  # reason`."""
    lines = (line.partition("#")[0].strip() for line in ALLOWED.read_text().splitlines())
    return {line for line in lines if line}


class SkipGuard:
    """Notes the skipped tests of one run and judges them at its end."""

    def __init__(self) -> None:
        self.skipped: set[str] = set()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.skipped and not hasattr(report, "wasxfail"):
            self.skipped.add(report.nodeid)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        # A module that skips itself while it is collected hides all its tests.
        if report.skipped:
            self.skipped.add(report.nodeid)

    def unexpected(self) -> list[str]:
        return sorted(self.skipped - allowed_skips())

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self.unexpected() and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        for nodeid in self.unexpected():
            terminalreporter.write_line(
                f"SKIPPED AND NOT ALLOWED: {nodeid} (install what it needs, or name it with its "
                f"reason in {ALLOWED.name})",
                red=True,
            )


def pytest_configure(config: pytest.Config) -> None:
    # Only the process that reports: xdist's workers send their reports there.
    if os.environ.get("CI") and not hasattr(config, "workerinput"):
        config.pluginmanager.register(SkipGuard(), "silent-skips")
