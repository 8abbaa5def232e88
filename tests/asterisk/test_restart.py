"""Asterisk restarts, with and without its memory; the service is killed in the middle of a call."""

import pytest

from tests.lab import sdp

from .pair import CALLER, PLAIN, REWRITING
from .stage import TRANSPORTS, Sleeper, desk_caller
from .test_transfer import connect, hang_up

pytestmark = pytest.mark.asterisk


async def rings(pair: Sleeper) -> None:
    """A call comes through to the phone, which is woken for it."""
    async with desk_caller(pair.pbx, CALLER) as caller, pair.phone() as phone:
        pair.wake_on_push(phone.register)
        call = caller.call(pair.aor)
        incoming = await phone.incoming()
        incoming.reject(486, "Busy Here")
        await incoming.expect_ack()
        assert (await call.final()).status == 486


@pytest.mark.parametrize("by", TRANSPORTS)
async def test_restart_with_memory(pair: Sleeper, by: str) -> None:
    """Asterisk keeps contacts in its database: after a restart a call reaches us as before; over
    TCP and TLS by a connection of its own to our listener, if ours is not there yet.
    """
    await pair.provision(by)
    await pair.pbx.restart()
    assert len(await pair.pbx.contacts(pair.user)) == 1
    await rings(pair)


@pytest.mark.parametrize("by", ["tcp", "tls"])
async def test_restart_with_rewritten_contact(pair: Sleeper, by: str) -> None:
    """A contact that Asterisk has rewritten to our connection dies with it: we see the connection
    go, and register on a new one.
    """
    pair.user = REWRITING
    await pair.provision(by)
    await pair.pbx.restart()
    await pair.pbx.wait_contacts(pair.user, lambda found: len(found) == 1, within_s=10)
    await rings(pair)


@pytest.mark.parametrize("by", TRANSPORTS)
async def test_restart_without_memory(pair: Sleeper, by: str) -> None:
    """An Asterisk that comes back without its database has forgotten us: that is noticed, every
    account is registered again, and a call comes through.
    """
    for pair.user in PLAIN:
        await pair.provision(by)
    await pair.pbx.forget()
    for user in PLAIN:
        await pair.pbx.wait_contacts(user, lambda found: len(found) == 1, within_s=10)
    await rings(pair)


@pytest.mark.parametrize("by", TRANSPORTS)
async def test_service_killed_in_a_call(pair: Sleeper, by: str) -> None:
    """Kill -9 and restart while two talk: once the phone has registered again it holds and resumes,
    and either side's BYE reaches the other, though every connection is a new one.
    """
    await pair.provision(by)
    async with desk_caller(pair.pbx, CALLER) as caller, pair.phone(by) as phone:
        pair.wake_on_push(phone.register)
        for phone_ends in (False, True):
            call = caller.call(pair.aor)
            far, near = await connect(pair.pbx, call, await phone.incoming())
            pair.service.kill()
            await pair.service.start()
            phone.sleep()
            assert (await phone.register()).status == 200
            for offer in (sdp.HOLD, sdp.OFFER):
                assert (await near.reinvite(offer)).status == 200
            await hang_up(*((near, far) if phone_ends else (far, near)))


@pytest.mark.parametrize("by", TRANSPORTS)
async def test_service_killed_in_a_wake(pair: Sleeper, by: str) -> None:
    """Kill -9 while a phone wakes. Over UDP Asterisk waits, and the call connects; over TCP
    and TLS it has ended the call with the connection: on record that is the PBX's doing, and the
    call is missed.
    """
    await pair.provision(by, wake={"deadline_s": 40})
    async with desk_caller(pair.pbx, CALLER) as caller, pair.phone() as phone:
        call = caller.call(pair.aor)
        await pair.sink.wait(1, kind="call")
        await pair.service.eventually(
            lambda: pair.record(state="waking"),
            lambda record: "invite_stored" in pair.service.events(record),
            within=5,
            what="held INVITE",
        )
        pair.service.kill()
        await pair.service.close()
        await pair.service.start()
        if by == "udp":
            assert (await phone.register()).status == 200
            far, near = await connect(pair.pbx, call, await phone.incoming())
            await hang_up(far, near)
            assert (await pair.record())["verdict"] == "answered"
            return
        assert (await call.final()).status >= 400
        record = await pair.record()
        assert (record["verdict"], record["fault"]) == ("pbx_lost", "pbx")
        await pair.sink.wait(1, kind="cancel")
        missed = await pair.service.expect("GET", f"/v1/accounts/{pair.account}/missed-calls")
        assert [each["verdict"] for each in missed["missed_calls"]] == ["pbx_lost"]
