"""``providers``, ``devices`` and ``events``: who delivers pushes, to whom, and who hears of it."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AnyHttpUrl, Field

from .core.idle import IdleRules
from .core.notices import NoticeType
from .settings_section import Seconds, Section
from .settings_types import CommaList, Name

AppId = Annotated[str, Field(min_length=1, max_length=255)]
Text = Annotated[str, Field(min_length=1, max_length=255)]
_DAY_S = 86_400.0
Days = Annotated[Seconds, Field(gt=0, le=3650)]


class ApnsSection(Section):
    """``providers.apns[]``: an iOS app, by a .p8 key (the usual way) or a certificate."""

    app_id: AppId
    """The bundle id; the topic of VoIP pushes is ``<app_id>.voip``."""
    team_id: Text | None = None
    key_id: Text | None = None
    key_file: Path | None = None
    certificate_file: Path | None = None
    """PEM with the certificate, and with its key unless ``certificate_key_file`` is given."""
    certificate_key_file: Path | None = None
    environment: Literal["production", "sandbox"] = "production"
    """Of devices that do not say theirs."""
    base_url: AnyHttpUrl | None = None
    """Instead of Apple's production servers (tests, relays)."""
    sandbox_base_url: AnyHttpUrl | None = None
    ca_file: Path | None = None


class FcmSection(Section):
    """``providers.fcm[]``: an app of a Firebase project."""

    app_id: AppId
    service_account_file: Path
    sender_id: Text | None = None
    """The project's number, which some apps give as ``pn-param``."""
    direct_boot_ok: bool = False
    """Call pushes also reach phones that nobody has unlocked since they started: for apps that are
    made for that (``directBootAware``) alone, others would be started without their storage."""
    base_url: AnyHttpUrl | None = None
    token_uri: AnyHttpUrl | None = None
    ca_file: Path | None = None


class WebpushSection(Section):
    """``providers.webpush[]``: Web Push and UnifiedPush (RFC 8030, 8291, 8292)."""

    app_id: AppId
    vapid_key_file: Path
    """PEM of an EC P-256 key."""
    subject: Annotated[str, Field(pattern=r"^(mailto:|https://).+")]
    """Whom a push service may write to (RFC 8292 §2.1)."""
    allow_private: bool = False
    """Also endpoints at private addresses: apps choose them."""
    ca_file: Path | None = None


class HmsSection(Section):
    """``providers.hms[]``: Huawei Push Kit."""

    app_id: AppId
    hms_app_id: Text
    client_secret_file: Path
    base_url: AnyHttpUrl | None = None
    token_uri: AnyHttpUrl | None = None
    ca_file: Path | None = None


class RustoreSection(Section):
    """``providers.rustore[]``: RuStore push notifications."""

    app_id: AppId
    project_id: Text
    service_token_file: Path
    base_url: AnyHttpUrl | None = None
    ca_file: Path | None = None


class WebhookSection(Section):
    """``providers.webhook[]``: where pushes of one app go."""

    app_id: AppId
    url: AnyHttpUrl
    hmac_key_file: Path | None = None


class ProvidersSection(Section):
    """``providers``: who delivers pushes."""

    apns: tuple[ApnsSection, ...] = ()
    fcm: tuple[FcmSection, ...] = ()
    webpush: tuple[WebpushSection, ...] = ()
    hms: tuple[HmsSection, ...] = ()
    rustore: tuple[RustoreSection, ...] = ()
    webhook: tuple[WebhookSection, ...] = ()


class DevicesSection(Section):
    """``devices``: how long push targets are kept, and how many."""

    max_per_account: Annotated[int, Field(ge=1, le=100)] = 10
    """The one without a sign of life for longest gives way to a new one."""
    idle_days: Days | None = 90.0
    """Without a sign of life for so long a push token is dropped; null: never."""
    refresh_days: Days | None = 7.0
    """A ``refresh`` push goes out so long before that; null: none."""
    refresh_pushes: bool = True
    """Before the end of a binding that its app cannot refresh by itself (RFC 8599 §5.5)."""

    def idle_rules(self) -> IdleRules:
        """As the core takes them."""
        return IdleRules(
            idle_s=None if self.idle_days is None else self.idle_days * _DAY_S,
            refresh_s=None if self.refresh_days is None else self.refresh_days * _DAY_S,
        )


class EventWebhookSection(Section):
    """``events.webhooks[]``: who is told of what happens."""

    url: AnyHttpUrl
    hmac_key_file: Path | None = None
    types: Annotated[frozenset[NoticeType], CommaList, Field(min_length=1)] = frozenset(NoticeType)
    tenant: Name | None = None
    """Only this tenant's events; None: all."""
    allow_private: bool = False
    """Also to private, loopback and link-local addresses."""
    ca_file: Path | None = None


class EventsSection(Section):
    """``events``: webhooks for operators' systems."""

    webhooks: tuple[EventWebhookSection, ...] = ()
