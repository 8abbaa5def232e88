"""core.binding: what the registrar answers and changes (RFC 3261 §10.3)."""

from dataclasses import replace

import pytest

from push_proxy.core.binding import BindingRules, Decision, decide, route_headers
from push_proxy.core.ids import AccountId, DeviceId, Instant, TenantId
from push_proxy.core.message import parse
from push_proxy.core.model import Account, Address, Binding, Device
from push_proxy.core.register import BadRegister, read_register

NOW = Instant(1_800_000_000.0)
ACCOUNT = Account(tenant=TenantId("t"), account=AccountId("a"), aor="sip:101@pbx")
SOURCE = Address("192.0.2.7", 40000)
LOCAL = Address("192.0.2.1", 5060)
RULES = BindingRules()


def device(name: str, *, instance: str | None = None, token: str = "") -> Device:
    return Device(
        account=ACCOUNT.key,
        device=DeviceId(name),
        provider="webhook",
        app_id="app",
        token=token or f"token-{name}",
        instance_id=instance,
    )


def register(
    *contacts: str,
    expires: int | None = 600,
    call_id: str = "c1",
    cseq: int = 1,
    devices: tuple[Device, ...] = (),
    bindings: tuple[Binding, ...] = (),
    source: Address = SOURCE,
    extra: str = "",
    now: Instant = NOW,
    rules: BindingRules = RULES,
) -> Decision:
    lines = [f"Contact: {value}" for value in contacts]
    if expires is not None:
        lines.append(f"Expires: {expires}")
    text = "\r\n".join(
        ["REGISTER sip:pbx SIP/2.0", f"Call-ID: {call_id}", f"CSeq: {cseq} REGISTER", *lines]
    )
    try:
        asked = read_register(parse(f"{text}\r\n{extra}\r\n".encode()))
    except BadRegister as bad:
        return Decision(status=bad.status, reason=bad.reason, headers=bad.headers)
    return decide(
        asked,
        account=ACCOUNT,
        devices=devices,
        bindings=bindings,
        source=source,
        local=LOCAL,
        rules=rules,
        now=now,
    )


PHONE = device("phone")


def bound(*contacts: str, devices: tuple[Device, ...] = (PHONE,), **more: object) -> Binding:
    decision = register(*contacts, devices=devices, **more)  # type: ignore[arg-type]
    assert decision.status == 200
    assert len(decision.put) == 1
    return decision.put[0]


def test_a_contact_is_bound() -> None:
    """The 200 lists it with its seconds; the binding knows flow, order and device."""
    decision = register("<sip:101@192.0.2.7:5062;ob>", devices=(PHONE,), cseq=7)
    (binding,) = decision.put
    assert (decision.status, decision.removed) == (200, ())
    assert decision.headers == (("Contact", "<sip:101@192.0.2.7:5062;ob>;expires=600"),)
    assert (binding.device, binding.contact) == ("phone", "sip:101@192.0.2.7:5062;ob")
    assert (binding.source, binding.local) == (SOURCE, LOCAL)
    assert (binding.call_id, binding.cseq) == ("c1", 7)
    assert (binding.expires_at, binding.heard_at) == (NOW + 600, NOW)
    assert len(binding.route_key) == 16


@pytest.mark.parametrize(
    ("header", "param", "granted"),
    [(None, None, 600), (300, None, 300), (300, 120, 120), (None, 90, 90), (86400, None, 3600),
     (60, None, 60), (None, 4294967296, 3600)],
)  # fmt: skip
def test_expires(header: int | None, param: int | None, granted: int) -> None:
    """The Contact's own before the header's, default 600, cut at the maximum."""
    contact = "<sip:101@h>" + (f";expires={param}" if param is not None else "")
    decision = register(contact, expires=header)
    assert decision.headers == (("Contact", f"<sip:101@h>;expires={granted}"),)


def test_too_brief() -> None:
    """423 with Min-Expires, and nothing changes."""
    decision = register("<sip:101@h>", expires=59)
    assert (decision.status, decision.headers) == (423, (("Min-Expires", "60"),))
    assert decision.put == ()


def test_a_fetch_lists_and_changes_nothing() -> None:
    """No Contact: 200 with all bindings and what is left of them."""
    old = bound("<sip:101@h>")
    decision = register(expires=None, bindings=(old,), now=Instant(NOW + 100.4))
    assert decision.headers == (("Contact", "<sip:101@h>;expires=500"),)
    assert (decision.put, decision.removed) == ((), ())


@pytest.mark.parametrize(
    ("contacts", "expires", "extra", "status"),
    [
        (("*",), 600, "", 400),
        (("*",), None, "", 400),
        (("*", "<sip:101@h>"), 0, "", 400),
        (("<tel:+49>",), 600, "", 400),
        (("<sip:101@h",), 600, "", 400),
        (tuple(f"<sip:{n}@h>" for n in range(11)), 600, "", 403),
        (("<sip:101@h>",), 600, "Path: <sip:edge;lr>\r\n", 420),
        (("<sip:101@h>",), 600, "Require: outbound, path\r\n", 420),
        (("<sip:101@h>",), 600, "Supported: path, gruu, outbound\r\n", 200),
    ],
)
def test_refusals(contacts: tuple[str, ...], expires: int | None, extra: str, status: int) -> None:
    """Bad stars, Contacts that cannot be called, extensions that we lack."""
    decision = register(*contacts, expires=expires, extra=extra)
    assert decision.status == status
    if status == 420:
        assert decision.headers[0][0] == "Unsupported"


def test_star_removes_all() -> None:
    """`*` with Expires 0 removes every binding and lists none."""
    old = bound("<sip:101@h>")
    decision = register("*", expires=0, cseq=2, bindings=(old,))
    assert (decision.status, decision.headers, decision.removed) == (200, (), (old,))


@pytest.mark.parametrize("cseq", [1, 5])
@pytest.mark.parametrize(
    ("contact", "expires"), [("<sip:101@h>", 600), ("<sip:101@h>", 0), ("*", 0)]
)
def test_order_within_a_call_id(cseq: int, contact: str, expires: int) -> None:
    """An equal or lower CSeq changes nothing and fails; another Call-ID starts anew."""
    old = bound("<sip:101@h>", cseq=5)
    decision = register(contact, expires=expires, cseq=cseq, devices=(PHONE,), bindings=(old,))
    assert (decision.status, decision.put, decision.removed) == (500, (), ())
    other = register(
        contact, expires=expires, cseq=cseq, call_id="c2", devices=(PHONE,), bindings=(old,)
    )
    assert other.status == 200


def test_a_contact_is_removed_by_its_uri() -> None:
    """Expires 0 removes that Contact; removing an unknown one is fine."""
    old = bound("<sip:101@192.0.2.7:5062>")
    decision = register(
        "<sip:101@192.0.2.7:5062;transport=udp>", expires=0, cseq=2, bindings=(old,)
    )
    assert (decision.status, decision.removed) == (200, (old,))
    assert register("<sip:x@y>", expires=0, cseq=3).status == 200


def test_a_late_removal_of_the_old_address_spares_the_new() -> None:
    """Race: the phone moved; its de-registration of the old address arrives last."""
    new = bound('<sip:101@new:1>;+sip.instance="<urn:uuid:1>"')
    decision = register(
        '<sip:101@old:2>;+sip.instance="<urn:uuid:1>"',
        expires=0,
        call_id="c9",
        devices=(PHONE,),
        bindings=(new,),
    )
    assert (decision.status, decision.removed) == (200, ())


def test_old_out_new_in() -> None:
    """One REGISTER that removes the old Contact and sets the new: one binding, put, not removed."""
    old = bound("<sip:101@old:1>")
    decision = register(
        "<sip:101@old:1>;expires=0, <sip:101@new:2>",
        cseq=2,
        devices=(PHONE,),
        bindings=(old,),
    )
    assert [b.contact for b in decision.put] == ["sip:101@new:2"]
    assert decision.removed == ()
    assert decision.put[0].device == "phone"
    assert decision.put[0].route_key == old.route_key


INSTANCE_A = ';+sip.instance="<urn:uuid:A>"'
INSTANCE_B = ';+sip.instance="<urn:uuid:b>"'


@pytest.mark.parametrize(
    ("contact", "devices", "expected"),
    [
        # announced instance, case apart
        (f"<sip:1@h>{INSTANCE_A}", (device("x"), device("y", instance="urn:uuid:a")), "y"),
        # push token
        ("<sip:1@h;pn-prid=T%3A1>", (device("x"), device("y", token="T:1")), "y"),
        # the only one without an instance of its own
        (f"<sip:1@h>{INSTANCE_B}", (device("x"), device("y", instance="urn:uuid:a")), "x"),
        ("<sip:1@h>", (device("x"),), "x"),
        # nobody's
        ("<sip:1@h>", (device("x"), device("y")), "~"),
        (f"<sip:1@h>{INSTANCE_B}", (device("y", instance="urn:uuid:a"),), "~"),
        ("<sip:1@h>", (), "~"),
    ],
)
def test_whose_contact_it_is(contact: str, devices: tuple[Device, ...], expected: str) -> None:
    """Announced instance, push token, the only possible device, else anonymous."""
    (binding,) = register(contact, devices=devices).put
    assert binding.device == expected or (expected == "~" and binding.device[0] == "~")


def test_an_instance_seen_before_stays_with_its_device() -> None:
    """Two devices without announced instance: the live binding's instance tells them apart."""
    one, two = device("one", token="T1"), device("two")
    old = bound(f"<sip:1@h;pn-prid=T1>{INSTANCE_A}", devices=(one, two))
    assert old.device == "one"
    again = register(
        f"<sip:1@elsewhere>{INSTANCE_A}", call_id="c2", devices=(one, two), bindings=(old,)
    )
    assert [b.device for b in again.put] == ["one"]
    other = register(f"<sip:2@h>{INSTANCE_B}", call_id="c3", devices=(one, two), bindings=(old,))
    assert [b.device for b in other.put] == ["two"]


def test_another_installation_is_not_the_only_device() -> None:
    """A desk phone beside the bound app does not throw it out."""
    app = bound(f"<sip:1@h>{INSTANCE_A}")
    decision = register(
        f"<sip:1@desk>{INSTANCE_B}", call_id="desk", devices=(PHONE,), bindings=(app,)
    )
    (desk,) = decision.put
    assert desk.device.startswith("~")
    assert decision.removed == ()
    assert len(decision.headers) == 2


def test_a_phone_that_wakes_elsewhere_is_the_same_phone() -> None:
    """Without instance, with a new address and Call-ID: its device's binding is replaced."""
    old = bound("<sip:1@wifi:5060>")
    decision = register("<sip:1@lte:9>", call_id="c2", devices=(PHONE,), bindings=(old,))
    assert [b.device for b in decision.put] == ["phone"]
    assert len(decision.headers) == 1


def test_two_phones_with_one_private_address_are_two() -> None:
    """Behind two NATs both name the same Contact: neither takes the other's binding, neither
    when it comes nor when it goes. From one source it is one phone, installed anew.
    """
    devices = (device("a", instance="urn:a"), device("b", instance="urn:b"))
    uri = "<sip:101@192.168.178.20:5061;transport=tls>"
    first, second = (f'{uri};+sip.instance="<urn:{name}>"' for name in "ab")
    other = Address("198.51.100.9", 2000, "tls")
    one = bound(first, devices=devices)
    both = register(second, devices=devices, bindings=(one,), source=other, call_id="c2")
    assert (len(both.put), both.removed) == (1, ())
    (two,) = both.put
    gone = register(
        second, expires=0, devices=devices, bindings=(one, two), source=other, call_id="c2", cseq=2
    )
    assert gone.removed == (two,)
    anew = register(second, devices=devices, bindings=(one,), call_id="c3")
    assert anew.removed == (one,)


def test_an_anonymous_phone_becomes_its_device_once_announced() -> None:
    """REGISTER before the device is announced: later the same Contact moves over."""
    early = bound(f"<sip:1@h>{INSTANCE_A}", devices=())
    assert early.device.startswith("~")
    decision = register(f"<sip:1@h>{INSTANCE_A}", cseq=2, devices=(PHONE,), bindings=(early,))
    assert [b.device for b in decision.put] == ["phone"]
    assert decision.removed == (early,)


def test_three_call_ids_one_phone_one_binding() -> None:
    """A burst with three Call-IDs leaves one binding."""
    bindings: tuple[Binding, ...] = ()
    for call_id in ("c1", "c2", "c3"):
        decision = register("<sip:1@h:9>", call_id=call_id, devices=(PHONE,), bindings=bindings)
        assert (decision.status, len(decision.put), decision.removed) == (200, 1, ())
        bindings = decision.put


def test_two_contacts_of_one_installation_are_one_binding() -> None:
    """The better q wins."""
    decision = register(
        f"<sip:1@a>{INSTANCE_A};q=0.2, <sip:1@b>{INSTANCE_A};q=0.9", devices=(PHONE,)
    )
    assert [(b.device, b.contact) for b in decision.put] == [("phone", "sip:1@b")]


def test_two_phones_in_one_register_are_two() -> None:
    """Without instances one is the device, the other anonymous."""
    decision = register("<sip:1@a>, <sip:1@b>", devices=(PHONE,))
    assert [b.device[0] for b in decision.put] == ["p", "~"]


def test_a_restarted_anonymous_phone_leaves_no_ghost() -> None:
    """A new made-up user at the same host and port, or a new address in the same Call-ID."""
    old = bound("<sip:101-0xaa@h:5062>", devices=())
    restarted = register("<sip:101-0xbb@h:5062>", call_id="c2", bindings=(old,))
    assert [b.device for b in restarted.put] == [old.device]
    moved = register("<sip:101-0xaa@elsewhere:1>", cseq=2, bindings=(old,))
    assert [b.device for b in moved.put] == [old.device]


def test_anonymous_phones_are_bounded() -> None:
    """The one heard longest ago gives way."""
    bindings = [
        bound(f"<sip:1@h{n}>", devices=(), call_id=f"c{n}", now=Instant(NOW + n)) for n in range(5)
    ]
    decision = register("<sip:1@h9>", call_id="c9", bindings=tuple(bindings), now=Instant(NOW + 9))
    assert decision.removed == (bindings[0],)
    assert len(decision.headers) == 5


def test_push_tokens_of_others_are_not_listed() -> None:
    """The asker's Contact comes first and verbatim, others without pn parameters."""
    one, two = device("one", token="T1"), device("two", token="T2")
    old = bound("<sip:1@h;pn-prid=T1;ob>", devices=(one, two))
    decision = register("<sip:2@h;pn-prid=T2>", call_id="c2", devices=(one, two), bindings=(old,))
    assert [value for _, value in decision.headers] == [
        "<sip:2@h;pn-prid=T2>;expires=600",
        "<sip:1@h;ob>;expires=600",
    ]


def test_route_keys_are_stable_and_differ() -> None:
    """One per account and device."""
    first = bound("<sip:1@h>")
    again = bound("<sip:1@other>", call_id="c2")
    assert first.route_key == again.route_key
    stranger = replace(ACCOUNT, account=AccountId("b"))
    from push_proxy.core.matching import route_key

    assert route_key(stranger.key, DeviceId("phone")) != first.route_key


def test_the_path_is_kept_and_returned() -> None:
    """RFC 3327: with `Supported: path` (or Require); the next REGISTER's Path takes its place."""
    path = ("<sip:a.example.com;lr>", '"Edge" <sip:b.example.com;lr;ob>')
    extra = f"Supported: outbound, path\r\nPath: {path[0]}\r\nPath: {path[1]}\r\n"
    decision = register("<sip:101@h>", devices=(PHONE,), extra=extra)
    (binding,) = decision.put
    assert binding.path == path
    assert [value for name, value in decision.headers if name == "Path"] == list(path)
    required = register(
        "<sip:101@h>", devices=(PHONE,), extra=f"Require: path\r\nPath: {path[0]}\r\n"
    )
    assert required.put[0].path == path[:1]
    again = register("<sip:101@h>", devices=(PHONE,), bindings=(binding,), cseq=2)
    assert again.put[0].path == ()
    assert route_headers(again.put[0]) == ()


@pytest.mark.parametrize(
    ("extra", "status"),
    [
        ("Path: <sip:edge;lr>\r\n", 420),
        ("Supported: path\r\nPath: edge\r\n", 400),
        ("Supported: path\r\nPath: <tel:1>\r\n", 400),
        ("Supported: path\r\n" + "Path: <sip:edge;lr>\r\n" * 11, 403),
        ("Supported: path\r\n", 200),
    ],
)
def test_a_path_that_cannot_be_kept_is_refused(extra: str, status: int) -> None:
    """A binding behind a Path that we do not keep would be a phone that never rings."""
    assert register("<sip:101@h>", devices=(PHONE,), extra=extra).status == status


def test_a_phone_that_keeps_its_connection_alive_is_told_how_often() -> None:
    """Flow-Timer for `Supported: outbound` with reg-id over TCP or TLS; never Require: outbound.

    A phone has one flow here, its newest: a second one would be held in vain (RFC 5626 §6).
    """
    contact = '<sip:101@h>;+sip.instance="<urn:uuid:1>";reg-id=1'
    tcp = Address("192.0.2.7", 40000, "tcp")
    outbound = "Supported: path, outbound\r\n"
    headers = dict(register(contact, devices=(PHONE,), source=tcp, extra=outbound).headers)
    assert headers["Flow-Timer"] == "120"
    assert "Require" not in headers
    for more in (
        register(contact, devices=(PHONE,), extra=outbound),
        register(contact, devices=(PHONE,), source=tcp),
        register("<sip:101@h>;reg-id=0", devices=(PHONE,), source=tcp, extra=outbound),
    ):
        assert (more.status, "Flow-Timer" in dict(more.headers)) == (200, False)


def test_the_newest_flow_of_an_installation_counts() -> None:
    """reg-id 2 over another connection takes the place of reg-id 1."""
    first = bound('<sip:101@h:1>;+sip.instance="<urn:uuid:1>";reg-id=1')
    newer = Address("192.0.2.7", 41000, "tcp")
    decision = register(
        '<sip:101@h:2>;+sip.instance="<urn:uuid:1>";reg-id=2',
        devices=(PHONE,),
        bindings=(first,),
        source=newer,
        call_id="c2",
    )
    assert [b.source for b in decision.put] == [newer]
    assert {b.device for b in decision.put} == {first.device}
