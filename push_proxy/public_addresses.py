"""Which addresses lie in the public Internet: others are not reached for strangers' URLs.

The special-purpose registries of IANA (RFC 6890), and addresses that carry another one inside.
"""

from ipaddress import (
    AddressValueError,
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
)

_SPECIAL_V4 = tuple(
    IPv4Network(text)
    for text in (
        "0.0.0.0/8",  # this network
        "10.0.0.0/8",
        "100.64.0.0/10",  # carriers' NAT; a cloud keeps its metadata there
        "127.0.0.0/8",
        "168.63.129.16/32",  # a cloud's host, from inside its machines
        "169.254.0.0/16",  # link-local, with the metadata of most clouds
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, broadcast
    )
)
_GLOBAL_V6 = IPv6Network("2000::/3")
_SPECIAL_V6 = tuple(
    IPv6Network(text)
    for text in (
        "2001::/23",  # Teredo, ORCHID, benchmarking
        "2001:db8::/32",
        "3fff::/20",
    )
)
_NAT64 = IPv6Network("64:ff9b::/96")
_LAST_32_BITS = 0xFFFFFFFF


def is_public(address: str) -> bool:
    """Whether a numeric address is one of the public Internet; False also for what is none."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return False
    return _public_v4(parsed) if isinstance(parsed, IPv4Address) else _public_v6(parsed)


def is_odd_literal(host: str) -> bool:
    """Whether a host is a number that is no plain address: ``2130706433``, ``0x7f.1``, ``127.1``.

    The system's resolver would make an address of it, which no reader of the URL expects.
    """
    last = host.rstrip(".").rpartition(".")[2].lower()
    digits = last.removeprefix("0x")
    numeric = last.isdecimal() or (digits != last and all(c in "0123456789abcdef" for c in digits))
    if not numeric:
        return False
    try:
        return str(IPv4Address(host)) != host
    except AddressValueError:
        return True


def _public_v4(address: IPv4Address) -> bool:
    return not any(address in network for network in _SPECIAL_V4)


def _public_v6(address: IPv6Address) -> bool:
    if address.scope_id is not None:
        return False
    inner = address.ipv4_mapped or address.sixtofour
    if address in _NAT64:
        inner = IPv4Address(int(address) & _LAST_32_BITS)
    if inner is not None:
        return _public_v4(inner)
    return address in _GLOBAL_V6 and not any(address in network for network in _SPECIAL_V6)
