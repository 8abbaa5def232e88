"""Kinds of values that the configuration is made of: how they are written and checked."""

import ipaddress
import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, StringConstraints

from .core.model import Address
from .core.uri import MalformedUri, SipUri

TRANSPORTS = ("udp", "tcp", "tls")
Transport = Literal["udp", "tcp", "tls"]

Fault = tuple[str, str]
"""A key's full name, and what is wrong with it and what to do."""

NOT_BUILT = "not built yet"
"""Every refusal of something that the contract names and this version lacks says this."""


def _split(value: Any) -> Any:
    """An environment variable gives a list as ``a, b``."""
    if isinstance(value, str):
        return [item.strip() for item in value.split(",") if item.strip()]
    return value


CommaList = BeforeValidator(_split)
"""A list that may also be written as one string with commas."""

EmptySection = BeforeValidator(lambda value: {} if value is None else value)
"""A section that stands there without any key (``tls:``)."""

Name = Annotated[
    str, StringConstraints(pattern=r"^\.*[A-Za-z0-9_~-][A-Za-z0-9._~-]*$", max_length=64)
]
"""A name: 1 to 64 of ``A-Z a-z 0-9 . _ ~ -``, not only dots."""

Sha256Hex = Annotated[
    str, StringConstraints(pattern=r"^[0-9a-f]{64}$", to_lower=True, strip_whitespace=True)
]
"""A SHA-256 in hexadecimal."""

_LABEL = "[A-Za-z0-9-]{1,63}"
_HOST = re.compile(rf"(?=.{{1,253}}$)(?!-){_LABEL}(?:\.{_LABEL})*(?<!-)\.?")


def check_host(text: str) -> str:
    """A DNS name or an IP address without brackets, without port. Raises `ValueError`."""
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        if _HOST.fullmatch(text):
            return text.rstrip(".").lower()
    raise ValueError(f"{text!r} is no host name and no IP address (give it without a port)")


Host = Annotated[str, AfterValidator(check_host)]


def parse_host_port(text: str) -> tuple[str, int]:
    """``host:port`` or ``[ipv6]:port``; the host is an IP address. Raises `ValueError`."""
    host, colon, port = text.rpartition(":")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if not colon or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise ValueError(f"{text!r} is no address and port; write it like 0.0.0.0:8080")
    if ":" in bare and bare == host:
        raise ValueError(f"{text!r}: an IPv6 address stands in brackets, like [::]:8080")
    try:
        return str(ipaddress.ip_address(bare)), int(port)
    except ValueError:
        raise ValueError(f"{text!r}: {bare!r} is no IP address to listen on") from None


def _check_host_port(text: str) -> str:
    parse_host_port(text)
    return text


HostPort = Annotated[str, AfterValidator(_check_host_port)]


def parse_sip_listen(text: str) -> Address:
    """``udp:0.0.0.0:5060`` (or ``tcp:``, ``tls:``) as an address. Raises `ValueError`."""
    transport, colon, rest = text.partition(":")
    if not colon or transport not in TRANSPORTS:
        raise ValueError(
            f"{text!r} is no SIP address; write it like udp:0.0.0.0:5060 (or tcp:, tls:)"
        )
    host, port = parse_host_port(rest)
    return Address(host, port, transport)


def _check_sip_listen(text: str) -> str:
    parse_sip_listen(text)
    return text


SipListen = Annotated[str, AfterValidator(_check_sip_listen)]


def check_registrar(text: str) -> str:
    """``sip:host[:port][;transport=]`` or ``sips:host[:port]``, without user; canonical.

    TLS is always written as ``;transport=tls``. Raises `ValueError`.
    """
    try:
        uri = SipUri.parse(text)
    except MalformedUri as error:
        raise ValueError(f"{error}; write it like sip:pbx.example.com") from None
    if uri.user or uri.headers or set(uri.params) - {"transport", "lr"}:
        raise ValueError(
            f"{text!r}: only host, port and transport belong here, like "
            "sip:pbx.example.com:5060;transport=tcp"
        )
    transport = uri.params.get("transport", "").lower()
    if transport and transport not in TRANSPORTS:
        raise ValueError(f"{text!r}: transport is one of {', '.join(TRANSPORTS)}")
    if uri.scheme == "sips":
        if transport == "udp":
            raise ValueError(f"{text!r}: sips means TLS, which does not run over UDP")
        transport = "tls"
    check_host(uri.host)
    host = f"[{uri.host}]" if ":" in uri.host else uri.host
    port = "" if uri.port is None else f":{uri.port}"
    return f"sip:{host}{port}" + (f";transport={transport}" if transport else "")


RegistrarUri = Annotated[str, AfterValidator(check_registrar)]


def check_peer(text: str) -> str:
    """An IP address or network (``192.0.2.0/24``). Raises `ValueError`."""
    try:
        network = ipaddress.ip_network(text)
    except ValueError as error:
        raise ValueError(f"{text!r} is no IP address or network ({error})") from None
    if network.prefixlen == 0:
        raise ValueError(f"{text!r} trusts every address of the Internet; name the PBX's own")
    return str(network.network_address) if network.num_addresses == 1 else str(network)


Peer = Annotated[str, AfterValidator(check_peer)]


DNS_PORT = 53


def parse_nameserver(text: str) -> tuple[str, int]:
    """An IP address, with or without port: ``10.0.0.53``, ``127.0.0.1:5353``, ``[::1]:53``.

    Raises `ValueError`.
    """
    try:
        return str(ipaddress.ip_address(text)), DNS_PORT
    except ValueError:
        pass
    try:
        return parse_host_port(text)
    except ValueError:
        raise ValueError(
            f"{text!r} is no name server; give an IP address, like 10.0.0.53 or 10.0.0.53:5353"
        ) from None


def _check_nameserver(text: str) -> str:
    parse_nameserver(text)
    return text


Nameserver = Annotated[str, AfterValidator(_check_nameserver)]
