"""Where apps are installed from: only what is surely no store counts as none."""

_NO_STORES = frozenset(
    {
        "adb",
        "apk",
        "browser",
        "com.android.chrome",
        "com.android.packageinstaller",
        "com.android.shell",
        "com.google.android.documentsui",
        "com.google.android.packageinstaller",
        "com.miui.packageinstaller",
        "com.samsung.android.packageinstaller",
        "file",
        "manual",
        "package_installer",
        "sideload",
        "sideloaded",
    }
)
"""Words that apps use, and Android's ``getInstallingPackageName()`` where a person or a
computer has installed an APK."""


def is_no_store(install_source: str | None) -> bool:
    """Whether the app came past any store; unknown sources may be stores."""
    return (install_source or "").strip().lower() in _NO_STORES
