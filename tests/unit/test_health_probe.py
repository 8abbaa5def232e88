"""The probe that container engines run: its exit status is its answer."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from push_proxy.health_probe import URL_VARIABLE, main

ANSWERS = {
    "/healthz": (200, b'{"status": "alive"}'),
    "/readyz": (503, b'{"status": "draining", "reasons": ["3 calls wait"], "providers": []}'),
}


class Answering(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        status, body = ANSWERS.get(self.path, (404, b"<html>"))
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_arguments: object) -> None:
        """The test's output stays clean."""


@pytest.fixture
def url() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Answering) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_draining_service_is_alive_but_not_ready(
    url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """0 and 1, with the reasons for whoever looks at the container."""
    assert main(["--url", url]) == 0
    assert main(["--url", url, "--ready"]) == 1
    told = capsys.readouterr()
    assert told.out == "alive\n"
    assert told.err == "HTTP 503: draining 3 calls wait\n"


def test_nobody_there_is_not_alive(capsys: pytest.CaptureFixture[str]) -> None:
    """One line that names where it asked."""
    assert main(["--url", "http://127.0.0.1:1"]) == 1
    assert "http://127.0.0.1:1/healthz does not answer" in capsys.readouterr().err


def test_another_server_is_not_alive(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A page of some other program is no answer."""
    assert main(["--url", f"{url}/elsewhere"]) == 1
    assert "not this service's" in capsys.readouterr().err


def test_it_asks_directly_and_loads_nothing_heavy(url: str) -> None:
    """An engine runs it every few seconds, where a proxy for the internet may be set."""
    script = (
        "import sys; from push_proxy.health_probe import main; status = main([]); "
        "sys.exit(status or 10 * bool({'pydantic', 'typer', 'asyncio'} & set(sys.modules)))"
    )
    environment = os.environ | {URL_VARIABLE: url, "http_proxy": "http://127.0.0.1:1"}
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "alive\n"
