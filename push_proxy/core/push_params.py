"""What a Contact says about push notifications (RFC 8599 §4, §8.7): read, never trusted.

The standard's parameters, what Linphone makes of them, and those that were there before:

- ``pn-provider=apns;pn-param=TEAM.BUNDLE[.voip];pn-prid=TOKEN``; ``apns.dev`` is the sandbox;
- ``pn-param=TEAM.BUNDLE.voip&remote;pn-prid=TOKEN:voip&TOKEN:remote`` (Linphone, Flexisip);
- ``pn-provider=fcm;pn-param=PROJECT;pn-prid=TOKEN``, ``pn-provider=webpush;pn-prid=URL``;
- ``app-id=BUNDLE.prod;pn-type=apple;pn-tok=TOKEN``, ``app-id=SENDER;pn-type=google;pn-tok=TOKEN``.

Whatever else begins with ``pn-`` (sounds, texts, time limits) is the app's own matter.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote

from .push_targets import target_fault

LONGEST_PARAM = 255
APNS, SANDBOX = "apns", "apns.dev"
_OURS = {SANDBOX: APNS, "apple": APNS, "android": "fcm", "firebase": "fcm", "google": "fcm"}
"""Names that apps have for a service beside its registered one."""
_BEGIN = frozenset({"pn-provider", "pn-type"})
_VISIBLE = re.compile(rf"[\x21-\x7e]{{0,{LONGEST_PARAM}}}")
_VOIP, _REMOTE = "voip", "remote"
_SERVICES = re.compile(r"(.+)\.((?:voip|remote)(?:&(?:voip|remote))?)")
_TOKEN = re.compile(r"([^&]*?)(?::(voip|remote))?")

AppFor = Callable[[str, str], str | None]
"""The configured app that a provider and a ``pn-param`` name, or None."""
VapidKey = Callable[[str, str], str | None]
"""The public key of a provider's app, if it has one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PushParams:
    """What a Contact asks for."""

    named: str
    """The service as the Contact names it, in lower case; empty: it asks what there is."""
    provider: str
    """Which of our providers that would be."""
    params: tuple[str, ...] = ()
    """What may name the app, best first; none: unreadable."""
    token: str = field(default="", repr=False)
    """Of the pushes that wake for calls."""
    alert_token: str | None = field(default=None, repr=False)
    """``apns``: of all other pushes."""
    is_query: bool = False
    """It asks whether, or what, is supported, and wants no pushes (§4.1.5)."""
    is_legacy: bool = False
    """Older than RFC 8599: 555 would tell this phone nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PushTarget:
    """Where pushes for a Contact go: an app of ours and its tokens."""

    named: str
    """The service as the Contact names it: what ``+sip.pns`` answers."""
    provider: str
    app_id: str
    token: str = field(repr=False)
    """May be empty: an alert token came alone (``apns``)."""
    alert_token: str | None = field(default=None, repr=False)
    environment: str | None = None
    """``apns``: ``sandbox``; None: not said."""


@dataclass(frozen=True, slots=True)
class PushServices:
    """What of RFC 8599 we can serve."""

    names: tuple[str, ...] = ()
    """Services, by their names in ``pn-provider``."""
    app_for: AppFor | None = None
    vapid_key: VapidKey | None = None
    """The public key by which a provider names us for an app, if it has one (RFC 8292)."""
    purr_key: bytes = field(default=b"", repr=False)
    """Makes the references by which phones are woken for requests in a dialog; empty: none."""

    def target(self, asked: PushParams) -> PushTarget | None:
        """Where pushes would go; None when no app of ours is meant, or a token cannot be one."""
        tokens = asked.token or None, asked.alert_token or None
        if (
            self.app_for is None
            or tokens == (None, None)
            or target_fault(asked.provider, tokens[0], alert_token=tokens[1])
        ):
            return None
        found = (self.app_for(asked.provider, param) for param in asked.params)
        app_id = next((app_id for app_id in found if app_id is not None), None)
        if app_id is None:
            return None
        return PushTarget(
            named=asked.named,
            provider=asked.provider,
            app_id=app_id,
            token=asked.token,
            alert_token=tokens[1],
            environment="sandbox" if asked.named == SANDBOX else None,
        )

    def vapid(self, provider: str, app_id: str | None) -> str:
        """The value of ``+sip.vapid`` (§5.6.1), or empty. Without ``app_id``: of the only app."""
        if self.vapid_key is None or self.app_for is None:
            return ""
        app_id = self.app_for(provider, "") if app_id is None else app_id
        return "" if app_id is None else self.vapid_key(provider, app_id) or ""

    def answering(self, asked: PushParams) -> tuple[str, ...]:
        """The services to name in the answer to a query."""
        if not asked.named:
            return self.names
        return (asked.named,) if asked.provider in self.names else ()


def read_push_params(
    uri_params: Mapping[str, str], header_params: Mapping[str, str]
) -> PushParams | None:
    """What the Contact says, or None when it says nothing of pushes.

    The parameters belong into the URI (§8.7); some phones put them behind it, escaped all the
    same. Names in lower case; values of ``uri_params`` unescaped.
    """
    given = uri_params
    if not given.keys() & _BEGIN and header_params.keys() & _BEGIN:
        given = {name: unquote(value) for name, value in header_params.items()}
    if "pn-provider" in given:
        named = given["pn-provider"].strip().lower()
        return _read(named, given.get("pn-param", ""), given.get("pn-prid", ""))
    if given.get("pn-type") and given.get("pn-tok"):
        return _read_legacy(given["pn-type"].strip().lower(), given)
    return None


def _read(named: str, param: str, prid: str) -> PushParams:
    provider = _OURS.get(named, named)
    if not prid:
        return PushParams(named=named, provider=provider, is_query=True)
    if not named or not _VISIBLE.fullmatch(param):
        return PushParams(named=named, provider=provider)
    if provider == APNS:
        return _apns(named, param, prid)
    return PushParams(named=named, provider=provider, params=(param,), token=prid)


def _apns(named: str, param: str, prid: str) -> PushParams:
    """One token for each service that the app id lists; without a list it is for calls."""
    match = _SERVICES.fullmatch(param)
    app, services = (match[1], match[2].split("&")) if match else (param, [_VOIP])
    tokens: dict[str, str] = {}
    for item in prid.split("&"):
        token, service = _token(item)
        tokens.setdefault(service or services[0], token)
    return PushParams(
        named=named,
        provider=APNS,
        params=(app,) if set(tokens) <= set(services) or not match else (),
        token=tokens.get(_VOIP, ""),
        alert_token=tokens.get(_REMOTE),
    )


def _token(text: str) -> tuple[str, str | None]:
    match = _TOKEN.fullmatch(text)
    return (match[1], match[2]) if match else (text, None)


def _read_legacy(kind: str, given: Mapping[str, str]) -> PushParams | None:
    """Parameters of Linphone before RFC 8599, which other softphones use to this day."""
    provider = _OURS.get(kind, kind)
    app, token = given.get("app-id", ""), given["pn-tok"]
    if not _VISIBLE.fullmatch(app):
        return None
    named = provider
    if provider == APNS:
        named = SANDBOX if app.endswith(".dev") else APNS
        bundle = app.removesuffix(".dev").removesuffix(".prod")
        params: tuple[str, ...] = (bundle.removesuffix(".voip"), bundle, app)
    else:
        params = (app,)
    return PushParams(
        named=named,
        provider=provider,
        params=tuple(dict.fromkeys(params)),
        token=token,
        is_legacy=True,
    )
