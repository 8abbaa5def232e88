"""Where a policy sends calls: which URIs it may name, and how the PBX is told (RFC 3261 §8.3)."""

import re
from collections.abc import Iterable

from .policy_rules import fits
from .uri import MalformedUri, SipUri

_TEL = re.compile(r"tel:(\+?[0-9A-D*#().-]+)", re.IGNORECASE)
_SEPARATORS = re.compile(r"[().-]")
_ELSEWHERE = frozenset({"lr", "maddr", "method", "ttl"})
"""URI parameters that lead a request another way than the URI seems to (RFC 3261 §19.1.1)."""


def canonical(target: str) -> str:
    """What patterns are compared with: ``scheme:user@host[:port]`` or ``tel:number``.

    Raises `uri.MalformedUri` for what no call can be sent to.
    """
    number = _number(target)
    if number is not None:
        return f"tel:{number}"
    uri = _sip(target)
    port = "" if uri.port is None else f":{uri.port}"
    return f"{uri.scheme}:{uri.aor.removeprefix('sip:')}{port}"


def allowed(target: str, patterns: Iterable[str]) -> bool:
    """Whether one of the patterns fits. Raises `uri.MalformedUri`."""
    text = canonical(target)
    return any(fits(pattern, text) for pattern in patterns)


def is_account(target: str, aor: str) -> bool:
    """Whether it names the account itself. Raises `uri.MalformedUri`."""
    number = _number(target)
    if number is not None:
        return number == SipUri.parse(aor).user
    return _sip(target).aor == aor


def contact_uri(target: str, aor: str) -> str:
    """What the Contact of the 302 names.

    A telephone number becomes a user at the account's own PBX (RFC 3261 §19.1.6), which has to
    dial it: pjsip, and so Asterisk, skips every Contact that is no SIP URI, and Kamailio cannot
    relay to a URI without host.
    """
    number = _number(target)
    if number is None:
        return str(_sip(target))
    home = SipUri.parse(aor)
    params = {"user": "phone"} if number.startswith("+") else {}
    return str(SipUri("sip", number, home.host, params=params))


def _number(target: str) -> str | None:
    """A ``tel:`` URI's number without visual separators (RFC 3966 §3); None: another scheme."""
    if not target.lower().startswith("tel:"):
        return None
    match = _TEL.fullmatch(target)
    number = _SEPARATORS.sub("", match[1]) if match is not None else ""
    if not number.strip("+"):
        raise MalformedUri("tel: takes a number alone, such as tel:+442079460000")
    return number


def _sip(target: str) -> SipUri:
    uri = SipUri.parse(target)
    if not uri.user or not uri.user.isprintable():
        raise MalformedUri("the URI needs a user part, sip:user@host")
    if uri.headers or uri.password is not None:
        raise MalformedUri("the URI may have neither headers (?…) nor a password")
    if astray := _ELSEWHERE & uri.params.keys():
        raise MalformedUri(f"the URI may not have the parameter {min(astray)}")
    return uri
