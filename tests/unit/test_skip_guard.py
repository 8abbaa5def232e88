"""What tests/allowed_skips.txt allows, and nothing more."""

import pytest

from tests.skip_guard import allowed_skips

LIST = """
# a comment
tests/unit/test_one.py::test_a[x-1]  # exactly this one
tests/asterisk/* | Debian sid cannot be had  # for this reason alone
"""


@pytest.mark.parametrize(
    ("nodeid", "reason", "allowed"),
    [
        ("tests/unit/test_one.py::test_a[x-1]", "Skipped: anything", True),
        ("tests/unit/test_one.py::test_a[x-2]", "Skipped: anything", False),
        ("tests/unit/test_one.py::test_ax", "Skipped: anything", False),
        ("tests/asterisk/test_calls.py::test_x[udp]", "Skipped: Debian sid cannot be had: y", True),
        ("tests/asterisk/test_calls.py::test_x[udp]", "Skipped: not fetched yet", False),
        ("tests/e2e/test_calls.py::test_x", "Skipped: Debian sid cannot be had: y", False),
    ],
)
def test_allowed(nodeid: str, reason: str, *, allowed: bool) -> None:
    """A name allows that test, a pattern only with the reason that stands beside it."""
    assert any(line.allows(nodeid, reason) for line in allowed_skips(LIST)) is allowed
