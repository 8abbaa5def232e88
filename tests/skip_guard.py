"""Fails a run under CI in which a test was skipped that tests/allowed_skips.txt does not name.

A test that is skipped because a program is missing proves nothing, and nobody notices.
"""

import os
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

ALLOWED = Path(__file__).with_name("allowed_skips.txt")


@dataclass(frozen=True, slots=True)
class AllowedSkip:
    """One line of the list."""

    pattern: str
    says: str
    """What the skip's own reason must contain; empty for anything."""

    def allows(self, nodeid: str, reason: str) -> bool:
        # Brackets are part of node ids, and sets of characters to fnmatch.
        return fnmatchcase(nodeid, self.pattern.replace("[", "[[]")) and self.says in reason


def allowed_skips(text: str) -> list[AllowedSkip]:
    """What may be skipped, from lines of `node id | what the skip says  # reason`."""
    lines = (line.partition("#")[0].strip() for line in text.splitlines())
    parts = (line.partition(" | ") for line in lines if line)
    return [AllowedSkip(pattern.strip(), says.strip()) for pattern, _, says in parts]


class SkipGuard:
    """Notes the skipped tests of one run and judges them at its end."""

    def __init__(self) -> None:
        self.skipped: dict[str, str] = {}
        """Node id and reason."""

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.skipped and not hasattr(report, "wasxfail"):
            self.skipped[report.nodeid] = _reason(report)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        # A module that skips itself while it is collected hides all its tests.
        if report.skipped:
            self.skipped[report.nodeid] = _reason(report)

    def unexpected(self) -> list[str]:
        allowed = allowed_skips(ALLOWED.read_text())
        return sorted(
            nodeid
            for nodeid, reason in self.skipped.items()
            if not any(line.allows(nodeid, reason) for line in allowed)
        )

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


def _reason(report: pytest.TestReport | pytest.CollectReport) -> str:
    # A skip's longrepr is (file, line, reason), also from xdist's workers.
    found = report.longrepr
    return str(found[2]) if isinstance(found, tuple) else str(found)


def pytest_configure(config: pytest.Config) -> None:
    # Only the process that reports: xdist's workers send their reports there.
    if os.environ.get("CI") and not hasattr(config, "workerinput"):
        config.pluginmanager.register(SkipGuard(), "silent-skips")
