"""The configuration: where it comes from, what is refused, and how that is said."""

import json
from pathlib import Path
from typing import Any

import pytest

from push_proxy.core.model import Address, Ringing
from push_proxy.errors import ConfigurationError
from push_proxy.settings_file import check, load

KEY = {"name": "k", "tenant": "t", "key_sha256": "0" * 64, "scopes": ["calls"]}


def refused(raw: dict[str, Any]) -> str:
    with pytest.raises(ConfigurationError) as caught:
        check(raw)
    return str(caught.value)


def test_nothing_configured_is_a_usable_service() -> None:
    """Defaults listen for SIP and HTTP; addresses are guessed, and the guess is told."""
    settings = load({})
    assert settings.sip.listen_addresses == (Address("0.0.0.0", 5060),)
    assert settings.http.listen_address == ("0.0.0.0", 8080)
    assert settings.redis.url is None
    assert settings.public_address == settings.node_address != ""
    assert any("sip.public_address" in warning for warning in settings.warnings)
    assert any("sip.node_address" in warning for warning in settings.warnings)
    assert settings.node.data_dir.is_absolute()


def test_a_particular_listening_address_is_our_own() -> None:
    """No guessing beyond what is configured."""
    settings = check({"sip": {"listen": ["udp:127.0.0.1:0"]}})
    assert settings.node_address == "127.0.0.1"


def test_given_addresses_need_no_warning() -> None:
    """Both addresses configured: nothing is assumed."""
    sip = {"public_address": "push.example.com", "node_address": "10.0.0.7"}
    settings = check({"sip": sip})
    assert settings.warnings == ()
    assert (settings.public_address, settings.node_address) == ("push.example.com", "10.0.0.7")


def test_the_environment_wins_over_the_file(tmp_path: Path) -> None:
    """Scalars, lists with commas or as JSON, null, and sections with names of their own."""
    file = tmp_path / "c.yaml"
    file.write_text("wake: {deadline_s: 20, repush_after_s: 6}\nhttp: {listen: '127.0.0.1:1'}\n")
    settings = load(
        {
            "PUSH_PROXY_CONFIG": str(file),
            "PUSH_PROXY_WAKE__DEADLINE_S": "30",
            "PUSH_PROXY_WAKE__REPUSH_AFTER_S": "null",
            "PUSH_PROXY_WAKE__RINGING": "immediately",
            "PUSH_PROXY_SIP__LISTEN": "udp:127.0.0.1:5060, udp:[::1]:5060",
            "PUSH_PROXY_PBXES__OFFICE__PEERS": "192.0.2.1,192.0.2.0/28",
            "PUSH_PROXY_HTTP__API_KEYS": json.dumps([KEY]),
            "PUSH_PROXY_PRIVACY": "ids_only",
            "PUSH_PROXY_SERVICE_HOST": "10.0.0.1",  # set by Kubernetes for a service of our name
            "PUSH_PROXY_PORT_8080_TCP": "tcp://10.0.0.1:8080",
        }
    )
    assert (settings.wake.deadline_s, settings.wake.repush_after_s) == (30.0, None)
    assert settings.wake.settings().ringing is Ringing.IMMEDIATELY
    assert settings.http.listen == "127.0.0.1:1"
    assert [address.host for address in settings.sip.listen_addresses] == ["127.0.0.1", "::1"]
    assert settings.pbxes["office"].peers == ("192.0.2.1", "192.0.2.0/28")
    assert settings.http.api_keys[0].name == "k"
    assert settings.privacy == "ids_only"


@pytest.mark.parametrize(
    ("raw", "key"),
    [
        ({"sipp": {}}, "sipp"),
        ({"sip": {"listn": []}}, "sip.listn"),
        ({"http": {"api_keys": [{**KEY, "kee": 1}]}}, "http.api_keys[0].kee"),
        ({"pbxes": {"office": {"peer": 1}}}, "pbxes.office.peer"),
        ({"providers": {"pigeon": []}}, "providers.pigeon"),
        (
            {"providers": {"webhook": [{"app_id": "a", "url": "http://x", "key": 1}]}},
            "providers.webhook[0].key",
        ),
    ],
)
def test_an_unknown_key_is_named_in_full(raw: dict[str, Any], key: str) -> None:
    """With what is known there, or what was probably meant."""
    text = refused(raw)
    assert f"{key}: unknown key; " in text
    assert "known here" in text or "did you mean" in text


def test_all_faults_are_told_at_once_and_where_they_come_from(tmp_path: Path) -> None:
    """One line per fault, with the file's name, and the variable that a value came from."""
    file = tmp_path / "c.yaml"
    file.write_text("sip: {listn: 1}\nwake: {deadline_s: 1}\n")
    environment = {"PUSH_PROXY_CONFIG": str(file), "PUSH_PROXY_HTTP__LISTEN": "nonsense"}
    with pytest.raises(ConfigurationError) as caught:
        load(environment)
    text = str(caught.value)
    assert str(file) in text
    assert "sip.listn: unknown key; did you mean 'listen'?" in text
    assert "wake.deadline_s" in text
    assert "http.listen (from PUSH_PROXY_HTTP__LISTEN)" in text


@pytest.mark.parametrize(
    ("raw", "key"),
    [
        ({"sip": {"worker_threads": 2}}, "sip.worker_threads"),
        ({"http": {"tls": {"certificate": "c"}}}, "http.tls"),
        ({"wake": {"ringing": "announcement"}}, "wake.ringing"),
        ({"wake": {"ringing": 182}}, "wake.ringing"),
    ],
)
def test_what_is_not_built_yet_is_refused_and_says_so(raw: dict[str, Any], key: str) -> None:
    """A key of the contract that does nothing yet is never ignored."""
    text = refused(raw)
    assert f"{key}:" in text
    assert "built" in text


def test_keys_not_built_yet_may_stand_there_empty() -> None:
    """Null and empty lists ask for nothing."""
    check(
        {
            "sip": {"cluster_address": None, "tls": None, "worker_threads": 1},
            "providers": {"apns": [], "fcm": []},
            "events": None,
            "wake": None,
        }
    )


@pytest.mark.parametrize(
    ("raw", "key"),
    [
        ({"sip": {"listen": []}}, "sip.listen"),
        ({"sip": {"listen": ["udp:0.0.0.0:5060"] * 2}}, "sip.listen"),
        ({"sip": {"listen": ["udp:push.example.com:5060"]}}, "sip.listen[0]"),
        ({"sip": {"listen": ["udp:0.0.0.0:70000"]}}, "sip.listen[0]"),
        ({"sip": {"public_address": "push.example.com:5060"}}, "sip.public_address"),
        ({"http": {"listen": "8080"}}, "http.listen"),
        ({"http": {"listen": "0.0.0.0:1", "admin_listen": "0.0.0.0:1"}}, "http.admin_listen"),
        ({"http": {"api_keys": [KEY, KEY]}}, "http.api_keys"),
        ({"http": {"api_keys": [{**KEY, "scopes": ["everything"]}]}}, "http.api_keys[0].scopes[0]"),
        ({"http": {"api_keys": [{**KEY, "key_sha256": "x"}]}}, "http.api_keys[0].key_sha256"),
        ({"redis": {"url": "localhost:6379"}}, "redis.url"),
        ({"wake": {"deadline_s": 10, "ack_s": 10}}, "wake.ack_s"),
        ({"wake": {"deadline_s": 5, "repush_after_s": 5}}, "wake.repush_after_s"),
        ({"wake": {"deadline_s": 8, "together_s": 9}}, "wake.together_s"),
        ({"wake": {"deadline_s": float("nan")}}, "wake.deadline_s"),
        ({"pbxes": {"a": {}}}, "pbxes.a"),
        ({"pbxes": {"a": {"peers": ["0.0.0.0/0"]}}}, "pbxes.a.peers[0]"),
        ({"pbxes": {"a b": {"peers": ["192.0.2.1"]}}}, "pbxes.a b"),
        ({"privacy": "some"}, "privacy"),
        ({"secrets": {"key_file": "/nonexistent"}}, "secrets.key_file"),
        (
            {"providers": {"webhook": [{"app_id": "a", "url": "http://x"}] * 2}},
            "providers.webhook",
        ),
        ({"providers": {"webhook": [{"app_id": "a"}]}}, "providers.webhook[0].url"),
        (
            {
                "providers": {
                    "webhook": [{"app_id": "a", "url": "http://x", "hmac_key_file": "/none"}]
                }
            },
            "providers.webhook[0].hmac_key_file",
        ),
    ],
)
def test_values_and_contradictions_are_refused_by_name(raw: dict[str, Any], key: str) -> None:
    """The full name of the key stands before what is wrong with it."""
    assert f"{key}: " in refused(raw)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"sip: [", "no valid YAML"),
        (b"sip: {}\nsip: {}\n", "given twice"),
        (b"http: {listen: a, listen: b}\n", "given twice"),
        (b"- sip\n", "sections"),
        (b"\xff\xfe\x00", "UTF-8"),
    ],
)
def test_a_broken_file_is_named(tmp_path: Path, content: bytes, words: str) -> None:
    """The path, and what is wrong."""
    file = tmp_path / "c.yaml"
    file.write_bytes(content)
    with pytest.raises(ConfigurationError, match=words) as caught:
        load({"PUSH_PROXY_CONFIG": str(file)})
    assert str(file) in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """With what to do."""
    with pytest.raises(ConfigurationError, match="PUSH_PROXY_CONFIG"):
        load({"PUSH_PROXY_CONFIG": str(tmp_path / "none.yaml")})


def test_an_empty_file_is_the_defaults(tmp_path: Path) -> None:
    """Comments alone configure nothing."""
    file = tmp_path / "c.yaml"
    file.write_text("# nothing\n")
    assert load({"PUSH_PROXY_CONFIG": str(file)}) == load({})


def test_secrets_stay_out_of_texts() -> None:
    """A URL with a password and a key ring show in no representation."""
    settings = check({"redis": {"url": "redis://:hunter2@x/0"}, "secrets": {"keys": "1:hunter3"}})
    assert "hunter" not in repr(settings)
    assert "hunter" not in refused({"redis": {"url": "hunter2"}})
