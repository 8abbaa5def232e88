"""Why a call ended as it did, where something is known beyond its verdict (docs/advice.md)."""

from enum import StrEnum


class Cause(StrEnum):
    """``cause`` of a call. A record may hold words of a newer version, so it keeps them as text."""

    # what the phone was like
    FORCE_STOPPED = "force_stopped"
    STOPPED_WAKING = "stopped_waking"
    NO_INTERNET = "no_internet"
    BATTERY_SAVER = "battery_saver"
    BACKGROUND_RESTRICTED = "background_restricted"
    BACKGROUND_DATA_OFF = "background_data_off"
    DATA_SAVER = "data_saver"
    CELLULAR_DATA_OFF = "cellular_data_off"
    NOT_FROM_STORE = "not_from_store"
    VENDOR_LIMITS = "vendor_limits"

    # the push and what it came upon
    PRIORITY_LOWERED = "priority_lowered"
    LATE_PUSH = "late_push"
    LATE_WAKE = "late_wake"
    DEAD_TOKEN = "dead_token"  # noqa: S105 - a word, no token
    WRONG_APP = "wrong_app"
    NO_TOKEN = "no_token"  # noqa: S105 - as above
    UNKNOWN_APP = "unknown_app"
    PROVIDER_MISCONFIGURED = "provider_misconfigured"
    PROVIDER_THROTTLED = "provider_throttled"
    PROVIDER_UNREACHABLE = "provider_unreachable"
    BACKEND_DOWN = "backend_down"
    PROVIDER_DOWN = "provider_down"

    # what the app may do, and did
    NOTIFICATIONS_OFF = "notifications_off"
    LOCK_SCREEN = "lock_screen"
    FULL_SCREEN_OFF = "full_screen_off"
    OVERLAY_OFF = "overlay_off"
    NO_SOUND = "no_sound"
    NO_MEDIA = "no_media"
    NO_PHONE_ACCOUNT = "no_phone_account"
    REGISTERS_ELSEWHERE = "registers_elsewhere"
    SIP_BLOCKED = "sip_blocked"
    APP_FAILED = "app_failed"
    CODEC_MISMATCH = "codec_mismatch"

    # the PBX
    BLOCKED_BY_OTHER_REGISTRATION = "blocked_by_other_registration"
    PBX_REGISTRATION_DOWN = "pbx_registration_down"
