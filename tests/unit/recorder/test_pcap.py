"""Capture files as Wireshark's own dissector reads them."""

import subprocess
from pathlib import Path

from push_proxy.core.model import Address
from push_proxy.recorder.pcap import pcap
from push_proxy.recorder.recording import RecordedMessage

from .messages import PBX, PHONE, SDP, US, message, recorded

CALL = (
    ("INVITE sip:101@10.0.0.7 SIP/2.0", False, SDP),
    ("SIP/2.0 100 Trying", True, ""),
    ("SIP/2.0 180 Ringing", True, ""),
    ("SIP/2.0 200 OK", True, SDP),
    ("ACK sip:101@10.0.0.7 SIP/2.0", False, ""),
)


def tshark(folder: Path, data: bytes, *fields: str, only: str = "") -> list[list[str]]:
    """The fields of each packet, checksums verified; a fault of the file fails the test."""
    file = folder / "call.pcap"
    file.write_bytes(data)
    options = ["-o", "udp.check_checksum:TRUE", "-o", "tcp.check_checksum:TRUE"]
    options += ["-o", "ip.check_checksum:TRUE", *(["-Y", only] if only else [])]
    shown = [part for field in fields for part in ("-e", field)]
    done = subprocess.run(
        ["tshark", "-r", str(file), *options, "-T", "fields", *shown],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return [line.split("\t") for line in done.stdout.splitlines()]


def call(peer: Address, local: Address) -> list[RecordedMessage]:
    return [
        recorded(
            message(start, "CSeq: 1 INVITE", body=body),
            at=1_000.0 + number / 1000,
            sent=sent,
            peer=peer,
            local=local,
        )
        for number, (start, sent, body) in enumerate(CALL)
    ]


HOSTS = (("192.0.2.10", "10.0.0.7", "ip"), ("2001:db8::10", "2001:db8::7", "ipv6"))


def test_every_transport_is_read_as_sip(tmp_path: Path) -> None:
    """Over UDP, TCP and TLS, IPv4 and IPv6, each message is a SIP packet with right checksums,
    addresses and times, and the description of its media is read; TLS stands at port 5060.
    """
    flows = [
        (peer, local, family, transport, 40_000 + number)
        for peer, local, family in HOSTS
        for number, transport in enumerate(("udp", "tcp", "tls"))
    ]
    messages, expected = [], []
    for peer, local, family, transport, port in flows:
        ours = 5061 if transport == "tls" else 5060
        messages += call(Address(peer, port, transport), Address(local, ours, transport))
        expected += [(peer, local, family, transport, str(port), *step) for step in CALL]
    packets = tshark(
        tmp_path, pcap(messages), "sip.Method", "sip.Status-Code", "frame.time_relative",
        "sdp.connection_info.address", "_ws.malformed", "tcp.analysis.flags",
        "ip.src", "ip.dst", "ipv6.src", "ipv6.dst",
        "udp.srcport", "udp.dstport", "udp.checksum.status",
        "tcp.srcport", "tcp.dstport", "tcp.checksum.status",
    )  # fmt: skip
    for number, (packet, (peer, local, family, transport, port, start, sent, body)) in enumerate(
        zip(packets, expected, strict=True)
    ):
        is_response = start.startswith("SIP")
        assert packet[is_response] == start.split()[is_response]
        assert abs(float(packet[2]) - number % len(CALL) / 1000) < 1e-6
        assert packet[3:6] == ["192.0.2.10" if body else "", "", ""]
        hosts = packet[6:8] if family == "ip" else packet[8:10]
        assert hosts == ([local, peer] if sent else [peer, local])
        layer = packet[10:13] if transport == "udp" else packet[13:16]
        assert layer == [*(("5060", port) if sent else (port, "5060")), "1"]


def test_a_call_id_finds_its_messages(tmp_path: Path) -> None:
    """A display filter by Call-ID shows the call without the REGISTER beside it."""
    messages = call(PBX, US)
    register = message("REGISTER sip:pbx.example.com SIP/2.0", call_id="reg-1")
    messages.insert(2, recorded(register, at=1_000.0015, peer=PHONE))
    data = pcap(messages)
    assert len(tshark(tmp_path, data, "sip.Method")) == 6
    found = tshark(tmp_path, data, "sip.Method", only='sip.Call-ID == "sip-1"')
    assert [method for (method,) in found] == ["INVITE", "", "", "", "ACK"]


def test_an_address_that_listens_everywhere_has_the_others_family(tmp_path: Path) -> None:
    """A listener at 0.0.0.0 or [::] takes part in both families' packets."""
    for peer, local in (("2001:db8::10", "0.0.0.0"), ("192.0.2.10", "::")):
        data = pcap(call(Address(peer, 5060), Address(local, 5060)))
        assert [row[0] for row in tshark(tmp_path, data, "sip.Call-ID")] == ["sip-1"] * 5


def test_the_longest_message_is_whole_over_tcp(tmp_path: Path) -> None:
    """More than a packet holds is several, which the reader joins."""
    raw = message("INVITE sip:101@10.0.0.7 SIP/2.0", body="x" * 90_000)
    local = Address("10.0.0.7", 5060, "tcp")
    data = pcap([recorded(raw, peer=Address("192.0.2.10", 40_000, "tcp"), local=local)])
    rows = tshark(tmp_path, data, "sip.Method", "sip.Content-Length", only="sip")
    assert rows == [["INVITE", "90000"]]


def test_a_recording_without_messages_is_an_empty_file(tmp_path: Path) -> None:
    """It opens all the same."""
    assert tshark(tmp_path, pcap([]), "frame.number") == []
