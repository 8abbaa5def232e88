"""One call as it was played, and whether its end is right."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .kinds import Acts, Kind, widened

GHOST_S = 1.0
"""An INVITE that left before the call's final response may be read here a little after it."""


@dataclass(slots=True)
class Ring:
    """An INVITE at a phone; by its branch, so that retransmissions count once."""

    device: str
    at: float
    request: bytes
    flow: int
    over: bool = False
    """Answered finally or cancelled."""
    answer: bytes = b""
    """The last response, for retransmissions."""
    acked: bool = False


@dataclass(slots=True)
class Played:
    """A call: what was drawn for it and what was seen of it."""

    kind: Kind
    user: str
    call_id: str
    acts: dict[str, Acts]
    cancel_s: float
    talk_s: float
    at: float = field(default_factory=time.monotonic)
    over_at: float = 0.0
    """When its last message is expected to have passed; 0: it goes on."""
    finals: list[int] = field(default_factory=list)
    final_at: float = 0.0
    rings: dict[bytes, Ring] = field(default_factory=dict)
    pushes: int = 0
    faults: list[str] = field(default_factory=list)

    @property
    def over(self) -> bool:
        """Nothing more is to come of it."""
        return self.over_at > 0

    def final(self, status: int, now: float) -> bool:
        """A final response to the calling side; False: the one that it has already."""
        if self.finals and self.finals[-1] == status:
            return False
        self.finals.append(status)
        self.final_at = self.final_at or now
        return len(self.finals) == 1

    def ring(self, branch: bytes, ring: Ring) -> None:
        """A new INVITE came to a phone."""
        for other in self.rings.values():
            if other.device == ring.device and not other.over and other.flow == ring.flow:
                self.faults.append(f"{ring.device} has two unfinished INVITEs")
        if self.finals and ring.at - self.final_at > GHOST_S:
            late_s = ring.at - self.final_at
            self.faults.append(f"{ring.device} was rung {late_s:.1f} s after the end")
        self.rings[branch] = ring

    def finish(self, now: float) -> None:
        """Its last message has passed."""
        self.over_at = self.over_at or now


def draw_acts(acts: Acts, rng: random.Random) -> Acts:
    """The same with moments drawn around those of the kind."""
    wakes_s = None if acts.wakes_s is None else rng.uniform(0.3, 1.7) * acts.wakes_s
    return Acts(
        wakes_s=wakes_s,
        burst=acts.burst,
        reports=acts.reports,
        declines_by_api=acts.declines_by_api,
        rotates=acts.rotates,
        rings=acts.rings,
        final=acts.final,
        rings_s=rng.uniform(0, 2) * acts.rings_s,
        vanishes=acts.vanishes,
        freezes=acts.freezes,
    )


@dataclass(slots=True)
class Judgement:
    """All calls of a soak, judged."""

    table: dict[str, Counter[str]] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)

    def judge(self, call: Played, records: list[Mapping[str, Any]], during: frozenset[str]) -> None:
        """One call with its records in the store; ``during``: the faults of its time."""
        name = f"{call.kind.name} {call.call_id} ({call.user}; {', '.join(during) or 'no fault'})"
        statuses, verdicts = widened(call.kind, during)
        verdict = str(records[0]["verdict"]) if records else "-"
        self.table.setdefault(call.kind.name, Counter())[verdict] += 1
        self.faults += [f"{name}: {fault}" for fault in call.faults]
        if len(call.finals) != 1:
            self.faults.append(f"{name}: final responses {call.finals}, not one; {verdict}")
        elif call.finals[0] not in statuses:
            self.faults.append(f"{name}: ended with {call.finals[0]}, {verdict}")
        if any(not ring.over for ring in call.rings.values()):
            self.faults.append(f"{name}: a phone still rings")
        if len(records) != 1:
            self.faults.append(f"{name}: {len(records)} records, not one")
            return
        record = records[0]
        if verdict not in verdicts:
            self.faults.append(f"{name}: verdict {verdict}")
        if record["state"] != "ended":
            self.faults.append(f"{name}: its record is still {record['state']} ({verdict})")
        if call.finals and record["status"] != call.finals[0]:
            self.faults.append(f"{name}: {call.finals[0]} on the wire, {record['status']} recorded")

    def text(self) -> str:
        """Kinds and what became of them."""
        lines = ["kind                        calls  verdicts"]
        for kind, found in sorted(self.table.items()):
            ends = ", ".join(f"{verdict} {count}" for verdict, count in found.most_common())
            lines.append(f"{kind:27s} {found.total():5d}  {ends}")
        return "\n".join(lines)
