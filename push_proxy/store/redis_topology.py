"""What ``redis.url`` names: one server, a master that sentinels know, or a cluster.

========================================================  =========================================
``redis://[user:pw@]host[:6379][/db]``, ``rediss://``     one server (TLS: ``rediss``)
``unix://[user@]/path[?db=0&password=…]``                 one server on a socket
``redis+sentinel://[user:pw@]host[:26379],…/SERVICE``     the master that these sentinels name;
                                                          ``?db=0``, ``&sentinel_username=…``,
                                                          ``&sentinel_password=…``
``redis+cluster://[user:pw@]host[:6379],…``               the cluster that any of these belongs to
``rediss+sentinel://``, ``rediss+cluster://``             the same over TLS
========================================================  =========================================

Options that redis-py knows (``ssl_ca_certs=…``) may follow ``?`` in each form. Name and password
count for Redis itself, those of the sentinels have options of their own.
"""

from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from redis.asyncio import ConnectionPool

from ..errors import ConfigurationError

Place = tuple[str, int]
_SENTINEL_PORT, _REDIS_PORT = 26379, 6379
_SENTINEL_OPTIONS = {"sentinel_username": "username", "sentinel_password": "password"}
# They would undo what the client relies on.
_OURS = frozenset({"protocol", "retry", "decode_responses", "max_connections", "timeout"})


class Kind(StrEnum):
    """How many servers there are, and who says which of them counts."""

    STANDALONE = "standalone"
    SENTINEL = "sentinel"
    CLUSTER = "cluster"


@dataclass(frozen=True, slots=True, kw_only=True)
class Topology:
    """One ``redis.url``, taken apart."""

    kind: Kind
    shown: str
    """The URL without user, password and options: for logs."""
    url: str
    """Standalone: as redis-py takes it."""
    seeds: tuple[Place, ...] = ()
    """Sentinels, or nodes of the cluster, as configured."""
    service: str = ""
    """Sentinel: what the master is called there."""
    scheme: str = "redis"
    user_info: str = ""
    """``user:password@`` as written, or empty."""
    options: tuple[tuple[str, str], ...] = ()
    sentinel_options: tuple[tuple[str, str], ...] = ()

    def server_url(self, place: Place) -> str:
        """A server of this topology, as redis-py takes it."""
        options = urlencode(self.options, quote_via=quote)
        return f"{self.scheme}://{self.user_info}{spelled(place)}?{options}"

    def sentinel_url(self, place: Place) -> str:
        """A sentinel, as redis-py takes it."""
        options = (*(o for o in self.options if o[0] != "db"), *self.sentinel_options)
        return f"{self.scheme}://{spelled(place)}?{urlencode(options, quote_via=quote)}"


def spelled(place: Place) -> str:
    """``host:port``, an IPv6 address in brackets."""
    host, port = place
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def parse_topology(url: str) -> Topology:
    """Raises `errors.ConfigurationError`, which quotes neither user nor password."""
    try:
        scheme, _, form = urlsplit(url).scheme.partition("+")
    except ValueError:
        scheme, form = "", ""
    if scheme in {"redis", "rediss"} and form in {Kind.SENTINEL, Kind.CLUSTER}:
        topology = _several(url, scheme, Kind(form))
        trial = topology.server_url(topology.seeds[0])
    elif scheme in {"redis", "rediss", "unix"} and not form:
        topology = Topology(kind=Kind.STANDALONE, shown=_without_password(url), url=url)
        trial = url
    else:
        raise ConfigurationError(
            "redis.url must begin with redis://, rediss://, unix://, redis+sentinel:// or "
            "redis+cluster:// (over TLS: rediss+sentinel://, rediss+cluster://)"
        )
    for name, _ in parse_qsl(urlsplit(url).query):
        if name in _OURS:
            raise ConfigurationError(f"redis.url {topology.shown!r}: option {name!r} is not ours")
    try:
        ConnectionPool.from_url(trial).make_connection()  # type: ignore[no-untyped-call]
    except (TypeError, ValueError) as error:
        raise ConfigurationError(f"redis.url {topology.shown!r}: {error}") from None
    return topology


def _several(url: str, scheme: str, kind: Kind) -> Topology:
    parts = urlsplit(url)
    user_info, at, hosts = parts.netloc.rpartition("@")
    shown = f"{parts.scheme}://{hosts}{parts.path}"
    service = parts.path.strip("/")
    options = parse_qsl(parts.query, keep_blank_values=True)
    if kind is Kind.SENTINEL and (not service or "/" in service):
        raise ConfigurationError(
            f"redis.url {shown!r}: the service's name, as the sentinels call it, stands after the "
            "hosts: redis+sentinel://host1:26379,host2:26379/mymaster"
        )
    if kind is Kind.CLUSTER and (service or dict(options).get("db", "0") != "0"):
        raise ConfigurationError(f"redis.url {shown!r}: a cluster has no databases: leave it out")
    default_port = _SENTINEL_PORT if kind is Kind.SENTINEL else _REDIS_PORT
    return Topology(
        kind=kind,
        shown=shown,
        url=url,
        seeds=tuple(_place(host, default_port, shown) for host in hosts.split(",")),
        service=service if kind is Kind.SENTINEL else "",
        scheme=scheme,
        user_info=user_info + at,
        options=tuple(o for o in options if o[0] not in _SENTINEL_OPTIONS),
        sentinel_options=tuple(
            (_SENTINEL_OPTIONS[name], value) for name, value in options if name in _SENTINEL_OPTIONS
        ),
    )


def _place(text: str, default_port: int, shown: str) -> Place:
    try:
        parts = urlsplit(f"//{text.strip()}")
        port = parts.port
    except ValueError:
        parts, port = urlsplit("//"), None
    if not parts.hostname:
        raise ConfigurationError(
            f"redis.url {shown!r}: {text!r} is no host and port; write host1:6379,host2:6379"
        )
    return parts.hostname, port or default_port


def _without_password(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme == "unix":
        return f"unix://{parts.path}"
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
