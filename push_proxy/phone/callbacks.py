"""Callbacks from pjsip that cannot tear the process down."""

import functools
from collections.abc import Callable
from typing import Any, Protocol, TypeVar


class Guarded(Protocol):
    """Whoever has callbacks keeps their first failure here."""

    failures: list[Exception]


S = TypeVar("S", bound=Guarded)


def guarded(method: Callable[[S, Any], None]) -> Callable[[S, Any], None]:
    """Keep an exception for the main loop, which raises it.

    Leaving the callback, it would pass as a C++ exception through pjsip's C code: the end.
    """

    @functools.wraps(method)
    def call(self: S, prm: Any, /) -> None:
        try:
            method(self, prm)
        except Exception as error:  # noqa: BLE001  # kept and raised by the main loop
            self.failures.append(error)

    return call


def header(message: str, name: str) -> str | None:
    """The first header `name` in a whole SIP message, as it stands there, or None."""
    wanted = name.lower()
    for line in message.split("\r\n\r\n", 1)[0].split("\r\n")[1:]:
        field, colon, value = line.partition(":")
        if colon and field.strip().lower() == wanted:
            return value.strip()
    return None


def received_message(event: Any) -> str:
    """The SIP message that caused a pjsua2 event, or "" when none did (a time-out, our own act)."""
    import pjsua2 as pj

    if event.type != pj.PJSIP_EVENT_TSX_STATE:
        return ""
    state = event.body.tsxState
    return str(state.src.rdata.wholeMsg) if state.type == pj.PJSIP_EVENT_RX_MSG else ""
