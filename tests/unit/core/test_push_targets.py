"""Tokens that cannot be: found when they are handed in."""

import base64
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from push_proxy.core.push_targets import target_fault
from push_proxy.core.web_subscription import BadSubscription, web_subscription

HEX = "0a" * 32
ENDPOINT = "https://push.example.net/send/abc?x=1"
POINT = (
    ec.generate_private_key(ec.SECP256R1())
    .public_key()
    .public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
)


def b64(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).decode().rstrip("=")


KEYS = {"p256dh": b64(POINT), "auth": b64(b"a" * 16)}


def subscription(**changes: Any) -> str:
    fields = {"endpoint": ENDPOINT, "expirationTime": None, "keys": KEYS, **changes}
    return json.dumps(fields)


@pytest.mark.parametrize(
    ("provider", "token", "kind"),
    [
        ("apns", HEX, "token"),
        ("apns", HEX.upper() * 2, "token"),
        ("fcm", "dQw4w9WgXcQ:APA91b-_" + "x" * 130, "token"),
        ("fcm", "cIoHJuEWRHy6xxxxxxxxxx", "fid"),
        ("hms", "IQAAAACy0" + "x" * 120, "token"),
        ("rustore", "bk3RNwTe3H", "token"),
        ("webhook", "anything at all, ü", "token"),
        ("webpush", ENDPOINT, "token"),
        ("webpush", "https://[2001:db8::1]:8443/up", "token"),
        ("webpush", subscription(), "token"),
        ("webpush", subscription(keys={k: v + "=" for k, v in KEYS.items()}), "token"),
    ],
)
def test_tokens_of_the_right_form(provider: str, token: str, kind: str) -> None:
    """What each platform hands out is taken."""
    assert target_fault(provider, token, alert_token=None, token_kind=kind) is None


@pytest.mark.parametrize(
    ("provider", "token", "kind", "field"),
    [
        ("apns", HEX[:-1], "token", "token"),
        ("apns", HEX[:-2], "token", "token"),
        ("apns", HEX + "\n", "token", "token"),
        ("apns", "<0a0a0a0a 0a0a0a0a>" * 4, "token", "token"),
        ("fcm", "with space", "token", "token"),
        ("fcm", "x" * 4097, "token", "token"),
        ("fcm", "too-short", "fid", "token"),
        ("hms", "", "token", "token"),
        ("hms", "x" * 4097, "token", "token"),
        ("rustore", "a b", "token", "token"),
        ("rustore", "ü", "token", "token"),
        ("webhook", "a\x00b", "token", "token"),
        ("apns", HEX, "fid", "token_kind"),
    ],
)
def test_tokens_that_cannot_be(provider: str, token: str, kind: str, field: str) -> None:
    """A form that the platform does not have is refused, naming the field and not the token."""
    fault = target_fault(provider, token, alert_token=None, token_kind=kind)
    assert fault is not None
    assert fault.startswith(f"{field} ")
    assert not token or token not in fault


@pytest.mark.parametrize(
    "token",
    [
        "http://push.example.net/send/abc",
        "ftp://push.example.net/x",
        "https://",
        "https:///send/abc",
        "https://user:secret@push.example.net/x",
        "https://push.example.net/x#part",
        "https://push.example.net:99999/x",
        "https://[::1/x",
        "https://push.example.net/with space",
        "https://push.example.net/ü",
        "https://push.example.net/" + "x" * 2048,
        "nonsense",
        "{",
        "[" * 4000,
        '{"a":' * 800,
        "{}",
        json.dumps({"endpoint": ENDPOINT}),
        subscription(endpoint=5),
        subscription(endpoint="http://push.example.net/"),
        subscription(keys=[]),
        subscription(keys={"p256dh": KEYS["p256dh"]}),
        subscription(keys={**KEYS, "auth": b64(b"a" * 15)}),
        subscription(keys={**KEYS, "auth": "+/+/+/+/+/+/+/+/+/+/+w"}),
        subscription(keys={**KEYS, "auth": "a"}),
        subscription(keys={**KEYS, "p256dh": b64(POINT[:-1])}),
        subscription(keys={**KEYS, "p256dh": b64(b"\x04" + b"\x01" * 64)}),
        subscription(keys={**KEYS, "p256dh": b64(b"\x05" + POINT[1:])}),
        subscription(keys={**KEYS, "p256dh": 7}),
    ],
)
def test_subscriptions_that_cannot_be(token: str) -> None:
    """Neither an https URL nor a subscription whose keys are a point of P-256 and 16 bytes."""
    fault = target_fault("webpush", token, alert_token=None)
    assert fault is not None
    assert fault.startswith("token ")
    assert "secret" not in fault
    assert ENDPOINT not in fault


def test_alert_tokens_are_apples() -> None:
    """alert_token is checked like a device token, and refused where there is no such thing."""
    assert target_fault("apns", HEX, alert_token=HEX) is None
    assert target_fault("apns", None, alert_token=HEX) is None
    for provider, alert_token in (("apns", "xyz"), ("fcm", HEX)):
        fault = target_fault(provider, HEX, alert_token=alert_token)
        assert fault is not None
        assert fault.startswith("alert_token ")


def test_what_a_subscription_says() -> None:
    """Endpoint, keys as bytes, and the origin as VAPID wants it: no default port, lower case."""
    full = web_subscription(subscription(endpoint="https://PUSH.example.net:443/send/abc"))
    assert full.endpoint == "https://PUSH.example.net:443/send/abc"
    assert (full.origin, full.p256dh, full.auth) == (
        "https://push.example.net",
        POINT,
        b"a" * 16,
    )
    bare = web_subscription("https://[2001:db8::1]:8443/up")
    assert (bare.origin, bare.p256dh, bare.auth) == ("https://[2001:db8::1]:8443", b"", b"")


def test_a_subscription_keeps_its_secrets() -> None:
    """Whoever knows an endpoint may push to it: neither repr nor error shows it or the keys."""
    shown = repr(web_subscription(subscription()))
    assert "/send/abc" not in shown
    assert "auth" not in shown
    with pytest.raises(BadSubscription) as caught:
        web_subscription("http://push.example.net/send/abc")
    assert "/send" not in str(caught.value)
