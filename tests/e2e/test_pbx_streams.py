"""PBXs on TCP and TLS: trunks, and a PBX that restarts under its calls."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from tests.lab import sdp
from tests.lab.certificates import Authority
from tests.lab.fixtures import StartKamailio
from tests.lab.kamailio import KamailioOptions, Trunk, pbx_tls
from tests.lab.phone import Caller, Phone
from tests.lab.ports import free_block
from tests.lab.push_sink import PushSink
from tests.lab.service import LabService, ServiceOptions
from tests.lab.sip_call import IncomingCall, OutgoingCall
from tests.lab.sip_dialog import Dialog

from .conftest import REALM, TRANSPORTS, Extension, StartService
from .methods import cross, hang_up, hold_and_resume

STREAMS = ["tcp", "tls"]
TRUNK = "trunk.example.com"


async def answered(call: OutgoingCall, incoming: IncomingCall) -> tuple[Dialog, Dialog]:
    """The caller's side and the callee's."""
    incoming.accept()
    dialog = await call.answered()
    await incoming.expect_ack()
    return dialog, incoming.dialog()


@pytest.mark.parametrize("by", STREAMS)
async def test_trunk(
    workdir: Path,
    start_kamailio: StartKamailio,
    push_sink: PushSink,
    authority: Authority,
    by: str,
) -> None:
    """A trunk that the service knows by its address over TCP, and by its client certificate alone
    over TLS: calls in both directions, held and resumed from both sides.
    """
    port = free_block(2)
    peer = Trunk("127.0.0.1", port + (by == "tls"), users="^101$", transport=by)
    kamailio = await start_kamailio(
        KamailioOptions(realm=REALM, tls=pbx_tls(authority.issue("127.0.0.1", TRUNK)), trunk=peer)
    )
    known = {"peers": ["127.0.0.1"]} if by == "tcp" else {"tls_names": [TRUNK]}
    service = LabService(
        workdir / "service",
        ServiceOptions(
            webhook_url=push_sink.url,
            webhook_key=push_sink.key,
            listen=TRANSPORTS,
            tls=authority.issue().files,
            pbxes={"trunk": {"registrar": kamailio.uri(by), **known}},
        ),
        sip_port=port,
    )
    try:
        await service.start()
        ha1 = hashlib.md5(f"101:{REALM}:pw-101".encode()).hexdigest()
        auth = {"user": "101", "realm": REALM, "ha1": {"MD5": ha1}}
        await service.put_account(
            "ext", f"sip:101@{REALM}", pbx="trunk", topology="trunk", app_auth=auth
        )
        await service.put_device("ext")
        async with (
            service.phone(
                f"sip:101@{REALM}", password="pw-101", transport="tls", tls=authority.trust
            ) as phone,
            Caller(f"sip:200@{REALM}", proxy=kamailio.address, password="pw-200") as caller,
            Phone(f"sip:300@{REALM}", proxy=kamailio.address, password="pw-300") as far,
        ):

            async def wake(_: object) -> None:
                if not phone.agent.connections:
                    await phone.register()

            push_sink.hook = wake
            call = caller.call(f"sip:101@{REALM}")
            await talk(*await answered(call, await phone.incoming()))
            await far.register()
            out = phone.call(far.aor)
            await talk(*await answered(out, await far.incoming()))
        await kamailio.wait_for(event="request", method="INVITE", proto=by, to_user="300")
    finally:
        await service.stop()


async def talk(one: Dialog, other: Dialog) -> None:
    """Both sides hold and resume, and one hangs up."""
    for asking, asked in ((one, other), (other, one)):
        for offer in hold_and_resume():
            await cross(asking, asked, "INVITE", body=offer, answer=sdp.ANSWER)
    await hang_up(one, other)


@pytest.mark.parametrize("by", STREAMS)
async def test_pbx_restarts_under_a_call(
    start_kamailio: StartKamailio,
    push_sink: PushSink,
    authority: Authority,
    start_service: StartService,
    by: str,
) -> None:
    """All connections with the PBX end under two calls: the next request opens another, whether
    it comes from the caller or from the phone.
    """
    kamailio = await start_kamailio(KamailioOptions(realm=REALM, tls=pbx_tls(authority.issue())))
    service = await start_service(
        ServiceOptions(
            webhook_url=push_sink.url,
            webhook_key=push_sink.key,
            listen=TRANSPORTS,
            tls=authority.issue().files,
        )
    )
    exts = [
        Extension(
            service=service, pbx=kamailio, sink=push_sink, user=user, by=by, authority=authority
        )
        for user in ("101", "102")
    ]
    for ext in exts:
        await ext.provision()
    async with exts[0].caller() as caller, exts[0].phone("tls") as one, exts[1].phone("tls") as two:
        calls = []
        for ext, phone in zip(exts, (one, two), strict=True):
            ext.wake_on_push(phone.register)
            calls.append(await answered(caller.call(ext.aor), await phone.incoming()))
        await kamailio.restart()
        await talk(*calls[0])
        await talk(*reversed(calls[1]))
    assert [(await ext.record())["ended_by"] for ext in exts] == ["caller", "device"]
