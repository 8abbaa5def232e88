"""No phone comes: the caller is answered in time, and the operator sees which hop failed."""

import time
from datetime import datetime

import pytest

from tests.lab.process import poll_until
from tests.lab.push_sink import Push, Reply

from .conftest import Extension, MakeExtension

DEADLINE_S = 5.0
"""The shortest that the service takes."""
GRACE_S = 5.0
"""From when on a silence counts as a failure though the caller hangs up."""


async def refused(ext: Extension, *, within: float = 10.0) -> tuple[float, dict[str, object]]:
    """Call, be refused with 480 and a reason; how long it took, and the record."""
    begin = time.monotonic()
    call = ext.call()
    final = await call.final(within=within)
    assert final.status == 480, final
    record = await ext.record(call)
    assert final.all("X-Push-Reason") == [record["verdict"]]
    assert record["status"] == 480
    return final.arrived_s - begin, record


def _sent_at(push: Push) -> float:
    return datetime.fromisoformat(push.payload["sent_at"]).timestamp()


async def test_no_device_wakes(extension: MakeExtension) -> None:
    """A phone that gives no sign of life: a second push, 480 at the deadline with
    X-Push-Reason: not_woken, and call and verdict are found afterwards.
    """
    ext = await extension(wake={"deadline_s": DEADLINE_S, "repush_after_s": 2})
    elapsed_s, record = await refused(ext, within=DEADLINE_S + 3)
    assert DEADLINE_S <= elapsed_s < DEADLINE_S + 2
    assert (record["verdict"], record["fault"], record["phase"], record["ended_by"]) == (
        "not_woken",
        "phone_or_network",
        "waking",
        "deadline",
    )
    assert record["advice"]
    first, second = ext.pushes("call")
    assert first.call_id == second.call_id == record["id"]
    assert 2 <= _sent_at(second) - _sent_at(first) < 3.5
    await ext.service.eventually(
        lambda: ext.service.expect("GET", f"/v1/calls?account={ext.account}&verdict=not_woken"),
        lambda page: [found["id"] for found in page["calls"]] == [record["id"]],
        within=5,
        what="call found by its verdict",
    )
    await ext.pushed(kind="cancel")


async def test_app_woke_but_did_not_register(extension: MakeExtension) -> None:
    """An app that reports the push and never registers: 480 woke_not_registered, the app's fault;
    its reports stand in the timeline.
    """
    ext = await extension(wake={"deadline_s": DEADLINE_S})
    call = ext.call()
    (push,) = await ext.pushed()
    for event in ("push_received", "ui_shown"):
        status, fate = await ext.service.request(
            "POST",
            f"/v1/calls/{push.call_id}/events",
            {"event": event, "device": "handset", "at": "2026-01-01T00:00:00Z"},
        )
        assert (status, fate["taken"]) == (202, True)
    final = await call.final(within=DEADLINE_S + 3)
    assert (final.status, final.get("X-Push-Reason")) == (480, "woke_not_registered")
    record = await ext.record(call)
    assert record["fault"] == "app"
    reported = [e for e in record["timeline"] if e["event"] in ("push_received", "ui_shown")]
    assert [entry["event"] for entry in reported] == ["push_received", "ui_shown"]
    assert "2026-01-01" in reported[0]["detail"]


async def test_early_end_without_a_sign_of_life(extension: MakeExtension) -> None:
    """With ack_s a silent device is given up early: the caller need not wait for the deadline."""
    ext = await extension(wake={"deadline_s": 30, "ack_s": 1})
    elapsed_s, record = await refused(ext)
    assert 1 <= elapsed_s < 10
    assert record["verdict"] == "not_woken"


@pytest.mark.parametrize(
    ("reply", "verdict", "fault", "pushes"),
    [
        (Reply(status=500), "provider_unavailable", "provider", 2),
        (Reply(status=429), "provider_unavailable", "provider", 1),
        (Reply(drop=True), "provider_unavailable", "provider", 2),
        (Reply(status=410), "push_rejected", "app_configuration", 1),
        (Reply(status=403), "push_rejected", "app_configuration", 1),
    ],
    ids=["500", "429", "dropped", "410", "403"],
)
async def test_webhook_refuses(
    extension: MakeExtension, reply: Reply, verdict: str, fault: str, pushes: int
) -> None:
    """A push that the webhook does not take ends the call at once, after one resend where that
    may help: the PBX need not wait for a timeout that we know of.
    """
    ext = await extension(wake={"deadline_s": 30})
    ext.sink.reply = reply
    elapsed_s, record = await refused(ext)
    assert elapsed_s < 10
    assert (record["verdict"], record["fault"]) == (verdict, fault)
    assert len({push.payload["push_id"] for push in ext.pushes("call")}) == 1
    assert len(ext.pushes("call")) == pushes


async def test_webhook_unreachable(extension: MakeExtension) -> None:
    """With nothing listening at the webhook's address the call ends at once, the record says
    provider_unavailable, and the log names the host and what to check.
    """
    ext = await extension(wake={"deadline_s": 30})
    await ext.sink.stop()
    mark = ext.service.process.output_size()
    elapsed_s, record = await refused(ext)
    assert elapsed_s < 10
    assert record["verdict"] == "provider_unavailable"
    assert "check" in record["advice"]
    details = [e["detail"] for e in record["timeline"] if e["event"] == "push_unavailable"]
    assert details == ["connect_failed"]
    await ext.sink.start()
    again = ext.call()
    await ext.pushed()
    await again.cancel()
    assert "push_proxy_pushes_total" in await ext.service.expect("GET", "/metrics")
    assert ext.service.process.output_size() >= mark


async def test_webhook_hangs(extension: MakeExtension) -> None:
    """A webhook that takes the connection and never answers: two requests of 2.5 s, then 480."""
    ext = await extension(wake={"deadline_s": 30})
    ext.sink.reply = Reply(hang=True)
    elapsed_s, record = await refused(ext, within=8)
    assert 5 <= elapsed_s < 7, "a third request would end at 7.5 s"
    assert record["verdict"] == "provider_unavailable"
    first, second = ext.pushes("call")
    assert first.body == second.body


async def test_phone_comes_although_the_webhook_hangs(extension: MakeExtension) -> None:
    """A push may arrive without an answer of its provider: the phone that registers is rung."""
    ext = await extension()
    ext.sink.reply = Reply(hang=True)
    call, incoming = await ext.woken()
    incoming.accept()
    await call.answered()
    await incoming.expect_ack()


async def test_no_device(extension: MakeExtension) -> None:
    """An account without a device is refused at once: 480 no_device."""
    ext = await extension(register="always")
    await ext.service.expect("DELETE", f"/v1/accounts/{ext.account}/devices/handset")
    elapsed_s, record = await refused(ext)
    assert elapsed_s < 4
    assert (record["verdict"], record["fault"]) == ("no_device", "app_configuration")
    assert ext.pushes() == []


async def test_cancel_hides_no_failure(extension: MakeExtension) -> None:
    """A caller who gives up after more than five seconds does not hide what was wrong: the push
    was taken and nobody came, or the INVITE was relayed and nothing rang.
    """
    asleep, silent = await extension(), await extension()
    first, second = asleep.call(), silent.call()
    await silent.pushed()
    incoming = await silent.rung(silent.phone())
    silent_since = time.monotonic()
    await asleep.pushed()
    await poll_until(lambda: time.monotonic() - silent_since > GRACE_S, within_s=GRACE_S + 1)
    for call in (first, second):
        assert (await call.cancel())[1].status == 487
    assert (await asleep.record(first))["verdict"] == "not_woken"
    assert (await silent.record(second))["verdict"] == "registered_not_ringing"
    incoming.reject(487, "Request Terminated")


@pytest.mark.parametrize(
    ("status", "verdict"),
    [(486, "busy"), (603, "declined"), (488, "device_error"), (500, "device_error")],
)
async def test_device_refuses(extension: MakeExtension, status: int, verdict: str) -> None:
    """The phone's own refusal is passed on, and named."""
    ext = await extension()
    call, incoming = await ext.woken()
    incoming.ring()
    incoming.reject(status, "No", headers=(("X-Lab", "mine"),))
    final = await call.final()
    assert (final.status, final.reason, final.get("X-Lab")) == (status, "No", "mine")
    await incoming.expect_ack()
    assert (await ext.record(call))["verdict"] == verdict


async def test_device_503_does_not_take_us_out_of_service(extension: MakeExtension) -> None:
    """A phone's 503 is not passed on: the PBX would think that we are overloaded."""
    ext = await extension()
    call, incoming = await ext.woken()
    incoming.reject(503, "Service Unavailable", headers=(("Retry-After", "3600"),))
    final = await call.final()
    assert final.status == 500
    assert final.get("Retry-After") == ""
    await incoming.expect_ack()
