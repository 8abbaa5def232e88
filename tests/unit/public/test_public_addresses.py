"""Which addresses strangers' URLs may lead to."""

from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from push_proxy.public_addresses import is_odd_literal, is_public


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "127.255.255.254", "0.0.0.0", "0.1.2.3", "10.1.2.3", "172.16.0.1",
        "172.31.255.255", "192.168.1.1", "100.64.0.1", "100.100.100.200", "169.254.169.254",
        "168.63.129.16", "192.0.0.192", "198.18.0.1", "203.0.113.9", "224.0.0.1", "240.0.0.1",
        "255.255.255.255",
        "::", "::1", "fe80::1", "fe80::1%eth0", "fec0::1", "fc00::1", "fd00:ec2::254", "ff02::1",
        "::ffff:127.0.0.1", "::ffff:169.254.169.254", "::ffff:7f00:1", "::127.0.0.1", "::8.8.8.8",
        "64:ff9b::127.0.0.1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::8.8.8.8",
        "2002:7f00:1::1", "2002:a9fe:a9fe::", "2002:c0a8:101::1",
        "2001::1", "2001:db8::1", "3fff::1", "100::1", "4000::1", "2001:4860:4860::8888%1",
        "localhost", "", "8.8.8.8.8", "2130706433",
    ],
)  # fmt: skip
def test_addresses_that_are_refused(address: str) -> None:
    """Private, local, shared, reserved, multicast, metadata, and IPv6 that carries such an IPv4."""
    assert not is_public(address)


@pytest.mark.parametrize(
    "address",
    [
        "8.8.8.8", "1.1.1.1", "172.15.255.255", "172.32.0.1", "100.63.255.255", "100.128.0.1",
        "192.0.1.1", "2001:4860:4860::8888", "2606:4700::1111", "::ffff:8.8.8.8",
        "64:ff9b::8.8.8.8", "2002:808:808::1",
    ],
)  # fmt: skip
def test_addresses_that_are_reached(address: str) -> None:
    """Everything beside the special ranges, up to their edges."""
    assert is_public(address)


@pytest.mark.parametrize(
    "host",
    ["2130706433", "0x7f000001", "0x7f.0.0.1", "0177.0.0.1", "127.1", "127.0.1", "1.2.3.04",
     "1.2.3.4.", "a.0x1", "a.1", "999.1.1.1", "0x"],
)  # fmt: skip
def test_numbers_that_are_no_plain_address(host: str) -> None:
    """A resolver would make an address of them, or nothing at all."""
    assert is_odd_literal(host)


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "8.8.8.8", "example.com", "1.example", "0x7f.com", "10.in-addr.arpa"]
)
def test_plain_addresses_and_names(host: str) -> None:
    """These are what they seem."""
    assert not is_odd_literal(host)


@given(st.ip_addresses())
def test_no_address_that_the_standard_library_calls_special(
    address: IPv4Address | IPv6Address,
) -> None:
    """Ours is the stricter list, for any address and any that it carries inside."""
    if not is_public(str(address)):
        return
    inner = None
    if isinstance(address, IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
    for each in filter(None, (address if inner is None else None, inner)):
        special = {
            name
            for name in ("private", "multicast", "loopback", "link_local", "unspecified")
            if getattr(each, f"is_{name}")
        }
        assert not special
