"""What a push to APNs looks like: kind, topic, priority, end, body, and its limits."""

import json
from dataclasses import replace
from typing import Any

import pytest

from push_proxy.core.actions import PushType
from push_proxy.core.payload import Privacy
from push_proxy.providers.apns_payload import ApnsMessage, message, to_alert_token

from .apns_bench import device, push

APP = "com.example.phone"
PHONE = device("ab" * 32, alert_token="cd" * 32)


def made(
    kind: PushType, *, privacy: Privacy = Privacy.FULL, slim: bool = False, **said: Any
) -> ApnsMessage:
    return message(push(PHONE, kind, **said), app_id=APP, privacy=privacy, slim=slim)


def body(of: ApnsMessage) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(of.body)
    return found


def test_call() -> None:
    """A call is a VoIP push: own topic, priority 10, literal expiration 0, aps empty."""
    one = made(PushType.CALL)
    assert (one.push_type, one.topic, one.priority) == ("voip", f"{APP}.voip", 10)
    assert one.expiration == 0
    assert body(one)["aps"] == {}
    assert body(one)["type"] == "call"
    assert not to_alert_token(PushType.CALL)


@pytest.mark.parametrize("kind", [PushType.CANCEL, PushType.ANSWERED_ELSEWHERE, PushType.REFRESH])
def test_background(kind: PushType) -> None:
    """What no person sees is a background push of priority 5 to the alert token: never VoIP."""
    said = push(PHONE, kind)
    one = message(said, app_id=APP, privacy=Privacy.FULL)
    assert (one.push_type, one.topic, one.priority) == ("background", APP, 5)
    assert body(one)["aps"] == {"content-available": 1}
    assert 0 <= one.expiration - said.expires_at <= 1, "a time on the wall clock, not a duration"
    assert to_alert_token(kind)


@pytest.mark.parametrize("kind", [PushType.MISSED, PushType.MESSAGE, PushType.VOICEMAIL])
def test_alert(kind: PushType) -> None:
    """What a person sees is an alert in the app's own words, kept for a day."""
    said = push(PHONE, kind)
    one = message(said, app_id=APP, privacy=Privacy.FULL)
    assert (one.push_type, one.topic, one.priority) == ("alert", APP, 10)
    assert body(one)["aps"]["alert"] == {
        "loc-key": f"push_proxy_{kind}_from",
        "loc-args": ["Erika Mustermann"],
    }
    assert one.expiration - said.sent_at == pytest.approx(86_400, abs=1)


def test_alert_without_name() -> None:
    """Without a name the number is shown; without both the alert has words of its own."""
    numbered = made(PushType.MISSED, caller_name="")
    assert body(numbered)["aps"]["alert"]["loc-args"] == ["+4930123456"]
    nobody = made(PushType.MISSED, caller_name="", caller_number="")
    assert body(nobody)["aps"]["alert"] == {"loc-key": "push_proxy_missed"}


@pytest.mark.parametrize("kind", PushType)
def test_ids_only(kind: PushType) -> None:
    """With `ids_only` nothing of the caller is in the body, neither beside aps nor in its alert."""
    text = made(kind, privacy=Privacy.IDS_ONLY).body.decode()
    assert "Erika" not in text
    assert "4930" not in text
    assert "caller" not in text


@pytest.mark.parametrize(
    ("kind", "limit"),
    [(PushType.CALL, 5120), (PushType.MISSED, 4096), (PushType.CANCEL, 4096)],
)
@pytest.mark.parametrize("letter", ["x", "ü", "📞", '"', "\ud800"])
def test_limit(kind: PushType, limit: int, letter: str) -> None:
    """However long or odd a name is, the body fits Apple's limit, and no byte too few is left."""
    one = made(kind, caller_name=letter * 9000, sip_call_id="c" * 9000)
    assert len(one.body) <= limit
    assert len(one.body) > limit - 30
    assert body(one)["push_id"]
    assert body(one)["call_id"]


def test_slim() -> None:
    """For a server that finds it too large anyway, everything that can be left out is."""
    one = made(PushType.CALL, slim=True)
    assert (body(one)["caller_name"], body(one)["caller_number"]) == ("", "")
    assert body(one)["sip_call_id"] == ""
    assert len(one.body) < 400
    assert "caller" not in made(PushType.CALL, slim=True, privacy=Privacy.IDS_ONLY).body.decode()


def test_body_stays_out_of_logs() -> None:
    """The message's repr shows no body."""
    assert "Erika" not in repr(made(PushType.CALL))
    assert "abab" not in repr(replace(push(PHONE)))
