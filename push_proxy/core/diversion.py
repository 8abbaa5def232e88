"""Diverted calls: Diversion (RFC 5806) and History-Info (RFC 7044), read and written.

Both tell the same story, so the longer one counts; PBXs know one, the other, or neither.
"""

import re
from dataclasses import dataclass, replace
from urllib.parse import quote

from .message import Message
from .model import Verdict
from .uri import MalformedUri, NameAddr, SipUri

MOST = 5
"""Calls that have been diverted so often are not diverted again."""

_TEL = re.compile(r"tel:([^;?]+)", re.IGNORECASE)
_REASON = re.compile(r"[?&]reason=", re.IGNORECASE)
_CAUSE = re.compile(r";cause=\d{3}(?!\d)", re.IGNORECASE)
_INDEX = re.compile(r"\d{1,4}(\.\d{1,4}){0,30}")
_MOST_COUNTED = 99
"""RFC 5806 §5.1: a counter has two digits."""

_MOST_REPEATED = 2_000
"""Characters of the INVITE's own headers that go into the 302, which has to fit a datagram."""

_UNCONDITIONAL = ("unconditional", 302)
_UNAVAILABLE = ("unavailable", 503)
_REASONS: dict[Verdict, tuple[str, int]] = {
    Verdict.BUSY: ("user-busy", 486),
    Verdict.NO_ANSWER: ("no-answer", 408),
    Verdict.DECLINED: ("deflection", 487),
}
"""Diversion's reason, and the cause that stands for it in History-Info (RFC 4458, RFC 7544)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Diversions:
    """What an INVITE says of the diversions behind it."""

    count: int = 0
    from_here: bool = False
    """The account it has come to has diverted it before."""
    last: str = ""
    """User or number of who diverted it last."""
    diversion: tuple[str, ...] = ()
    """Values, the newest first; none of a story that is too long to be repeated."""
    history: tuple[str, ...] = ()
    """The same, the oldest first."""
    ends_here: bool = False
    """The last entry of ``history`` is the account's own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Entry:
    """One entry of History-Info."""

    uri: str
    index: str
    mapped: str
    """Index of the entry that this one was diverted from (``mp``), or empty."""
    left: bool
    """It says itself that the call did not stay there."""
    caused: bool
    """It names why the call has come there, which is a diversion from the entry before."""


def diversions_of(message: Message, aor: str) -> Diversions:
    """Read an INVITE for the account ``aor``.

    What cannot be read counts as a diversion all the same, but from somebody else.
    """
    names = _own_names(message, aor)
    diversion = tuple(message.values("diversion"))
    history = tuple(message.values("history-info"))
    entries = [_entry(value) for value in history]
    left = _left(entries)
    newest = _uri(diversion[0]) if diversion else left[-1].uri if left else ""
    counted = sum(_counter(value) for value in diversion)
    return Diversions(
        count=max(counted, len(left)),
        from_here=any(_identity(_uri(value)) in names for value in diversion)
        or any(_identity(entry.uri) in names for entry in left),
        last=_user(newest),
        diversion=_repeatable(diversion),
        history=_repeatable(history),
        ends_here=bool(entries) and _identity(entries[-1].uri) in names,
    )


def headers(diversions: Diversions, *, aor: str, led: Verdict | None) -> tuple[str, str, str]:
    """Values of Diversion and History-Info of a 302 from ``aor``, and its index in the latter.

    ``led``: the verdict that leads to it; None: it comes without any attempt.
    """
    reason, cause = _UNCONDITIONAL if led is None else _REASONS.get(led, _UNAVAILABLE)
    diversion = ", ".join((f"<{aor}>;reason={reason};counter=1", *diversions.diversion))
    older, index = _place(diversions)
    why = quote(f"SIP;cause={cause}", safe="")
    history = ", ".join((*older, f"<{aor}?Reason={why}>;index={index}"))
    return diversion, history, index


def _place(diversions: Diversions) -> tuple[tuple[str, ...], str]:
    """The entries before ours, and our index: ours may be there already, or be missing."""
    older = diversions.history
    if not older:
        return (), "1"
    last = _entry(older[-1]).index or "1"
    # RFC 7044 §10.3: a zero stands for the hops that have told nothing.
    return (older[:-1], last) if diversions.ends_here else (older, f"{last}.0.1")


def _repeatable(values: tuple[str, ...]) -> tuple[str, ...]:
    return values if sum(map(len, values)) <= _MOST_REPEATED else ()


def _left(entries: list[_Entry]) -> list[_Entry]:
    mapped = {entry.mapped for entry in entries if entry.mapped}
    return [
        entry
        for place, entry in enumerate(entries)
        if entry.left
        or entry.index in mapped
        or (place + 1 < len(entries) and entries[place + 1].caused)
    ]


def _entry(value: str) -> _Entry:
    try:
        address = NameAddr.parse(value)
    except MalformedUri:
        return _Entry(uri="", index="", mapped="", left=True, caused=False)
    index = address.params.get("index", "")
    target, _, _ = address.uri.partition("?")
    return _Entry(
        uri=target,
        index=index if _INDEX.fullmatch(index) else "",
        mapped=address.params.get("mp", ""),
        left=_REASON.search(address.uri) is not None,
        caused=_CAUSE.search(target) is not None,
    )


def _counter(value: str) -> int:
    try:
        text = NameAddr.parse(value).params.get("counter", "")
    except MalformedUri:
        return 1
    # The length first: int() takes quadratic time on thousands of digits.
    known = text.isascii() and text.isdigit() and len(text) <= 2
    return min(max(int(text), 1), _MOST_COUNTED) if known else 1


def _uri(value: str) -> str:
    try:
        return NameAddr.parse(value).uri
    except MalformedUri:
        return ""


def _own_names(message: Message, aor: str) -> frozenset[str]:
    """The account's user at its own host, and at those that the INVITE names.

    A PBX writes its address for the domain, or ours, for it knows our Contact.
    """
    home = SipUri.parse(aor)
    hosts = {home.host}
    for text in (message.request_uri, *(_uri(message.first(h) or "") for h in ("to", "from"))):
        try:
            hosts.add(SipUri.parse(text).host)
        except MalformedUri:
            continue
    named = (replace(home, host=host).aor for host in hosts)
    return frozenset((f"tel:{home.user}", *named))


def _user(uri: str) -> str:
    if (tel := _TEL.match(uri)) is not None:
        return tel[1]
    try:
        return SipUri.parse(uri).user
    except MalformedUri:
        return ""


def _identity(uri: str) -> str:
    if (tel := _TEL.match(uri)) is not None:
        return f"tel:{tel[1]}"
    try:
        return SipUri.parse(uri).aor
    except MalformedUri:
        return ""
