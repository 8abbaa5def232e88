"""The simulated phone with Kamailio as its PBX: asleep, woken by a push, called, asleep again."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.lab.kamailio import Kamailio
from tests.phone.driver import PUSH, PhoneProcess

KEY = b"k-0123456789"


def options(kamailio: Kamailio, user: str) -> list[str]:
    return ["--aor", kamailio.aor(user), "--password", kamailio.password(user)]


def caller(kamailio: Kamailio, workdir: Path, *more: str, to: str = "101") -> PhoneProcess:
    arguments = [*options(kamailio, "200"), "--no-register", "--proxy", f"sip:{kamailio.domain}"]
    return PhoneProcess(workdir, "caller", *arguments, "--call", kamailio.aor(to), *more)


async def test_a_sleeping_phone_has_no_sip_socket_and_is_nobody_at_the_pbx(
    kamailio: Kamailio, workdir: Path
) -> None:
    """Before its push the phone owns no UDP socket and the PBX knows no contact of it."""
    async with PhoneProcess(workdir, "101", *options(kamailio, "101")) as phone:
        await phone.event("asleep")
        assert phone.udp_ports() == []
        assert await kamailio.bindings("101") == []
        assert (await phone.status())["state"] == "asleep"


async def test_a_push_wakes_it_and_rtp_flows_both_ways(kamailio: Kamailio, workdir: Path) -> None:
    """Push, digest registration, INVITE, answer, tone both ways, BYE, sleep; and all once more."""
    async with PhoneProcess(workdir, "101", *options(kamailio, "101")) as phone:
        for round_ in (1, 2):
            assert await phone.push() == 204
            assert (await phone.event("registered", nth=round_))["code"] == 200
            # RTP that is refused by a closed port would be no flow at all.
            async with caller(kamailio, workdir, "--hangup-after", "1") as calling:
                assert await calling.process.wait_exit(within_s=15) == 0
                heard = (await calling.event("bye", nth=round_))["rtp"]
            told = await phone.event("bye", nth=round_)
            assert told["by"] == "remote"
            assert (await phone.event("incoming", nth=round_))["from"].startswith("<sip:200@")
            for rtp in (heard, told["rtp"]):
                assert rtp["received_packets"] >= 30
                assert rtp["received_bytes"] == 160 * rtp["received_packets"]
                assert rtp["loudest"] > 10
            await phone.event("asleep", nth=round_ + 1)
            assert phone.udp_ports() == []
            assert (await phone.status())["finished_calls"] == round_


async def test_the_called_phone_can_hang_up(kamailio: Kamailio, workdir: Path) -> None:
    """POST /hangup ends the call from the called side; the caller sees a BYE."""
    async with PhoneProcess(workdir, "101", *options(kamailio, "101")) as phone:
        await phone.push()
        await phone.event("registered")
        async with caller(kamailio, workdir) as calling:
            await phone.event("media")
            await calling.event("media")
            assert (await phone.status())["state"] == "in_call"
            assert await phone.post("hangup") == 204
            assert (await phone.event("bye"))["by"] == "local"
            assert (await calling.event("bye"))["by"] == "remote"


async def test_hold_and_resume_from_both_sides(kamailio: Kamailio, workdir: Path) -> None:
    """POST /hold and /resume re-INVITE; the other side is told, and media flows again after."""
    async with PhoneProcess(workdir, "101", *options(kamailio, "101")) as phone:
        await phone.push()
        await phone.event("registered")
        async with caller(kamailio, workdir) as calling:
            await phone.event("media")
            for nth, one in ((1, phone), (2, calling)):
                await one.post("hold")
                for each in (phone, calling):
                    await each.event("held", nth=nth)
                await one.post("resume")
                for each in (phone, calling):
                    await each.event("resumed", nth=nth)
            assert [event["by"] for event in phone.events("held")] == ["local", "remote"]
            assert [event["by"] for event in calling.events("held")] == ["remote", "local"]


async def test_a_declined_call_ends_with_the_code_it_was_told(
    kamailio: Kamailio, workdir: Path
) -> None:
    """With --answer-code 486 the caller gets 486 and reports failure."""
    more = ["--answer-code", "486"]
    async with PhoneProcess(workdir, "101", *options(kamailio, "101"), *more) as phone:
        await phone.push()
        await phone.event("registered")
        async with caller(kamailio, workdir) as calling:
            assert await calling.process.wait_exit(within_s=15) == 1
            assert (await calling.event("ended"))["code"] == 486
        assert (await phone.event("ended"))["rtp"]["received_packets"] == 0


async def test_a_cancelled_call_stops_ringing(kamailio: Kamailio, workdir: Path) -> None:
    """A CANCEL while it rings ends the call with 487, and the phone takes the next one."""
    more = ["--answer-after", "3600"]
    async with PhoneProcess(workdir, "101", *options(kamailio, "101"), *more) as phone:
        await phone.push()
        await phone.event("registered")
        async with caller(kamailio, workdir) as calling:
            await phone.event("ringing")
            assert await calling.post("hangup") == 204
            ended = await phone.event("ended")
        assert (ended["by"], ended["code"]) == ("remote", 487)
        await phone.event("asleep", nth=2)


async def test_no_invite_after_a_push_and_it_sleeps_again(
    kamailio: Kamailio, workdir: Path
) -> None:
    """A wake without a call lasts --wake-for, and --unregister says goodbye to the registrar."""
    more = ["--wake-for", "0.5", "--unregister"]
    async with PhoneProcess(workdir, "101", *options(kamailio, "101"), *more) as phone:
        await phone.push()
        await phone.event("registered")
        await phone.event("unregistered")
        await phone.event("asleep", nth=2)
        assert await kamailio.bindings("101") == []
        assert phone.udp_ports() == []


async def test_a_push_while_awake_registers_again(kamailio: Kamailio, workdir: Path) -> None:
    """Whoever pushes waits for a REGISTER: an awake phone sends one at once."""
    async with PhoneProcess(workdir, "101", *options(kamailio, "101"), "--awake") as phone:
        await phone.event("registered")
        assert await phone.push() == 204
        await phone.event("registered", nth=2)


async def test_a_wrong_password_is_told(kamailio: Kamailio, workdir: Path) -> None:
    """The event register_failed carries the registrar's last answer."""
    arguments = ["--aor", kamailio.aor("101"), "--password", "wrong"]
    async with PhoneProcess(workdir, "101", *arguments) as phone:
        await phone.push()
        assert (await phone.event("register_failed"))["code"] in (401, 403)


@pytest.mark.parametrize(
    ("key", "at", "status"), [(None, 0, 401), (b"another", 0, 401), (KEY, 1, 401), (KEY, 0, 204)]
)
async def test_only_a_fresh_and_rightly_signed_push_wakes(
    kamailio: Kamailio, workdir: Path, key: bytes | None, at: int, status: int
) -> None:
    """With a key, a push without, with a wrong or with a stale signature is refused."""
    key_file = workdir / "key"
    key_file.write_bytes(KEY + b"\n")
    arguments = [*options(kamailio, "101"), "--push-key-file", str(key_file)]
    async with PhoneProcess(workdir, "101", *arguments) as phone:
        assert await phone.push(key=key, at=at) == status
        if status == 204:
            await phone.event("registered")
        else:
            await phone.event("push_rejected")
            assert phone.udp_ports() == []
            assert phone.events("waking") == []


async def test_other_pushes_do_not_wake(kamailio: Kamailio, workdir: Path) -> None:
    """A push of another type is noted and left at that; nonsense is refused with a status."""
    async with PhoneProcess(workdir, "101", *options(kamailio, "101")) as phone:
        assert await phone.push({**PUSH, "type": "cancel"}) == 204
        assert (await phone.event("push_received"))["payload"]["type"] == "cancel"
        assert await phone.push(b"{") == 400
        assert await phone.push(b"[]") == 400
        assert await phone.push(b"x" * 70_000) == 413
        assert phone.events("waking") == []


async def test_sigterm_ends_it_in_any_state(kamailio: Kamailio, workdir: Path) -> None:
    """Asleep or awake, SIGTERM ends it with status 0 within a second or two."""
    for wake in (False, True):
        phone = PhoneProcess(workdir, f"phone-{wake}", *options(kamailio, "101"))
        async with phone:
            if wake:
                await phone.push()
                await phone.event("registered")
            os.kill(phone.process.pid, signal.SIGTERM)
            assert await phone.process.wait_exit(within_s=5) == 0
