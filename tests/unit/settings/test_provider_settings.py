"""``providers``, ``devices``, ``events``: what is refused and what is warned of."""

import json
from pathlib import Path
from typing import Any

import pytest

from push_proxy.errors import ConfigurationError
from push_proxy.settings_file import check, load

ADDRESSES = {"sip": {"public_address": "push.example.com", "node_address": "10.0.0.7"}}
EVENT = {"url": "https://ops.example.com/"}


@pytest.fixture
def secret(tmp_path: Path) -> str:
    """A file that only we can read."""
    file = tmp_path / "secret"
    file.touch(0o600)
    file.write_text("a secret of some length")
    return str(file)


def refused(raw: dict[str, Any]) -> str:
    with pytest.raises(ConfigurationError) as caught:
        check(raw)
    return str(caught.value)


@pytest.mark.parametrize(
    ("fields", "key", "words"),
    [
        ({}, "providers.apns[0]", "no credentials"),
        ({"team_id": "T", "key_id": "K"}, "providers.apns[0].key_file", "go together"),
        ({"key_file": "FILE"}, "providers.apns[0].team_id", "go together"),
        (
            {"team_id": "T", "key_id": "K", "key_file": "FILE", "certificate_file": "FILE"},
            "providers.apns[0]",
            "keep the .p8 key or the certificate",
        ),
        ({"certificate_key_file": "FILE"}, "providers.apns[0].certificate_key_file", "without"),
        (
            {"certificate_file": "FILE", "app_id": "com.example.phone.voip"},
            "providers.apns[0].app_id",
            "com.example.phone; .voip is added",
        ),
        ({"certificate_file": "/none"}, "providers.apns[0].certificate_file", "no file /none"),
    ],
)
def test_apns_has_one_whole_proof_of_identity(
    secret: str, fields: dict[str, str], key: str, words: str
) -> None:
    """A .p8 key with its names, or a certificate; never half of one, never both."""
    given = {name: secret if value == "FILE" else value for name, value in fields.items()}
    text = refused({"providers": {"apns": [{"app_id": "com.example.phone", **given}]}})
    assert f"{key}: " in text
    assert words in text


def test_each_provider_serves_an_app_once(secret: str) -> None:
    """Twice the same app is a contradiction in every list; the same app at two providers is not."""
    entries: dict[str, dict[str, str]] = {
        "apns": {"certificate_file": secret},
        "fcm": {"service_account_file": secret},
        "webpush": {"vapid_key_file": secret, "subject": "mailto:a@b.example"},
        "hms": {"hms_app_id": "1", "client_secret_file": secret},
        "rustore": {"project_id": "p", "service_token_file": secret},
        "webhook": {"url": "http://x", "hmac_key_file": secret},
    }
    check({"providers": {name: [{"app_id": "a", **rest}] for name, rest in entries.items()}})
    text = refused(
        {"providers": {name: [{"app_id": "a", **rest}] * 2 for name, rest in entries.items()}}
    )
    for name in entries:
        assert f"providers.{name}: app_id 'a' is given 2 times" in text


def test_missing_files_of_every_kind_are_named() -> None:
    """The key that names the file, and the file."""
    text = refused(
        {
            "providers": {
                "fcm": [{"app_id": "a", "service_account_file": "/none", "ca_file": "/no-ca"}],
                "hms": [{"app_id": "a", "hms_app_id": "1", "client_secret_file": "/none"}],
            },
            "events": {"webhooks": [{**EVENT, "hmac_key_file": "/none"}]},
        }
    )
    for key in (
        "providers.fcm[0].service_account_file: there is no file /none",
        "providers.fcm[0].ca_file: there is no file /no-ca",
        "providers.hms[0].client_secret_file: there is no file /none",
        "events.webhooks[0].hmac_key_file: there is no file /none",
    ):
        assert key in text


@pytest.mark.parametrize(
    ("devices", "right"),
    [
        ({"idle_days": 90, "refresh_days": 90}, False),
        ({"idle_days": 5}, False),
        ({"idle_days": 5, "refresh_days": None}, True),
        ({"idle_days": None, "refresh_days": 30}, True),
        ({"idle_days": 5, "refresh_days": 4.5}, True),
    ],
)
def test_an_app_is_asked_before_its_token_is_dropped(
    devices: dict[str, float | None], right: bool
) -> None:
    """refresh_days is less than idle_days, or one of them is off."""
    if right:
        check({"devices": devices})
    else:
        assert "devices.refresh_days: " in refused({"devices": devices})


@pytest.mark.parametrize(
    ("url", "right"),
    [
        ("https://ops.example.com/", True),
        ("http://ops.example.com/", False),
        ("https://10.0.0.1/", False),
        ("https://169.254.169.254/latest/", False),
        ("https://[::1]:8443/", False),
        ("https://localhost/", False),
    ],
)
def test_events_leave_encrypted_and_for_the_outside(url: str, right: bool) -> None:
    """Anything else has to be allowed by name."""
    check({"events": {"webhooks": [{"url": url, "allow_private": True}]}})
    if right:
        check({"events": {"webhooks": [{"url": url}]}})
    else:
        text = refused({"events": {"webhooks": [{"url": url}]}})
        assert "events.webhooks[0].url: " in text
        assert "allow_private" in text


def test_what_leaves_for_elsewhere_is_said(secret: str) -> None:
    """A base_url left over from a test is no secret: pushes do not reach Apple or Google."""
    settings = check(
        {
            **ADDRESSES,
            "providers": {
                "apns": [
                    {"app_id": "a", "certificate_file": secret, "base_url": "https://127.0.0.1:9/"}
                ],
                "fcm": [
                    {
                        "app_id": "a",
                        "service_account_file": secret,
                        "base_url": "http://u:p@fake.io:8/?k=v",
                        "token_uri": "https://fake.io/token",
                    }
                ],
            },
        }
    )
    assert settings.warnings == (
        "providers.apns[0].base_url is set: pushes go to 127.0.0.1:9 instead of Apple",
        "providers.fcm[0].base_url is set: pushes go to fake.io:8 instead of Google, unencrypted",
        "providers.fcm[0].token_uri is set: credentials are shown to fake.io:443 instead of Google",
    )


def test_what_others_could_read_or_forge_is_said(secret: str) -> None:
    """Unsigned webhooks of both kinds, readable keys, endpoints in our own network."""
    Path(secret).chmod(0o644)
    settings = check(
        {
            **ADDRESSES,
            "providers": {
                "webpush": [
                    {
                        "app_id": "a",
                        "vapid_key_file": secret,
                        "subject": "mailto:a@b.example",
                        "allow_private": True,
                    }
                ],
                "webhook": [{"app_id": "a", "url": "http://x"}],
            },
            "events": {"webhooks": [EVENT]},
        }
    )
    told = "\n".join(settings.warnings)
    for words in (
        f"providers.webpush[0].vapid_key_file: every user of this machine can read {secret}",
        "providers.webpush[0].allow_private is true",
        "providers.webhook[0].hmac_key_file is not set: pushes for a are not signed",
        "events.webhooks[0].hmac_key_file is not set: events are not signed",
    ):
        assert words in told


def test_the_lists_come_from_the_environment_too(secret: str) -> None:
    """As JSON, whole; sections' single values by name. A fault names the variable."""
    environment = {
        "PUSH_PROXY_PROVIDERS__APNS": json.dumps([{"app_id": "a", "certificate_file": secret}]),
        "PUSH_PROXY_PROVIDERS__FCM": json.dumps([{"app_id": "b", "service_account_file": secret}]),
        "PUSH_PROXY_EVENTS__WEBHOOKS": json.dumps([{**EVENT, "types": ["call.missed"]}]),
        "PUSH_PROXY_DEVICES__MAX_PER_ACCOUNT": "3",
        "PUSH_PROXY_DEVICES__IDLE_DAYS": "null",
    }
    settings = load(environment)
    assert settings.providers.apns[0].app_id == "a"
    assert settings.providers.fcm[0].app_id == "b"
    assert settings.events.webhooks[0].types == {"call.missed"}
    assert (settings.devices.max_per_account, settings.devices.idle_days) == (3, None)
    with pytest.raises(ConfigurationError, match=r"providers.apns\[0\] \(from PUSH_PROXY_PROVID"):
        load({"PUSH_PROXY_PROVIDERS__APNS": '[{"app_id": "a"}]'})
