"""How long a provider wants to be left alone."""

from datetime import UTC
from email.utils import parsedate_to_datetime

LONGEST_S = 3600.0


def retry_after_s(value: str | None, *, unix: float) -> float | None:
    """Seconds of a Retry-After header (RFC 9110 §10.2.3), at most an hour; None: it says nothing.

    ``unix``: now, for a value that is a date.
    """
    text = (value or "").strip()
    if text.isascii() and text.isdigit():
        return min(float(text), LONGEST_S)
    try:
        at = parsedate_to_datetime(text)
        if at.tzinfo is None:
            at = at.replace(tzinfo=UTC)
        wait_s = at.timestamp() - unix
    except (ValueError, OverflowError):
        return None
    return min(max(wait_s, 0.0), LONGEST_S)
