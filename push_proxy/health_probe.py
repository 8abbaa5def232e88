"""Whether a running service is well: for container engines and scripts, by the standard library.

An engine asks every few seconds, so this module imports nothing that takes long:
``python -m push_proxy.health_probe`` is what the image runs, ``push-proxy health`` the same.
"""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from http.client import HTTPException
from urllib.error import HTTPError, URLError
from urllib.request import ProxyHandler, build_opener

URL_VARIABLE = "PUSH_PROXY_URL"
DEFAULT_URL = "http://127.0.0.1:8080"
TIMEOUT_S = 4.0
_MAX_ANSWER_BYTES = 65536


def probe(url: str, *, ready: bool = False, timeout_s: float = TIMEOUT_S) -> tuple[bool, str]:
    """Whether the service at ``url`` is alive, or with ``ready`` takes calls; and what it said."""
    if not url.startswith(("http://", "https://")):
        return False, f"{url!r} must begin with http:// or https://"
    target = url.rstrip("/") + ("/readyz" if ready else "/healthz")
    # A proxy named by the environment is for the internet, not for this machine.
    opener = build_opener(ProxyHandler({}))
    try:
        with opener.open(target, timeout=timeout_s) as response:
            return True, _told(response.read(_MAX_ANSWER_BYTES))
    except HTTPError as error:
        with error:
            return False, f"HTTP {error.code}: {_told(error.read(_MAX_ANSWER_BYTES))}"
    except (OSError, HTTPException) as error:
        why = error.reason if isinstance(error, URLError) else error
        return False, f"{target} does not answer ({why}); is the service running there?"


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit status: 0 well, 1 not, 2 wrong options."""
    parser = argparse.ArgumentParser(
        prog="push-proxy health",
        description="Ask a running service whether it is alive. Exit status: 0 yes, 1 no.",
    )
    parser.add_argument(
        "--ready", action="store_true", help="whether calls may come (/readyz), not only alive"
    )
    parser.add_argument(
        "--url",
        default=os.environ.get(URL_VARIABLE) or DEFAULT_URL,
        help=f"where the service's HTTP API is (default: {URL_VARIABLE}, else {DEFAULT_URL})",
    )
    options = parser.parse_args(arguments)
    well, told = probe(options.url, ready=options.ready)
    print(told, file=sys.stdout if well else sys.stderr)
    return 0 if well else 1


def _told(body: bytes) -> str:
    """One line of what it said: the status, and the reasons if it gives some."""
    try:
        answer = json.loads(body)
        reasons = answer.get("reasons") or []
        return " ".join([str(answer["status"]), *map(str, reasons)])
    except (ValueError, KeyError, AttributeError, TypeError):
        return "an answer that is not this service's"


if __name__ == "__main__":
    sys.exit(main())
