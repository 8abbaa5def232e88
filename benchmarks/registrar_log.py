"""What a registrar saw of our registrations: how many, how fast, and never faster than its pace."""

import re
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

_REGISTER = re.compile(
    rb"PBX event=(request|own-response) at=([0-9.]+) method=REGISTER callid=(\S+) cseq=(\d+)"
    rb"[^\n]*?(?: status=(\d+) [^\n]*| contact=(\d+))?\n"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """REGISTERs in Kamailio's log; times are its wall clock, ascending."""

    attempts: tuple[float, ...]
    """Without answers to challenges: what the pace counts."""
    registering: tuple[float, ...]
    """Those with a Contact; the others only ask what is bound."""
    answers: tuple[float, ...]
    """REGISTERs that answer the challenge before them."""
    repeated: int
    """Retransmissions."""
    accepted: int
    """Registrations (Call-IDs) that were answered 200 at least once."""

    @classmethod
    def read(cls, log: Path, *, since: int = 0) -> Self:
        """All that the log holds from that byte on."""
        with log.open("rb") as file:
            file.seek(since)
            text = file.read()
        arrivals: dict[tuple[bytes, int], float] = {}
        statuses: dict[tuple[bytes, int], int] = {}
        binding: set[tuple[bytes, int]] = set()
        repeated = 0
        for match in _REGISTER.finditer(text):
            key = (match[3], int(match[4]))
            if match[1] == b"own-response":
                statuses[key] = int(match[5] or 0)
            elif key in arrivals:
                repeated += 1
            else:
                arrivals[key] = float(match[2])
                if match[6] not in {None, b"0"}:
                    binding.add(key)
        attempts: list[float] = []
        answers: list[float] = []
        registering: list[float] = []
        for (call_id, cseq), at in arrivals.items():
            challenged = statuses.get((call_id, cseq - 1)) == 401
            (answers if challenged else attempts).append(at)
            if not challenged and (call_id, cseq) in binding:
                registering.append(at)
        return cls(
            attempts=tuple(sorted(attempts)),
            registering=tuple(sorted(registering)),
            answers=tuple(sorted(answers)),
            repeated=repeated,
            accepted=len({key[0] for key in binding if statuses.get(key) == 200}),
        )

    @property
    def rate(self) -> float:
        """Registrations begun per second, from the first to the last."""
        if len(self.registering) < 2:
            return 0.0
        return (len(self.registering) - 1) / (self.registering[-1] - self.registering[0])


def most_within(times: Sequence[float], seconds: float) -> int:
    """The most that ever came within so many seconds, wherever those begin."""
    return max(
        (bisect_left(times, at + seconds) - index for index, at in enumerate(times)), default=0
    )
