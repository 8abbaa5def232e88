"""core.binding with push parameters: which device a REGISTER makes, changes or takes back."""

from dataclasses import replace

import pytest

from push_proxy.core.announcing import device_name
from push_proxy.core.binding import BindingRules, Decision, decide
from push_proxy.core.ids import AccountId, DeviceId, Instant, TenantId
from push_proxy.core.message import parse
from push_proxy.core.model import Account, Address, Binding, Device, TokenFault, TokenState
from push_proxy.core.purr import PERIOD_S, purr
from push_proxy.core.push_params import PushServices, PushTarget
from push_proxy.core.register import read_register
from push_proxy.core.token_fate import dropped, token_sha256

NOW = Instant(1_800_000_000.0)
ACCOUNT = Account(tenant=TenantId("t"), account=AccountId("a"), aor="sip:101@pbx")
APPS = {
    ("fcm", "project"): "com.example.phone",
    ("apns", "TEAM.com.example.phone"): "com.example.phone",
    ("webpush", ""): "web",
}
SERVICES = PushServices(
    names=("apns", "fcm", "webpush"),
    app_for=lambda provider, param: APPS.get((provider, param)),
    vapid_key=lambda provider, _: "BPubKey_-" if provider == "webpush" else None,
    purr_key=b"k" * 32,
)
A, B = ';+sip.instance="<urn:uuid:A>"', ';+sip.instance="<urn:uuid:B>"'
FCM = "pn-provider=fcm;pn-param=project;pn-prid="
VOIP, VOIP2, ALERT, ALERT2 = ("1a" * 32, "2b" * 32, "3c" * 32, "4d" * 32)
APNS = "pn-provider=apns;pn-param=TEAM.com.example.phone.voip&remote;pn-prid="


def contact(params: str, instance: str = A, host: str = "h:9") -> str:
    return f"<sip:1@{host};{params}>{instance}" if params else f"<sip:1@{host}>{instance}"


def register(
    *contacts: str,
    devices: tuple[Device, ...] = (),
    bindings: tuple[Binding, ...] = (),
    call_id: str = "c1",
    cseq: int = 1,
    expires: int = 600,
    extra: str = "",
    services: PushServices = SERVICES,
    now: Instant = NOW,
) -> Decision:
    text = "".join(f"Contact: {value}\r\n" for value in contacts)
    head = f"REGISTER sip:pbx SIP/2.0\r\nCall-ID: {call_id}\r\nCSeq: {cseq} REGISTER\r\n"
    return decide(
        read_register(parse(f"{head}{text}Expires: {expires}\r\n{extra}\r\n".encode())),
        account=ACCOUNT,
        devices=devices,
        bindings=bindings,
        source=Address("192.0.2.7", 40000),
        local=Address("192.0.2.1", 5060),
        rules=BindingRules(),
        now=now,
        services=services,
    )


def caps(decision: Decision) -> str | None:
    found = [value for name, value in decision.headers if name == "Feature-Caps"]
    assert len(found) < 2
    return found[0] if found else None


def made(params: str, instance: str = A, **more: object) -> tuple[Device, Binding]:
    decision = register(contact(params, instance), **more)  # type: ignore[arg-type]
    (device,), (binding,) = decision.announced, decision.put
    assert binding.device == device.device
    return device, binding


def put_device(**changes: object) -> Device:
    device = Device(
        account=ACCOUNT.key,
        device=DeviceId("handset"),
        provider="fcm",
        app_id="com.example.phone",
        token="T1",
    )
    return replace(device, **changes)  # type: ignore[arg-type]


def test_a_register_makes_a_device() -> None:
    """Its name comes from the instance, so it is the same for ever; the 2xx says sip.pns."""
    device, binding = made(FCM + "T1")
    assert device.device.startswith("pn-")
    assert len(device.device) == 15
    assert (device.provider, device.app_id, device.token) == ("fcm", "com.example.phone", "T1")
    assert (device.by_register, device.purr, device.exclusive) == (True, True, True)
    assert (device.instance_id, device.platform, device.token_at) == ("urn:uuid:A", "android", NOW)
    assert (binding.wants_refresh, binding.purr) == (True, True)
    again, _ = made(FCM + "T2", A.lower(), call_id="c9")
    assert again.device == device.device
    other, _ = made(FCM + "T1", B)
    assert other.device != device.device


def test_feature_caps() -> None:
    """RFC 6809's form: a star, then the indicators; sip.pnsreg only when it is offered, and so
    much before the end that our own push is not needed.
    """
    reference = purr(SERVICES.purr_key, made(FCM + "T1")[1].route_key, NOW)
    said = caps(register(contact(FCM + "T1")))
    assert said == f'*;+sip.pns="fcm";+sip.pnspurr="{reference}"'
    assert len(reference) == 24
    for expires, seconds in ((600, 150), (3600, 150), (60, 38)):
        said = caps(register(contact(FCM + "T1", A + ";+sip.pnsreg"), expires=expires))
        assert said == f'*;+sip.pns="fcm";+sip.pnsreg="{seconds}";+sip.pnspurr="{reference}"'
    web = "pn-provider=webpush;pn-prid=https%3A%2F%2Fpush.example.net%2Fx"
    said = caps(register(contact(web), services=replace(SERVICES, purr_key=b"")))
    assert said == '*;+sip.pns="webpush";+sip.vapid="BPubKey_-"'


def test_a_reference_is_new_each_week() -> None:
    """One that never changed would mark its phone; without the key none can be guessed."""
    values = {purr(b"k", "00" * 8, Instant(NOW + n * PERIOD_S)) for n in range(3)}
    values |= {purr(b"other", "00" * 8, NOW), purr(b"k", "01" * 8, NOW)}
    assert len(values) == 5
    assert purr(b"k", "00" * 8, NOW) == purr(b"k", "00" * 8, Instant(NOW + 1))


def test_a_token_rotates() -> None:
    """Same instance, new token: the same device has it, in the answer to the same REGISTER."""
    device, binding = made(FCM + "T1")
    decision = register(
        contact(FCM + "T2", host="new:1"), call_id="c2", devices=(device,), bindings=(binding,)
    )
    (changed,) = decision.announced
    assert changed == replace(device, token="T2")
    assert [b.device for b in decision.put] == [device.device]


def test_the_same_again_changes_nothing() -> None:
    """A refresh confirms its token, which makes no new version."""
    device, binding = made(FCM + "T1")
    decision = register(contact(FCM + "T1"), cseq=2, devices=(device,), bindings=(binding,))
    assert (decision.announced, decision.confirmed) == ((), (device.device,))
    assert caps(decision)


def test_rotation_without_instance() -> None:
    """A phone without instance keeps its device by its Call-ID, and by the token."""
    device, binding = made(FCM + "T1", "")
    assert device.instance_id is None
    same_call = register(contact(FCM + "T2", ""), cseq=2, devices=(device,), bindings=(binding,))
    assert [d.device for d in same_call.announced] == [device.device]
    same_token = register(
        contact(FCM + "T1", "", "new:1"), call_id="c2", devices=(device,), bindings=(binding,)
    )
    assert same_token.confirmed == (device.device,)


@pytest.mark.parametrize(
    "device",
    [
        put_device(),
        put_device(token="T0", instance_id="URN:UUID:a"),
        put_device(provider="webhook", app_id="x", token="W", instance_id="urn:uuid:A"),
    ],
)
def test_a_device_announced_by_put_is_that_device(device: Device) -> None:
    """By its token or its instance: it gets the REGISTER's target, and stays announced by PUT."""
    (changed,) = register(contact(FCM + "T1"), devices=(device,)).announced
    assert (changed.device, changed.by_register, changed.purr) == ("handset", False, True)
    assert (changed.provider, changed.token) == ("fcm", "T1")
    assert changed.instance_id == device.instance_id


def test_another_phone_is_not_the_device_announced_by_put() -> None:
    """A webhook device without instance is not taken over by a phone that brings its own target."""
    device = put_device(provider="webhook", app_id="x", token="W")
    decision = register(contact(FCM + "T1"), devices=(device,))
    assert [d.device for d in decision.announced] != ["handset"]
    assert decision.put[0].device.startswith("pn-")


def test_both_tokens_of_an_iphone() -> None:
    """Known together, and half of them in a later REGISTER takes nothing away: some phones send
    one first when they wake.
    """
    device, binding = made(f"{APNS}{VOIP}:voip&{ALERT}:remote")
    assert (device.token, device.alert_token, device.platform) == (VOIP, ALERT, "ios")
    for half, expected in (
        (f"{VOIP}:voip", (VOIP, ALERT)),
        (f"{VOIP2}:voip", (VOIP2, ALERT)),
        (f"{ALERT2}:remote", (VOIP, ALERT2)),
        (f"{VOIP2}:voip&{ALERT2}:remote", (VOIP2, ALERT2)),
    ):
        decision = register(
            contact(APNS + half), call_id="c2", devices=(device,), bindings=(binding,)
        )
        after = (*decision.announced, device)[0]
        assert (after.token, after.alert_token) == expected
        assert caps(decision)


def test_an_alert_token_alone_wakes_nobody() -> None:
    """Without the other one known there is nothing to push calls to: no device, no sip.pns."""
    decision = register(contact(f"{APNS}{ALERT}:remote"))
    assert (decision.status, decision.announced, caps(decision)) == (200, (), None)
    assert decision.put[0].device.startswith("~")
    assert decision.put[0].wants_refresh is False


def test_the_sandbox() -> None:
    """``apns.dev`` names it; ``apns`` says nothing, so what was learnt of the token stays."""
    dev = APNS.replace("apns", "apns.dev") + f"{VOIP}:voip"
    device, binding = made(dev)
    assert device.environment == "sandbox"
    assert caps(register(contact(dev))).startswith('*;+sip.pns="apns.dev"')  # type: ignore[union-attr]
    plain = register(contact(f"{APNS}{VOIP}:voip"), cseq=2, devices=(device,), bindings=(binding,))
    assert plain.announced == ()
    new = register(contact(f"{APNS}{VOIP2}:voip"), cseq=2, devices=(device,), bindings=(binding,))
    assert new.announced[0].environment is None


@pytest.mark.parametrize("params", ["", "pn-provider", "pn-provider=fcm", "pn-prid=T1"])
def test_registering_without_target_takes_it_back(params: str) -> None:
    """RFC 8599 §4.1.2: then the UA wants no pushes; its binding and its name stay."""
    device, binding = made(FCM + "T1")
    decision = register(contact(params), cseq=2, devices=(device,), bindings=(binding,))
    (after,) = decision.announced
    assert (after.token, after.purr, after.has_target) == ("", False, False)
    assert after.token_fault is not None
    assert after.token_fault.reason == "withdrawn"
    assert [b.device for b in decision.put] == [device.device]
    assert decision.put[0].wants_refresh is False
    back = register(contact(FCM + "T1"), cseq=3, devices=(after,), bindings=(decision.put[0],))
    assert back.announced[0].token == "T1"
    assert back.announced[0].token_fault is None


def test_unregistering_takes_the_device_back() -> None:
    """Expires 0 for its Contact, also after the binding has ended; ``*``; never a late one for an
    old address, and never a device that was announced by PUT.
    """
    device, binding = made(FCM + "T1")
    gone = register(contact(FCM + "T1"), cseq=2, expires=0, devices=(device,), bindings=(binding,))
    assert (gone.removed, gone.forgotten) == ((binding,), (device.device,))
    later = register(contact(FCM + "T1"), cseq=2, expires=0, devices=(device,))
    assert later.forgotten == (device.device,)
    assert caps(later) is None
    every = register("*", cseq=2, expires=0, devices=(device,), bindings=(binding,))
    assert every.forgotten == (device.device,)
    old = register(
        contact(FCM + "T1", host="old:1"),
        call_id="c9",
        expires=0,
        devices=(device,),
        bindings=(binding,),
    )
    assert (old.removed, old.forgotten) == ((), ())
    moved = register(
        f"{contact(FCM + 'T1')};expires=0",
        contact(FCM + "T1", host="new:1"),
        cseq=2,
        devices=(device,),
        bindings=(binding,),
    )
    assert moved.forgotten == ()
    mine = put_device(instance_id="urn:uuid:A")
    kept = register(contact(FCM + "T1"), expires=0, devices=(mine,))
    assert (kept.forgotten, kept.announced) == ((), ())
    assert register(contact(""), devices=(mine,)).announced == ()


def test_a_dead_token_is_not_brought_back_by_a_refresh() -> None:
    """The phone repeats what it knows; a new registration of its says it anew."""
    device, binding = made(FCM + "T1")
    dead = dropped(device, "UNREGISTERED", NOW)
    refresh = register(contact(FCM + "T1"), cseq=2, devices=(dead,), bindings=(binding,))
    assert (refresh.status, refresh.announced, refresh.confirmed) == (200, (), ())
    assert caps(refresh) is None
    assert refresh.put[0].wants_refresh is False
    rotated = register(contact(FCM + "T2"), cseq=2, devices=(dead,), bindings=(binding,))
    assert rotated.announced[0].token == "T2"
    anew = register(contact(FCM + "T1"), call_id="c2", devices=(dead,), bindings=(binding,))
    assert (anew.announced[0].token, anew.announced[0].token_fault) == ("T1", None)


def test_a_dead_alert_token_is_not_brought_back_by_a_refresh() -> None:
    """Neither, while the token that wakes for calls lives on; a new one is taken."""
    both = f"{APNS}{VOIP}:voip&{ALERT}:remote"
    device, binding = made(both)
    half = dropped(device, "Unregistered", NOW, alert=True)
    refresh = register(contact(both), cseq=2, devices=(half,), bindings=(binding,))
    assert (refresh.announced, refresh.confirmed) == ((), (device.device,))
    new = register(
        contact(f"{APNS}{VOIP}:voip&{ALERT2}:remote"), cseq=2, devices=(half,), bindings=(binding,)
    )
    assert new.announced[0].alert_token == ALERT2


def test_a_token_of_another_app_stays_marked() -> None:
    """The configuration may be at fault; another token is good until proved otherwise."""
    fault = TokenFault(state=TokenState.WRONG_APP, reason="SenderId", at=NOW)
    device, binding = made(FCM + "T1")
    marked = replace(device, token_fault=fault)
    same = register(contact(FCM + "T1"), cseq=2, devices=(marked,), bindings=(binding,))
    assert same.announced == ()
    new = register(contact(FCM + "T2"), cseq=2, devices=(marked,), bindings=(binding,))
    assert new.announced[0].token_fault is None
    assert token_sha256("T1") != token_sha256("T2")


@pytest.mark.parametrize(
    "params",
    [
        "pn-provider=acme;pn-param=x;pn-prid=T",
        "pn-provider=fcm;pn-param=foreign;pn-prid=T",
        "pn-provider=fcm;pn-prid=T",
        "pn-provider=apns;pn-param=TEAM.com.example.phone;pn-prid=nothex",
        "pn-provider=acme",
    ],
)
def test_555(params: str) -> None:
    """What we cannot push to is refused with all that we can, unless the phone's device has
    another target; nothing is bound.
    """
    decision = register(contact(params))
    assert (decision.status, decision.reason) == (555, "Push Notification Service Not Supported")
    assert decision.put == ()
    assert caps(decision) == '*;+sip.pns="apns", *;+sip.pns="fcm", *;+sip.pns="webpush"'
    for device in (put_device(instance_id="urn:uuid:A"), made(FCM + "T1")[0]):
        served = register(contact(params), devices=(device,))
        assert (served.status, caps(served)) == (200, None)
        assert served.put[0].device == device.device


def test_phones_older_than_the_rfc_are_not_refused() -> None:
    """555 would tell them nothing; what they name and we have is served."""
    decision = register(contact("app-id=x;pn-type=wp10;pn-tok=T"))
    assert (decision.status, decision.announced, caps(decision)) == (200, (), None)
    legacy = register(contact("app-id=project;pn-type=google;pn-tok=T1"))
    assert legacy.announced[0].token == "T1"


@pytest.mark.parametrize(
    ("params", "said"),
    [
        (
            "pn-provider",
            '*;+sip.pns="apns", *;+sip.pns="fcm", *;+sip.pns="webpush";+sip.vapid="BPubKey_-"',
        ),
        ("pn-provider=fcm", '*;+sip.pns="fcm"'),
        ("pn-provider=apns.dev;pn-param=x", '*;+sip.pns="apns.dev"'),
    ],
)
def test_queries(params: str, said: str) -> None:
    """Answered with what is there; they make no device."""
    decision = register(contact(params))
    assert (decision.status, caps(decision), decision.announced) == (200, said, ())


def test_without_services_nothing_is_said() -> None:
    """A service with webhooks alone is none of RFC 8599: phones register, and are told nothing."""
    none = PushServices()
    assert caps(register(contact("pn-provider"), services=none)) is None
    for params in (FCM + "T1", "pn-provider=fcm"):
        served = register(contact(params), services=none)
        assert (served.status, caps(served), served.announced) == (200, None, ())


def test_another_proxy_pushes() -> None:
    """Its Feature-Caps in the REGISTER: then we neither push nor say that we do."""
    extra = 'Feature-Caps: *;+sip.pns="fcm"\r\n'
    decision = register(contact(FCM + "T1"), extra=extra)
    assert (decision.status, decision.announced, caps(decision)) == (200, (), None)
    unknown = register(contact("pn-provider=acme;pn-prid=T"), extra=extra)
    assert unknown.status == 200


def test_several_contacts() -> None:
    """Each is told once."""
    first = contact(FCM + "T1", A, "a:1")
    second = contact(f"{APNS}{VOIP}:voip", B, "b:1")
    decision = register(first, second, services=replace(SERVICES, purr_key=b""))
    assert len(decision.announced) == 2
    assert caps(decision) == '*;+sip.pns="fcm", *;+sip.pns="apns"'


def test_contacts_that_cannot_be_told_apart() -> None:
    """Of one address, or with one token: the one with a push target is bound, once."""
    plain, pushed = contact("", ""), contact(FCM + "T1", "")
    for contacts in ((plain, pushed), (pushed, plain), (pushed, contact(FCM + "T1", "", "b:2"))):
        decision = register(*contacts)
        assert [b.contact for b in decision.put] == [pushed.strip("<>")]
        assert [d.token for d in decision.announced] == ["T1"]
        again = register(*contacts, cseq=2, devices=decision.announced, bindings=decision.put)
        assert (again.announced, len(again.confirmed), len(again.put)) == ((), 1, 1)


def test_a_phone_without_words_is_no_phone_that_announces_itself() -> None:
    """A desk phone beside an app that announced itself, neither with an instance: it is not taken
    for the app, which keeps its target.
    """
    device, _ = made(FCM + "T1", "")
    decision = register("<sip:1@desk:5060>", call_id="desk", devices=(device,))
    assert decision.announced == ()
    assert decision.put[0].device.startswith("~")


def test_names_do_not_meet() -> None:
    """Two tokens without instance are two devices; an instance's case is none."""
    assert len({made(FCM + token, "")[0].device for token in ("T1", "T2", "T3")}) == 3
    target = PushTarget(named="fcm", provider="fcm", app_id="x", token="T1")
    assert device_name(target, "URN:x") == device_name(target, "urn:X")
