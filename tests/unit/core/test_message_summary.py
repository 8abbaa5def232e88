"""core.message_summary: what is read from a NOTIFY, and what is news."""

import pytest

from push_proxy.core.ids import AccountKey, DeviceId, Instant
from push_proxy.core.message import parse
from push_proxy.core.message_summary import (
    Mailbox,
    Summary,
    is_summary,
    mailbox,
    newest,
    summary,
    with_told,
    without,
)

KEY = AccountKey("acme/101")
PHONE = DeviceId("phone")


def kept(body: bytes, **more: object) -> Mailbox:
    values = {
        "account": KEY,
        "event": "message-summary",
        "state": "active",
        "content_type": "application/simple-message-summary",
        "body": body,
        "received_at": Instant(1.0),
    }
    return Mailbox(**{**values, **more})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("body", "found"),
    [
        (b"Messages-Waiting: yes\r\nVoice-Message: 2/8 (0/2)\r\n", Summary(True, 2, 8)),
        (b"Messages-Waiting: no\r\nMessage-Account: sip:x@y\r\n", Summary(False, None, None)),
        (b"messages-waiting : YES\nvoice-message:1 / 0\n", Summary(True, 1, 0)),
        (b"Voice-Message: 3/0\r\n", Summary(True, 3, 0)),
        (b"Voice-Message: 0/4\r\n", Summary(False, 0, 4)),
        (b"X-Messages-Waiting: yes\r\nVoice-Message: many\r\n", Summary(False, None, None)),
        (b"", Summary(False, None, None)),
        (b"\xff\x00Messages-Waiting: maybe", Summary(False, None, None)),
    ],
)
def test_counts(body: bytes, found: Summary) -> None:
    """RFC 3842 §5.2, as PBXs write it; nonsense means that nothing is said."""
    assert summary(kept(body)) == found


def notify(*headers: str, body: bytes = b"") -> bytes:
    return "\r\n".join(["NOTIFY sip:a@b SIP/2.0", *headers, "", ""]).encode() + body


def test_reading() -> None:
    """Event with its parameters and Subscription-State are kept as they were sent."""
    message = parse(
        notify(
            "o: Message-Summary ;id=4",
            "Subscription-State: active;expires=59",
            "c: application/simple-message-summary",
            body=b"Messages-Waiting: yes\r\n",
        )
    )
    assert is_summary(message)
    found = mailbox(message, KEY, Instant(7.0))
    assert (found.event, found.state) == ("Message-Summary ;id=4", "active;expires=59")
    assert found.content_type == "application/simple-message-summary"
    assert found.body == b"Messages-Waiting: yes\r\n"
    assert not is_summary(parse(notify("Event: message-summary.winfo")))
    assert not is_summary(parse(notify("Subscription-State: active")))


def test_news() -> None:
    """Another body is news for everybody; the same again is none, whatever its state says."""
    old = with_told(with_told(kept(b"1"), PHONE), PHONE)
    assert old.told == (PHONE,)
    assert newest(None, old) is old
    assert newest(old, kept(b"1", state="active;expires=9", received_at=Instant(5.0))) is old
    new = kept(b"2")
    assert newest(old, new) is new
    assert newest(old, kept(b"1", content_type="text/plain")).told == ()
    assert without(old, PHONE).told == ()


def test_phones_that_come_and_go_do_not_pile_up() -> None:
    """A mailbox that nobody touches for months outlives hundreds of unannounced phones."""
    old = kept(b"1")
    for n in range(500):
        old = with_told(old, DeviceId(f"~{n}"))
    assert len(old.told) <= 50
    assert "~499" in old.told
