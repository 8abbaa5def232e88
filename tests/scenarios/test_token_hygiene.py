"""Push tokens stay true: dead ones are left alone, living ones survive, phones change hands."""

from __future__ import annotations

from typing import Any

from tests.lab.push_sink import Push, Reply

from .conftest import Extension, MakeExtension

SHORT = {"deadline_s": 5.0, "repush_after_s": None}
"""Wakes that end soon, with one push each."""


async def refused(ext: Extension) -> dict[str, Any]:
    """A call that nobody takes; its record."""
    call = ext.call()
    final = await call.final(within=8)
    assert final.status == 480, final
    return await ext.record(call)


async def answered(ext: Extension, *, pushes: int) -> None:
    """A call whose push, the ``pushes``-th of all, wakes a phone that answers."""
    call = ext.call()
    await ext.pushed(pushes)
    incoming = await ext.rung(ext.phone())
    incoming.accept()
    dialog = await call.answered()
    await incoming.expect_ack()
    dialog.send("BYE")
    await incoming.dialog().expect_bye()


async def dead_token(ext: Extension) -> None:
    """The provider ends the token at a call."""
    ext.sink.replies.append(Reply(status=410))
    assert (await refused(ext))["verdict"] == "push_rejected"


async def test_a_dead_token_is_left_alone_until_the_app_names_it_again(
    extension: MakeExtension,
) -> None:
    """410: the call ends push_rejected, the token is counted as dropped, once, and the next call
    pushes nothing but says why. The very same token by PUT wakes the phone again.
    """
    ext = await extension(register="always", wake=SHORT)
    dropped = "push_proxy_tokens_dropped_total"
    await dead_token(ext)
    count = await ext.service.metric(dropped)
    shown = await ext.service.device_status(ext.account)
    assert (shown["reachability"], shown["token"]["state"]) == ("unreachable", "dead")
    assert (shown["token"]["reason"], shown["app_error"]) == ("http_410", 0)

    record = await refused(ext)
    assert (record["verdict"], record["fault"]) == ("no_device", "app_configuration")
    assert "http_410" in record["advice"]
    assert "token_dead" in ext.service.events(record, "handset")
    assert len(ext.pushes()) == 1
    assert await ext.service.metric(dropped) == count

    back = await ext.put_device()
    assert back["token"]["state"] == "good"
    await answered(ext, pushes=2)


async def test_an_account_that_nothing_can_wake_leaves_its_pbx(extension: MakeExtension) -> None:
    """with_device: its last token died, and no phone is bound: calls would ring nowhere. A new
    token brings the registration back.
    """
    ext = await extension(wake=SHORT)
    await dead_token(ext)
    await ext.pbx.unregistered(ext.user)
    await ext.put_device(token="new token")
    await ext.pbx.registered(ext.user)
    await answered(ext, pushes=2)


async def test_a_bound_phone_keeps_the_registration(extension: MakeExtension) -> None:
    """Its token is dead, but SIP reaches it: the account stays at its PBX while it is bound."""
    ext = await extension(wake={**SHORT, "fresh_s": 0})
    phone = ext.phone()
    await phone.register()
    ext.sink.replies.append(Reply(status=410))
    call = ext.call()
    incoming = await phone.incoming()
    incoming.accept()
    await call.answered()
    await incoming.expect_ack()
    shown = await ext.service.device_status(ext.account)
    assert (shown["reachability"], shown["token"]["state"]) == ("registered", "dead")
    assert (await ext.service.registration(ext.account))["state"] == "registered"
    assert len(ext.pushes("call")) == 1
    await phone.unregister()
    await ext.pbx.unregistered(ext.user)


async def test_a_late_410_does_not_end_a_token_that_was_named_again(
    extension: MakeExtension,
) -> None:
    """The app is installed anew while the push to its former life is on its way: the provider
    gave out the same token, which the answer to the old push must not take away.
    """
    ext = await extension(wake=SHORT)

    async def again(_: Push) -> None:
        ext.sink.hook = None
        await ext.put_device()

    ext.sink.hook = again
    ext.sink.replies.append(Reply(status=410))
    await refused(ext)
    assert (await ext.service.device_status(ext.account))["token"]["state"] == "good"
    await answered(ext, pushes=2)


async def test_a_phone_that_is_handed_on_rings_for_its_new_owner_alone(
    extension: MakeExtension,
) -> None:
    """An exclusive token: not even a phone still bound for its old owner rings for that one."""
    old = await extension(register="always", wake=SHORT)
    new = await extension(registered=False, wake=SHORT)
    phone = old.phone()
    await phone.register()
    token = f"token-{old.account}-handset"
    taken = await new.put_device(token=token)
    assert taken["moved"] == 1
    await new.pbx.registered(new.user)

    record = await refused(old)
    assert record["verdict"] == "no_device"
    assert (old.pushes(), phone.agent.received(method="INVITE")) == ([], [])
    await answered(new, pushes=1)
    assert [push.payload["token"] for push in new.pushes("call")] == [token]


async def test_a_device_too_many_pushes_the_quietest_aside(extension: MakeExtension) -> None:
    """The eleventh: the PUT names the one that went, and a call wakes the ten others alone."""
    names = [f"d{number}" for number in range(10)]
    ext = await extension(*names, wake=SHORT)
    await ext.put_device("d0", instance_id="urn:x-lab:d0")  # a sign of life
    made = await ext.put_device("d10", instance_id="urn:x-lab:d10")
    assert made["evicted"] == ["d1"]
    call = ext.call()
    pushes = await ext.pushed(10)
    assert {push.payload["device"] for push in pushes} == {*names, "d10"} - {"d1"}
    call.send_cancel()
