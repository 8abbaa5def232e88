"""Feature-Caps of REGISTER (RFC 6809 §6) as far as pushes go (RFC 8599 §5.6.1, §8.2)."""

from collections.abc import Iterable
from dataclasses import dataclass

from .message import Message
from .uri import header_params

Header = tuple[str, str]
REFRESH_BEFORE_S = 120.0
"""So long before a binding's end a push asks for its refresh (RFC 8599 §5.5)."""
_BY_ITSELF = 1.25
"""A phone that refreshes by itself does so that much earlier, and spares both of us the push."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PushCaps:
    """What is told of one Contact."""

    service: str
    refreshes_s: int | None = None
    """``+sip.pnsreg``: so long before the end it refreshes by itself; None: it did not offer."""
    purr: str = ""
    vapid: str = ""

    def __str__(self) -> str:
        text = f'*;+sip.pns="{self.service}"'
        if self.vapid:
            text += f';+sip.vapid="{self.vapid}"'
        if self.refreshes_s is not None:
            text += f';+sip.pnsreg="{self.refreshes_s}"'
        return text + (f';+sip.pnspurr="{self.purr}"' if self.purr else "")


def feature_caps(caps: Iterable[PushCaps]) -> tuple[Header, ...]:
    """One header with a value each; none for none."""
    values = dict.fromkeys(str(each) for each in caps)
    return (("Feature-Caps", ", ".join(values)),) if values else ()


def pushed_by_others(message: Message) -> bool:
    """Whether a proxy between the phone and us pushes already: then we must not (§5.6.1)."""
    return any(
        value.startswith("*") and "+sip.pns" in header_params(value[1:])
        for value in message.values("feature-caps")
    )


def refresh_before_s(left_s: float) -> float:
    """How long before its end a binding that lasts ``left_s`` is refreshed by a push."""
    return min(REFRESH_BEFORE_S, left_s / 2)


def refreshes_by_itself_s(granted_s: float) -> int:
    """How long before the end a phone with ``+sip.pnsreg`` refreshes: before we would push."""
    return round(refresh_before_s(granted_s) * _BY_ITSELF)
