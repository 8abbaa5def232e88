"""An account's policy, as values: what becomes of calls that nobody here takes, or shall take."""

from dataclasses import dataclass
from enum import StrEnum


class When(StrEnum):
    """When a rule is looked at: as the INVITE comes, or at an end with this verdict."""

    ALWAYS = "always"
    NOT_WOKEN = "not_woken"
    WOKE_NOT_REGISTERED = "woke_not_registered"
    REGISTERED_NOT_RINGING = "registered_not_ringing"
    PUSH_REJECTED = "push_rejected"
    PROVIDER_UNAVAILABLE = "provider_unavailable"
    NO_DEVICE = "no_device"
    BUSY = "busy"
    DECLINED = "declined"
    NO_ANSWER = "no_answer"
    DEVICE_ERROR = "device_error"


@dataclass(frozen=True, slots=True)
class Rejection:
    """The answer that a caller is given."""

    status: int
    reason: str = ""
    """Reason phrase; empty: the usual one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One rule: either ``redirect`` or ``reject``."""

    when: tuple[When, ...]
    callers: tuple[str, ...] = ()
    """Patterns, one of which the caller fits; none: whoever calls."""
    redirect: str | None = None
    """``sip:``, ``sips:`` or ``tel:`` URI."""
    reject: Rejection | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """Rules in their order: the first that fits counts."""

    rules: tuple[Rule, ...] = ()
    targets: tuple[str, ...] = ()
    """Patterns of where calls may be redirected."""


NO_POLICY = Policy()


def fits(pattern: str, text: str) -> bool:
    """Whether a pattern (``*`` any text, ``?`` one character; case aside) fits all of a text.

    In time proportional to both lengths: patterns come from customers, texts from callers.
    """
    pattern, text = pattern.lower(), text.lower()
    at, place = 0, 0
    star, since = -1, 0
    while place < len(text):
        if at < len(pattern) and pattern[at] == "*":
            star, since = at, place
            at += 1
        elif at < len(pattern) and pattern[at] in ("?", text[place]):
            at += 1
            place += 1
        elif star >= 0:
            since += 1
            at, place = star + 1, since
        else:
            return False
    return not pattern[at:].strip("*")
