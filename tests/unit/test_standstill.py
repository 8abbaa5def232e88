"""A failed test runs again when the machine stood still during it, and only then."""

import os
import subprocess
import sys
from pathlib import Path

STILL = (
    "subprocess.run(['sh', '-c', f'kill -STOP {os.getpid()}; sleep 1; kill -CONT {os.getpid()}'])"
)
TEST = """
import os, subprocess
import pytest

made = []

@pytest.fixture(scope="session")
def shared():
    made.append(None)
    return len(made)

def test_before(shared):
    assert shared == 1

def test_it(shared):
    if shared == 1:
        {stands_still}
        pytest.fail("the first time")
    assert {holds}
"""


def run(folder: Path, *, stands_still: str = STILL, holds: bool = True) -> str:
    (folder / "test_it.py").write_text(TEST.format(stands_still=stands_still, holds=holds))
    plugin = ("-p", "tests.standstill", "-p", "no:cacheprovider")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *plugin, "--rootdir", folder, folder],
        env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout


def test_a_test_that_met_a_standstill_runs_again_with_fixtures_of_its_own(tmp_path: Path) -> None:
    """Stopped for a second it fails, and passes then; the end tells of it."""
    said = run(tmp_path)
    assert "RAN AGAIN, the machine stood still for 0.9 s" in said or "for 1." in said, said
    assert "test_it.py::test_it" in said
    assert "2 passed" in said


def test_a_test_that_fails_twice_has_failed(tmp_path: Path) -> None:
    """The second run counts."""
    said = run(tmp_path, holds=False)
    assert "RAN AGAIN" in said
    assert "1 failed, 1 passed" in said


def test_a_test_that_fails_on_a_machine_that_runs_has_failed(tmp_path: Path) -> None:
    """Once is enough."""
    said = run(tmp_path, stands_still="pass")
    assert "the first time" in said
    assert "1 failed, 1 passed" in said
    assert "RAN AGAIN" not in said
