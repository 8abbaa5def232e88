"""What is known of the device that decided a call: kept with the call's record.

With the record's timeline (`core.course`) it is all that advice is made from, so that advice
can be given later, in any language, and again when more becomes known.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from .ids import DeviceId, Instant


class Priority(StrEnum):
    """With which priority a push arrived (FCM's ``getPriority()``)."""

    HIGH = "high"
    NORMAL = "normal"


class Network(StrEnum):
    """What the phone was connected by when the push arrived."""

    WIFI = "wifi"
    CELLULAR = "cellular"
    NONE = "none"


class AppReason(StrEnum):
    """Why an app could not take a call, as far as it knows."""

    FORCE_STOPPED = "force_stopped"
    """Learnt at its next start (Android's ApplicationExitInfo: REASON_USER_REQUESTED)."""
    NO_NETWORK = "no_network"
    SIP_FAILED = "sip_failed"
    """It could not reach us by SIP."""
    NO_MEDIA = "no_media"
    """It may not use the microphone, or nothing plays sound."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AppWords:
    """What an app's report says beside what happened; None: nothing about that."""

    at: Instant | None = None
    """When it had the push, on our clock: its own says how much later it reports."""
    priority: Priority | None = None
    original_priority: Priority | None = None
    """FCM's ``getOriginalPriority()``: as it was sent."""
    network: Network | None = None
    reason: AppReason | None = None
    detail: str = ""

    @property
    def text(self) -> str:
        """For the timeline: whatever is there."""
        sent = f" (sent {self.original_priority})" if self.original_priority else ""
        parts = (
            self.detail,
            f"priority {self.priority}{sent}" if self.priority else "",
            f"network {self.network}" if self.network else "",
            str(self.reason or ""),
        )
        return "; ".join(part for part in parts if part)

    def after(self, earlier: "AppWords") -> "AppWords":
        """Both: of what both say the earlier counts, for it was nearest to the push."""
        return AppWords(
            at=self.at if earlier.at is None else earlier.at,
            priority=earlier.priority or self.priority,
            original_priority=earlier.original_priority or self.original_priority,
            network=earlier.network or self.network,
            reason=earlier.reason or self.reason,
            detail=earlier.detail or self.detail,
        )


NO_WORDS = AppWords()


@dataclass(frozen=True, slots=True, kw_only=True)
class WakesBefore:
    """How the device's earlier wakes went, newest first, this call not counted."""

    failed_in_a_row: int = 0
    """The newest of them, until the first that woke it."""
    proven: bool = False
    """It is a device that wakes, or was (`wake_health.Standing`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What is known beside the timeline, as it was when the call was decided."""

    device: DeviceId | None = None
    """None: no device decided the call."""
    provider: str = ""
    platform: str | None = None
    vendor: str | None = None
    os_version: str | None = None
    install_source: str | None = None
    permissions: Mapping[str, bool] = field(default_factory=dict)
    """Those that the app has reported as known."""
    token_state: str = ""
    """A fault of the push token (`model.TokenState`); empty: it is good, as far as known."""
    token_reason: str = ""
    words: AppWords = NO_WORDS
    registration: str = ""
    """The account's registration at its PBX (`registration_status.RegistrationState`)."""
    other_contacts: int = 0
    """Other phones that the PBX listed on this extension."""
    evictions: int = 0
    """How often the PBX had dropped us before the time."""
    wakes: WakesBefore = WakesBefore()

    def with_words(self, words: AppWords) -> "Evidence":
        """With what a further report says."""
        return replace(self, words=words.after(self.words))

    def denied(self, permission: str) -> bool:
        """The app has reported that it may not do that; unknown is no denial."""
        return self.permissions.get(permission) is False

    def switched_on(self, saver: str) -> bool:
        """The app has reported that this is on (``battery_saver``, ``data_saver``)."""
        return self.permissions.get(saver) is True
