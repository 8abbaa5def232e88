"""Runs a failed test once more if the machine stood still during it, and says so at the end.

A virtual machine, or one of its CPUs, that is frozen for a moment lets deadlines pass: a phone has
not registered in time, a binding has run out, Redis has not answered. That says nothing about the
service. A test that fails on a machine that runs fails.
"""

import os
import threading
import time

import pytest
from _pytest.runner import runtestprotocol

LOOK_S = 0.05
STILL_S = 0.15
"""Waking up so much too late is more than other processes' turns, which cost 10 ms beside the whole
suite on two CPUs; the shortest deadline in a test is 0.2 s.
"""
_PROPERTY = "the machine stood still"


class Standstills:
    """A thread on each CPU that does nothing but look at the clock."""

    def __init__(self) -> None:
        self.found_s: list[float] = []
        """How long each was, on each CPU that it met."""
        self._over = threading.Event()
        self._looked = {cpu: threading.Event() for cpu in os.sched_getaffinity(0)}
        self._threads = [
            threading.Thread(
                target=self._watch, args=(cpu,), name=f"standstills {cpu}", daemon=True
            )
            for cpu in self._looked
        ]

    def start(self) -> None:
        """From now on."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """No longer."""
        self._over.set()
        for thread in self._threads:
            thread.join()

    def since(self, known: int) -> list[float]:
        """Those after the first `known`, up to now."""
        for looked in self._looked.values():
            looked.clear()
        for looked in self._looked.values():
            looked.wait(LOOK_S + STILL_S)
        return self.found_s[known:]

    def _watch(self, cpu: int) -> None:
        os.sched_setaffinity(threading.get_native_id(), {cpu})
        before = time.monotonic()
        while not self._over.wait(LOOK_S):
            now = time.monotonic()
            if now - before - LOOK_S > STILL_S:
                self.found_s.append(now - before - LOOK_S)
            before = now
            self._looked[cpu].set()


class Again:
    """Decides which test runs again, and tells of those that did."""

    def __init__(self, standstills: Standstills) -> None:
        self._standstills = standstills
        self._told: list[str] = []

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item, nextitem: pytest.Item | None) -> bool:
        item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
        known = len(self._standstills.found_s)
        reports = runtestprotocol(item, log=False, nextitem=nextitem)
        failed = any(report.failed for report in reports)
        if failed and (still := self._standstills.since(known)):
            # Also what is shared with other tests was there when it happened.
            item.session._setupstate.teardown_exact(None)
            item.user_properties.append((_PROPERTY, f"{max(still):.1f} s"))
            reports = runtestprotocol(item, log=False, nextitem=nextitem)
        for report in reports:
            item.ihook.pytest_runtest_logreport(report=report)
        item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
        return True

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        # Also of xdist's workers, in the process that tells.
        for name, value in report.user_properties:
            if name == _PROPERTY and report.when == "teardown":
                self._told.append(f"RAN AGAIN, {name} for {value}: {report.nodeid}")

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        for line in self._told:
            terminalreporter.write_line(line, yellow=True)

    def pytest_unconfigure(self) -> None:
        self._standstills.stop()


def pytest_configure(config: pytest.Config) -> None:
    standstills = Standstills()
    standstills.start()
    config.pluginmanager.register(Again(standstills), "standstills")
