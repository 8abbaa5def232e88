"""The installed program, run as people run it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from push_proxy.version import VERSION
from tests.unit.settings.pem import write_identity


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if "PUSH_PROXY" not in name}
    return subprocess.run(
        [sys.executable, "-m", "push_proxy", *arguments],
        env={**clean, "COLUMNS": "100", **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_help_and_version() -> None:
    """--help names the commands, --version the version."""
    shown = run("--help")
    assert shown.returncode == 0
    commands = ["serve", "check-config", "doctor", "demo", "phone", "call", "push", "import"]
    for command in commands:
        assert command in shown.stdout
    assert run("--version").stdout == f"push-proxy {VERSION}\n"


def test_check_config_shows_what_it_comes_to() -> None:
    """Exit 0, the outline on stdout, what was guessed on stderr."""
    shown = run("check-config", PUSH_PROXY_HTTP__LISTEN="127.0.0.1:8099")
    assert shown.returncode == 0
    assert "127.0.0.1:8099" in shown.stdout
    assert "warning: sip.public_address" in shown.stderr


def test_check_config_looks_into_certificates(tmp_path: Path) -> None:
    """Until when on stdout, what is about to end on stderr, what cannot be used ends with 2."""
    certificate, key = write_identity(tmp_path, days=10)
    environment = {
        "PUSH_PROXY_SIP__LISTEN": "tls:127.0.0.1:5061",
        "PUSH_PROXY_SIP__PUBLIC_ADDRESS": "push.example.com",
        "PUSH_PROXY_SIP__TLS__CERTIFICATE": str(certificate),
        "PUSH_PROXY_SIP__TLS__KEY": str(key),
    }
    shown = run("check-config", **environment)
    assert (shown.returncode, "tls      sip.tls until 2" in shown.stdout) == (0, True)
    assert "warning: sip.tls.certificate expires in 9 days" in shown.stderr
    certificate.write_text("spoilt")
    failed = run("check-config", **environment)
    assert failed.returncode == 2
    assert "sip.tls.certificate (from PUSH_PROXY_SIP__TLS__CERTIFICATE): " in failed.stderr


def test_check_config_looks_into_providers_keys(tmp_path: Path) -> None:
    """Each provider with its apps; a key that cannot be used is named before anything starts."""
    _, key = write_identity(tmp_path)
    apns = {"app_id": "com.example.phone", "team_id": "T", "key_id": "K", "key_file": str(key)}
    environment = {
        "PUSH_PROXY_PROVIDERS__APNS": json.dumps([apns]),
        "PUSH_PROXY_PROVIDERS__WEBHOOK": '[{"app_id": "own", "url": "https://b.example/"}]',
        "PUSH_PROXY_EVENTS__WEBHOOKS": '[{"url": "https://ops.example/", "types": "call.missed"}]',
    }
    shown = run("check-config", **environment)
    assert shown.returncode == 0, shown.stderr
    assert "  apns     com.example.phone\n" in shown.stdout
    assert "  webhook  own\n" in shown.stdout
    assert "  events   call.missed to ops.example\n" in shown.stdout
    key.write_text("spoilt")
    failed = run("check-config", **environment)
    assert failed.returncode == 2
    assert "providers.apns[0].key_file: " in failed.stderr
    assert "Traceback" not in failed.stderr
    assert "nothing can be pushed" in run("check-config").stdout


@pytest.mark.parametrize("command", ["check-config", "serve"])
def test_a_wrong_configuration_ends_with_2_and_no_traceback(command: str, tmp_path: Path) -> None:
    """The message names the file, the key, and what to do."""
    file = tmp_path / "c.yaml"
    file.write_text("sip: {listn: []}\n")
    failed = run(command, PUSH_PROXY_CONFIG=str(file))
    assert failed.returncode == 2
    assert f"push-proxy: configuration {file} cannot be used:" in failed.stderr
    assert "sip.listn: unknown key; did you mean 'listen'?" in failed.stderr
    assert "Traceback" not in failed.stderr


def test_call_without_a_key_or_a_service_says_what_is_missing() -> None:
    """2 without a key, 1 when nothing answers."""
    keyless = run("call", "x")
    assert (keyless.returncode, "PUSH_PROXY_API_KEY" in keyless.stderr) == (2, True)
    alone = run("call", "x", "--url", "http://127.0.0.1:1", PUSH_PROXY_API_KEY="k")
    assert (alone.returncode, "does not answer" in alone.stderr) == (1, True)
    assert "Traceback" not in alone.stderr
