"""The SIP of calls on the wire: what is recorded is what was there, without its secrets."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.lab.ports import free_port
from tests.lab.process import Process, poll_until
from tests.lab.service import LabService, ServiceOptions
from tests.lab.sip_agent import SipAgent
from tests.unit.recorder.hep_reader import HepPacket, read

from .conftest import WEBHOOK_KEY, Extension, MakeExtension

HEP_PORT = free_port()
PUSH_TOKEN = "prid-of-this-very-phone"
RECORDER: dict[str, Any] = {"enabled": True, "hep": {"address": f"udp:127.0.0.1:{HEP_PORT}"}}


@pytest.fixture(scope="module")
def shared_service() -> Iterator[LabService]:
    """A service with its recorder on; its collector listens only where a test makes it."""
    directory = Path(tempfile.mkdtemp(prefix="pp-"))
    options = ServiceOptions(
        webhook_url=f"http://127.0.0.1:{free_port()}/push",
        webhook_key=WEBHOOK_KEY,
        listen=("udp", "tcp"),
        extra={"recorder": RECORDER},
    )
    service = LabService(directory / "service", options)
    yield service
    service.kill()
    Process.started.discard(service.process)
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
async def collector() -> AsyncIterator[list[HepPacket]]:
    """What a Homer would get."""
    packets: list[HepPacket] = []

    class Collector(asyncio.DatagramProtocol):
        def datagram_received(self, data: bytes, _: Any) -> None:
            packets.append(read(data))

    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(
        Collector, local_addr=("127.0.0.1", HEP_PORT)
    )
    yield packets
    transport.close()


async def woken_call(ext: Extension, *, transport: str = "udp") -> tuple[str, list[SipAgent]]:
    """A call to a sleeping phone, answered and ended; our id of it, and who spoke SIP."""
    call = ext.call()
    (push,) = await ext.pushed()
    assert push.call_id is not None
    phone = ext.phone(transport=transport)
    params = f";pn-provider=webhook;pn-prid={PUSH_TOKEN};pn-param=com.example.phone"
    assert (await phone.register(contact_params=params)).status == 200
    incoming = await phone.incoming()
    incoming.ring()
    incoming.accept()
    dialog = await call.answered()
    await incoming.expect_ack()
    assert (await ext.service.request("GET", f"/v1/calls/{push.call_id}/sip"))[0] == 200
    dialog.send("BYE")
    await incoming.dialog().expect_bye()
    await ext.pbx.agent.expect(method="BYE", status=200, within=5)
    return push.call_id, [ext.pbx.agent, phone.agent]


async def ladder(service: LabService, call: str, *, count: int = 0) -> list[dict[str, Any]]:
    """Its messages, once there are so many."""

    async def ask() -> dict[str, Any]:
        found: dict[str, Any] = await service.expect("GET", f"/v1/calls/{call}/sip")
        return found

    found = await service.eventually(
        ask, lambda sip: len(sip["messages"]) >= count, within=5, what=f"{count} messages"
    )
    assert (found["dropped"], found["missed"]) == (0, 0)
    messages: list[dict[str, Any]] = found["messages"]
    return messages


def story(messages: list[dict[str, Any]]) -> list[str]:
    """`pbx>us INVITE` and so on."""
    return [f"{each['from']}>{each['to']} {first_word(each['start_line'])}" for each in messages]


def first_word(start: str) -> str:
    return start.split()[1 if start.startswith("SIP/2.0") else 0]


def was_on_the_wire(text: str, agents: list[SipAgent]) -> bool:
    """Whether one of them sent or received it, apart from what is masked."""
    seen = [message.raw for agent in agents for message in agent.history]
    seen += [raw for agent in agents for _, raw, _ in agent.sent]
    kept = text.encode()
    return any(
        len(kept) == len(raw) and all(a in (b, ord("*")) for a, b in zip(kept, raw, strict=True))
        for raw in seen
    )


WOKEN = [
    "pbx>us INVITE", "us>pbx 100", "us>pbx 180",
    "handset>us REGISTER", "us>handset 401", "handset>us REGISTER", "us>handset 200",
    "us>handset INVITE", "handset>us 180", "us>pbx 180", "handset>us 200", "us>pbx 200",
    "pbx>us ACK", "us>handset ACK", "pbx>us BYE", "us>handset BYE", "handset>us 200", "us>pbx 200",
]  # fmt: skip


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_a_woken_call_is_recorded_as_it_was(
    extension: MakeExtension, transport: str, tmp_path: Path, collector: list[HepPacket]
) -> None:
    """Both legs and the REGISTER that woke for it, in order and as they were on the wire, while
    the call goes on and afterwards; its secrets are in no message; the capture file and the
    collector have the same.
    """
    ext = await extension()
    call, agents = await woken_call(ext, transport=transport)
    messages = await ladder(ext.service, call, count=len(WOKEN))
    said = story(messages)
    # A phone may be faster than the store and the provider's answer to the push.
    racing = ("us>pbx 100", "us>pbx 180")
    assert sorted(said) == sorted(WOKEN)
    assert [each for each in said if each not in racing] == [
        each for each in WOKEN if each not in racing
    ]
    assert [each["ms"] for each in messages] == sorted(each["ms"] for each in messages)
    assert {each["transport"] for each in messages if each["hop"] == "handset"} == {transport}
    for each in messages:
        assert was_on_the_wire(each["text"], agents), each["text"]
    everything = "".join(each["text"] for each in messages)
    assert "response=**" in everything
    assert PUSH_TOKEN not in everything
    for agent in agents:
        for _, raw, _ in agent.sent:
            for response in raw.split(b'response="')[1:]:
                assert response.partition(b'"')[0].decode() not in everything

    assert await poll_until(lambda: len(collector) >= len(messages), within_s=5)
    of_call = [packet for packet in collector if packet.capture_id == 2001]
    assert sorted(packet.payload for packet in of_call) == sorted(
        each["text"].encode() for each in messages
    )

    stored = await once_stored(ext.service, call)
    assert stored == messages

    file = tmp_path / "call.pcap"
    async with (
        aiohttp.ClientSession(headers={"Authorization": f"Bearer {ext.service.api_key}"}) as http,
        http.get(f"{ext.service.url}/v1/calls/{call}/sip.pcap") as answer,
    ):
        file.write_bytes(await answer.read())
    sip_call_id = next(each for each in messages if each["hop"] == "pbx")["text"]
    sip_call_id = sip_call_id.partition("Call-ID: ")[2].partition("\r\n")[0]
    assert tshark(file) == [first_word(each["start_line"]) for each in messages]
    assert tshark(file, f'sip.Call-ID == "{sip_call_id}"') == [
        first_word(each["start_line"]) for each in messages if "REGISTER" not in each["text"]
    ]


async def once_stored(service: LabService, call: str) -> list[dict[str, Any]]:
    """The ladder of a call that is in no process's memory: the service is started anew."""
    await service.stop()
    await service.start()
    return await ladder(service, call)


def tshark(file: Path, only: str = "sip") -> list[str]:
    """Method or status of each SIP message that Wireshark finds in the file."""
    fields = ["-T", "fields", "-e", "sip.Method", "-e", "sip.Status-Code", "-E", "separator= "]
    done = subprocess.run(
        ["tshark", "-r", str(file), "-Y", only, *fields],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return [line.strip() for line in done.stdout.splitlines()]


async def test_an_own_call_of_the_app_is_recorded(extension: MakeExtension) -> None:
    """From the phone to the PBX: the phone stands at the other side; no REGISTER belongs to it."""
    ext = await extension()
    phone = ext.phone()
    assert (await phone.register()).status == 200
    call = phone.call(f"sip:200@{ext.pbx.realm}")
    invite = await ext.pbx.agent.expect(method="INVITE", call_id=call.invite.call_id, within=5)
    ext.pbx.agent.respond(invite, 486, "Busy Here", to_tag="pbx")
    assert (await call.final()).status == 486
    record = await ext.service.call_record(account=ext.account)
    messages = await ladder(ext.service, record["id"], count=7)
    assert story(messages) == [
        "handset>us INVITE", "us>handset 100", "us>pbx INVITE", "pbx>us 486", "us>pbx ACK",
        "us>handset 486", "handset>us ACK",
    ]  # fmt: skip


async def test_it_is_switched_by_sighup(extension: MakeExtension) -> None:
    """Off, calls are not recorded and the API says why; what was recorded is still shown. On again,
    calls are recorded.
    """
    ext = await extension()
    service = ext.service
    recorded, _ = await woken_call(ext)
    for enabled in (False, True):
        service.options = replace_recorder(service.options, enabled=enabled)
        service.write_config()
        mark = service.process.output_size()
        assert service.process.pid is not None
        os.kill(service.process.pid, signal.SIGHUP)
        await service.process.wait_for("configuration reloaded", within_s=5, since=mark)
        call = ext.call()
        record = await ext.record(call, state="waking")
        path = f"/v1/calls/{record['id']}/sip"
        if enabled:
            assert story(await ladder(service, record["id"]))[0] == "pbx>us INVITE"
        else:
            status, answer = await service.request("GET", path)
            assert (status, "the recorder is off" in answer["detail"]) == (404, True)
        assert (await ladder(service, recorded))[0]["start_line"].startswith("INVITE")
        await call.cancel()


def replace_recorder(options: ServiceOptions, *, enabled: bool) -> ServiceOptions:
    recorder = RECORDER if enabled else {"enabled": False}
    return ServiceOptions(
        webhook_url=options.webhook_url,
        webhook_key=options.webhook_key,
        listen=options.listen,
        extra={"recorder": recorder},
    )


async def test_a_collector_that_is_away_holds_up_nothing(extension: MakeExtension) -> None:
    """Nobody listens where the messages go: calls and their recordings are as ever."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", HEP_PORT))  # nobody else does
    ext = await extension()
    call, _ = await woken_call(ext)
    assert len(await ladder(ext.service, call, count=len(WOKEN) - 1)) >= len(WOKEN) - 1
