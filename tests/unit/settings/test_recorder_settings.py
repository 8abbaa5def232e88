"""``recorder`` of the configuration."""

from pathlib import Path
from typing import Any

import pytest

from push_proxy.errors import ConfigurationError
from push_proxy.recorder.configured import recorder_rules
from push_proxy.recorder.gathering import Bounds
from push_proxy.settings import Settings
from push_proxy.settings_file import check

SIP = {"public_address": "push.example.com", "node_address": "10.0.0.7"}


def loaded(recorder: Any) -> Settings:
    return check({"sip": SIP, "recorder": recorder})


def test_it_is_off_by_default() -> None:
    """Nobody's messages are kept without being asked for; a bare section asks for nothing."""
    for settings in (check({"sip": SIP}), loaded(None), loaded({})):
        rules = recorder_rules(settings.recorder)
        assert not rules.enabled
        assert rules.hep is None
        assert rules.keep_s == 7 * 86_400


@pytest.mark.parametrize(
    ("address", "host", "port"),
    [
        ("udp:homer.example.com:9060", "homer.example.com", 9060),
        ("udp:192.0.2.5:1", "192.0.2.5", 1),
        ("udp:[2001:db8::5]:9060", "2001:db8::5", 9060),
    ],
)
def test_limits_and_collector(tmp_path: Path, address: str, host: str, port: int) -> None:
    """As written, the password without the line's end; others who can read it are told."""
    password = tmp_path / "hep.password"
    password.write_text("s3cret\n")
    password.chmod(0o644)
    settings = loaded(
        {
            "enabled": True,
            "messages_per_call": 50,
            "bytes_per_call": 65_536,
            "hep": {"address": address, "capture_id": 7, "password_file": str(password)},
        }
    )
    rules = recorder_rules(settings.recorder)
    assert rules.bounds == Bounds(messages=50, bytes=65_536)
    assert rules.hep is not None
    target = rules.hep.target
    assert (target.host, target.port, target.capture_id) == (host, port, 7)
    assert target.password == b"s3cret"
    assert any("recorder.hep.password_file" in warning for warning in settings.warnings)


@pytest.mark.parametrize(
    ("recorder", "key"),
    [
        ({"keep_s": 1}, "recorder.keep_s"),
        ({"messages_per_call": 0}, "recorder.messages_per_call"),
        ({"bytes_per_call": 10}, "recorder.bytes_per_call"),
        ({"hep": {}}, "recorder.hep.address"),
        ({"hep": {"address": "homer.example.com:9060"}}, "recorder.hep.address"),
        ({"hep": {"address": "tcp:homer.example.com:9060"}}, "recorder.hep.address"),
        ({"hep": {"address": "udp:homer.example.com"}}, "recorder.hep.address"),
        ({"hep": {"address": "udp:homer.example.com:0"}}, "recorder.hep.address"),
        ({"hep": {"address": "udp:2001:db8::5:9060"}}, "recorder.hep.address"),
        ({"hep": {"address": "udp:a b:9060"}}, "recorder.hep.address"),
        (
            {"hep": {"address": "udp:h:9060", "password_file": "/no/such/file"}},
            "recorder.hep.password_file",
        ),
        ({"colour": "blue"}, "recorder.colour"),
    ],
)
def test_what_cannot_be_used_is_named(recorder: dict[str, Any], key: str) -> None:
    """With its full name."""
    with pytest.raises(ConfigurationError, match=key.replace(".", r"\.")):
        loaded(recorder)


def test_an_empty_password_is_refused(tmp_path: Path) -> None:
    """A collector would refuse every packet."""
    password = tmp_path / "hep.password"
    password.touch(0o600)
    settings = loaded({"hep": {"address": "udp:h:9060", "password_file": str(password)}})
    with pytest.raises(ConfigurationError, match="is empty"):
        recorder_rules(settings.recorder)
