"""The caller gives up: at every moment, and at once (peers' race 2 and 3)."""

from tests.lab.process import poll_until
from tests.lab.sip_agent import SipAgent
from tests.lab.sip_message import Message

from .conftest import MakeExtension

ANSWER_S = 0.1
"""How long a CANCEL may take to be answered: a deadline of the contract."""


def sent_at(agent: SipAgent, start: bytes) -> float:
    """When the newest message that begins so left the socket."""
    return next(at for at, data, _ in reversed(agent.sent) if data.startswith(start))


async def test_cancel_while_waking(extension: MakeExtension) -> None:
    """CANCEL before the phone came: 200 and 487 within 100 ms, one cancel push, and no INVITE to
    the phone when it registers later.
    """
    ext = await extension()
    call = ext.call()
    await call.expect(100)
    (push,) = await ext.pushed()
    of_cancel, final = await call.cancel()
    assert (of_cancel.status, final.status) == (200, 487)
    cancelled_at = sent_at(ext.pbx.agent, b"CANCEL")
    assert of_cancel.arrived_s - cancelled_at < ANSWER_S
    assert final.arrived_s - cancelled_at < ANSWER_S
    (farewell,) = await ext.pushed(kind="cancel")
    assert (farewell.call_id, farewell.payload["token"]) == (push.call_id, push.payload["token"])

    phone = ext.phone()
    assert (await phone.register()).status == 200
    await phone.agent.expect_nothing(within=0.3, method="INVITE")
    assert len(ext.pushes("cancel")) == 1
    assert len(ext.pbx.agent.received(method="INVITE", status=487)) == 1
    record = await ext.record(call)
    assert (record["verdict"], record["phase"], record["ended_by"], record["status"]) == (
        "caller_cancelled",
        "waking",
        "caller",
        487,
    )


async def test_cancel_while_the_push_is_on_its_way(extension: MakeExtension) -> None:
    """CANCEL is answered as fast while the provider keeps us waiting."""
    ext = await extension()

    async def cancel(_: object) -> None:
        answers.extend(await call.cancel())

    answers: list[Message] = []
    ext.sink.hook = cancel
    call = ext.call()
    await ext.pushed()
    assert await poll_until(lambda: len(answers) == 2, within_s=5)
    cancelled_at = sent_at(ext.pbx.agent, b"CANCEL")
    assert [answer.status for answer in answers] == [200, 487]
    assert answers[1].arrived_s - cancelled_at < ANSWER_S
    ext.sink.hook = None
    await ext.pushed(kind="cancel")


async def test_cancel_while_ringing(extension: MakeExtension) -> None:
    """CANCEL reaches the ringing phone with the PBX's Reason; the PBX gets 487 once, at once."""
    ext = await extension()
    call, incoming = await ext.woken()
    incoming.ring()
    await call.expect(180)
    reason = 'Q.850;cause=127;text="Interworking, unspecified"'
    call.send_cancel(headers=(("Reason", reason),))
    cancelled_at = sent_at(ext.pbx.agent, b"CANCEL")
    final = await call.final()
    assert final.status == 487
    assert final.arrived_s - cancelled_at < ANSWER_S
    cancel = await incoming.expect_cancel()
    assert cancel.all("Reason") == [reason]
    assert ext.pushes("cancel") == []
    record = await ext.record(call)
    assert (record["verdict"], record["phase"]) == ("caller_cancelled", "ringing")
    assert len(ext.pbx.agent.received(method="INVITE", status=487)) == 1


async def test_cancel_waits_for_the_phones_first_answer(extension: MakeExtension) -> None:
    """A phone that has not answered anything gets no CANCEL before its first provisional
    (RFC 3261 §9.1); the PBX has its 487 long before.
    """
    ext = await extension()
    call, incoming = await ext.woken()
    of_cancel, final = await call.cancel()
    assert (of_cancel.status, final.status) == (200, 487)
    await incoming.agent.expect_nothing(within=0.2, method="CANCEL")
    incoming.ring()
    await incoming.expect_cancel()


async def test_answered_elsewhere(extension: MakeExtension) -> None:
    """A CANCEL because another phone took the call: the sleeping one is told so by push, and the
    record says answered_elsewhere.
    """
    ext = await extension()
    call = ext.call()
    await ext.pushed()
    reason = ("Reason", 'SIP;cause=200;text="Call completed elsewhere"')
    _, final = await call.cancel(headers=(reason,))
    assert final.status == 487
    await ext.pushed(kind="answered_elsewhere")
    assert ext.pushes("cancel") == []
    record = await ext.record(call)
    assert (record["verdict"], record["ended_by"]) == ("answered_elsewhere", "pbx")


async def test_cancel_by_the_pbxs_timer(extension: MakeExtension) -> None:
    """A CANCEL by the PBX's timer after the phone rang is no_answer."""
    ext = await extension()
    call, incoming = await ext.woken()
    incoming.ring()
    await call.expect(180)
    call.send_cancel(headers=(("Reason", "Q.850;cause=0"),))
    assert (await call.final()).status == 487
    await incoming.expect_cancel()
    assert (await ext.record(call))["verdict"] == "no_answer"


async def test_cancel_crosses_the_answer(extension: MakeExtension) -> None:
    """A 200 that crosses the CANCEL is acknowledged and ended by us: the phone is never left in a
    call that nobody is in, and the PBX sees nothing of it (race 9).
    """
    ext = await extension()
    call, incoming = await ext.woken()
    incoming.ring()
    await call.expect(180)
    assert (await call.cancel())[1].status == 487
    incoming.accept()  # before it has seen the CANCEL
    await incoming.expect_ack()
    bye = await incoming.dialog().expect_bye()
    assert bye.to_tag == incoming.tag
    await ext.pbx.agent.expect_nothing(within=0.2, method="INVITE", status=200)


async def test_old_waiter_does_not_eat_the_next_calls_register(extension: MakeExtension) -> None:
    """Call A is cancelled, call B follows, the phone registers: it gets B alone, and nothing
    waits any more afterwards (race 3).
    """
    ext = await extension()
    first = ext.call()
    await ext.pushed()
    assert (await first.cancel())[1].status == 487
    second = ext.call()
    await ext.pushed(2)
    phone = ext.phone()
    incoming = await ext.rung(phone)
    assert incoming.invite.call_id == second.invite.call_id
    incoming.accept()
    await second.answered()
    await incoming.expect_ack()
    assert len(phone.agent.received(method="INVITE")) == 1
    await ext.service.nothing_waits()


async def test_cancel_of_nothing(extension: MakeExtension) -> None:
    """CANCEL for a transaction that we do not have gets 481."""
    ext = await extension()
    call = ext.call(body=b"")
    await call.expect(100)
    await call.cancel()
    stray = ext.pbx.as_caller().invite(ext.aor)
    cancel = stray.replace(b"INVITE", b"CANCEL")
    response = await ext.pbx.agent.request(cancel, ext.service.sip_address)
    assert response.status == 481


async def test_what_a_late_phone_reports_is_kept(extension: MakeExtension) -> None:
    """The call's end has long been written: that the push came all the same, and when, is added
    to its record, where whoever asks why the phone did not ring finds it.
    """
    ext = await extension()
    call = ext.call()
    await ext.pushed()
    await call.cancel()
    record = await ext.record(call)
    written = f"/v1/calls?account={ext.account}&verdict=caller_cancelled"
    await ext.service.eventually(
        lambda: ext.service.expect("GET", written),
        lambda page: bool(page["calls"]),
        within=5,
        what="record in the store",
    )
    report = {"event": "push_received", "device": "handset"}
    path = f"/v1/calls/{record['id']}"
    status, fate = await ext.service.request("POST", f"{path}/events", report)
    assert (status, fate["taken"], fate["verdict"]) == (202, False, "caller_cancelled")
    kept = await ext.service.eventually(
        lambda: ext.service.expect("GET", path),
        lambda found: "push_received" in ext.service.events(found, "handset"),
        within=5,
        what="late report in the record",
    )
    assert (kept["state"], kept["verdict"]) == ("ended", "caller_cancelled")
