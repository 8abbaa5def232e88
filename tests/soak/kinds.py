"""What calls a soak plays, how often, and which ends are right for each."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

UNWOKEN = frozenset({"not_woken", "provider_unavailable"})
CANCELLED = frozenset({"caller_cancelled"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Acts:
    """What one phone does with one call."""

    wakes_s: float | None = 0.05
    """Push to REGISTER; None: it ignores pushes."""
    burst: bool = False
    """It registers three times at once, under three Call-IDs."""
    reports: bool = False
    """It tells the API that the push came."""
    declines_by_api: bool = False
    rotates: bool = False
    """It hands in a new token at the push, and wakes by the push to that one."""
    rings: bool = True
    final: int | None = 200
    """Its answer; None: it rings until it is cancelled."""
    rings_s: float = 0.1
    vanishes: bool = False
    """Its connection is reset when the INVITE comes; it is back at once."""
    freezes: bool = False
    """It takes the INVITE and is never heard of again in this call."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A sort of call."""

    name: str
    weight: float
    group: str
    """The accounts that it is played with."""
    statuses: frozenset[int]
    verdicts: frozenset[str]
    acts: Acts = field(default_factory=Acts)
    second: Acts | None = None
    cancels: str = ""
    """When the caller gives up: ``waking`` or ``ringing``."""
    provider: str = "ok"
    """What the push's receiver does: ``ok``, ``410``, ``500``, ``slow``, ``hang`` or ``reset``."""
    repeats: int = 0
    """So many retransmissions of the INVITE at once."""
    twice: bool = False
    """A second call to the same account a moment later."""
    reinvites: bool = False
    device_hangs_up: bool = False
    outgoing: bool = False


def _kind(
    name: str,
    weight: float,
    group: str,
    statuses: set[int],
    verdicts: set[str],
    **fields: object,
) -> Kind:
    return Kind(
        name=name,
        weight=weight,
        group=group,
        statuses=frozenset(statuses),
        verdicts=frozenset(verdicts),
        **fields,  # type: ignore[arg-type]
    )


KINDS: tuple[Kind, ...] = (
    _kind("woken", 20, "sleeper", {200}, {"answered"}),
    _kind("woken, device hangs up", 4, "sleeper", {200}, {"answered"}, device_hangs_up=True),
    _kind("woken, re-INVITE", 3, "sleeper", {200}, {"answered"}, reinvites=True),
    _kind("woken, INVITE repeated", 4, "sleeper", {200}, {"answered"}, repeats=3),
    _kind("REGISTER burst", 5, "sleeper", {200}, {"answered"}, acts=Acts(burst=True)),
    _kind("declined", 4, "sleeper", {603}, {"declined"}, acts=Acts(final=603)),
    _kind("busy", 4, "sleeper", {486}, {"busy"}, acts=Acts(final=486)),
    _kind("device error", 2, "sleeper", {480, 488}, {"device_error"}, acts=Acts(final=488)),
    _kind(
        "declined by API",
        3,
        "sleeper",
        {603, 486},
        {"declined"},
        acts=Acts(wakes_s=0.5, declines_by_api=True),
    ),
    _kind(
        "cancelled waking",
        6,
        "sleeper",
        {487},
        {"caller_cancelled"},
        acts=Acts(wakes_s=1.5),
        cancels="waking",
    ),
    _kind(
        "cancelled about waking",
        4,
        "sleeper",
        {487, 200},
        {"caller_cancelled", "answered"},
        acts=Acts(wakes_s=0.3, rings_s=0.0),
        cancels="waking",
    ),
    _kind(
        "cancelled ringing",
        6,
        "sleeper",
        {487},
        {"caller_cancelled"},
        acts=Acts(final=None),
        cancels="ringing",
    ),
    _kind(
        "cancel meets answer",
        4,
        "sleeper",
        {487, 200},
        {"caller_cancelled", "answered"},
        cancels="ringing",
    ),
    _kind("never woken", 3, "sleeper", {480}, {"not_woken"}, acts=Acts(wakes_s=None)),
    _kind(
        "woke, not registered",
        2,
        "sleeper",
        {480},
        {"woke_not_registered"},
        acts=Acts(wakes_s=None, reports=True),
    ),
    _kind("reported", 3, "sleeper", {200}, {"answered"}, acts=Acts(reports=True)),
    _kind("two calls at once", 4, "sleeper", {200}, {"answered"}, twice=True),
    _kind("token rotates", 2, "sleeper", {200}, {"answered"}, acts=Acts(rotates=True)),
    _kind("token dead", 2, "sleeper", {480}, {"push_rejected"}, provider="410"),
    _kind("two devices", 5, "pair", {200}, {"answered"}, second=Acts(wakes_s=0.4, rings_s=0.5)),
    _kind(
        "two devices, one busy",
        3,
        "pair",
        {200},
        {"answered"},
        acts=Acts(final=486, rings_s=0.0),
        second=Acts(wakes_s=0.4),
    ),
    _kind(
        "two devices, one asleep",
        2,
        "pair",
        {200},
        {"answered"},
        acts=Acts(wakes_s=None),
        second=Acts(),
    ),
    _kind(
        "two devices, both decline",
        2,
        "pair",
        {603},
        {"declined"},
        acts=Acts(final=603),
        second=Acts(final=603),
    ),
    _kind("together", 4, "together", {200}, {"answered"}, second=Acts(wakes_s=0.5, rings_s=0.4)),
    _kind("awake", 6, "awake", {200}, {"answered"}),
    _kind("awake, busy", 2, "awake", {486}, {"busy"}, acts=Acts(final=486)),
    _kind("over TCP", 5, "stream", {200}, {"answered"}),
    _kind("TCP vanishes", 3, "stream", {200}, {"answered"}, acts=Acts(vanishes=True)),
    _kind(
        "TCP freezes",
        0.2,
        "stream",
        {480},
        {"registered_not_ringing"},
        acts=Acts(freezes=True),
    ),
    _kind("provider 500", 2, "troubled", {480}, {"provider_unavailable"}, provider="500"),
    _kind("provider slow", 2, "troubled", {200}, {"answered"}, provider="slow"),
    _kind(
        "provider hangs",
        1,
        "troubled",
        {480},
        {"provider_unavailable", "not_woken"},
        acts=Acts(wakes_s=None),
        provider="hang",
    ),
    _kind(
        "provider resets",
        1,
        "troubled",
        {480},
        {"provider_unavailable"},
        acts=Acts(wakes_s=None),
        provider="reset",
    ),
    _kind("policy 302", 3, "moved", {302}, {"forwarded"}),
    _kind("policy rejects", 2, "barred", {403}, {"refused"}),
    _kind("policy when unwoken", 1, "fallback", {302}, {"forwarded"}, acts=Acts(wakes_s=None)),
    _kind("no device", 2, "empty", {480}, {"no_device"}),
    _kind("registered at PBX", 4, "held", {200}, {"answered"}),
    _kind("outgoing", 5, "caller", {200}, {"answered"}, outgoing=True),
    _kind("outgoing busy", 2, "caller", {486}, {"busy"}, outgoing=True, acts=Acts(final=486)),
    _kind(
        "outgoing refused",
        1,
        "caller",
        {404},
        {"outbound_failed"},
        outgoing=True,
        acts=Acts(final=404),
    ),
    _kind(
        "outgoing cancelled",
        2,
        "caller",
        {487},
        {"caller_cancelled"},
        outgoing=True,
        cancels="ringing",
        acts=Acts(final=None),
    ),
)

GROUPS: dict[str, float] = {
    "sleeper": 6.0,
    "pair": 1.2,
    "together": 0.8,
    "awake": 0.6,
    "stream": 1.2,
    "troubled": 1.0,
    "moved": 0.3,
    "barred": 0.2,
    "fallback": 0.4,
    "empty": 0.3,
    "held": 0.5,
    "caller": 0.8,
}
"""Accounts of each group, for each call per second."""

WEIGHTS = tuple(kind.weight for kind in KINDS)


def draw(rng: random.Random) -> Kind:
    """The next call."""
    return rng.choices(KINDS, WEIGHTS)[0]


def widened(kind: Kind, faults: frozenset[str]) -> tuple[frozenset[int], frozenset[str]]:
    """Which finals and verdicts are right for a call during which these faults happened.

    A store that is away changes no call, but for a token that cannot be handed in.
    """
    statuses, verdicts = kind.statuses, kind.verdicts
    if "provider" in faults and kind.group not in {"barred", "moved", "empty", "caller"}:
        verdicts |= UNWOKEN
        statuses |= {302} if kind.group == "fallback" else {480}
        if kind.second is not None:
            verdicts |= {"busy", "declined"}
            statuses |= {486, 603}
    if "store" in faults and kind.acts.rotates:
        verdicts |= {"not_woken"}
        statuses |= {480}
    if "pbx" in faults and kind.outgoing:
        verdicts |= {"outbound_failed", "caller_cancelled"}
        statuses |= {408, 500, 503, 487}
    return statuses, verdicts
