"""The first push of a service costs calls no more than any other."""

import subprocess
import sys

_PROGRAM = """
import sys
import push_proxy.providers.fcm
wanted = ["httpcore", "sniffio", "anyio._backends._asyncio", "h2.connection"]
missing = [name for name in wanted if name not in sys.modules]
sys.exit(f"loaded at the first push only: {missing}" if missing else 0)
"""


def test_what_an_fcm_push_needs_is_loaded_before() -> None:
    """At its first request httpx loads its transports, which stopped all calls for 90 ms."""
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
