"""The push payload: a flat map of strings, with no more than the privacy setting allows."""

from dataclasses import replace

import pytest

from push_proxy.core.actions import PushType
from push_proxy.core.ids import AccountKey, CallId, DeviceId, Instant, PushId
from push_proxy.core.model import Device
from push_proxy.core.payload import Privacy, Push, payload

PUSH = Push(
    id=PushId("p-1"),
    type=PushType.CALL,
    call=CallId("c-1"),
    sip_call_id="sip-1@pbx",
    device=Device(
        account=AccountKey("acme/alice"),
        device=DeviceId("phone"),
        provider="webhook",
        app_id="com.example.phone",
        token="t-1",
        alert_token="a-1",
    ),
    caller_number="+4930123",
    caller_name="Jörg",
    video=True,
    sent_at=Instant(1_800_000_000.25),
    expires_at=Instant(1_800_000_015.0),
)


def test_full_payload() -> None:
    """Every field of the contract, all strings, times in RFC 3339 UTC."""
    assert payload(PUSH, with_token=True) == {
        "v": "1",
        "type": "call",
        "push_id": "p-1",
        "call_id": "c-1",
        "sip_call_id": "sip-1@pbx",
        "account": "alice",
        "device": "phone",
        "token": "t-1",
        "caller_number": "+4930123",
        "caller_name": "Jörg",
        "video": "true",
        "sent_at": "2027-01-15T08:00:00.250Z",
        "expires_at": "2027-01-15T08:00:15.000Z",
    }


def test_ids_only_says_nothing_about_the_caller() -> None:
    """With ``ids_only`` the payload holds ids and times alone."""
    fields = payload(PUSH, privacy=Privacy.IDS_ONLY)
    assert fields.keys() == {
        "v", "type", "push_id", "call_id", "sip_call_id", "account", "device", "sent_at",
        "expires_at",
    }  # fmt: skip


def test_token_only_where_asked() -> None:
    """The push token is in a webhook's payload alone, the tenant in none."""
    assert "token" not in payload(PUSH)
    assert "acme" not in str(payload(PUSH, with_token=True))


@pytest.mark.parametrize("kind", list(PushType))
def test_type_is_the_contract_word(kind: PushType) -> None:
    """Each push type appears as its word."""
    assert payload(replace(PUSH, type=kind))["type"] == kind.value
