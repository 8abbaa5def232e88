"""What an account's policy says about a call: the first rule that fits (docs/operator-guide.md).

Rules ``always`` are judged as the INVITE comes, before any push; those that name verdicts when
the call would otherwise end so, and so never after a CANCEL.
"""

from dataclasses import dataclass, replace

from .diversion import MOST, Diversions, diversions_of
from .incoming import callers_of
from .message import Message
from .model import Account, Verdict
from .policy_rules import Policy, Rejection, Rule, When, fits
from .uri import SipUri


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyCase:
    """A call as its account's policy sees it."""

    policy: Policy
    aor: str
    callers: tuple[str, ...]
    """Names of the caller: numbers or users, and ``user@host``."""
    diversions: Diversions

    @property
    def diverted_by(self) -> str:
        """AOR of who diverted the call last, taken for a neighbour of the account, or empty.

        Of a PBX's users it says the user alone for certain: the host may be its address.
        """
        user = self.diversions.last
        return replace(SipUri.parse(self.aor), user=user).aor if user else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ruling:
    """What the rules say; nothing when neither ``redirect`` nor ``reject`` is there."""

    redirect: str | None = None
    reject: Rejection | None = None
    said: tuple[str, ...] = ()
    """For the timeline: the rule that counts, and those that would have."""


def case_of(account: Account, message: Message) -> PolicyCase | None:
    """The call that this INVITE is, or None for an account without rules."""
    if not account.policy.rules:
        return None
    return PolicyCase(
        policy=account.policy,
        aor=account.aor,
        callers=callers_of(message),
        diversions=diversions_of(message, account.aor),
    )


def at_invite(case: PolicyCase) -> Ruling:
    """Before anything else is done for the call."""
    return _judge(case, When.ALWAYS)


def at_end(case: PolicyCase, verdict: Verdict) -> Ruling:
    """When the call would end with this verdict."""
    return _judge(case, verdict.value)


def _judge(case: PolicyCase, when: str) -> Ruling:
    said: tuple[str, ...] = ()
    for number, rule in enumerate(case.policy.rules, 1):
        if when not in rule.when or not _calls(rule, case.callers):
            continue
        if rule.reject is not None:
            text = f"rule {number}: reject {rule.reject.status}"
            return Ruling(reject=rule.reject, said=(*said, text))
        if loop := _loop(case.diversions):
            said = (*said, f"rule {number}: no redirect, {loop}")
            continue
        return Ruling(redirect=rule.redirect, said=(*said, f"rule {number}: redirect"))
    return Ruling(said=said)


def _calls(rule: Rule, callers: tuple[str, ...]) -> bool:
    # A caller without any name still fits a pattern that takes everything.
    names = callers or ("",)
    return not rule.callers or any(fits(p, name) for p in rule.callers for name in names)


def _loop(diversions: Diversions) -> str:
    if diversions.from_here:
        return "the call was diverted from here before"
    return f"diverted {diversions.count} times already" if diversions.count >= MOST else ""
