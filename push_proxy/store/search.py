"""Search of calls, the same for every store: which records match, and where a page ends."""

from dataclasses import dataclass
from math import isfinite

from ..core.ids import CallId, Instant, split_account_key
from ..core.model import CallRecord
from ..errors import InvalidInput
from ..ports import CallQuery


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryLimits:
    """How much of the past is kept; whichever is reached first."""

    calls_per_account: int = 1000
    keep_s: float = 30 * 86_400.0
    """Seconds since a call's start."""
    recordings_per_account: int = 200
    """Calls whose SIP is kept."""
    missed_per_account: int = 100
    missed_keep_s: float = 90 * 86_400.0
    """Of missed calls that nobody has seen, since they were missed."""
    app_logs_per_device: int = 5
    app_logs_keep_s: float = 7 * 86_400.0
    messages_per_account: int = 100
    """Accepted MESSAGEs that no device has taken yet."""
    message_bytes_per_account: int = 262_144
    """The same, in bytes of their bodies."""


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """A place in the history: newest first means descending positions."""

    started_at: float
    call: CallId

    def __str__(self) -> str:
        return f"{self.started_at!r}_{self.call}"


def position(record: CallRecord) -> Position:
    """Where a record stands."""
    return Position(record.started_at, record.id)


def parse_cursor(cursor: str | None) -> Position | None:
    """The position after which a page goes on.

    Raises `errors.InvalidInput` when the cursor is not one of ours.
    """
    if cursor is None:
        return None
    started_at, _, call = cursor.partition("_")
    try:
        at = float(started_at)
        if not isfinite(at):
            raise ValueError(started_at)
        return Position(at, CallId(call))
    except ValueError:
        raise InvalidInput(
            "cursor is not one that this service gave; start again without it", field="cursor"
        ) from None


def matches(record: CallRecord, query: CallQuery, *, oldest: Instant) -> bool:
    """Whether a record is among those asked for; ``oldest`` is where the kept history begins."""
    since = oldest if query.since is None else max(oldest, query.since)
    verdict = record.outcome.verdict if record.outcome else None
    return (
        record.started_at >= since
        and split_account_key(record.account)[0] == query.tenant
        and query.account in {None, record.account}
        and query.sip_call_id in {None, record.sip_call_id}
        and _is_number_of(record, query.number)
        and query.verdict in {None, verdict}
    )


def _is_number_of(record: CallRecord, number: str | None) -> bool:
    """Whether a number is the caller's or the callee's; `+` before it is as good as none.

    In a query string an unescaped `+` is a blank.
    """
    if number is None:
        return True
    return number.lstrip(" +") in {each.lstrip("+") for each in (record.caller, record.callee)}
