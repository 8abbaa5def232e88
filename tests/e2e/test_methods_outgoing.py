"""The phone's own calls are on record like the others: one story, one verdict, once counted."""

import asyncio

import pytest

from tests.lab.phone import Phone

from .conftest import Extension, MakeExtension
from .methods import (
    desk,
    every_leg,
    hang_up,
)

STORY = [
    "invite_received",
    "invite_sent",
    "challenged",
    "invite_received",
    "invite_sent",
    "ringing",
]


async def counted(ext: Extension, verdict: str, fault: str) -> float:
    """Calls counted with this verdict and fault so far."""
    text = await ext.service.expect("GET", "/metrics")
    label = f'push_proxy_calls_total{{fault="{fault}",verdict="{verdict}"}} '
    other = f'push_proxy_calls_total{{verdict="{verdict}",fault="{fault}"}} '
    lines = [line for line in text.splitlines() if line.startswith((label, other))]
    return float(lines[0].rpartition(" ")[2]) if lines else 0.0


@every_leg
@pytest.mark.parametrize("by_device", [True, False])
async def test_answered(extension: MakeExtension, by: str, leg: str, *, by_device: bool) -> None:
    """Challenged by the PBX, called again, rung, answered, hung up by either side: one record
    that can be found by the number, by the Call-ID and by the verdict, with the time talked.
    """
    ext = await extension(by=by)
    before = await counted(ext, "answered", "nobody")
    async with desk(ext) as far, ext.phone(leg) as phone:
        await far.register()
        await phone.register()
        call = phone.call(far.aor)
        incoming = await far.incoming()
        calling = await ext.record(state="calling")
        assert (calling["direction"], calling["verdict"]) == ("outgoing", None)
        incoming.ring()
        await call.expect(180)
        assert (await ext.record(state="ringing"))["duration_s"] is None
        incoming.accept()
        here, there = await call.answered(), incoming.dialog()
        await incoming.expect_ack()
        await asyncio.sleep(0.3)  # of talk
        await hang_up(*((here, there) if by_device else (there, here)))
    record = await ext.record(sip_call_id=call.invite.call_id)
    assert ext.service.events(record) == [*STORY, "answered", "hung_up"]
    details = {entry["event"]: entry["detail"] for entry in record["timeline"]}
    assert details["challenged"].startswith("407")
    assert details["ringing"] == "180 Ringing"
    assert details["invite_sent"].startswith(f"{by}:127.0.0.1:")
    found = {name: record[name] for name in ("direction", "state", "verdict", "ended_by", "fault")}
    assert found == {
        "direction": "outgoing",
        "state": "ended",
        "verdict": "answered",
        "ended_by": "device" if by_device else "pbx",
        "fault": "nobody",
    }
    assert 0.1 < record["duration_s"] < 3
    assert (record["caller_number"], record["callee"]) == (ext.user, far.user)
    for query in (
        f"number={far.user}",
        f"sip_call_id={call.invite.call_id}",
        f"account={ext.account}&verdict=answered",
    ):
        page = await ext.service.expect("GET", f"/v1/calls?{query}")
        assert [one["id"] for one in page["calls"]] == [record["id"]], query
    assert await counted(ext, "answered", "nobody") == before + 1


@pytest.mark.parametrize(
    ("status", "rings", "verdict", "fault"),
    [
        (486, True, "busy", "nobody"),
        (480, True, "no_answer", "nobody"),
        (603, True, "declined", "nobody"),
        (404, False, "outbound_failed", "pbx"),
        (500, True, "outbound_failed", "pbx"),
    ],
)
async def test_refused(
    extension: MakeExtension, *, status: int, rings: bool, verdict: str, fault: str
) -> None:
    """What the far end answers is the verdict, with its SIP status."""
    ext = await extension()
    before = await counted(ext, verdict, fault)
    async with desk(ext) as far, ext.phone() as phone:
        await far.register()
        await phone.register()
        call = phone.call(far.aor)
        incoming = await far.incoming()
        if rings:
            incoming.ring()
            await call.expect(180)
        incoming.reject(status, "No")
        assert (await call.final()).status == status
    record = await ext.record()
    assert (record["verdict"], record["fault"], record["status"]) == (verdict, fault, status)
    assert record["phase"] == ("ringing" if rings else "calling")
    assert record["ended_by"] == "pbx"
    assert record["duration_s"] is None
    assert ext.service.events(record)[-1] == "failed"
    assert bool(record["advice"]) == (fault == "pbx")
    assert await counted(ext, verdict, fault) == before + 1


@every_leg
async def test_given_up(extension: MakeExtension, by: str, leg: str) -> None:
    """The person gives up while it rings: cancelled by the device."""
    ext = await extension(by=by)
    async with desk(ext) as far, ext.phone(leg) as phone:
        await far.register()
        await phone.register()
        call = phone.call(far.aor)
        incoming = await far.incoming()
        incoming.ring()
        await call.expect(180)
        call.send_cancel()
        await incoming.expect_cancel()
        assert (await call.final()).status == 487
    record = await ext.record()
    assert (record["verdict"], record["ended_by"]) == ("caller_cancelled", "device")
    assert (record["phase"], record["status"]) == ("ringing", 487)


async def test_no_such_extension(extension: MakeExtension) -> None:
    """The PBX itself knows no such number: outbound_failed with its 404."""
    ext = await extension()
    async with ext.phone() as phone:
        await phone.register()
        call = phone.call("sip:nobody@pbx.test")
        assert (await call.final()).status == 404
    record = await ext.record()
    found = (record["verdict"], record["fault"], record["status"])
    assert found == ("outbound_failed", "pbx", 404)


async def test_wrong_password(extension: MakeExtension) -> None:
    """The app cannot answer the PBX's second challenge: a failed call with 407, not a stray
    record per attempt.
    """
    ext = await extension()
    async with ext.phone() as phone, desk(ext) as far:
        await phone.register()
        liar = Phone(ext.aor, proxy=phone.proxy, password="wrong")
        liar.agent = phone.agent
        call = liar.call(far.aor)
        assert (await call.final()).status == 407
        page = await ext.service.expect("GET", f"/v1/calls?account={ext.account}")
        for _ in range(100):
            if page["calls"]:
                break
            await asyncio.sleep(0.03)
            page = await ext.service.expect("GET", f"/v1/calls?account={ext.account}")
        (one,) = page["calls"]
        record = await ext.service.expect("GET", f"/v1/calls/{one['id']}")
        assert ext.service.events(record).count("challenged") == 2
        assert record["state"] == "calling"


async def test_disabled_account(extension: MakeExtension) -> None:
    """A call that we refuse by a rule is on record as refused."""
    ext = await extension()
    async with ext.phone() as phone:
        await phone.register()
        await ext.service.put_account(
            ext.account, ext.aor, pbx="hold", password=ext.password, enabled=False
        )
        call = phone.call("sip:200@pbx.test")
        assert (await call.final()).status == 403
    record = await ext.record()
    assert (record["verdict"], record["fault"]) == ("refused", "nobody")
    assert (record["status"], record["ended_by"]) == (403, "proxy")
