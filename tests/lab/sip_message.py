"""SIP messages as plain values: parsed without repair, built byte for byte."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

Header = tuple[str, str]

_COMPACT = {
    "v": "via", "f": "from", "t": "to", "i": "call-id", "m": "contact", "l": "content-length",
    "c": "content-type", "k": "supported", "e": "content-encoding", "s": "subject",
}  # fmt: skip
_DISPLAY_NAME = re.compile(r'^\s*"(?:\\.|[^"\\])*"')
_URI = re.compile(r"<([^>]*)>|^\s*([^;\s]+)")


@dataclass(frozen=True, slots=True)
class Message:
    """One message as it was on the wire."""

    start: str
    headers: tuple[Header, ...]
    body: bytes = b""
    raw: bytes = b""
    source: tuple[str, int] = ("", 0)
    arrived_s: float = 0.0
    """Monotonic clock."""

    @property
    def is_request(self) -> bool:
        """Whether the start line is a request line."""
        return not self.start.startswith("SIP/2.0 ")

    @property
    def method(self) -> str:
        """The request's method, or for a response the method in CSeq."""
        return self.start.split(" ", 1)[0] if self.is_request else self.cseq_method

    @property
    def uri(self) -> str:
        """The Request-URI; empty in a response."""
        return self.start.split(" ")[1] if self.is_request else ""

    @property
    def status(self) -> int:
        """The status code; 0 in a request."""
        return 0 if self.is_request else int(self.start.split(" ")[1])

    @property
    def reason(self) -> str:
        """The reason phrase; empty in a request."""
        return "" if self.is_request else self.start.split(" ", 2)[2]

    def header(self, name: str) -> str:
        """The first value of header `name`. Raises KeyError when it is absent."""
        values = self.all(name)
        if not values:
            raise KeyError(f"no {name} in:\n{self.raw.decode('utf-8', 'replace')}")
        return values[0]

    def get(self, name: str, default: str = "") -> str:
        """The first value of header `name`, or `default`."""
        return next(iter(self.all(name)), default)

    def all(self, name: str) -> list[str]:
        """All values of header `name` in order, one per header line, not split at commas."""
        wanted = _canonical(name)
        return [value for key, value in self.headers if _canonical(key) == wanted]

    def listed(self, name: str) -> list[str]:
        """All values of header `name` in order, split at commas outside quotes and brackets."""
        return [item for value in self.all(name) for item in _split_list(value)]

    @property
    def call_id(self) -> str:
        """Call-ID."""
        return self.header("Call-ID")

    @property
    def cseq(self) -> int:
        """The number in CSeq."""
        return int(self.header("CSeq").split()[0])

    @property
    def cseq_method(self) -> str:
        """The method in CSeq."""
        return self.header("CSeq").split()[1]

    @property
    def branch(self) -> str:
        """The topmost Via's branch."""
        return parameter(self.listed("Via")[0], "branch")

    @property
    def from_tag(self) -> str:
        """From tag."""
        return parameter(self.header("From"), "tag")

    @property
    def to_tag(self) -> str:
        """To tag; empty outside a dialog."""
        return parameter(self.header("To"), "tag")

    @property
    def contact_uri(self) -> str:
        """The URI of the first Contact."""
        return uri_of(self.header("Contact"))

    def __str__(self) -> str:
        return self.raw.decode("utf-8", "replace")


def parse(raw: bytes, *, source: tuple[str, int] = ("", 0), arrived_s: float = 0.0) -> Message:
    """Parse one datagram. Raises ValueError when it is no SIP message."""
    head, separator, body = raw.partition(b"\r\n\r\n")
    if not separator:
        raise ValueError(f"no empty line after the headers: {raw[:200]!r}")
    start, *lines = head.decode("utf-8").split("\r\n")
    if "SIP/2.0" not in start:
        raise ValueError(f"no SIP start line: {start!r}")
    headers: list[Header] = []
    for line in lines:
        if line[:1] in (" ", "\t") and headers:
            name, value = headers[-1]
            headers[-1] = (name, f"{value} {line.strip()}")
            continue
        name, colon, value = line.partition(":")
        if not colon:
            raise ValueError(f"no colon in header line {line!r}")
        headers.append((name.strip(), value.strip()))
    return Message(start, tuple(headers), body, raw, source, arrived_s)


def build(start: str, headers: Iterable[Header], body: bytes = b"") -> bytes:
    """The bytes of a message; Content-Length is appended, everything else is as given."""
    lines = [start, *(f"{name}: {value}" for name, value in headers)]
    lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def parameter(value: str, name: str) -> str:
    """Header parameter `name` of `value`, unquoted; empty when absent."""
    bare = _DISPLAY_NAME.sub("", value)
    # Not the last ">": a +sip.instance has some of its own.
    after_uri = bare.partition(">")[2] if "<" in bare else bare
    match = re.search(rf';\s*{re.escape(name)}\s*=\s*("[^"]*"|[^;,\s]*)', after_uri, re.IGNORECASE)
    return match[1].strip('"') if match else ""


def uri_of(value: str) -> str:
    """The URI in a name-addr or addr-spec such as `"A" <sip:a@b>;tag=1`."""
    match = _URI.search(value)
    if match is None:
        raise ValueError(f"no URI in {value!r}")
    return match[1] if match[1] is not None else match[2]


def _canonical(name: str) -> str:
    lower = name.lower()
    return _COMPACT.get(lower, lower)


def _split_list(value: str) -> list[str]:
    parts = re.findall(r'(?:"(?:\\.|[^"\\])*"|<[^>]*>|[^,"<])+', value)
    return [part.strip() for part in parts if part.strip()]
