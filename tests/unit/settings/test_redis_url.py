"""`redis.url`: which servers are meant, and what is said of one that cannot be used."""

import pytest

from push_proxy.errors import ConfigurationError
from push_proxy.settings_file import check
from push_proxy.store.redis_topology import Kind, parse_topology


def test_sentinels() -> None:
    """Several sentinels with and without port, the service, a database, and two passwords: one for
    Redis, one for the sentinels; neither is in what logs show.
    """
    found = parse_topology(
        "rediss+sentinel://user:redis-word@one.example,[2001:db8::1]:26380/phones"
        "?db=3&sentinel_password=sentinel-word&ssl_ca_certs=/ca.pem"
    )
    assert found.kind is Kind.SENTINEL
    assert found.seeds == (("one.example", 26379), ("2001:db8::1", 26380))
    assert found.service == "phones"
    assert found.shown == "rediss+sentinel://one.example,[2001:db8::1]:26380/phones"
    assert found.server_url(("10.0.0.1", 6379)) == (
        "rediss://user:redis-word@10.0.0.1:6379?db=3&ssl_ca_certs=%2Fca.pem"
    )
    assert found.sentinel_url(found.seeds[1]) == (
        "rediss://[2001:db8::1]:26380?ssl_ca_certs=%2Fca.pem&password=sentinel-word"
    )


def test_cluster() -> None:
    """Several nodes of a cluster; user and password count for all of its nodes."""
    found = parse_topology("redis+cluster://:word@10.0.0.1:7000,10.0.0.2")
    assert found.kind is Kind.CLUSTER
    assert found.seeds == (("10.0.0.1", 7000), ("10.0.0.2", 6379))
    assert found.server_url(("10.0.0.9", 7001)) == "redis://:word@10.0.0.9:7001?"


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("redis+sentinel://h:26379", "service's name"),
        ("redis+sentinel://h:26379/a/b", "service's name"),
        ("redis+sentinel://h:port/phones", "no host and port"),
        ("redis+sentinel://,/phones", "no host and port"),
        ("redis+cluster://h:1/2", "no databases"),
        ("redis+cluster://h:1?db=2", "no databases"),
        ("redis+cluster://h:1?colour=red", "colour"),
        ("redis://h:1?protocol=3", "protocol"),
        ("redis+ring://h:1", "must begin with"),
        ("http://h", "must begin with"),
        ("redis://[h", "must begin with"),
    ],
)
def test_cannot_be_used(url: str, why: str) -> None:
    """Told by the setting's name wherever the configuration is read, and no password is quoted."""
    with_password = url.replace("//", "//:secret-word@", 1)
    for text in (url, with_password):
        with pytest.raises(ConfigurationError, match=r"redis\.url") as caught:
            check({"redis": {"url": text}})
        assert why in str(caught.value)
        assert "secret-word" not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["redis+sentinel://a,b:1/s?sentinel_username=u", "rediss+cluster://u:p@a:1", "unix:///s"]
)
def test_can_be_used(url: str) -> None:
    """All forms are taken as they are written."""
    assert check({"redis": {"url": url}}).redis.url == url
