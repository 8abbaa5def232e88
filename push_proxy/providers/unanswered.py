"""Requests without an answer, and what that says about the push."""

from ..public_http import Unanswered
from .attempt import MISCONFIGURED, REJECTED, UNAVAILABLE, Attempt

PAUSE_S = 0.2


def judge_silence(fault: Unanswered) -> Attempt:
    """What no answer means. A URL that cannot be used is the fault of whoever gave it."""
    match fault.reason:
        case "address_refused" | "bad_url":
            return Attempt(REJECTED, fault.reason)
        case "tls_failed":
            return Attempt(MISCONFIGURED, fault.reason)
        case "dns_failed" | "connect_failed":
            return Attempt(UNAVAILABLE, fault.reason, again=True, pause_s=PAUSE_S)
    return Attempt(UNAVAILABLE, fault.reason, again=True)
