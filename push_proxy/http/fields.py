"""Kinds of values in requests and responses, shared by all routers."""

import re
from datetime import UTC, datetime
from typing import Annotated

from fastapi import Path
from pydantic import AfterValidator, AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field

from ..core.ids import AccountId, DeviceId

NAME_PATTERN = r"^\.*[A-Za-z0-9_~-][A-Za-z0-9._~-]*$"
"""1 to 64 of ``A-Z a-z 0-9 . _ ~ -``, not only dots (a path would swallow them)."""
OWN_NAME_PATTERN = r"^\.*[A-Za-z0-9_-][A-Za-z0-9._~-]*$"
"""As above, not beginning with ``~``: such devices are phones known by their REGISTER only."""
TEXT_PATTERN = r"^[^\x00-\x1f\x7f]+$"
"""Text on one line."""
QUOTABLE_PATTERN = r'^[^\x00-\x1f\x7f"\\]+$'
"""Text that stands in a SIP quoted string as it is."""
_DATE_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)", re.ASCII)
"""RFC 3339 §5.6."""
_EARLIEST, _LATEST = 0.0, datetime(9999, 1, 1, tzinfo=UTC).timestamp()
"""Times that can be turned about in any time zone."""

Name = Annotated[str, Field(pattern=NAME_PATTERN, min_length=1, max_length=64)]
OwnName = Annotated[str, Field(pattern=OWN_NAME_PATTERN, min_length=1, max_length=64)]
Text = Annotated[str, Field(pattern=TEXT_PATTERN, min_length=1, max_length=255)]
Quotable = Annotated[str, Field(pattern=QUOTABLE_PATTERN, min_length=1, max_length=255)]


def _date_time(value: object) -> object:
    if not isinstance(value, str) or _DATE_TIME.fullmatch(value) is None:
        raise ValueError("must be a time like 2026-11-21T09:30:00Z (RFC 3339)")
    return value


def _in_reach(value: datetime) -> datetime:
    if not _EARLIEST <= value.timestamp() < _LATEST:
        raise ValueError("must be a time from 1970 to 9998")
    return value


Instant3339 = Annotated[
    AwareDatetime, Field(strict=False), BeforeValidator(_date_time), AfterValidator(_in_reach)
]
"""A time in a request; pydantic alone would also take numbers."""

Timestamp = Annotated[
    str, Field(json_schema_extra={"format": "date-time"}, examples=["2026-11-21T09:30:00.125Z"])
]

AccountInPath = Annotated[
    AccountId,
    Path(
        alias="account",
        pattern=NAME_PATTERN,
        min_length=1,
        max_length=64,
        description="The account's name within the tenant.",
        examples=["101"],
    ),
]
DeviceInPath = Annotated[
    DeviceId,
    Path(
        alias="device",
        pattern=NAME_PATTERN,
        min_length=1,
        max_length=64,
        description="The device's name within its account, chosen by the app.",
        examples=["phone-1"],
    ),
]


class Body(BaseModel):
    """A request body: unknown fields are refused, a number is not taken from a string."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Conditions(BaseModel):
    """A request's query: unknown parameters are refused. Not strict: everything is text."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class View(BaseModel):
    """A response body."""

    model_config = ConfigDict(frozen=True)


def rfc3339(instant: float) -> str:
    """A time as RFC 3339 in UTC, to the millisecond."""
    text = datetime.fromtimestamp(instant, UTC).isoformat(timespec="milliseconds")
    return text.removesuffix("+00:00") + "Z"


def maybe_rfc3339(instant: float | None) -> str | None:
    """As `rfc3339`; nothing for nothing."""
    return None if instant is None else rfc3339(instant)
