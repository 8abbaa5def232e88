"""Records that an older version has stored are read by this one."""

import json

import pytest

from push_proxy.core.model import Account, CallRecord, Device
from push_proxy.core.policy_rules import Policy
from push_proxy.store.codec import Codec

from .conftest import RING
from .samples import account, call, device

NEW = (
    "token_at",
    "token_fault",
    "seen_at",
    "refresh_sent_at",
    "by_register",
    "purr",
    "environment",
    "alert_token",
)


@pytest.mark.parametrize("missing", [NEW, *((name,) for name in NEW)])
def test_a_device_without_the_newer_fields_is_read(missing: tuple[str, ...]) -> None:
    """What is missing is as nobody knows of it: a good token, no sign of life noted."""
    codec, place = Codec(RING), "acme/alice|phone"
    plain = json.loads(codec.encode(device(), place))
    for name in missing:
        del plain[name]
    read = codec.decode(Device, json.dumps(plain).encode(), place)
    for name in missing:
        assert getattr(read, name) == Device.__dataclass_fields__[name].default
    assert read.has_target


def test_an_account_without_a_policy_is_read() -> None:
    """Its calls end as they did before there were policies."""
    codec, place = Codec(RING), "acme/alice"
    plain = json.loads(codec.encode(account(), place))
    del plain["policy"]
    assert codec.decode(Account, json.dumps(plain).encode(), place).policy == Policy()


def test_a_call_without_evidence_is_read() -> None:
    """Its verdict and advice stand as they were; nothing more is known of it."""
    codec, place = Codec(RING), "call-1"
    plain = json.loads(codec.encode(call(1_000.0), place))
    del plain["evidence"]
    for name in ("cause", "device", "led_by"):
        del plain["outcome"][name]
    read = codec.decode(CallRecord, json.dumps(plain).encode(), place)
    assert read.evidence is None
    assert read.outcome is not None
    assert (read.outcome.cause, read.outcome.device, read.outcome.led_by) == ("", None, None)
    assert read.outcome.advice == "none"
