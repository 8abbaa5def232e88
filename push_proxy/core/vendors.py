"""Which vendor's settings a phone has: phones of one group have the same menus."""

from enum import StrEnum


class VendorGroup(StrEnum):
    """Groups of phones, as steps of advice are written for them."""

    XIAOMI = "xiaomi"
    HUAWEI = "huawei"
    SAMSUNG = "samsung"
    OPPO = "oppo"
    """Oppo, Realme and OnePlus."""
    VIVO = "vivo"
    PIXEL = "pixel"
    ANDROID = "android"
    """Any other Android."""
    IPHONE = "iphone"
    ANY = "any"
    """Nothing is known, or it is no phone (a browser)."""


_NAMES: tuple[tuple[str, VendorGroup], ...] = (
    ("xiaomi", VendorGroup.XIAOMI),
    ("redmi", VendorGroup.XIAOMI),
    ("poco", VendorGroup.XIAOMI),
    ("huawei", VendorGroup.HUAWEI),
    ("honor", VendorGroup.HUAWEI),
    ("samsung", VendorGroup.SAMSUNG),
    ("oppo", VendorGroup.OPPO),
    ("realme", VendorGroup.OPPO),
    ("oneplus", VendorGroup.OPPO),
    ("vivo", VendorGroup.VIVO),
    ("iqoo", VendorGroup.VIVO),
    ("google", VendorGroup.PIXEL),
    ("apple", VendorGroup.IPHONE),
)
_ANDROID_PROVIDERS = frozenset({"fcm", "hms", "rustore"})
_LIMITING = frozenset(
    {
        VendorGroup.XIAOMI,
        VendorGroup.HUAWEI,
        VendorGroup.SAMSUNG,
        VendorGroup.OPPO,
        VendorGroup.VIVO,
    }
)


def group_of(*, vendor: str | None, platform: str | None, provider: str) -> VendorGroup:
    """The group by what the app says of its phone, else by what pushes to it."""
    system = (platform or "").strip().lower()
    if system in {"ios", "ipados"} or (not system and provider == "apns"):
        return VendorGroup.IPHONE
    name = (vendor or "").lower()
    found = next((group for part, group in _NAMES if part in name), None)
    if found is not None:
        return found
    if system == "android" or (not system and provider in _ANDROID_PROVIDERS):
        return VendorGroup.ANDROID
    return VendorGroup.ANY


def fallbacks(group: VendorGroup) -> tuple[VendorGroup, ...]:
    """Whose steps do, in this order, where a group has none of its own."""
    if group is VendorGroup.ANY:
        return (group,)
    if group in {VendorGroup.ANDROID, VendorGroup.IPHONE}:
        return (group, VendorGroup.ANY)
    return (group, VendorGroup.ANDROID, VendorGroup.ANY)


def limits_apps(group: VendorGroup) -> bool:
    """Whether these phones stop apps in the background beyond what Android itself does."""
    return group in _LIMITING
