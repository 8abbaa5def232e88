"""Killed in mid-wake with Kamailio as PBX, over any transport: the call connects all the same."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.e2e.conftest import REALM, TRANSPORTS, Extension
from tests.lab import sdp
from tests.lab.certificates import Authority
from tests.lab.fixtures import StartKamailio
from tests.lab.kamailio import KamailioOptions, pbx_tls
from tests.lab.push_sink import PushSink
from tests.lab.service import LabService, ServiceOptions


@pytest.fixture
async def extension(
    workdir: Path, start_kamailio: StartKamailio, push_sink: PushSink, authority: Authority
) -> AsyncIterator[Extension]:
    """An extension of Kamailio's, at a service of the test's own."""
    kamailio = await start_kamailio(KamailioOptions(realm=REALM, tls=pbx_tls(authority.issue())))
    service = LabService(
        workdir / "service",
        ServiceOptions(
            webhook_url=push_sink.url,
            webhook_key=push_sink.key,
            listen=TRANSPORTS,
            tls=authority.issue().files,
        ),
    )
    try:
        await service.start()
        yield Extension(
            service=service, pbx=kamailio, sink=push_sink, user="101", authority=authority
        )
    finally:
        await service.stop()


@pytest.mark.parametrize("by", TRANSPORTS)
async def test_the_call_connects(extension: Extension, by: str) -> None:
    """Killed after the push, started again within 5 s: the phone rings once, Kamailio gets one
    final response, the two talk. Over TCP and TLS, too: a proxy keeps its transaction
    when the connection ends, and the answer goes to where its Via says.
    """
    ext = extension
    ext.by = by
    await ext.provision(wake={"deadline_s": 40})
    async with ext.caller() as caller, ext.phone() as phone:
        call = caller.call(ext.aor)
        await ext.sink.wait(1, kind="call")
        await call.expect(180)
        await ext.service.eventually(
            lambda: ext.record(state="waking"),
            lambda record: "invite_stored" in ext.service.events(record),
            within=5,
            what="held INVITE",
        )
        ext.service.kill()
        await ext.service.close()
        await ext.service.start()
        assert (await phone.register()).status == 200
        incoming = await phone.incoming()
        incoming.ring()
        incoming.accept(sdp.ANSWER)
        dialog = await call.answered(within=8)
        await incoming.expect_ack()
        near = incoming.dialog()
        dialog.send("BYE")
        await near.expect_bye()
        assert len({m.branch for m in phone.agent.received(method="INVITE")}) == 1
        finals = {(m.status, m.get("To")) for m in caller.agent.history if call.is_final(m)}
        assert [status for status, _ in finals] == [200]
    record = await ext.record()
    assert record["verdict"] == "answered"
    assert "node_restarted" in ext.service.events(record)
