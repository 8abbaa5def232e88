"""The SIP of a call by HTTP."""

import struct

import pytest

from push_proxy.core.ids import AccountKey, CallId, Instant
from push_proxy.core.model import Address
from push_proxy.recorder.recording import RecordedMessage, Recording

from .conftest import Api

PATH = "/v1/calls/call-1/sip"
PBX, PHONE = Address("192.0.2.10", 5060), Address("192.0.2.50", 40_000, "tls")
US, US_TLS = Address("192.0.2.1", 5070), Address("192.0.2.1", 5071, "tls")
INVITE = b"INVITE sip:101@192.0.2.1 SIP/2.0\r\nCall-ID: abc@192.0.2.9\r\n\r\n"


async def recorded(api: Api, **fields: int) -> None:
    """A call with two messages."""
    await api.account()
    record = await api.call_record()
    begin = record.started_at
    api.recordings[record.id] = Recording(
        call=record.id,
        account=record.account,
        messages=(
            RecordedMessage(Instant(begin + 0.001), False, "pbx", PBX, US, INVITE),
            RecordedMessage(
                Instant(begin + 1.5), True, "d1", PHONE, US_TLS, b"INVITE sip:d SIP/2.0\n\n\xff"
            ),
        ),
        **fields,
    )


async def test_the_ladder(api: Api) -> None:
    """Hops as columns, and each message with its ends, its time and its whole text."""
    await recorded(api, dropped=3, missed=2)
    answer = await api.call("GET", PATH)
    assert answer.json() == {
        "hops": ["pbx", "us", "d1"],
        "messages": [
            {
                "at": "2027-01-15T08:00:00.001Z",
                "ms": 1.0,
                "from": "pbx",
                "to": "us",
                "hop": "pbx",
                "transport": "udp",
                "from_address": "udp:192.0.2.10:5060",
                "to_address": "udp:192.0.2.1:5070",
                "start_line": "INVITE sip:101@192.0.2.1 SIP/2.0",
                "text": INVITE.decode(),
            },
            {
                "at": "2027-01-15T08:00:01.500Z",
                "ms": 1500.0,
                "from": "us",
                "to": "d1",
                "hop": "d1",
                "transport": "tls",
                "from_address": "tls:192.0.2.1:5071",
                "to_address": "tls:192.0.2.50:40000",
                "start_line": "INVITE sip:d SIP/2.0",
                "text": "INVITE sip:d SIP/2.0\n\n\N{REPLACEMENT CHARACTER}",
            },
        ],
        "dropped": 3,
        "missed": 2,
    }


async def test_the_capture_file(api: Api) -> None:
    """A file to download, named after the call, in the classic format."""
    await recorded(api)
    answer = await api.call("GET", f"{PATH}.pcap")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/vnd.tcpdump.pcap"
    assert answer.headers["content-disposition"] == 'attachment; filename="call-call-1.pcap"'
    assert struct.unpack("<I", answer.content[:4]) == (0xA1B2C3D4,)
    assert INVITE in answer.content


@pytest.mark.parametrize("path", [PATH, f"{PATH}.pcap"])
async def test_nothing_was_kept(api: Api, path: str) -> None:
    """404, which says whether the recorder is off; also of a call whose messages were all lost."""
    await api.account()
    assert "GET /v1/calls searches" in (await api.call("GET", path)).json()["detail"]
    await api.call_record()
    answer = await api.call("GET", path)
    assert answer.status_code == 404
    assert "older than recorder.keep_s" in answer.json()["detail"]
    call, key = CallId("call-1"), AccountKey("acme/101")
    api.recordings[call] = Recording(call=call, account=key, dropped=4)
    assert (await api.call("GET", path)).status_code == 404
    api.recordings.enabled = False
    assert "the recorder is off" in (await api.call("GET", path)).json()["detail"]


@pytest.mark.parametrize("path", [PATH, f"{PATH}.pcap"])
async def test_another_tenants_call_does_not_exist(api: Api, path: str) -> None:
    """As with the call itself."""
    await recorded(api)
    assert (await api.call("GET", path, key="other")).status_code == 404
