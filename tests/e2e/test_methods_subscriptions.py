"""SUBSCRIBE and NOTIFY: dialogs of their own, through us, in both directions."""

from typing import Any

import pytest

from .conftest import MakeExtension
from .methods import (
    answer,
    arrived,
    cross,
    desk,
    every_leg,
    final,
    send_alone,
    take,
)

PACKAGES = {
    "presence": ("application/pidf+xml", b'<?xml version="1.0"?>\r\n<presence entity="x"/>'),
    "dialog": ("application/dialog-info+xml", b"<dialog-info>\n</dialog-info>"),
    "message-summary": (
        "application/simple-message-summary",
        b"Messages-Waiting: yes\r\nVoice-Message: 2/8 (0/2)\r\n",
    ),
    "x-lab": ("application/octet-stream", bytes(range(256))),
}


def state(package: str, said: str, *, full: bool = True) -> dict[str, Any]:
    """Headers and body of a NOTIFY."""
    kind, body = PACKAGES[package]
    headers = (("Event", f"{package};id=7"), ("Subscription-State", said))
    if not full:
        return {"headers": headers}
    return {"headers": (*headers, ("Content-Type", kind)), "body": body}


@every_leg
@pytest.mark.parametrize("by_phone", [True, False])
@pytest.mark.parametrize("package", PACKAGES)
async def test_subscription(
    extension: MakeExtension, package: str, by: str, leg: str, *, by_phone: bool
) -> None:
    """Subscribed, notified before the 200 already (RFC 6665 §4.1.2.4) and later, refreshed,
    ended by the subscriber: each request and each body crosses as it is, in the dialog.
    """
    ext = await extension(by=by)
    async with desk(ext) as far, ext.phone(leg) as phone:
        await far.register()
        await phone.register()
        subscriber, asked = (phone, far) if by_phone else (far, phone)
        wanted = (
            ("Event", f"{package};id=7"),
            ("Accept", f"{PACKAGES[package][0]}, multipart/related"),
            ("Expires", "600"),
        )
        sent = await send_alone(subscriber, "SUBSCRIBE", asked.aor, headers=wanted)
        taken = await take(asked, "SUBSCRIBE")
        arrived(taken.invite, wanted, b"")
        there = taken.dialog()
        early = there.send("NOTIFY", **state(package, "active;expires=600"))
        seen = await subscriber.agent.expect(method="NOTIFY", call_id=sent.invite.call_id, within=5)
        expected = state(package, "active;expires=600")
        arrived(seen, expected["headers"], expected["body"])
        assert seen.to_tag == sent.invite.from_tag
        subscriber.agent.respond(seen, 200, "OK", headers=(("Contact", f"<{subscriber.contact}>"),))
        await asked.agent.expect(
            within=5, where=lambda m: m.status == 200 and m.branch == early.branch
        )
        answer(taken, 200, "OK", headers=(("Expires", "300"),))
        here = sent.dialog(await final(sent, 200))
        await cross(there, here, "NOTIFY", **state(package, "active;expires=300"))
        await cross(
            here,
            there,
            "SUBSCRIBE",
            headers=(wanted[0], ("Expires", "300")),
            answer_headers=(("Expires", "300"),),
        )
        await cross(there, here, "NOTIFY", **state(package, "active", full=False))
        await cross(here, there, "SUBSCRIBE", headers=(wanted[0], ("Expires", "0")))
        await cross(there, here, "NOTIFY", **state(package, "terminated;reason=timeout"))


@every_leg
@pytest.mark.parametrize("by_phone", [True, False])
@pytest.mark.parametrize("status", [403, 423, 489])
async def test_refused(
    extension: MakeExtension, status: int, by: str, leg: str, *, by_phone: bool
) -> None:
    """A refusal crosses with what it says, and the end of a subscription with 481 too."""
    ext = await extension(by=by)
    async with desk(ext) as far, ext.phone(leg) as phone:
        await far.register()
        await phone.register()
        subscriber, asked = (phone, far) if by_phone else (far, phone)
        event = (("Event", "x-lab"),)
        sent = await send_alone(subscriber, "SUBSCRIBE", asked.aor, headers=event)
        taken = await take(asked, "SUBSCRIBE")
        said = (("Allow-Events", "dialog"), ("Min-Expires", "60"))
        answer(taken, status, "No", headers=said)
        arrived(await final(sent, status), said, b"")
        sent = await send_alone(subscriber, "SUBSCRIBE", asked.aor, headers=event)
        taken = await take(asked, "SUBSCRIBE")
        answer(taken, 202, "Accepted")
        here = sent.dialog(await final(sent, 202))
        await cross(
            taken.dialog(),
            here,
            "NOTIFY",
            **state("x-lab", "active"),
            status=481,
            reason="Subscription Does Not Exist",
        )


async def test_phone_moves(extension: MakeExtension) -> None:
    """The phone has a new address after a REGISTER: NOTIFY of its old subscription finds it."""
    ext = await extension()
    async with desk(ext) as far, ext.phone() as phone:
        await far.register()
        await phone.register()
        sent = await send_alone(phone, "SUBSCRIBE", far.aor, headers=(("Event", "presence"),))
        taken = await take(far, "SUBSCRIBE")
        answer(taken, 200, "OK")
        here = sent.dialog(await final(sent, 200))
        there = taken.dialog()
        await cross(there, here, "NOTIFY", **state("presence", "active"))
        phone.sleep()
        assert (await phone.register()).status == 200
        await cross(there, here, "NOTIFY", **state("presence", "active"))
        await cross(here, there, "SUBSCRIBE", headers=(("Event", "presence"), ("Expires", "0")))
