"""Values that a metric's label may take: whatever comes from outside is folded into these."""

METHODS = frozenset(
    {
        "ACK", "BYE", "CANCEL", "INFO", "INVITE", "MESSAGE", "NOTIFY", "OPTIONS", "PRACK",
        "PUBLISH", "REFER", "REGISTER", "SUBSCRIBE", "UPDATE",
    }
)  # fmt: skip
RESPONSES = frozenset({"1xx", "2xx", "3xx", "4xx", "5xx", "6xx"})
PROVIDERS = frozenset({"apns", "fcm", "hms", "rustore", "webhook", "webpush"})
PLATFORMS = frozenset({"ios", "android", "web", "windows", "macos", "linux"})
VENDORS = frozenset(
    {
        "apple", "asus", "google", "honor", "huawei", "lenovo", "lg", "motorola", "nokia",
        "nothing", "oneplus", "oppo", "realme", "samsung", "sony", "tecno", "vivo", "xiaomi", "zte",
    }
)  # fmt: skip
_BRANDS = {
    "hmd global": "nokia", "infinix": "tecno", "iqoo": "vivo", "pixel": "google",
    "poco": "xiaomi", "redmi": "xiaomi",
}  # fmt: skip
OTHER = "other"


def method(text: str) -> str:
    """A SIP method or response class (``2xx``), else ``other``."""
    return text if text in METHODS or text in RESPONSES else OTHER


def platform(text: str | None) -> str:
    """A platform as devices report it; ``unknown`` when they do not."""
    if not text:
        return "unknown"
    folded = text.lower()
    return folded if folded in PLATFORMS else OTHER


def vendor(text: str | None) -> str:
    """A vendor as devices report it, brands under their maker; ``unknown`` when they do not."""
    if not text:
        return "unknown"
    folded = text.strip().lower()
    folded = _BRANDS.get(folded, folded)
    return folded if folded in VENDORS else OTHER


def provider(text: str) -> str:
    """A push provider; ``none`` for a device without push target."""
    if not text:
        return "none"
    return text if text in PROVIDERS else OTHER


class Bounded:
    """Folds a label's values into ``other`` once too many different ones were seen.

    For labels whose values are ours by agreement (reasons): a value that leaks from outside
    must not fill the time series database.
    """

    def __init__(self, limit: int = 64) -> None:
        self._limit = limit
        self._seen: set[str] = set()

    def __call__(self, text: str) -> str:
        """The value itself while there is room, else ``other``."""
        if text in self._seen:
            return text
        if len(self._seen) >= self._limit or len(text) > 48:
            return OTHER
        self._seen.add(text)
        return text
