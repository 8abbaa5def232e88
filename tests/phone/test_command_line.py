"""Options of the simulated phone that make no sense are refused with the reason."""

from __future__ import annotations

import socket
import subprocess
import sys

import pytest

from push_proxy.phone.push_listener import signature_fault


def run(*options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "push_proxy.phone", *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--aor", "101"], "give sip:USER@DOMAIN"),
        (["--aor", "sip:101@a", "--proxy", "a"], "proxy 'a' is no SIP URI"),
        (["--aor", "sip:101@a", "--listen", "here"], "give HOST:PORT"),
        (["--aor", "sip:101@a", "--answer-code", "180"], "no final SIP status"),
        (["--aor", "sip:101@a", "--push-key-file", "/nowhere"], "/nowhere"),
    ],
)
def test_a_senseless_option_is_named(options: list[str], reason: str) -> None:
    """Exit status 2, and the message says which value is wrong."""
    done = run(*options)

    assert done.returncode == 2
    assert reason in done.stderr
    assert done.stdout == ""


def test_a_port_in_use_is_named() -> None:
    """A push listener that cannot bind says where, and what to do."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        where = f"127.0.0.1:{taken.getsockname()[1]}"

        done = run("--aor", "sip:101@127.0.0.1", "--listen", where)

    assert done.returncode == 1
    assert where in done.stderr
    assert "--listen" in done.stderr


def test_a_signature_covers_time_and_body() -> None:
    """The known digest of "1700000000.{}" under the key "key" is accepted; another body is not."""
    header = "t=1700000000,sha256=9d713ed406bb7076d4123f0dc2c39d2df5c654ed4b0cd56b52c8b4c940bd63ae"
    assert signature_fault(header, b"{}", key=b"key", now=1700000000.0) is None
    assert signature_fault(header, b"{ }", key=b"key", now=1700000000.0) == "wrong signature"
    assert signature_fault(header, b"{}", key=b"key", now=1700000301.0) == "stale signature"
    assert signature_fault("sha256=0", b"{}", key=b"key", now=0.0) == "malformed signature"
    assert signature_fault(None, b"{}", key=b"key", now=0.0) == "no signature"
