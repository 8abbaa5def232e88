"""core.vendors and core.stores: what apps say of their phones, brought to a few groups."""

import pytest

from push_proxy.core.stores import is_no_store
from push_proxy.core.vendors import VendorGroup, fallbacks, group_of


@pytest.mark.parametrize(
    ("vendor", "platform", "provider", "group"),
    [
        ("Xiaomi", "android", "fcm", "xiaomi"),
        ("Redmi", None, "fcm", "xiaomi"),
        ("POCO", "Android", "fcm", "xiaomi"),
        ("HUAWEI", "android", "hms", "huawei"),
        ("HONOR", "android", "fcm", "huawei"),
        ("samsung", "android", "fcm", "samsung"),
        ("OPPO", "android", "fcm", "oppo"),
        ("realme", "android", "fcm", "oppo"),
        ("OnePlus", "android", "fcm", "oppo"),
        ("vivo", "android", "fcm", "vivo"),
        ("Google", "android", "fcm", "pixel"),
        ("Fairphone", "android", "fcm", "android"),
        (None, None, "rustore", "android"),
        ("Apple", "ios", "apns", "iphone"),
        (None, "iOS", "webhook", "iphone"),
        (None, None, "apns", "iphone"),
        ("Google", "web", "webpush", "pixel"),
        (None, "web", "webpush", "any"),
        (None, None, "webhook", "any"),
    ],
)
def test_groups(vendor: str | None, platform: str | None, provider: str, group: str) -> None:
    """By vendor in any spelling, else by platform, else by what pushes to it."""
    found = group_of(vendor=vendor, platform=platform, provider=provider)
    assert found == group
    assert fallbacks(found)[0] is found
    assert fallbacks(found)[-1] is VendorGroup.ANY


@pytest.mark.parametrize(
    ("source", "outside"),
    [
        ("com.android.vending", False),
        ("com.huawei.appmarket", False),
        ("unknown", False),
        (None, False),
        ("Sideload", True),
        ("com.google.android.packageinstaller", True),
        (" com.android.shell ", True),
    ],
)
def test_only_what_is_surely_no_store_counts(source: str | None, *, outside: bool) -> None:
    """A store that we do not know is no reason for advice."""
    assert is_no_store(source) is outside
