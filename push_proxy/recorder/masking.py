"""What nobody may read in a kept message: each character of it becomes ``*``.

Lengths stay, so Content-Length is still right and a masked message is as well-formed as it was.
Masked are:

- credentials: all of Authorization and Proxy-Authorization but the parameters that are no secret
  (user name, realm, nonce, URI…), ``rspauth`` and ``cnonce`` of Authentication-Info, passwords
  in URIs;
- push tokens: the values of ``pn-*`` parameters (RFC 8599) but the provider's name;
- our own tokens: the user part of our Record-Route, ``pp`` of our Contacts;
- headers ``X-…`` whose name says that they hold a secret;
- media keys in SDP: ``a=crypto``, ``a=key-mgmt``, ``k=``, ``a=ice-pwd``;
- digits that somebody keys in (INFO): they may be a PIN.

All messages of a call are masked at once, and a pattern is tried only where its first word stands:
this is done for every message of every call.
"""

import re
from collections.abc import Callable, Iterator, Sequence

_Spans = Iterator[tuple[int, int]]
_Rule = Callable[[bytes], _Spans]

# Between two messages: no header and no value reaches over it.
_BETWEEN = b"\n\0\n"

# A CR has become LF before: a line ends by LF or LF LF, and goes on when a blank follows.
_VALUE = rb"[ \t]*:([^\n\0]*(?:\n{1,2}[ \t][^\n\0]*)*)"
_CREDENTIALS = re.compile(rb"authorization" + _VALUE)
_CREDENTIALS_IN_URI = re.compile(rb"authorization=([^&>\s\0]*)")
_INFO = re.compile(rb"authentication-info" + _VALUE)
_SCHEME = re.compile(rb"\s*([^\s,=]+)(?=\s)")
_PARAMETER = re.compile(rb'([^\s,="]+)(\s*=\s*)("(?:[^"\\]|\\.)*"?|[^\s,]*)', re.DOTALL)
_NO_SECRET = frozenset(
    b"username username* userhash realm nonce nextnonce uri algorithm qop nc opaque".split()
)
_PUSH = re.compile(rb'pn-([a-z0-9.!*+_`~-]*)(?:=|%3d)("[^"\n\0]*"?|[^;,>?&\s"\0]*)')
_ESCAPED_PUSH = re.compile(
    rb'(?:p|%70)(?:n|%6e)(?:-|%2d)([^=;,>?&\s"\0]*?)(?:=|%3d)("[^"\n\0]*"?|[^;,>?&\s"\0]*)'
)
_CONTACT_TOKEN = re.compile(rb"pp=([^;,>?&\s\"\0]*)")
# A route token begins with its version and is long (sip/src/token.cpp).
_ROUTE_TOKEN = re.compile(rb"sips?:(a[a-z][a-z0-9_-]{48,})")
_PASSWORD = re.compile(rb'sips?:[^@\s:;<>"?,\0]*:([^@\s<>"?,\0]*)@')
_X_HEADER = re.compile(rb"\n(x-[^\s:\0]*)" + _VALUE)
_SECRET_NAME = re.compile(rb"token|secret|key|auth|pass|pwd|credential|cookie|session|jwt|prid")
_INLINE = re.compile(rb"inline:([^\s;\0]*)")
_ICE = re.compile(rb"ice-pwd:([^\n\0]*)")
_KEY_MANAGEMENT = re.compile(rb"key-mgmt:([^\n\0]*)")
_OLD_KEY = re.compile(rb"\nk=([^\n\0]*)")
_SIGNAL = re.compile(rb"\nsignal[ \t]*=([^\n\0]*)")
_DIGITS = re.compile(rb"dtmf[ \t;\n][^\0]*?\n\n\n\n([^\0]*)|dtmf[ \t;\n][^\0]*?\n\n([^\0]*)")


def mask(messages: Sequence[bytes]) -> list[bytes]:
    """Copies of these messages without their secrets; each as long as it was."""
    together = _BETWEEN.join((b"", *messages))
    text = together.lower().replace(b"\r", b"\n")
    masked = bytearray(together)
    for rule in _RULES:
        for begin, end in rule(text):
            masked[begin:end] = b"*" * (end - begin)
    found, at = [], 0
    for message in messages:
        at += len(_BETWEEN)
        found.append(bytes(masked[at : at + len(message)]))
        at += len(message)
    return found


def _after(word: bytes, pattern: re.Pattern[bytes]) -> _Rule:
    """What the pattern's first group matches, wherever this word begins it."""

    def rule(text: bytes) -> _Spans:
        at = text.find(word)
        while at >= 0:
            if (match := pattern.match(text, at)) is not None:
                yield match.span(1)
            at = text.find(word, at + 1)

    return rule


def _authentication(text: bytes) -> _Spans:
    at = text.find(b"auth")
    while at >= 0:
        if (header := _CREDENTIALS.match(text, at)) is not None:
            yield from _credentials(text, *header.span(1))
        elif (header := _INFO.match(text, at)) is not None:
            yield from _parameters(text, *header.span(1))
        elif (in_uri := _CREDENTIALS_IN_URI.match(text, at)) is not None:
            yield in_uri.span(1)
        at = text.find(b"auth", at + 1)


def _credentials(text: bytes, begin: int, end: int) -> _Spans:
    scheme = _SCHEME.match(text, begin, end)
    if scheme is None:
        yield begin, end
    elif scheme[1] == b"digest":
        yield from _parameters(text, scheme.end(), end)
    else:
        yield scheme.end(), end


def _parameters(text: bytes, begin: int, end: int) -> _Spans:
    """All between these places but names, and values that are no secret."""
    at = begin
    for match in _PARAMETER.finditer(text, begin, end):
        if match.start() > at + 2:
            yield from _unless_blank(text, at, match.start())
        if match[1] not in _NO_SECRET:
            yield match.span(3)
        at = match.end()
    yield from _unless_blank(text, at, end)


def _unless_blank(text: bytes, begin: int, end: int) -> _Spans:
    if text[begin:end].strip(b" \t\n,"):
        yield begin, end


def _push(text: bytes) -> _Spans:
    if b"%" in text:
        for escaped in _ESCAPED_PUSH.finditer(text):
            if escaped[1] != b"provider":
                yield escaped.span(2)
        return
    at = text.find(b"pn-")
    while at >= 0:
        match = _PUSH.match(text, at)
        if match is not None and match[1] != b"provider":
            yield match.span(2)
        at = text.find(b"pn-", at + 1)


def _passwords(text: bytes) -> _Spans:
    for match in _PASSWORD.finditer(text):
        yield match.span(1)


def _x_headers(text: bytes) -> _Spans:
    at = text.find(b"\nx-")
    while at >= 0:
        header = _X_HEADER.match(text, at)
        if header is not None and _SECRET_NAME.search(header[1]):
            yield header.span(2)
        at = text.find(b"\nx-", at + 1)


def _keyed_digits(text: bytes) -> _Spans:
    if b"info\n" not in text:  # in CSeq
        return
    yield from _signals(text)
    for match in _DIGITS.finditer(text):
        yield match.span(1 if match[1] is not None else 2)


_signals = _after(b"\nsignal", _SIGNAL)

_RULES: tuple[_Rule, ...] = (
    _authentication,
    _push,
    _passwords,
    _x_headers,
    _keyed_digits,
    _after(b"pp=", _CONTACT_TOKEN),
    _after(b"sip:a", _ROUTE_TOKEN),
    _after(b"sips:a", _ROUTE_TOKEN),
    _after(b"inline:", _INLINE),
    _after(b"ice-pwd:", _ICE),
    _after(b"key-mgmt:", _KEY_MANAGEMENT),
    _after(b"\nk=", _OLD_KEY),
)
