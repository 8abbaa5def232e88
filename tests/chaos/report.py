"""What came of a chaos: a table for people, and the faults."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from .calls import Call
from .contacts import Contacts
from .troubles import BACK, Trouble

MAY_BE_WITHOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class Row:
    """The calls that one trouble may have hit, or none did."""

    name: str
    calls: int
    connected: int
    others: str
    worst_s: float


def row(name: str, calls: Sequence[Call]) -> Row:
    """Count them."""
    failed = Counter(call.status or "no answer" for call in calls if not call.connected)
    return Row(
        name,
        len(calls),
        sum(call.connected for call in calls),
        ", ".join(f"{status}: {count}" for status, count in failed.most_common()) or "-",
        max((call.took_s for call in calls if call.connected), default=0.0),
    )


def hit_by(trouble: Trouble, calls: Iterable[Call]) -> list[Call]:
    """Those in the hands of its node, or whose phone hangs on it (or any, for the store's)."""
    return [
        call
        for call in calls
        if any(
            trouble.touches(node or trouble.node, call.began_s, call.decided_s)
            for node in (call.node, call.phone_at or call.node)
        )
    ]


def table(calls: Sequence[Call], troubles: Sequence[Trouble], contacts: Contacts) -> str:
    """All figures, for people."""
    hit = [(trouble, hit_by(trouble, calls)) for trouble in troubles]
    touched = {id(call) for _, some in hit for call in some}
    calm = [call for call in calls if id(call) not in touched]
    rows = [row("nothing near it", calm)]
    rows += [row(f"{trouble.node or 'db'} {trouble.name}", some) for trouble, some in hit]
    late = [trouble for trouble, _ in hit if BACK in trouble.name and not trouble.keeps_calls]
    lines = ["what happened             calls  connected  worst s  others"]
    lines += [
        f"{r.name:25s} {r.calls:6d} {r.connected:10d} {r.worst_s:8.2f}  {r.others}" for r in rows
    ]
    lines += [
        f"{trouble.node} was back after {trouble.ended_s - trouble.began_s:.1f} s: too late for "
        "its calls"
        for trouble in late
    ]
    took = sorted(call.took_s for call in calm if call.connected)
    if took:
        lines.append(
            f"INVITE to 200 with nothing near it: p50 {statistics.median(took) * 1000:.0f} ms, "
            f"p99 {took[int(len(took) * 0.99)] * 1000:.0f} ms"
        )
    lines.append(
        f"longest without any Contact at the PBX: {contacts.registered.worst_s:.1f} s; without one "
        f"at a node that runs: {contacts.reachable.worst_s:.1f} s"
    )
    return "\n".join(lines)


def faults(calls: Sequence[Call], troubles: Sequence[Trouble], contacts: Contacts) -> list[str]:
    """What must not happen and did."""
    found = [f"{c.said}: rang twice at once" for c in calls if c.double]
    touched = {id(call) for trouble in troubles for call in hit_by(trouble, calls)}
    found += [
        f"{call.said}: {call.status}, with nothing near it"
        for call in calls
        if id(call) not in touched and not call.connected
    ]
    for trouble in troubles:
        if trouble.keeps_calls:
            found += [
                f"{call.said}: {call.status} ({trouble.name})"
                for call in hit_by(trouble, calls)
                if not call.connected
            ]
    if contacts.registered.worst_s > MAY_BE_WITHOUT_S:
        found.append(f"an account had no Contact for {contacts.registered.worst_s:.1f} s")
    found += [f"{user} has two Contacts at the end" for user in sorted(contacts.crowded)]
    return found
