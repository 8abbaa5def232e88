"""Real phones that lose their connection while they ring: they come back and answer."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from push_proxy.demo.phone_process import PhoneProcess
from push_proxy.demo.process import poll_until
from tests.lab.certificates import Authority
from tests.lab.fixtures import MakeLinphone
from tests.lab.kamailio import Kamailio
from tests.lab.push_sink import PushSink
from tests.lab.service import Record, ServiceOptions
from tests.lab.tcp_relay import TcpRelay

from .conftest import Extension, StartService

NETWORK = "127.0.0.3"
"""Where the phones reach the service: between there and it is what a test takes away."""


@pytest.fixture(params=["tcp", "tls"])
def transport(request: pytest.FixtureRequest) -> str:
    """Of the phone."""
    return str(request.param)


@pytest.fixture
async def ext(
    start_service: StartService, kamailio: Kamailio, push_sink: PushSink, authority: Authority
) -> Extension:
    """An extension of a service whose public address is the relay's."""
    service = await start_service(
        ServiceOptions(
            webhook_url=push_sink.url,
            webhook_key=push_sink.key,
            listen=("udp", "tcp", "tls"),
            tls=authority.issue("127.0.0.1", NETWORK, for_linphone=True).files,
            extra={"sip": {"public_address": NETWORK}},
        )
    )
    ext = Extension(service=service, pbx=kamailio, sink=push_sink, user="101", authority=authority)
    await ext.provision()
    return ext


@pytest.fixture
async def network(ext: Extension, transport: str) -> AsyncIterator[TcpRelay]:
    async with TcpRelay(ext.service.sip_at(transport), host=NETWORK) as network:
        yield network


def times(record: Record, event: str) -> int:
    return sum(entry["event"] == event for entry in record["timeline"])


async def test_pjsua2(
    ext: Extension, network: TcpRelay, workdir: Path, transport: str, authority: Authority
) -> None:
    """It registers again by itself, rings once more, and its answer reaches the caller."""
    where = "sip:{}:{}".format(*network.address)
    phone = PhoneProcess(
        workdir,
        ext.user,
        *("--aor", ext.aor, "--password", ext.password, "--transport", transport),
        *("--ca-file", str(authority.ca)),
        *("--registrar", where, "--proxy", where, "--awake", "--answer-after", "1.5"),
    )
    async with ext.caller() as caller, phone:
        await phone.event("registered")
        call = caller.call(ext.aor)
        await call.expect(180)
        network.cut()
        dialog = await call.answered(within=15)
        assert (await dialog.bye()).status == 200
    record = await ext.record(sip_call_id=call.invite.call_id)
    assert (record["verdict"], times(record, "invite_sent")) == ("answered", 2)
    assert ext.answers(call.invite.call_id) == 1


async def test_linphone(
    ext: Extension, network: TcpRelay, make_linphone: MakeLinphone, transport: str
) -> None:
    """It rings on, refuses the second INVITE as busy, and answers the first one on its new
    connection: that is no refusal, and the answer reaches the caller.
    """
    phone = ext.linphone(
        make_linphone, transport=transport, proxy=network.address, auto_answer=False
    )
    async with ext.caller() as caller:
        await phone.start()
        await phone.registered()
        call = caller.call(ext.aor)
        await call.expect(180)
        network.cut()
        assert await poll_until(lambda: network.accepted > 1, within_s=20)
        await phone.answer()
        dialog = await call.answered(within=10)
        assert (await dialog.bye()).status == 200
    record = await ext.record(sip_call_id=call.invite.call_id)
    assert record["verdict"] == "answered"
    assert times(record, "rings_already") == 1
