"""SIP URIs and name-addrs (RFC 3261 §19.1, §20.10)."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self
from urllib.parse import quote, unquote

_URI = re.compile(
    r"(sips?):(?:([^@]*)@)?(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::(\d{1,5}))?(;[^?]*)?(\?.*)?",
    re.IGNORECASE | re.DOTALL,
)
# As in core.message: alternatives that cannot fail once begun.
_PARAMETER = re.compile(r';\s*([^\s;=]+)\s*(?:=\s*("(?:[^"\\]|\\.?)*"?|[^\s;]*))?', re.DOTALL)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_QUOTED = re.compile(r'\s*"((?:[^"\\]|\\.)*+)"\s*', re.DOTALL)
_USER_SAFE = "-_.!~*'()&=+$,;?/"
_PARAM_SAFE = "-_.!~*'()[]/:&+$"


class MalformedUri(ValueError):
    """The text is no SIP URI, or no name-addr with one."""


@dataclass(frozen=True, slots=True)
class SipUri:
    """A ``sip:`` or ``sips:`` URI, unescaped."""

    scheme: str
    user: str
    """Empty when there is none; case counts."""
    host: str
    """In lower case, an IPv6 address without brackets."""
    port: int | None = None
    params: Mapping[str, str] = field(default_factory=dict)
    """By name in lower case; a parameter without value has an empty one."""
    headers: str = ""
    """What follows ``?``, as received."""
    password: str | None = field(default=None, repr=False)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a URI without angle brackets. Raises `MalformedUri`."""
        match = _URI.fullmatch(text)
        if match is None:
            raise MalformedUri(f"no SIP URI: {text[:80]!r}")
        scheme, userinfo, host, port, params, headers = match.groups()
        user, colon, password = (userinfo or "").partition(":")
        if userinfo is not None and not user:
            raise MalformedUri(f"no user before @: {text[:80]!r}")
        if port is not None and not 0 < int(port) < 65536:
            raise MalformedUri(f"no port: {port}")
        return cls(
            scheme.lower(),
            unquote(user) if "%" in user else user,
            (host[1:-1] if host[0] == "[" else host).lower(),
            int(port) if port is not None else None,
            _uri_params(params) if params else {},
            headers[1:] if headers else "",
            unquote(password) if colon else None,
        )

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = f":{self.port}" if self.port is not None else ""
        params = "".join(_param_text(name, value) for name, value in self.params.items())
        headers = f"?{self.headers}" if self.headers else ""
        return f"{self.scheme}:{self._userinfo()}{host}{port}{params}{headers}"

    def _userinfo(self) -> str:
        if not self.user:
            return ""
        password = (
            "" if self.password is None else ":" + quote(self.password, safe="-_.!~*'()&=+$,")
        )
        return f"{quote(self.user, safe=_USER_SAFE)}{password}@"

    @property
    def aor(self) -> str:
        """Canonical address of record: ``sip:user@host`` without port and parameters."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        user = f"{quote(self.user, safe=_USER_SAFE)}@" if self.user else ""
        return f"sip:{user}{host}"


@dataclass(frozen=True, slots=True)
class NameAddr:
    """The value of From, To, Contact, Route…: an address with header parameters."""

    display: str
    """Display name, unquoted; empty when there is none."""
    uri: str
    """The URI as received."""
    params: Mapping[str, str] = field(default_factory=dict)
    """Header parameters by name in lower case, unquoted."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read one value (not a comma-separated list). Raises `MalformedUri`.

        Without angle brackets parameters are the header's (RFC 3261 §20).
        """
        text = text.strip()
        display, rest = "", text
        if text.startswith('"'):
            match = _QUOTED.match(text)
            if match is None:
                raise MalformedUri(f"display name is not closed: {text[:80]!r}")
            display, rest = _ESCAPED.sub(r"\1", match[1]), text[match.end() :]
            if not rest.startswith("<"):
                raise MalformedUri(f"no <URI> after the display name: {text[:80]!r}")
        before, bracket, after = rest.partition("<")
        if not bracket or ";" in before:
            uri, semicolon, tail = rest.partition(";")
            uri = uri.strip()
            if not uri or any(character in uri for character in ' \t<>"'):
                raise MalformedUri(f"no address: {text[:80]!r}")
            return cls(display, uri, header_params(semicolon + tail))
        uri, closed, tail = after.partition(">")
        if not closed or not uri.strip():
            raise MalformedUri(f"<URI> is not closed or empty: {text[:80]!r}")
        return cls(display or before.strip(), uri.strip(), header_params(tail))

    def sip(self) -> SipUri:
        """The URI, read. Raises `MalformedUri` when it is another kind (``tel:``)."""
        return SipUri.parse(self.uri)


def header_params(text: str) -> dict[str, str]:
    """Parameters of ``;a=1;b="two";c``: names in lower case, values unquoted; the first counts."""
    params: dict[str, str] = {}
    for match in _PARAMETER.finditer(text):
        name, value = match[1].lower(), match[2] or ""
        if value.startswith('"'):
            value = _ESCAPED.sub(r"\1", value[1:-1] if value.endswith('"') else value[1:])
        params.setdefault(name, value)
    return params


def _uri_params(text: str) -> dict[str, str]:
    params: dict[str, str] = {}
    for item in text.split(";"):
        if item:
            name, _, value = item.partition("=")
            params.setdefault(unquote(name).lower(), unquote(value) if "%" in value else value)
    return params


def _param_text(name: str, value: str) -> str:
    name = quote(name, safe=_PARAM_SAFE)
    return f";{name}={quote(value, safe=_PARAM_SAFE)}" if value else f";{name}"
