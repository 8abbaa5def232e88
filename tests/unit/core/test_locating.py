"""core.locating: which server DNS means, and which of several an account takes."""

from collections import Counter

import pytest

from push_proxy.core.locating import (
    Located,
    Naptr,
    Srv,
    Target,
    in_order,
    kept_order,
    plain_target,
    services,
    srv_name,
    targets_of,
)
from push_proxy.core.model import Address
from push_proxy.core.pbx import Endpoint, endpoint


def target(name: str, *, priority: int = 0, weight: int = 0, hosts: int = 1) -> Target:
    addresses = tuple(Address(f"192.0.2.{4 * (ord(name) - 96) + n}", 5060) for n in range(hosts))
    return Target(name, addresses, priority, weight)


@pytest.mark.parametrize(
    ("uri", "said", "default", "expected"),
    [
        ("sip:pbx.example.com", None, None, Endpoint("pbx.example.com", None, None)),
        ("sip:pbx.example.com", None, "tcp", Endpoint("pbx.example.com", None, "tcp")),
        (
            "sip:pbx.example.com;transport=TCP",
            None,
            "tls",
            Endpoint("pbx.example.com", None, "tcp"),
        ),
        (
            "sip:pbx.example.com;transport=tcp",
            "tls",
            None,
            Endpoint("pbx.example.com", None, "tls"),
        ),
        ("sips:pbx.example.com", "udp", "tcp", Endpoint("pbx.example.com", None, "tls")),
        ("sip:pbx.example.com:5070", None, None, Endpoint("pbx.example.com", 5070, "udp")),
        ("sips:PBX.example.com.", None, None, Endpoint("pbx.example.com", None, "tls")),
        ("sip:192.0.2.1", None, None, Endpoint("192.0.2.1", None, "udp")),
        ("sip:[2001:db8::1]:5070", None, "tls", Endpoint("2001:db8::1", 5070, "tls")),
    ],
)
def test_what_a_uri_leaves_to_dns(
    uri: str, said: str | None, default: str | None, expected: Endpoint
) -> None:
    """The account's transport, else the URI's, else the PBX's; sips is TLS; a literal or a port
    without any is UDP (RFC 3263 §4.1); only a bare name leaves it to DNS.
    """
    assert endpoint(uri, said=said, default=default) == expected


def test_default_ports() -> None:
    """5061 for TLS, 5060 for the rest, unless the URI has one."""
    ports = [Endpoint("h", None, transport).default_port for transport in ("udp", "tcp", "tls")]
    assert ports == [5060, 5060, 5061]
    assert Endpoint("h", 5080, "tls").default_port == 5080
    (plain,) = plain_target(Endpoint("h", None, "tls"), ("192.0.2.1", "192.0.2.2"))
    assert plain.addresses == (Address("192.0.2.1", 5061, "tls"), Address("192.0.2.2", 5061, "tls"))
    assert plain_target(Endpoint("h"), ()) == ()


def test_naptr() -> None:
    """By order, then preference; services that we do not speak and other flags are passed over."""
    records = [
        Naptr(20, 10, "s", "SIP+D2U", "_sip._udp.example.com."),
        Naptr(10, 20, "S", "SIP+D2T", "_sip._tcp.example.com."),
        Naptr(10, 10, "s", "SIPS+D2T", "_sips._tcp.example.com."),
        Naptr(5, 10, "s", "SIP+D2W", "_sip._ws.example.com."),
        Naptr(5, 10, "u", "SIP+D2U", "."),
    ]
    assert services(records) == (
        ("tls", "_sips._tcp.example.com"),
        ("tcp", "_sip._tcp.example.com"),
        ("udp", "_sip._udp.example.com"),
    )
    assert services(records, ("udp",)) == (("udp", "_sip._udp.example.com"),)
    assert [srv_name("d", t) for t in ("udp", "tcp", "tls")] == [
        "_sip._udp.d", "_sip._tcp.d", "_sips._tcp.d",
    ]  # fmt: skip


def test_srv_targets() -> None:
    """Name, port and transport of each; one without an address is left out, "." means no."""
    records = [Srv(10, 5, 5070, "A.example.com."), Srv(20, 0, 5080, "b.example.com.")]
    known = {"a.example.com": ("192.0.2.1", "192.0.2.2")}
    (found,) = targets_of(records, known, "tcp")
    assert (found.name, found.priority, found.weight) == ("a.example.com:5070", 10, 5)
    assert found.addresses == (Address("192.0.2.1", 5070, "tcp"), Address("192.0.2.2", 5070, "tcp"))
    assert targets_of([Srv(0, 0, 0, ".")], {"": ("192.0.2.9",)}, "udp") == ()


def test_priority_comes_before_weight() -> None:
    """However heavy, a server of a higher number is the last resort; all its addresses stay
    together.
    """
    first, second = target("a", priority=1, hosts=2), target("b", priority=2, weight=1000)
    for seed in map(str, range(50)):
        assert in_order((second, first), seed) == (*first.addresses, *second.addresses)


def test_weight_shares_accounts() -> None:
    """Over many accounts first places are shared by weight; weight 0 gets next to nothing."""
    servers = [target("a", weight=60), target("b", weight=20), target("c", weight=20), target("d")]
    names = {server.addresses[0]: server.name for server in servers}
    first = Counter(names[in_order(servers, f"account-{n}")[0]] for n in range(10_000))
    assert 5_700 < first["a"] < 6_300
    assert 1_750 < first["b"] < 2_250
    assert 1_750 < first["c"] < 2_250
    assert first["d"] < 30


def test_equal_weights_of_zero_share_evenly() -> None:
    """The usual case of records that nobody weighed."""
    servers = [target("a"), target("b")]
    first = Counter(in_order(servers, str(n))[0] for n in range(2_000))
    assert all(850 < number < 1_150 for number in first.values())


def test_a_server_that_goes_moves_only_its_own() -> None:
    """Who preferred another one stays there; who preferred it goes to its own second choice."""
    servers = [target(name, weight=10) for name in "abc"]
    for seed in map(str, range(200)):
        before = in_order(servers, seed)
        for gone in servers:
            rest = [server for server in servers if server is not gone]
            expected = tuple(a for a in before if a not in gone.addresses)
            assert in_order(rest, seed) == expected


def test_rotated_answers_move_nobody() -> None:
    """Name servers rotate addresses and records; only a real change is taken over."""
    one, two, three = (Address(f"192.0.2.{n}", 5060) for n in (1, 2, 3))
    old = Located((Target("a", (one, two)), Target("b", (three,))), 60)
    rotated = kept_order(old, Located((Target("b", (three,)), Target("a", (two, one))), 30))
    assert (rotated.targets, rotated.ttl_s) == (old.targets, 30)
    changed = kept_order(old, Located((Target("a", (two, three)),), 30))
    assert changed.targets[0].addresses == (two, three)
