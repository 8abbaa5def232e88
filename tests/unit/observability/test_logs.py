"""Logs: JSON lines with the call's id, without secrets, and never a flood."""

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from push_proxy.errors import ConfigurationError
from push_proxy.observability import redaction
from push_proxy.observability.logs import StackLogs, configure_logs
from push_proxy.observability.sampling import Sampler, kind_of
from push_proxy.signaling.facts import StackLog


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    before = (root.handlers[:], root.level)
    made = io.StringIO()
    configure_logs("info", stream=made)
    yield made
    root.handlers[:] = before[0]
    root.setLevel(before[1])
    structlog.reset_defaults()


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_line_is_json(stream: io.StringIO) -> None:
    """A line is one JSON object with time, level, event and its fields; debug stays out."""
    log = structlog.get_logger("push_proxy.test")
    log.debug("unseen")
    log.info("call ended", verdict="answered", status=200)
    (line,) = lines(stream)
    assert line.pop("at").endswith("Z")
    assert line == {"level": "info", "event": "call ended", "verdict": "answered", "status": 200}


def test_other_libraries_get_the_same_form(stream: io.StringIO) -> None:
    """A standard library logger's line is JSON as well; chatter below warning stays out."""
    configure_logs("debug", stream=stream)
    logging.getLogger("someone").warning("odd %s", "thing")
    logging.getLogger("uvicorn.access").info("GET /")
    logging.getLogger("httpcore.http2").debug("authorization: bearer secret")
    (line,) = lines(stream)
    assert (line["level"], line["event"]) == ("warning", "odd thing")


def test_exception_is_one_line(stream: io.StringIO) -> None:
    """An exception's traceback is a field of the one line that reports it."""
    try:
        raise ValueError("boom")
    except ValueError:
        structlog.get_logger().exception("failed")
    (line,) = lines(stream)
    assert "ValueError: boom" in line["exception"]


def test_secrets_stay_out(stream: io.StringIO) -> None:
    """Fields that hold secrets or numbers are shortened, whoever logs them."""
    structlog.get_logger().info(
        "x",
        password="hunter2",
        token="abcdefghijklmnopqrstuvwxyz",
        caller="+4930123456",
        contact="sip:+4930123456@192.0.2.1;pn-prid=abcdefgh",
        raw=b'REGISTER sip:x SIP/2.0\r\nAuthorization: Digest response="1234"\r\n\r\n',
    )
    text = stream.getvalue()
    for secret in ("hunter2", "efgh", "0123456", "1234\\"):
        assert secret not in text
    (line,) = lines(stream)
    assert line["caller"] == "…456"
    assert line["token"] == "abcd…"


def test_unknown_level() -> None:
    """A level that does not exist is refused with those that do."""
    with pytest.raises(ConfigurationError, match="debug, info, warning, error"):
        configure_logs("loud")


def test_stack_noise_is_sampled(stream: io.StringIO) -> None:
    """A thousand lines that differ in numbers alone become a few; another kind still shows."""
    logs = StackLogs(burst=3, window_s=60)
    for number in range(1000):
        logs.take(StackLog(2, f"bad packet from 192.0.2.{number % 256}:{number}"))
    logs.take(StackLog(1, "transport failed"))
    events = [line["event"] for line in lines(stream)]
    assert len(events) == 4
    assert events[-1] == "transport failed"


def test_what_was_left_out_is_counted() -> None:
    """The first line after a flood says how many were left out; kinds are bounded."""
    sampler = Sampler(burst=2, window_s=10, kinds=3)
    assert [sampler.admit("a", float(t)) for t in range(5)] == [0, 0, None, None, None]
    assert sampler.admit("a", 10.0) == 3
    assert [sampler.admit(f"k{n}", 11.0) for n in range(100)] == [0] * 100
    assert len(sampler._seen) <= 3
    assert kind_of("a 0x7f12 b 99") == kind_of("a 0x1 b 1")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("sip:alice@example.com", "sip:…ice@example.com"),
        ("<sip:+4930123456@pbx;user=phone>", "<sip:…456@pbx;user=phone>"),
        ("sip:100@pbx", "sip:100@pbx"),
        ("sip:x@h;pn-provider=fcm;pn-prid=SECRET>", "sip:x@h;pn-provider=fcm;pn-prid=[hidden]>"),
        ("<sip:x@h;pn-prid=A:voip&B:remote;ob>", "<sip:x@h;pn-prid=[hidden];ob>"),
        ("<sip:x@h;app-id=a;PN-TOK=SECRET>", "<sip:x@h;app-id=a;PN-TOK=[hidden]>"),
        ("tel:+4930123456", "tel:…456"),
    ],
)
def test_uris(text: str, shown: str) -> None:
    """A URI keeps its host; a long user is cut, a push token hidden."""
    assert redaction.uri(text) == shown


def test_folded_proof_is_hidden_whole() -> None:
    """A folded Authorization header is hidden with its continuation lines."""
    text = 'A: 1\r\nProxy-Authorization: Digest a="b",\r\n  response="99"\r\nB: 2\r\n'
    assert redaction.message(text) == "A: 1\r\nProxy-Authorization: [hidden]\r\nB: 2\r\n"


def test_short_token_shows_nothing() -> None:
    """A token too short to cut is hidden whole."""
    assert redaction.token("short") == redaction.HIDDEN
