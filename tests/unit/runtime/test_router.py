"""runtime.router and runtime.outbound: who may, who may not, and where it goes."""

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest
from structlog.testing import capture_logs

from push_proxy.core.ids import ServerTxn
from push_proxy.core.model import Address, Direction
from push_proxy.signaling.facts import (
    BranchResponse,
    CancelReceived,
    DeviceHeard,
    DialogEnded,
    Fact,
    ForwardResponse,
    ForwardRinging,
    OrderFailed,
    RequestAnswered,
    StackLog,
    TransactionLost,
)
from tests.unit.runtime.sip_scene import PBX, PEER, PHONE, STRANGER, US, Scene, hold, trunk

OURS = "sip:101@10.0.0.7:5060;pp=tok101"
CALLER = "sip:555@pbx.example.com"


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    scene = await Scene().start()
    await scene.add(hold(), "phone")
    await scene.add(trunk(), "phone")
    yield scene
    await scene.aclose()


def statuses(scene: Scene, *args: str, **more: object) -> list[int]:
    return [order.status for order in scene.send(*args, **more)]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("uri", "to", "source"),
    [
        (OURS, None, PBX),
        (OURS, None, Address(PBX.host, 61234)),
        ("sip:101@10.0.0.7", None, PBX),
        ("sip:someone@10.0.0.7;pp=tok101", None, PBX),
        ("sip:201@10.0.0.7", None, PEER),
        ("sip:201@trunk.example.com", None, Address("192.0.2.200", 1)),
        ("sip:10.0.0.7", "sip:201@trunk.example.com", PEER),
    ],
)
async def test_invites_from_the_accounts_pbx_are_taken(
    scene: Scene, uri: str, to: str | None, source: Address
) -> None:
    """By token, by user, in trunk by To; from any port of the PBX and from its peers."""
    assert scene.send("INVITE", uri, to=to, source=source, from_=CALLER) == []
    assert len(scene.notices.invites) == 1


@pytest.mark.parametrize(
    ("uri", "source", "status"),
    [
        (OURS, STRANGER, 403),
        ("sip:101@10.0.0.7", STRANGER, 403),
        ("sip:999@10.0.0.7", STRANGER, 403),
        ("sip:101@10.0.0.7", PHONE, 403),
        ("sip:999@10.0.0.7", PBX, 404),
        # another PBX's account
        ("sip:101@10.0.0.7", PEER, 404),
        (OURS, PEER, 404),
        ("sip:201@10.0.0.7", PBX, 404),
        # in hold To does not name the account
        ("sip:10.0.0.7", PBX, 404),
    ],
)
async def test_others_are_refused(scene: Scene, uri: str, source: Address, status: int) -> None:
    """Strangers get one answer for known and unknown; a PBX reaches its own accounts only."""
    assert statuses(scene, "INVITE", uri, source=source, from_=CALLER, to=OURS) == ([status])
    assert scene.notices.invites == []


async def test_a_strangers_answer_shows_nothing(scene: Scene) -> None:
    """Byte for byte the same for every method and target."""
    orders = [
        scene.send(method, uri, source=STRANGER)
        for method in ("INVITE", "MESSAGE", "SUBSCRIBE")
        for uri in (OURS, "sip:nobody@10.0.0.7")
    ]
    assert {(o.status, str(o.headers)) for (o,) in orders} == {(403, "{}")}


async def test_a_disabled_account_is_not_found(scene: Scene) -> None:
    """A staged account has no SIP."""
    await scene.add(hold(enabled=False))
    assert statuses(scene, "INVITE", OURS, source=PBX, from_=CALLER) == [404]


async def test_users_of_several_domains_are_told_apart(scene: Scene) -> None:
    """One PBX, two tenants with an extension 101: the domain decides, else nobody gets it."""
    await scene.add(hold("101", account="other", aor="sip:101@b.example.com", contact_token="b"))
    scene.send("INVITE", "sip:101@b.example.com", source=PBX, from_=CALLER)
    assert [account.aor for _, account in scene.notices.invites] == ["sip:101@b.example.com"]
    assert statuses(scene, "INVITE", "sip:101@10.0.0.7", source=PBX, from_=CALLER) == [404]


async def test_what_wakes_nobody(scene: Scene) -> None:
    """NOTIFY about mail: 200; SUBSCRIBE to a sleeping phone, and MESSAGE to one that nothing can
    wake: 480; Replaces: 481.
    """
    mail = ("NOTIFY", OURS, "Event: message-summary")
    assert statuses(scene, *mail, source=PBX, from_=CALLER) == [200]
    assert statuses(scene, "MESSAGE", OURS, source=PBX, from_=CALLER) == [480]
    assert statuses(scene, "SUBSCRIBE", OURS, source=PBX, from_=CALLER) == [480]
    replaces = ("INVITE", OURS, "Replaces: x;to-tag=1;from-tag=2")
    assert statuses(scene, *replaces, source=PBX, from_=CALLER) == [481]
    assert scene.notices.invites == []


async def test_to_an_awake_phone(scene: Scene) -> None:
    """MESSAGE and INVITE with Replaces go to its Contact on its flow, with the AOR."""
    scene.register()
    for method, header in (("MESSAGE", "X-Push-ID: forged"), ("INVITE", "Replaces: x")):
        (order,) = scene.send(method, OURS, header, "Privacy: id", source=PBX, from_=CALLER)
        rewrite = order.rewrite
        assert rewrite is not None
        assert rewrite.request_uri == "sip:101@203.0.113.5:40000"
        assert (rewrite.destination, rewrite.local) == (PHONE, US)
        assert ("P-Called-Party-ID", "<sip:101@pbx.example.com>") in rewrite.add
        assert "p-asserted-identity" in rewrite.remove
        assert bool(rewrite.route_key) == (method == "INVITE")
        assert not rewrite.device_is_caller
    assert ("x-push-id" in rewrite.remove) is False


async def test_an_app_calls_out(scene: Scene) -> None:
    """To the PBX, through us for its dialog, without what apps may not assert; recorded."""
    scene.register()
    (order,) = scene.send(
        "INVITE",
        "sip:200@push.example.com",
        'From: "Bob" <sip:101@pbx.example.com>;tag=f',
        "P-Asserted-Identity: <sip:boss@pbx>",
        "Diversion: <sip:x@y>",
        "X-Push-Secret: 1",
        "Contact: <sip:101@203.0.113.5;pn-prid=TOKEN;ob>",
        "Route: <sip:push.example.com;lr>",
        "Proxy-Authorization: Digest realm=pbx",
    )
    rewrite = order.rewrite
    assert rewrite is not None
    assert rewrite.request_uri == "sip:200@pbx.example.com"
    assert (rewrite.destination, rewrite.local) == (PBX, US)
    assert {"p-asserted-identity", "diversion", "x-push-secret", "contact"} <= set(rewrite.remove)
    assert "proxy-authorization" not in rewrite.remove
    assert rewrite.add == (("Contact", "<sip:101@203.0.113.5;ob>"),)
    assert rewrite.device_is_caller
    assert len(rewrite.route_key) == 16
    (record,) = scene.notices.calls
    assert (record.id, record.direction) == (rewrite.call, Direction.OUTGOING)
    assert (record.caller, record.callee) == ("101", "200")


@pytest.mark.parametrize(
    ("headers", "more"),
    [
        ((), {"from_": "sip:102@pbx.example.com"}),
        ((), {"from_": "sip:anonymous@anonymous.invalid"}),
        ((), {"from_": "tel:101"}),
        ((), {"source": Address(PHONE.host, PHONE.port + 1)}),
        (("Route: <sip:evil.example.com;lr>",), {}),
        (("Route: <sip:push.example.com;lr>, <sip:evil.example.com;lr>",), {}),
        (("Route: nonsense",), {}),
    ],
)
async def test_an_app_that_cheats_is_refused(
    scene: Scene, headers: tuple[str, ...], more: dict[str, object]
) -> None:
    """Another's From, another flow, a way of its own: 403, nothing relayed. Whose call it would
    have been is known of the last alone: that one is on record.
    """
    scene.register()
    assert statuses(scene, "INVITE", "sip:200@pbx.example.com", *headers, **more) == [403]
    assert scene.notices.targets == []
    fates = [("refused", 403)] if headers else []
    assert [fate[1:] for fate in scene.notices.fates] == fates


async def test_an_apps_call_into_a_known_account_is_not_pushed(scene: Scene) -> None:
    """Its INVITE goes to the PBX, even for an account of ours."""
    await scene.add(hold("102"), "phone")
    scene.register()
    (order,) = scene.send("INVITE", "sip:102@pbx.example.com")
    assert order.rewrite is not None
    assert order.rewrite.destination == PBX
    assert scene.notices.invites == []


async def test_in_trunk_we_challenge(scene: Scene) -> None:
    """407 in the app's realm; the answer is kept from the PBX, others' pass."""
    aor = "sip:201@trunk.example.com"
    scene.register(aor=aor, user="201", contact="<sip:201@203.0.113.5:40000>")
    target = "sip:300@trunk.example.com"
    (first,) = scene.send("INVITE", target, from_=aor)
    assert first.status == 407
    proof = scene.answer(first, "Proxy-Authenticate", "INVITE", user="201")
    (order,) = scene.send(
        "INVITE",
        target,
        f"Proxy-Authorization: {proof}",
        'Proxy-Authorization: Digest realm="far", nonce="x"',
        from_=aor,
    )
    assert order.rewrite is not None
    assert "proxy-authorization" in order.rewrite.remove
    assert order.rewrite.add == (("Proxy-Authorization", 'Digest realm="far", nonce="x"'),)
    assert order.rewrite.destination == Address(PEER.host, 5060)
    (wrong,) = scene.send("INVITE", target, f"Proxy-Authorization: {proof}", from_=aor)
    assert wrong.status == 407


async def test_an_app_on_the_pbxs_host_is_an_app(scene: Scene) -> None:
    """Its exact flow decides: with another's From it is refused, not taken for the PBX."""
    beside = Address(PBX.host, 40404)
    scene.register(source=beside)
    (order,) = scene.send("INVITE", "sip:200@pbx.example.com", source=beside)
    assert order.rewrite is not None
    assert statuses(scene, "INVITE", OURS, source=beside, from_=CALLER) == [403]
    assert scene.notices.invites == []


async def test_a_pbx_that_passes_registers_on_is_still_the_pbx(scene: Scene) -> None:
    """Phones behind the PBX's own address: its INVITEs are the PBX's all the same."""
    scene.register(source=PBX)
    assert scene.send("INVITE", OURS, source=PBX, from_=CALLER) == []
    assert len(scene.notices.invites) == 1


async def test_an_unresolved_pbx_is_said(scene: Scene) -> None:
    """503 with Retry-After; the call is on record as refused."""
    account = hold(
        "103", pbx=None, registrar="sip:gone.example.com", aor="sip:103@gone.example.com"
    )
    await scene.add(account, "phone")
    scene.register(aor=account.aor, user="103")
    (order,) = scene.send("INVITE", "sip:200@gone.example.com", from_=account.aor)
    assert (order.status, order.headers["Retry-After"]) == (503, ["5"])
    (call,) = scene.notices.calls
    assert scene.notices.fates == [(call.id, "refused", 503)]


async def test_replaces_goes_to_the_device_in_that_call(scene: Scene) -> None:
    """Not to the one heard last; one without a binding: 480."""
    await scene.add(hold("103"), "old", "new")
    keys = {}
    for name, port in (("old", 41000), ("new", 42000)):
        source = Address(PHONE.host, port)
        contact = f'<sip:103@{PHONE.host}:{port}>;+sip.instance="<urn:{name}>"'
        scene.register(
            aor="sip:103@pbx.example.com", user="103", source=source, contact=contact, call_id=name
        )
        (binding,) = scene.directory.by_flow(source)
        keys[name] = binding
        scene.clock.advance(1)
    uri = "sip:103@10.0.0.7;pp=tok103"
    replaces = "Replaces: held@x ;to-tag=1;from-tag=2"
    for name, binding in keys.items():
        scene.notices.holders = {(binding.account, "held@x"): binding.device}
        (order,) = scene.send("INVITE", uri, replaces, source=PBX, from_=CALLER)
        assert order.rewrite is not None
        assert order.rewrite.destination == binding.source, name
    scene.notices.holders = {}
    for name, binding in keys.items():
        scene.notices.stored = {(binding.account, "held@x"): binding.device}
        assert scene.send("INVITE", uri, replaces, source=PBX, from_=CALLER) == []
        await asyncio.sleep(0)
        order = scene.stack.orders[-1]
        assert order.rewrite is not None
        assert order.rewrite.destination == binding.source, f"{name}, by the store"
    new = keys["new"]
    scene.notices.holders = {(new.account, "held@x"): new.device}
    scene.directory.delete_binding(new.account, new.device)
    assert statuses(scene, "INVITE", uri, replaces, source=PBX, from_=CALLER) == [480]


@pytest.mark.parametrize(
    ("end", "verdict", "ended_by"),
    [
        (
            lambda t: ForwardResponse(txn=t, status=200, reason="", local=False),
            "answered",
            "device",
        ),
        (lambda t: ForwardResponse(txn=t, status=486, reason="", local=False), "busy", "device"),
        (
            lambda t: ForwardResponse(txn=t, status=481, reason="", local=False),
            "device_error",
            "device",
        ),
        (
            lambda t: ForwardResponse(txn=t, status=487, reason="", local=False),
            "caller_cancelled",
            "caller",
        ),
        (
            lambda t: ForwardResponse(txn=t, status=430, reason="", local=True),
            "registered_not_ringing",
            "device",
        ),
        (lambda t: TransactionLost(t, "gone"), "pbx_lost", "pbx"),
        (
            lambda t: OrderFailed(order="forward", txn=t, branch=0, reason="x"),
            "proxy_error",
            "proxy",
        ),
    ],
)
async def test_a_replacing_call_is_on_record(
    scene: Scene, end: Callable[[ServerTxn], Fact], verdict: str, ended_by: str
) -> None:
    """It has an id of ours, which the device gets and its BYE will name, and one verdict."""
    scene.register()
    (order,) = scene.send("INVITE", OURS, "Replaces: x@y;to-tag=1", source=PBX, from_=CALLER)
    assert order.rewrite is not None
    call = order.rewrite.call
    assert call is not None
    assert ("X-Push-ID", call) in order.rewrite.add
    scene.router.on_fact(end(ServerTxn(order.txn)))
    record = scene.kept.get(call)
    assert record is not None
    assert record.outcome is not None
    assert (record.direction, record.callee) == (Direction.INCOMING, "101")
    assert (record.outcome.verdict, record.outcome.ended_by) == (verdict, ended_by)
    assert record.timeline[0].detail == "replaces x@y"
    assert scene.notices.facts == []


async def test_an_outgoing_calls_fate(scene: Scene) -> None:
    """It rings; answered, challenged, failed at the PBX, failed here, lost, not sent."""
    scene.register()
    fates: list[tuple[object, ...]] = []
    for fact, expected in (
        (lambda t: ForwardResponse(txn=t, status=200, reason="OK", local=False), ("answered",)),
        (lambda t: ForwardResponse(txn=t, status=486, reason="Busy", local=False), (486, False)),
        (lambda t: ForwardResponse(txn=t, status=408, reason="", local=True), (408, True)),
        (
            lambda t: ForwardResponse(txn=t, status=407, reason="", local=False),
            ("challenged", 407),
        ),
        (lambda t: TransactionLost(t, "gone"), ("vanished", "gone")),
        (
            lambda t: OrderFailed(order="forward", txn=t, branch=0, reason="x"),
            ("broken", "x"),
        ),
    ):
        (order,) = scene.send("INVITE", "sip:200@pbx.example.com")
        scene.router.on_fact(ForwardRinging(txn=ServerTxn(order.txn), status=180, reason=""))
        fates.append(("ringing", 180))
        scene.router.on_fact(fact(ServerTxn(order.txn)))  # type: ignore[no-untyped-call]
        fates.append(expected)
    assert [fate[1:] for fate in scene.notices.fates] == fates
    assert scene.outbound.unanswered == 0
    scene.router.on_fact(ForwardRinging(txn=ServerTxn(order.txn), status=180, reason="late"))
    assert len(scene.notices.fates) == len(fates)
    assert {target for _, target in scene.notices.targets} == {PBX}
    assert scene.notices.facts == []


async def test_facts_go_to_their_owners(scene: Scene) -> None:
    """Wakes, calls, registrations; a sign of life to the directory; logs to the log."""
    scene.register()
    (binding,) = scene.directory.bindings(hold().key)
    facts = [
        CancelReceived(ServerTxn(9), ""),
        BranchResponse(
            txn=ServerTxn(9), branch=1, response=1, status=180, reason="", local=False, raw=b""
        ),  # type: ignore[arg-type]
        TransactionLost(ServerTxn(9), ""),
        DialogEnded(call="c", by_device=True, reason=""),
        RequestAnswered(request=1, status=200, reason="", local=False, raw=b""),
    ]
    for fact in facts:
        scene.router.on_fact(fact)
    assert scene.notices.facts == facts
    scene.clock.advance(5)
    scene.router.on_fact(DeviceHeard(route_key=binding.route_key, source=PHONE))
    assert scene.directory.bindings(hold().key)[0].heard_at == scene.clock.now()
    scene.router.on_fact(StackLog(2, "careful"))


async def test_the_stacks_noise_fills_no_disk(scene: Scene) -> None:
    """Strangers make the stack talk: of a thousand lines alike a few are written."""
    with capture_logs() as lines:
        for number in range(1000):
            scene.router.on_fact(StackLog(2, f"bad packet from 192.0.2.1:{number}"))
    assert 0 < len(lines) < 10


async def test_the_end_of_the_sip_thread_is_told(scene: Scene) -> None:
    """Without it nothing rings any more: it shows as an error, and the service can end."""
    assert not scene.router.stack_ended.is_set()
    with capture_logs() as lines:
        scene.router.on_fact(StackLog(0, "the SIP thread has ended by an error: x"))
    assert scene.router.stack_ended.is_set()
    assert [line["log_level"] for line in lines] == ["error"]


async def test_a_fault_of_ours_answers_500(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """One request that breaks something does not stop the next."""

    def broken(*_: object) -> None:
        raise RuntimeError("bug")

    monkeypatch.setattr(scene.notices, "invite", broken)
    assert statuses(scene, "INVITE", OURS, source=PBX, from_=CALLER) == [500]


async def test_malformed_requests_of_the_trusted_get_400(scene: Scene) -> None:
    """What the stack let through and we cannot read is refused."""
    assert statuses(scene, "INVITE", OURS, "no colon here", source=PBX) == [400]
