"""The installed version."""

from importlib.metadata import PackageNotFoundError, version


def _installed() -> str:
    try:
        return version("push-proxy")
    except PackageNotFoundError:
        return "0 (not installed)"


VERSION = _installed()
