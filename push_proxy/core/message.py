"""SIP messages as values: what Python needs to read of them (RFC 3261 §7, §20).

The stack has parsed each message before; this reads the raw copy it hands over and what
tests and tools write. Values are text exactly as received, without leading and trailing
blanks; folded lines are joined with one space.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache

_COMPACT = {
    "a": "accept-contact",
    "b": "referred-by",
    "c": "content-type",
    "d": "request-disposition",
    "e": "content-encoding",
    "f": "from",
    "i": "call-id",
    "j": "reject-contact",
    "k": "supported",
    "l": "content-length",
    "m": "contact",
    "n": "identity-info",
    "o": "event",
    "r": "refer-to",
    "s": "subject",
    "t": "to",
    "u": "allow-events",
    "v": "via",
    "x": "session-expires",
    "y": "identity",
}
_FOLD = re.compile(r"[ \t]*\r?\n[ \t]+")
_LINE_END = re.compile(r"\r?\n")
_HEAD_END = re.compile(rb"\r?\n\r?\n")
_REQUEST_LINE = re.compile(r"([A-Za-z0-9!%*_+`'~.-]+) ([^ ]+) SIP/2\.0", re.IGNORECASE)
_STATUS_LINE = re.compile(r"SIP/2\.0 ([1-6][0-9][0-9])(?: (.*))?", re.IGNORECASE)
_CSEQ = re.compile(r"(\d{1,10})[ \t]+([^ \t]+)")
# Each alternative starts with another character and cannot fail once begun: no backtracking,
# whatever a hostile sender leaves unclosed.
_OUTSIDE_COMMA = re.compile(r'"(?:[^"\\]|\\.?)*"?|<[^>]*>?|,', re.DOTALL)
_MAX_CSEQ = 2**31 - 1


class MalformedMessage(ValueError):
    """The bytes are no SIP message; the text says why."""


@dataclass(frozen=True, slots=True)
class Message:
    """One request or response."""

    start: str
    """The start line."""
    headers: Mapping[str, list[str]]
    """Values by full header name in lower case, in order of appearance."""
    body: bytes = b""
    method: str = ""
    """The request's method; empty in a response."""
    request_uri: str = ""
    """Empty in a response."""
    status: int = 0
    """The response's status code; 0 in a request."""
    reason: str = ""
    """The response's reason phrase."""
    raw: bytes = field(default=b"", repr=False)

    @property
    def is_request(self) -> bool:
        """Whether this is a request."""
        return self.status == 0

    def first(self, name: str) -> str | None:
        """The first line of header ``name`` (any case, full or compact form), or None."""
        values = self.headers.get(_canonical(name))
        return values[0] if values else None

    def all(self, name: str) -> list[str]:
        """Every line of header ``name`` in order, not split at commas."""
        return list(self.headers.get(_canonical(name), ()))

    def values(self, name: str) -> list[str]:
        """Every value of header ``name``, split at commas outside quotes and brackets.

        Not for headers whose grammar uses commas otherwise (authentication, Date).
        """
        lines = self.headers.get(_canonical(name), ())
        return [item for line in lines for item in split_commas(line)]

    def has_token(self, name: str, token: str) -> bool:
        """Whether ``token`` (any case) stands in a list header such as Supported or Require."""
        token = token.lower()
        return any(item.lower() == token for item in self.values(name))

    @property
    def call_id(self) -> str:
        """Call-ID; empty when absent."""
        return self.first("call-id") or ""

    @property
    def cseq(self) -> int:
        """The number in CSeq. Raises `MalformedMessage` when there is none below 2**31."""
        return self._cseq()[0]

    @property
    def cseq_method(self) -> str:
        """The method in CSeq. Raises `MalformedMessage` when it is unreadable."""
        return self._cseq()[1]

    def _cseq(self) -> tuple[int, str]:
        match = _CSEQ.fullmatch(self.first("cseq") or "")
        if match is None or int(match[1]) > _MAX_CSEQ:
            raise MalformedMessage(f"CSeq is unreadable: {self.first('cseq')!r}")
        return int(match[1]), match[2]


@lru_cache(maxsize=8)  # a request is read by the router and again by who takes it
def parse(raw: bytes) -> Message:
    """Read one message.

    A body longer than Content-Length is cut there, a shorter one is an error (RFC 3261 §18.3);
    empty lines before the start line are skipped (§7.5).

    Raises:
        MalformedMessage: no start line, a header line without colon, a short body, or a bare
            CR or LF between CRLFs: SIP stacks end a line there, so that a header could hide.
    """
    stripped = raw.lstrip(b"\r\n")
    end = _HEAD_END.search(stripped)
    if end is None:
        raise MalformedMessage("no empty line after the headers")
    head = stripped[: end.start()].decode("utf-8", "replace")
    if "\n " in head or "\n\t" in head:
        head = _FOLD.sub(" ", head)
    start, *lines = head.split("\r\n") if "\r\n" in head else _LINE_END.split(head)
    breaks = (len(lines), len(lines)) if "\r\n" in head else (0, len(lines))
    if (head.count("\r"), head.count("\n")) != breaks:
        raise MalformedMessage("a bare CR or LF in the headers")
    headers: dict[str, list[str]] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        key = name.rstrip(" \t").lower()
        if not colon or not key:
            raise MalformedMessage(f"no header name in line {line[:60]!r}")
        if len(key) == 1:
            key = _COMPACT.get(key, key)
        values = headers.get(key)
        if values is None:
            headers[key] = [value.strip()]
        else:
            values.append(value.strip())
    body = _body(stripped[end.end() :], headers.get("content-length"))
    if (match := _REQUEST_LINE.fullmatch(start)) is not None:
        return Message(start, headers, body, match[1], match[2], 0, "", raw)
    if (match := _STATUS_LINE.fullmatch(start)) is not None:
        return Message(start, headers, body, "", "", int(match[1]), match[2] or "", raw)
    raise MalformedMessage(f"no SIP/2.0 start line: {start[:60]!r}")


def split_commas(value: str) -> list[str]:
    """The items of a comma-separated value; commas in quotes and angle brackets do not count."""
    if "," not in value:
        return [value] if value else []
    items: list[str] = []
    begin = 0
    for match in _OUTSIDE_COMMA.finditer(value):
        if match[0] == ",":
            items.append(value[begin : match.start()].strip())
            begin = match.end()
    items.append(value[begin:].strip())
    return [item for item in items if item]


def _canonical(name: str) -> str:
    lower = name.lower()
    return _COMPACT.get(lower, lower) if len(lower) == 1 else lower


def _body(rest: bytes, lengths: list[str] | None) -> bytes:
    if lengths is None:
        return rest
    text = lengths[0]
    if not (text.isascii() and text.isdigit()) or len(text) > 9:
        raise MalformedMessage(f"Content-Length is no length: {text[:20]!r}")
    length = int(text)
    if length > len(rest):
        raise MalformedMessage(f"Content-Length says {length} bytes, {len(rest)} came")
    return rest[:length]
