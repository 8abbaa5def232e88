"""Policies on the wire: who is refused unheard, who is sent elsewhere, and what the PBX is told."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.lab.push_sink import Reply
from tests.lab.sip_call import IncomingCall, OutgoingCall
from tests.lab.sip_message import Header, Message

from .conftest import Extension, MakeExtension

DESK = "sip:800@pbx.test"
VERDICTS = (
    "not_woken",
    "woke_not_registered",
    "registered_not_ringing",
    "push_rejected",
    "provider_unavailable",
    "no_device",
    "busy",
    "declined",
    "no_answer",
    "device_error",
)
Lead = Callable[[Extension, OutgoingCall], Awaitable[None]]


def sending_on(*when: str, to: str = DESK, **fields: Any) -> dict[str, Any]:
    return {
        "rules": [{"when": list(when), "redirect": to, **fields}],
        "targets": ["sip:*@pbx.test", "tel:+44*"],
    }


def notes(record: dict[str, Any]) -> list[str]:
    return [entry["detail"] for entry in record["timeline"] if entry["event"] == "policy"]


def is_redirected(final: Message, ext: Extension, *, reason: str, cause: int) -> None:
    assert final.status == 302, final
    assert final.all("Contact") == [f"<{DESK}>;mp=1"]
    assert final.all("Diversion") == [f"<{ext.aor}>;reason={reason};counter=1"]
    history = f"<{ext.aor}?Reason=SIP%3Bcause%3D{cause}>;index=1"
    assert final.all("History-Info") == [history]


@pytest.mark.parametrize(
    ("status", "phrase"),
    [(486, "Busy Here"), (480, "Temporarily Unavailable"), (404, "Not Found"), (603, "Decline")],
)
async def test_the_black_list(extension: MakeExtension, status: int, phrase: str) -> None:
    """A caller on it gets the chosen answer at once; no push leaves, the phone that is awake is
    not rung, and everybody else comes through.
    """
    rule = {"when": "always", "caller": "66*", "reject": {"status": status}}
    ext = await extension(policy={"rules": [rule]})
    phone = ext.phone()
    await phone.register()
    call = ext.call(caller="666")
    final = await call.final()
    assert (final.status, final.reason) == (status, phrase)
    assert final.all("X-Push-Reason") == ["refused"]
    record = await ext.record(call)
    assert (record["verdict"], record["fault"], record["status"]) == ("refused", "nobody", status)
    assert notes(record) == [f"rule 1: reject {status}"]
    welcome = ext.call(caller="566")
    incoming = await phone.incoming()
    assert incoming.invite.header("X-Push-ID")
    incoming.accept()
    await welcome.answered()
    await incoming.expect_ack()
    assert len(phone.agent.received(method="INVITE")) == 1
    assert ext.pushes() == []


async def test_the_black_list_and_a_phone_asleep(extension: MakeExtension) -> None:
    """Nothing of such a call ever reaches a sleeping phone: no push of any kind, and when it
    registers no INVITE. Hiding behind `Privacy: id` does not help the caller.
    """
    rule = {
        "when": "always",
        "caller": ["+4420*", "*@spam.example"],
        "reject": {"status": 480, "reason": "Not for you"},
    }
    ext = await extension(policy={"rules": [rule]})
    hidden: tuple[Header, ...] = (
        ("Privacy", "id"),
        ("P-Asserted-Identity", "<sip:+442079460000@carrier.example>"),
    )
    for headers in (
        hidden,
        (("P-Asserted-Identity", "<tel:+44-20-7946-0000>"),),
        (("P-Asserted-Identity", "<sip:bob@spam.example>"),),
    ):
        final = await ext.call(headers=headers).final()
        assert (final.status, final.reason) == (480, "Not for you")
    phone = ext.phone()
    await phone.register()
    await phone.agent.expect_nothing(within=0.5, method="INVITE")
    assert ext.pushes() == []


async def test_always_elsewhere(extension: MakeExtension) -> None:
    """Rule `always`: 302 with Contact, Diversion and History-Info at once, and nobody is woken;
    a repeated INVITE is answered by the same 302.
    """
    ext = await extension(policy=sending_on("always"))
    call = ext.call()
    final = await call.final(ack=False)
    is_redirected(final, ext, reason="unconditional", cause=302)
    call.send_again()
    again = await ext.pbx.agent.expect(within=2, status=302, call_id=call.invite.call_id)
    assert again.to_tag == final.to_tag
    call.ack_failure(final)
    record = await ext.record(call)
    assert (record["verdict"], record["fault"], record["status"]) == ("forwarded", "nobody", 302)
    assert notes(record) == ["rule 1: redirect"]
    assert not {"call", "cancel"} & {push.type for push in ext.pushes()}


async def test_a_telephone_number_is_the_pbxs_to_dial(extension: MakeExtension) -> None:
    """`tel:` becomes a user at the account's own PBX: no PBX follows a Contact without host."""
    ext = await extension(policy=sending_on("always", to="tel:+44-20-7946-0000"))
    final = await ext.call().final()
    assert final.all("Contact") == ["<sip:+442079460000@pbx.test;user=phone>;mp=1"]


async def nobody_comes(ext: Extension, _: OutgoingCall) -> None:
    await ext.pushed()


async def the_app_only_reports(ext: Extension, _: OutgoingCall) -> None:
    (push,) = await ext.pushed()
    body = {"event": "push_received", "device": "handset"}
    status, _answer = await ext.service.request("POST", f"/v1/calls/{push.call_id}/events", body)
    assert status < 300


async def the_token_is_dead(ext: Extension, _: OutgoingCall) -> None:
    await ext.pushed()


def the_phone_answers(status: int, *, ring: bool = False) -> Lead:
    async def lead(ext: Extension, _: OutgoingCall) -> None:
        await ext.pushed()
        incoming: IncomingCall = await ext.rung(ext.phone())
        if ring:
            incoming.ring()
        incoming.reject(status, "No")
        await incoming.expect_ack()

    return lead


async def the_person_declines(ext: Extension, _: OutgoingCall) -> None:
    (push,) = await ext.pushed()
    body = {"action": "decline", "device": "handset"}
    status, _answer = await ext.service.request("POST", f"/v1/calls/{push.call_id}/actions", body)
    assert status == 202


async def nothing(_ext: Extension, _: OutgoingCall) -> None:
    return


LED: dict[str, tuple[str, Lead, dict[str, Any], tuple[str, int], str]] = {
    "asleep": ("not_woken", nobody_comes, {"ack_s": 1}, ("unavailable", 503), "phone_or_network"),
    "hung": ("woke_not_registered", the_app_only_reports, {}, ("unavailable", 503), "app"),
    "dead": (
        "push_rejected",
        the_token_is_dead,
        {},
        ("unavailable", 503),
        "app_configuration",
    ),
    "bare": ("no_device", nothing, {}, ("unavailable", 503), "app_configuration"),
    "busy": ("busy", the_phone_answers(486), {}, ("user-busy", 486), "nobody"),
    "declined": ("declined", the_phone_answers(603), {}, ("deflection", 487), "nobody"),
    "screen": ("declined", the_person_declines, {}, ("deflection", 487), "nobody"),
    "silent": ("no_answer", the_phone_answers(480, ring=True), {}, ("no-answer", 408), "nobody"),
    "error": ("device_error", the_phone_answers(488), {}, ("unavailable", 503), "app"),
}


@pytest.mark.parametrize("what", LED)
async def test_an_end_leads_elsewhere(extension: MakeExtension, what: str) -> None:
    """The call would end so: 302 instead, with the reason in Diversion and History-Info, verdict
    `forwarded` and the fault of what led there. Rules of all other verdicts are passed over.
    """
    verdict, lead, wake, (reason, cause), fault = LED[what]
    others = [other for other in VERDICTS if other != verdict]
    policy = sending_on(verdict)
    policy["rules"].insert(0, {"when": others, "reject": {"status": 410}})
    ext = await extension(policy=policy, register="always", wake={"deadline_s": 5, **wake})
    if what == "dead":
        ext.sink.replies.append(Reply(status=410))
    if what == "bare":
        await ext.service.expect("DELETE", f"/v1/accounts/{ext.account}/devices/handset")
    call = ext.call()
    await lead(ext, call)
    final = await call.final(within=7)
    is_redirected(final, ext, reason=reason, cause=cause)
    assert len(ext.pbx.agent.received(method="INVITE", status=302)) == 1
    record = await ext.record(call)
    assert (record["verdict"], record["fault"], record["status"]) == ("forwarded", fault, 302)
    assert notes(record) == ["rule 2: redirect"]


async def test_a_provider_that_is_away_leads_elsewhere(extension: MakeExtension) -> None:
    """No push can leave: the caller is sent on without waiting for the wake's end."""
    ext = await extension(policy=sending_on("provider_unavailable"))
    await ext.sink.stop()
    call = ext.call()
    final = await call.final(within=9)
    is_redirected(final, ext, reason="unavailable", cause=503)
    assert (await ext.record(call))["fault"] == "provider"


async def test_one_device_still_wakes(extension: MakeExtension) -> None:
    """While a device may still answer no rule counts; its answer wins."""
    ext = await extension("a", "b", policy=sending_on("busy"))
    call = ext.call()
    await ext.pushed(2)
    busy = await ext.rung(ext.phone("a"))
    busy.reject(486, "Busy Here")
    await busy.expect_ack()
    await ext.pbx.agent.expect_nothing(within=0.3, status=302)
    incoming = await ext.rung(ext.phone("b"))
    incoming.accept()
    await call.answered()
    await incoming.expect_ack()


async def test_a_chosen_answer_at_the_end(extension: MakeExtension) -> None:
    """`reject` for a verdict: the PBX gets that answer, the record says what came of the call."""
    policy = {"rules": [{"when": "busy", "reject": {"status": 480, "reason": "Later"}}]}
    ext = await extension(policy=policy)
    call, incoming = await ext.woken()
    incoming.reject(486, "Busy Here")
    await incoming.expect_ack()
    final = await call.final()
    assert (final.status, final.reason) == (480, "Later")
    assert final.all("X-Push-Reason") == ["busy"]
    record = await ext.record(call)
    assert (record["verdict"], record["status"]) == ("busy", 480)
    assert notes(record) == ["rule 1: reject 480"]


@pytest.mark.parametrize(
    ("header", "why"),
    [
        (
            ("Diversion", "<sip:{user}@{pbx}>;reason=user-busy;counter=1"),
            "the call was diverted from here before",
        ),
        (
            ("History-Info", "<sip:{user}@pbx.test>;index=1, <sip:800@pbx.test>;index=1.1;mp=1"),
            "the call was diverted from here before",
        ),
        (
            ("Diversion", "<sip:1@pbx.test>;counter=3, <sip:2@pbx.test>;counter=2"),
            "diverted 5 times already",
        ),
    ],
    ids=["diversion", "history", "often"],
)
async def test_loops_are_cut(extension: MakeExtension, header: Header, why: str) -> None:
    """A call that was diverted from here before, or five times at all, is not sent on again: the
    next rule counts, else it is an ordinary call.
    """
    policy = sending_on("always")
    policy["rules"].append({"when": "no_device", "redirect": DESK})
    policy["rules"].append({"when": "no_device", "reject": {"status": 410}})
    ext = await extension(policy=policy, register="always")
    name, value = header
    value = value.format(user=ext.user, pbx=ext.pbx.domain)
    call = ext.call(headers=((name, value),))
    await ext.pushed()
    incoming = await ext.rung(ext.phone())
    incoming.accept()
    dialog = await call.answered()
    await incoming.expect_ack()
    dialog.send("BYE")
    await incoming.dialog().expect_bye()
    assert notes(await ext.record(call)) == [f"rule 1: no redirect, {why}"]

    await ext.service.expect("DELETE", f"/v1/accounts/{ext.account}/devices/handset")
    await ext.phones[0].unregister()
    last = ext.call(headers=((name, value),))
    assert (await last.final(within=2)).status == 410
    assert notes(await ext.record(last)) == [
        f"rule 1: no redirect, {why}",
        f"rule 2: no redirect, {why}",
        "rule 3: reject 410",
    ]


async def test_older_diversions_are_kept(extension: MakeExtension) -> None:
    """What the INVITE tells of its way goes into the 302: newest first in Diversion, in History-
    Info the account's own entry after the others, and Contact is mapped to it.
    """
    ext = await extension(policy=sending_on("always"))
    older = "<sip:150@pbx.test>;reason=away;counter=2"
    first = "<sip:150@pbx.test?Reason=SIP%3Bcause%3D404>;index=1"
    own = f"<sip:{ext.user}@pbx.test>;index=1.1;mp=1"
    headers = (("Diversion", older), ("History-Info", first), ("History-Info", own))
    final = await ext.call(headers=headers).final()
    assert final.status == 302
    assert final.all("Contact") == [f"<{DESK}>;mp=1.1"]
    assert final.listed("Diversion") == [f"<{ext.aor}>;reason=unconditional;counter=1", older]
    assert final.listed("History-Info") == [
        first,
        f"<{ext.aor}?Reason=SIP%3Bcause%3D302>;index=1.1",
    ]


async def test_cancel_is_not_for_policies(extension: MakeExtension) -> None:
    """A caller who hangs up gets 487 alone, also when the record says `no_answer`."""
    ext = await extension(policy=sending_on(*VERDICTS))
    call = ext.call()
    await ext.pushed()
    _, final = await call.cancel()
    assert final.status == 487
    assert notes(await ext.record(call)) == []
    patient, incoming = await ext.woken()
    incoming.ring()
    await patient.expect(180)
    patient.send_cancel(headers=(("Reason", "Q.850;cause=19"),))
    await incoming.expect_cancel()
    assert (await patient.final()).status == 487
    record = await ext.record(patient)
    assert (record["verdict"], notes(record)) == ("no_answer", [])
    assert ext.pbx.agent.received(status=302) == []


async def test_a_new_policy_counts_for_the_next_call(extension: MakeExtension) -> None:
    """PUT changes what calls meet, at once and without a restart; the call that waits keeps what
    it came under.
    """
    ext = await extension()
    waiting = ext.call()
    await ext.pushed()
    await ext.put(policy=sending_on("always"))
    assert (await ext.call().final()).status == 302
    incoming = await ext.rung(ext.phone())
    incoming.accept()
    await waiting.answered()
    await incoming.expect_ack()
    await ext.put(policy={"rules": [{"when": "always", "reject": {"status": 486}}]})
    assert (await ext.call().final()).status == 486


async def test_a_ring_is_cut_beside_a_pbx_that_tells_little(extension: MakeExtension) -> None:
    """Two accounts send all calls on to each other. The PBX names only who diverted last, counts
    nothing and writes its own address, as Asterisk does: the first account knows the call again.
    """
    one, other = await extension(), await extension()
    await one.put(policy=sending_on("always", to=other.aor))
    await other.put(policy=sending_on("always", to=one.aor))
    assert (await one.call().final()).status == 302
    by_one = ("Diversion", f"<sip:{one.user}@127.0.0.1>;reason=unconditional")
    assert (await other.call(headers=(by_one,)).final()).status == 302
    by_other = ("Diversion", f'"Ext" <sip:{other.user}@127.0.0.1>;reason=unknown')
    back = one.call(headers=(by_other,))
    await one.pushed()
    incoming = await one.rung(one.phone())
    incoming.accept()
    await back.answered()
    await incoming.expect_ack()
    elsewhere = one.call(caller="201", headers=(by_other,))
    assert (await elsewhere.final()).status == 302, "another caller's is another call"
