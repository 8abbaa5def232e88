"""Retry-After, as servers write it."""

import pytest

from push_proxy.providers.retry_after import retry_after_s

NOW = 1_700_000_000.0  # Tue, 14 Nov 2023 22:13:20 GMT


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("7", 7.0),
        (" 0 ", 0.0),
        ("999999999999", 3600.0),
        ("Tue, 14 Nov 2023 22:13:50 GMT", 30.0),
        ("Tue, 14 Nov 2023 22:13:50", 30.0),
        ("Tue, 14 Nov 2023 20:00:00 GMT", 0.0),
        ("Wed, 15 Nov 2023 22:13:20 GMT", 3600.0),
        (None, None),
        ("", None),
        ("-5", None),
        ("1.5", None),
        ("soon", None),
        ("٣", None),
        ("Tue, 99 Nov 2023 22:13:50 GMT", None),
        ("Tue, 14 Nov 99999999999 22:13:50 GMT", None),
    ],
)
def test_values(value: str | None, seconds: float | None) -> None:
    """Seconds and dates are understood, at most an hour is waited; the rest says nothing."""
    assert retry_after_s(value, unix=NOW) == seconds
