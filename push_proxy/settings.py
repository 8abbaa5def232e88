"""The configuration: one YAML file, every key also an environment variable (docs/contracts.md).

`load` reads and checks it; what is wrong is told with the key's full name. The keys are
explained, with defaults and units, in ``deploy/push-proxy.example.yaml``.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, PrivateAttr

from .core.events import WakeSettings
from .core.kept_message import MessagePolicy, MessageRules
from .core.model import Address, Ringing, RingMode
from .errors import ConfigurationError
from .settings_cluster import ClusterSection
from .settings_defaults import default_data_dir, default_node_id
from .settings_drain import DrainSection
from .settings_providers import DevicesSection, EventsSection, ProvidersSection
from .settings_recorder import RecorderSection
from .settings_section import Seconds, Section
from .settings_types import (
    CommaList,
    EmptySection,
    Host,
    HostPort,
    Name,
    Nameserver,
    Peer,
    RegistrarUri,
    Sha256Hex,
    SipListen,
    Transport,
    parse_host_port,
    parse_nameserver,
    parse_sip_listen,
)
from .store.redis_topology import parse_topology


class NodeSection(Section):
    """``node``: this process among its equals."""

    id: Name = Field(default_factory=default_node_id)
    data_dir: Path = Field(default_factory=default_data_dir)
    log_level: Literal["debug", "info", "warning", "error"] = "info"


class SipTlsSection(Section):
    """``sip.tls``: PEM files; what our TLS listeners show and whom we believe."""

    certificate: Path | None = None
    key: Path | None = None
    ca: Path | None = None


class SipSection(Section):
    """``sip``: where SIP is taken and what we call ourselves in it."""

    listen: Annotated[tuple[SipListen, ...], CommaList, Field(min_length=1)] = ("udp:0.0.0.0:5060",)
    public_address: Host | None = None
    node_address: Host | None = None
    cluster_address: Host | None = None
    tls: Annotated[SipTlsSection, EmptySection] = Field(default_factory=SipTlsSection)
    nameservers: Annotated[tuple[Nameserver, ...], CommaList] = ()
    worker_threads: Annotated[int, Field(ge=1, le=1)] = 1

    @property
    def listen_addresses(self) -> tuple[Address, ...]:
        """The addresses to bind."""
        return tuple(parse_sip_listen(item) for item in self.listen)

    @property
    def nameserver_addresses(self) -> tuple[tuple[str, int], ...]:
        """Host and port of each name server; empty: the system's resolver."""
        return tuple(parse_nameserver(item) for item in self.nameservers)


class PbxTlsSection(Section):
    """``pbxes.NAME.tls``: PEM files and names for our connections to this PBX."""

    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    verify: bool = True
    server_name: Host | None = None


class PbxSection(Section):
    """``pbxes.NAME``: one PBX that accounts may name."""

    registrar: RegistrarUri | None = None
    transport: Transport | None = None
    tls: PbxTlsSection | None = None
    peers: Annotated[tuple[Peer, ...], CommaList] = ()
    tls_names: Annotated[tuple[Host, ...], CommaList] = ()
    registrations_per_second: Annotated[float, Field(gt=0, le=10_000)] = 200.0
    expires_s: Annotated[int, Field(ge=60, le=86_400)] = 600
    qualify_s: Annotated[Seconds, Field(ge=0, le=3600)] = 30.0


class ApiKeySection(Section):
    """``http.api_keys[]``: a key of an operator or app backend, by its hash."""

    name: Name
    tenant: Name
    key_sha256: Sha256Hex
    scopes: Annotated[
        frozenset[Literal["accounts", "devices", "calls"]], CommaList, Field(min_length=1)
    ]


class HttpSection(Section):
    """``http``: API, health and metrics."""

    listen: HostPort = "0.0.0.0:8080"
    admin_listen: HostPort | None = None
    api_keys: tuple[ApiKeySection, ...] = ()
    requests_per_second: Annotated[float, Field(gt=0, le=100_000)] = 500.0
    auth_failures_per_minute: Annotated[float, Field(gt=0, le=100_000)] = 30.0
    max_body_bytes: Annotated[int, Field(ge=1024, le=16_777_216)] = 262_144
    max_import_bytes: Annotated[int, Field(ge=1024, le=1_073_741_824)] = 67_108_864

    @property
    def listen_address(self) -> tuple[str, int]:
        """Host and port of the API."""
        return parse_host_port(self.listen)

    @property
    def admin_address(self) -> tuple[str, int] | None:
        """Host and port of console and metrics, if they stand apart."""
        return None if self.admin_listen is None else parse_host_port(self.admin_listen)


def _redis_url(text: str) -> str:
    try:
        parse_topology(text)
    except ConfigurationError as error:
        raise ValueError(str(error).removeprefix("redis.url").lstrip(": ")) from None
    return text


class RedisSection(Section):
    """``redis``: the shared state; absent: an embedded Valkey in ``node.data_dir``."""

    url: Annotated[str, AfterValidator(_redis_url)] | None = Field(None, repr=False)


class SecretsSection(Section):
    """``secrets``: what encrypts passwords and push tokens at rest."""

    key_file: Path | None = None
    keys: str | None = Field(None, repr=False)


class WakeSection(Section):
    """``wake``: deadlines of a wake, seconds; an account may have its own."""

    deadline_s: Annotated[Seconds, Field(ge=5, le=60)] = 15.0
    ringing: Ringing = Ringing.PUSH_ACCEPTED
    repush_after_s: Annotated[Seconds, Field(gt=0, le=60)] | None = 5.0
    fresh_s: Annotated[Seconds, Field(ge=0, le=3600)] = 30.0
    ack_s: Annotated[Seconds, Field(gt=0, le=60)] | None = None
    late_invite_s: Annotated[Seconds, Field(ge=0, le=120)] = 30.0
    ring_mode: RingMode = RingMode.ALL_AT_ONCE
    together_s: Annotated[Seconds, Field(gt=0, le=60)] = 10.0
    max_waiting: Annotated[int, Field(ge=1, le=1_000_000)] = 20_000

    def settings(self) -> WakeSettings:
        """As the core takes them."""
        return WakeSettings(
            deadline_s=self.deadline_s,
            ringing=self.ringing,
            repush_after_s=self.repush_after_s,
            fresh_s=self.fresh_s,
            ack_s=self.ack_s,
            late_invite_s=self.late_invite_s,
            ring_mode=self.ring_mode,
            together_s=self.together_s,
        )


class AdviceSection(Section):
    """``advice``: what people are told about calls."""

    file: Path | None = None


class MessagesSection(Section):
    """``messages``: what is done with a MESSAGE (RFC 3428) for an account that sleeps."""

    policy: MessagePolicy = MessagePolicy.HOLD
    keep_s: Annotated[Seconds, Field(ge=60, le=30 * 86_400)] = 86_400.0

    def rules(self) -> MessageRules:
        """As the core takes them."""
        return MessageRules(policy=self.policy, keep_s=self.keep_s)


class Settings(Section):
    """The whole configuration, checked. Made by `settings_file.load`, or directly in tests."""

    node: NodeSection = Field(default_factory=NodeSection)
    sip: SipSection = Field(default_factory=SipSection)
    pbxes: Mapping[Name, PbxSection] = Field(default_factory=dict)
    http: HttpSection = Field(default_factory=HttpSection)
    redis: RedisSection = Field(default_factory=RedisSection)
    cluster: Annotated[ClusterSection, EmptySection] = Field(default_factory=ClusterSection)
    secrets: SecretsSection = Field(default_factory=SecretsSection)
    wake: WakeSection = Field(default_factory=WakeSection)
    messages: MessagesSection = Field(default_factory=MessagesSection)
    privacy: Literal["full", "ids_only"] = "full"
    providers: ProvidersSection = Field(default_factory=ProvidersSection)
    devices: DevicesSection = Field(default_factory=DevicesSection)
    events: EventsSection = Field(default_factory=EventsSection)
    recorder: Annotated[RecorderSection, EmptySection] = Field(default_factory=RecorderSection)
    advice: AdviceSection = Field(default_factory=AdviceSection)
    drain: Annotated[DrainSection, EmptySection] = Field(default_factory=DrainSection)

    _warnings: tuple[str, ...] = PrivateAttr(default=())

    @property
    def warnings(self) -> tuple[str, ...]:
        """What was assumed and had better be said: one sentence each."""
        return self._warnings

    def with_warnings(self, warnings: Iterable[str]) -> Self:
        """A copy that carries these warnings."""
        copy = self.model_copy()
        copy._warnings = tuple(warnings)  # noqa: SLF001 - our own copy
        return copy

    @property
    def public_address(self) -> str:
        """What phones use; `settings_file.load` has filled it in."""
        return self.sip.public_address or self.node_address

    @property
    def node_address(self) -> str:
        """What Via names, and Record-Route and our Contact toward PBXs where nodes share none."""
        return self.sip.node_address or "127.0.0.1"

    @property
    def contact_address(self) -> str:
        """What our Contact toward PBXs names: the nodes' shared address, or this one's."""
        return self.sip.cluster_address or self.node_address
