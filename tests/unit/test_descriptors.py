"""The limit of open files."""

import resource
import subprocess
import sys

_RAISED = """
import resource
resource.setrlimit(resource.RLIMIT_NOFILE, (256, 512))
from push_proxy.descriptors import raise_limit
assert raise_limit() == 512
assert resource.getrlimit(resource.RLIMIT_NOFILE) == (512, 512)
"""


def test_soft_limit_is_raised_to_the_hard_one_and_a_low_one_is_told() -> None:
    """1,024 descriptors, a common default, would turn the 1,025th phone away in silence."""
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[1] != 512

    done = subprocess.run(
        [sys.executable, "-c", _RAISED], capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr
    assert "raise the hard limit" in done.stdout + done.stderr
