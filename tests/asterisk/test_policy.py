"""Asterisk follows our redirections (`redirect_method=user`), and refuses whom we refuse."""

from typing import Any

import pytest

from .conftest import MakeCaller, MakeDesk, MakeSleeper
from .stage import REALM, sent

pytestmark = pytest.mark.asterisk


def sending_on(when: str, to: str) -> dict[str, Any]:
    rule = {"when": when, "redirect": to}
    return {"rules": [rule], "targets": [f"sip:*@{REALM}", "tel:1??"]}


@pytest.mark.parametrize("scheme", ["sip", "tel"])
async def test_a_busy_phones_caller_is_put_through_to_the_desk(
    sleeper: MakeSleeper, callers: MakeCaller, desks: MakeDesk, scheme: str
) -> None:
    """The woken phone says 486: Asterisk follows our 302 and rings the desk phone, whose INVITE
    says by Diversion from whom and why; caller and desk talk. Also for a `tel:` target, which
    Asterisk would not follow as it is.
    """
    desk = await desks()
    target = f"sip:{desk.user}@{REALM}" if scheme == "sip" else f"tel:{desk.user}"
    ext = await sleeper(policy=sending_on("busy", target))
    caller = await callers()
    async with ext.phone() as phone:
        ext.wake_on_push(phone.register)
        call = caller.call(ext.aor)
        incoming = await phone.incoming()
        incoming.reject(486, "Busy Here")
        await incoming.expect_ack()
    diverted = await desk.incoming()
    value = diverted.invite.header("Diversion")
    assert f"sip:{ext.user}@" in value
    assert "reason=user-busy" in value.replace('"', "")
    diverted.accept()
    dialog = await call.answered()
    await diverted.expect_ack()
    dialog.send("BYE")
    await diverted.dialog().expect_bye()
    record = await ext.record()
    assert (record["verdict"], record["fault"], record["status"]) == ("forwarded", "nobody", 302)


async def test_two_who_send_on_to_each_other(sleeper: MakeSleeper, callers: MakeCaller) -> None:
    """A sends all calls on to B, and B to A. Asterisk names only who diverted last, and counts
    nothing: A takes the call that comes back all the same for the one that it has sent on.
    """
    first, second = await sleeper(), await sleeper()
    policy = sending_on("always", second.aor)
    policy["rules"].append({"when": "always", "reject": {"status": 480}})
    await first.provision("hold-udp", policy=policy)
    await second.provision("hold-udp", policy=sending_on("always", first.aor))
    caller = await callers()
    mark = first.pbx.mark()
    final = await caller.call(first.aor).final(within=5)
    assert final.status == 480
    invites = [
        packet.message.uri.partition("@")[0]
        for packet in first.pbx.packets(since=mark)
        if sent("INVITE")(packet)
    ]
    assert invites == [f"sip:{user}" for user in (first.user, second.user, first.user)]
    record = await first.service.eventually(
        first.record,
        lambda record: record["status"] == 480,
        within=3,
        what="record of the call that came back",
    )
    notes = [entry["detail"] for entry in record["timeline"] if entry["event"] == "policy"]
    assert notes == [
        "rule 1: no redirect, the call was diverted from here before",
        "rule 2: reject 480",
    ]
    assert not [push for push in first.sink.pushes if push.type == "call"]
