"""core.push_params: what phones say of pushes, in the standard's form and in others."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from push_proxy.core.message import parse
from push_proxy.core.push_params import PushParams, PushServices, PushTarget, read_push_params
from push_proxy.core.push_privacy import without_push_params
from push_proxy.core.register import BadRegister, read_register

VOIP = "effdb4d8c32f845036ca3555003d44e98c82ea3f8437bd3499d14a17b039d5b6"
ALERT = "FC86D3D61AAFCC5D18AAC9D4CEDC6C70505080693FD21D0E62B5061FD4516ADE"
FCM = "fCS-_c62SWmskRTsmm7Duc:APA91bVAV91bG5ePF60_x-Y"
URL = "https://push.example.net/send/AbC_d-9?v=1"
URL_ESCAPED = "https%3A%2F%2Fpush.example.net%2Fsend%2FAbC_d-9%3Fv%3D1"
APPS = {
    ("apns", "ABCD1234.org.linphone.phone"): "org.linphone.phone",
    ("apns", "org.linphone.phone"): "org.linphone.phone",
    ("fcm", "my-project"): "com.example.phone",
    ("fcm", "929724111839"): "com.example.phone",
    ("webpush", ""): "web",
}
SERVICES = PushServices(
    names=("apns", "fcm", "webpush"), app_for=lambda provider, param: APPS.get((provider, param))
)
LINPHONE_REST = (
    ";pn-silent=1;pn-timeout=0;pn-msg-str=IM_MSG;pn-call-str=IC_MSG;pn-groupchat-str=GC_MSG"
    ";pn-call-snd=notes_of_the_optimistic.caf;pn-msg-snd=msg.caf;transport=tls"
)


def read(contact: str, extra: str = "") -> PushParams | None:
    text = f"REGISTER sip:pbx SIP/2.0\r\nCall-ID: c\r\nCSeq: 1 REGISTER\r\n{extra}"
    asked = read_register(parse(f"{text}Contact: {contact}\r\n\r\n".encode()))
    return asked.contacts[0].push


def target(contact: str) -> PushTarget | None:
    asked = read(contact)
    assert asked is not None
    return SERVICES.target(asked)


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        # the standard's own (RFC 8599 §10 to §12)
        (
            f"pn-provider=apns;pn-param=ABCD1234.org.linphone.phone;pn-prid={VOIP}",
            ("apns", "org.linphone.phone", VOIP, None, None),
        ),
        (
            f"pn-provider=apns;pn-param=ABCD1234.org.linphone.phone.voip;pn-prid={VOIP}",
            ("apns", "org.linphone.phone", VOIP, None, None),
        ),
        (
            f"pn-provider=fcm;pn-param=my-project;pn-prid={FCM}",
            ("fcm", "com.example.phone", FCM, None, None),
        ),
        (
            f"pn-provider=webpush;pn-prid={URL_ESCAPED}",
            ("webpush", "web", URL, None, None),
        ),
        # as escaped as a stack may make it, and names in any case
        (
            f"PN-Provider=FCM;pn-param=my%2Dproject;pn-prid={FCM.replace(':', '%3A')}",
            ("fcm", "com.example.phone", FCM, None, None),
        ),
        # Linphone for iOS, both tokens
        (
            (
                f"pn-prid={VOIP}:voip&{ALERT}:remote;pn-provider=apns"
                f";pn-param=ABCD1234.org.linphone.phone.voip&remote{LINPHONE_REST}"
            ),
            ("apns", "org.linphone.phone", VOIP, ALERT, None),
        ),
        (
            (
                f"pn-prid={ALERT}:remote%26{VOIP}:voip;pn-provider=apns.dev"
                ";pn-param=ABCD1234.org.linphone.phone.remote%26voip"
            ),
            ("apns", "org.linphone.phone", VOIP, ALERT, "sandbox"),
        ),
        (
            f"pn-provider=apns.dev;pn-param=ABCD1234.org.linphone.phone.voip;pn-prid={VOIP}:voip",
            ("apns", "org.linphone.phone", VOIP, None, "sandbox"),
        ),
        # half of it: an alert token alone
        (
            f"pn-provider=apns;pn-param=ABCD1234.org.linphone.phone.remote;pn-prid={ALERT}",
            ("apns", "org.linphone.phone", "", ALERT, None),
        ),
        (
            (
                f"pn-provider=apns;pn-param=ABCD1234.org.linphone.phone.voip&remote"
                f";pn-prid={ALERT}:remote"
            ),
            ("apns", "org.linphone.phone", "", ALERT, None),
        ),
        # Linphone for Android names the sender
        (
            f"pn-provider=fcm;pn-param=929724111839;pn-prid={FCM};pn-timeout=0;pn-silent=1",
            ("fcm", "com.example.phone", FCM, None, None),
        ),
        (
            f"pn-provider=firebase;pn-param=my-project;pn-prid={FCM}",
            ("fcm", "com.example.phone", FCM, None, None),
        ),
        # before RFC 8599
        (
            f"app-id=org.linphone.phone.prod;pn-type=apple;pn-tok={VOIP};pn-msg-str=IM_MSG",
            ("apns", "org.linphone.phone", VOIP, None, None),
        ),
        (
            f"app-id=org.linphone.phone.voip.dev;pn-type=apple;pn-tok={VOIP}",
            ("apns", "org.linphone.phone", VOIP, None, "sandbox"),
        ),
        (
            f"app-id=929724111839;pn-type=google;pn-tok={FCM};pn-timeout=0",
            ("fcm", "com.example.phone", FCM, None, None),
        ),
        (
            f"app-id=929724111839;pn-type=firebase;pn-tok={FCM}",
            ("fcm", "com.example.phone", FCM, None, None),
        ),
    ],
)
def test_forms(params: str, expected: tuple[str | None, ...]) -> None:
    """Each form that phones are known to send leads to the same few facts, in the URI or, as
    some have it, behind it.
    """
    for contact in (f"<sip:101@h:5060;{params}>", f"<sip:101@h:5060>;{params};expires=60"):
        found = target(contact)
        assert found is not None
        assert (
            found.provider,
            found.app_id,
            found.token,
            found.alert_token,
            found.environment,
        ) == expected


@pytest.mark.parametrize(
    "params",
    [
        f"pn-provider=acme;pn-param=x;pn-prid={FCM}",
        f"pn-provider=webhook;pn-param=com.example.phone;pn-prid={FCM}",
        f"pn-provider=fcm;pn-param=other-project;pn-prid={FCM}",
        f"pn-provider=fcm;pn-prid={FCM}",
        f"pn-provider;pn-param=my-project;pn-prid={FCM}",
        f"pn-provider=fcm.dev;pn-param=my-project;pn-prid={FCM}",
        "pn-provider=apns;pn-param=ABCD1234.org.linphone.phone;pn-prid=not-hexadecimal",
        f"pn-provider=apns;pn-param=ABCD1234.org.linphone.phone.voip;pn-prid={ALERT}:remote",
        f"pn-provider=apns;pn-param=ABCD1234.org.linphone.phone.remote;pn-prid={VOIP}:voip",
        "pn-provider=apns;pn-param=ABCD1234.org.linphone.phone;pn-prid=&&",
        "pn-provider=apns;pn-param=ABCD1234.org.linphone.phone;pn-prid=:voip&:remote",
        f"pn-provider=apns;pn-param={'x' * 256};pn-prid={VOIP}",
        f"pn-provider=fcm;pn-param=my-project;pn-prid={'x' * 4097}",
        "pn-provider=fcm;pn-param=my-project;pn-prid=a%00b",
        "pn-provider=fcm;pn-param=my-project;pn-prid=%FF%FE",
        "pn-provider=fcm;pn-param=my%0D%0Aproject;pn-prid=t",
        "pn-provider=webpush;pn-prid=ftp%3A%2F%2Fpush.example.net",
        f"app-id=org.other.app.prod;pn-type=apple;pn-tok={VOIP}",
        "app-id=x;pn-type=wp10;pn-tok=https",
    ],
)
def test_no_target(params: str) -> None:
    """Services and apps that are not ours, and what can be no token, are nobody's target."""
    assert target(f"<sip:101@h;{params}>") is None


@pytest.mark.parametrize(
    ("params", "named", "answer"),
    [
        ("pn-provider", "", ("apns", "fcm", "webpush")),
        ("pn-provider=", "", ("apns", "fcm", "webpush")),
        ("pn-provider=apns", "apns", ("apns",)),
        ("pn-provider=apns.dev;pn-param=x", "apns.dev", ("apns.dev",)),
        ("pn-provider=fcm;pn-prid=", "fcm", ("fcm",)),
        ("pn-provider=acme", "acme", ()),
    ],
)
def test_queries(params: str, named: str, answer: tuple[str, ...]) -> None:
    """Without pn-prid it is a question: for all services, or whether one is there."""
    asked = read(f"<sip:101@h;{params}>")
    assert asked is not None
    assert (asked.is_query, asked.named) == (True, named)
    assert SERVICES.target(asked) is None
    assert SERVICES.answering(asked) == answer


@pytest.mark.parametrize(
    "contact",
    ["<sip:101@h>", "<sip:101@h;pn-prid=T>", "<sip:101@h;app-id=x;pn-tok=T>", "<sip:101@h;ob>;q=1"],
)
def test_nothing_said(contact: str) -> None:
    """A Contact without a service's name says nothing."""
    assert read(contact) is None


@pytest.mark.parametrize(
    ("value", "ours"),
    [
        ('*;+sip.pns="fcm"', False),
        ('*;+g.3gpp.mid-call, *;+sip.pnsreg="150";+sip.pns="fcm"', False),
        ("*;+g.3gpp.mid-call", True),
        ('*;+sip.pnsreg="150"', True),
        ('+sip.pns="fcm"', True),
        ('*;+x="+sip.pns"', True),
    ],
)
def test_a_proxy_before_us_pushes(value: str, *, ours: bool) -> None:
    """Its Feature-Caps with sip.pns says so: then the parameters are not for us."""
    said = read("<sip:101@h;pn-provider=fcm>", f"Feature-Caps: {value}\r\n")
    assert (said is not None) is ours


def test_tokens_are_not_shown() -> None:
    """Neither reading nor result shows a token when it is printed."""
    contact = (
        f"<sip:101@h;pn-provider=apns;pn-param=ABCD1234.org.linphone.phone.voip&remote"
        f";pn-prid={VOIP}:voip&{ALERT}:remote>"
    )
    shown = f"{read(contact)!r} {target(contact)!r}"
    assert VOIP not in shown
    assert ALERT not in shown


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("<sip:1@h;pn-prid=T>", "<sip:1@h>"),
        ('<sip:1@h;pn-prid=T;ob>;+sip.instance="<urn:x>"', '<sip:1@h;ob>;+sip.instance="<urn:x>"'),
        ("sip:1@h;PN-PRID=T;transport=tcp", "sip:1@h;transport=tcp"),
        ("<sip:1@h;transport=tls;app-id=a.b;pn-type=apple;pn-tok=T>", "<sip:1@h;transport=tls>"),
        ("<sip:1@h;%70n-prid=T;ob>", "<sip:1@h;ob>"),
        ("<sip:1@h;pn-prid=A:voip&B:remote;pn-provider=apns>", "<sip:1@h>"),
        ("<sip:1@h; pn-prid = T ;ob>", "<sip:1@h ;ob>"),
        ("<sip:1@h>;pn-prid=T;expires=5", "<sip:1@h>;expires=5"),
        ('"a;pn-prid=x" <sip:1@h;pn-prid=T>', '"a;pn-prid=x" <sip:1@h>'),
        ("<sip:1@h;pn-prid=T;pn-purr=abc>;q=0.5", "<sip:1@h;pn-purr=abc>;q=0.5"),
        ("<sip:spn-x@h;xpn-y=1>", "<sip:spn-x@h;xpn-y=1>"),
        ("<sip:100%25@h;ob>", "<sip:100%25@h;ob>"),
    ],
)
def test_push_parameters_are_taken_out(before: str, after: str) -> None:
    """Of URIs and whole Contacts; what is left is as it was."""
    assert without_push_params(before) == after


@given(st.text(alphabet=st.characters(codec="latin-1"), max_size=120), st.text(max_size=80))
def test_any_text(params: str, more: str) -> None:
    """Whatever stands in a Contact, reading it ends in a value or an ordinary refusal."""
    joined = f"{params}{more}".replace("\r", "").replace("\n", "")
    for text in (
        joined,
        f"pn-provider=apns;pn-param={joined}",
        f"pn-provider=apns;pn-prid={joined}",
    ):
        try:
            asked = read(f"<sip:101@h;{text}>")
        except (BadRegister, ValueError, IndexError):
            continue
        if asked is not None:
            SERVICES.target(asked)
            SERVICES.answering(asked)
        without_push_params(text)


@given(
    st.dictionaries(
        st.sampled_from(["pn-provider", "pn-param", "pn-prid", "pn-type", "pn-tok", "app-id"]),
        st.text(max_size=60),
    )
)
def test_any_values(params: dict[str, str]) -> None:
    """Neither do unescaped values of any kind."""
    asked = read_push_params(params, {})
    if asked is not None:
        SERVICES.target(asked)
        SERVICES.answering(asked)
