"""How a policy's rulings become answers to the PBX: 302, or the answer of the operator's choice.

They reach it as our one final response; no branch of ours is open any more by then.
"""

from dataclasses import replace

from . import diversion, outcome, policy
from .actions import Action, Note, Reply
from .model import Outcome, Verdict
from .policy import PolicyCase, Ruling
from .policy_rules import Rejection
from .redirect_target import contact_uri

Ruled = tuple[tuple[Action, ...], Outcome | None]
"""What to do, and how the call ends; None: it does not end by that."""

_PHRASES = {
    403: "Forbidden",
    404: "Not Found",
    410: "Gone",
    480: "Temporarily Unavailable",
    486: "Busy Here",
    600: "Busy Everywhere",
    603: "Decline",
    604: "Does Not Exist Anywhere",
}
STATUSES = frozenset(_PHRASES)
"""What a policy may answer with: nothing that asks the caller for something, or blames us."""


def at_invite(case: PolicyCase | None) -> Ruled:
    """As the INVITE comes: what is ruled now wakes nobody."""
    if case is None:
        return (), None
    ruling = policy.at_invite(case)
    notes = _notes(ruling)
    if ruling.redirect is not None:
        result = outcome.by_rule(Verdict.FORWARDED, status=302)
        return (*notes, _redirection(case, ruling.redirect, None)), result
    if ruling.reject is not None:
        result = outcome.by_rule(Verdict.REFUSED, status=ruling.reject.status)
        return (*notes, _rejection(ruling.reject, result)), result
    return notes, None


def at_end(
    case: PolicyCase | None, final: Action, result: Outcome
) -> tuple[tuple[Action, ...], Outcome]:
    """When no device can come any more: ``final`` and ``result``, or what a rule puts there.

    A refusal of the operator's choice changes the answer, not what came of the call.
    """
    if case is None:
        return (final,), result
    ruling = policy.at_end(case, result.verdict)
    notes = _notes(ruling)
    if ruling.redirect is not None:
        forwarded = replace(result, verdict=Verdict.FORWARDED, status=302, led_by=result.verdict)
        return (*notes, _redirection(case, ruling.redirect, result.verdict)), forwarded
    if ruling.reject is not None:
        refused = replace(result, status=ruling.reject.status)
        return (*notes, _rejection(ruling.reject, result)), refused
    return (*notes, final), result


def _notes(ruling: Ruling) -> tuple[Action, ...]:
    return tuple(Note("policy", detail=text) for text in ruling.said)


def _redirection(case: PolicyCase, target: str, led: Verdict | None) -> Reply:
    diverted, history, index = diversion.headers(case.diversions, aor=case.aor, led=led)
    headers = (
        ("Contact", f"<{contact_uri(target, case.aor)}>;mp={index}"),
        ("Diversion", diverted),
        ("History-Info", history),
    )
    return Reply(status=302, reason="Moved Temporarily", headers=headers)


def _rejection(asked: Rejection, result: Outcome) -> Reply:
    return Reply(
        status=asked.status,
        reason=asked.reason or _PHRASES.get(asked.status, "Rejected"),
        headers=(("X-Push-Reason", result.verdict.value),),
    )
