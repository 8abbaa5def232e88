"""Errors that know whose fault they are.

Every fault raised on purpose derives from `PushProxyError`; its text says what was wrong
and what to do. ``http_status`` is what the HTTP API answers.
"""

from typing import ClassVar


class PushProxyError(Exception):
    """Root of all errors raised on purpose."""

    http_status: ClassVar[int] = 500
    title: ClassVar[str] = "Internal error"


class ConfigurationError(PushProxyError):
    """The operator's configuration cannot be used; names the key and what to do."""


class InvalidInput(PushProxyError):
    """A value given by a caller cannot be used; ``field`` names it."""

    http_status = 422
    title = "Invalid input"

    def __init__(self, message: str, *, field: str | None = None) -> None:
        super().__init__(message)
        self.field = field


class NotFound(PushProxyError):
    """What was asked for does not exist (or belongs to another tenant)."""

    http_status = 404
    title = "Not found"


class Conflict(PushProxyError):
    """The change contradicts what is stored (another owner, another version)."""

    http_status = 409
    title = "Conflict"


class PreconditionFailed(PushProxyError):
    """``If-Match`` names a version that is no longer the current one."""

    http_status = 412
    title = "Precondition failed"


class StoreUnavailable(PushProxyError):
    """Redis did not answer; nothing was changed. Retry later."""

    http_status = 503
    title = "Store unavailable"
