"""A bad network on UDP, decided packet by packet: what each direction of an agent's link does.

A pattern depends on the packets that passed and on its seed, never on the clock, so a run that
failed can be had again. `SipAgent.link` takes an `ImpairedLink`; addresses stay as they are.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Callable
from dataclasses import dataclass, field

from .sip_message import parse

LONGEST_HOLD_S = 0.04
"""How long a packet waits for the one that is to overtake it: the last one has no successor."""


@dataclass(frozen=True, slots=True)
class Fate:
    """What becomes of one packet."""

    copies: int = 1
    delay_s: float = 0.0
    behind_next: bool = False
    """The next one of this direction overtakes it."""


PASSES = Fate()
LOST = Fate(copies=0)
TWICE = Fate(copies=2)
Pattern = Callable[[bytes], Fate]
MakePattern = Callable[[int], Pattern]
"""A fresh pattern, from a seed."""


def clear(_: int = 0) -> Pattern:
    """Everything passes."""
    return lambda _: PASSES


def first_of_each(_: int = 0) -> Pattern:
    """Of every message the first transmission is lost; its repetitions pass."""
    known: set[tuple[str, ...]] = set()

    def fate(data: bytes) -> Fate:
        name = _name(data)
        if name in known:
            return PASSES
        known.add(name)
        return LOST

    return fate


def every(count: int) -> MakePattern:
    """Every `count`th packet is lost, beginning with that of the seed."""

    def make(seed: int) -> Pattern:
        return _counted(lambda number: LOST if number % count == seed % count else PASSES)

    return make


def burst(length: int) -> MakePattern:
    """So many in a row are lost, once, after one to three that passed; then all pass."""

    def make(seed: int) -> Pattern:
        first = 1 + seed % 3
        return _counted(lambda number: LOST if first <= number < first + length else PASSES)

    return make


def doubled(_: int = 0) -> Pattern:
    """Everything arrives twice."""
    return lambda _: TWICE


def swapped(_: int = 0) -> Pattern:
    """The second of each pair arrives before the first."""
    return _counted(lambda number: Fate(behind_next=True) if number % 2 == 0 else PASSES)


def mixed(*, lost: float, twice: float, late: float, longest_s: float) -> MakePattern:
    """Shares of packets that are lost, doubled and late (by up to `longest_s`), drawn by seed."""

    def make(seed: int) -> Pattern:
        draw = random.Random(seed)

        def fate(_: bytes) -> Fate:
            if draw.random() < lost:
                return LOST
            copies = 2 if draw.random() < twice else 1
            delay_s = draw.uniform(0, longest_s) if draw.random() < late else 0.0
            return Fate(copies, delay_s)

        return fate

    return make


def netem(
    *, lost: float, twice: float, reordered: float, delay_s: float, jitter_s: float
) -> MakePattern:
    """As `tc netem loss … duplicate … delay … … reorder …`: who is reordered leaves at once."""

    def make(seed: int) -> Pattern:
        draw = random.Random(seed)

        def fate(_: bytes) -> Fate:
            if draw.random() < lost:
                return LOST
            copies = 2 if draw.random() < twice else 1
            if draw.random() < reordered:
                return Fate(copies)
            return Fate(copies, max(delay_s + draw.uniform(-jitter_s, jitter_s), 0.0))

        return fate

    return make


def _counted(fate: Callable[[int], Fate]) -> Pattern:
    passed = iter(range(1_000_000))
    return lambda _: fate(next(passed))


def _name(data: bytes) -> tuple[str, ...]:
    """What a message has in common with its repetitions; branches of proxied ACKs differ."""
    try:
        message = parse(data)
    except (ValueError, UnicodeDecodeError):
        return (data.hex(),)
    cseq = message.header("CSeq")
    return message.start, message.call_id, cseq, message.from_tag, message.to_tag


@dataclass(slots=True)
class Direction:
    """One way of a link, with what happened on it."""

    pattern: Pattern
    passed: int = 0
    lost: int = 0
    doubled: int = 0
    late: int = 0
    _held: list[Callable[[], object]] = field(default_factory=list)

    def carry(self, data: bytes, deliver: Callable[[], object]) -> None:
        """Let one packet meet its fate; `deliver` is called once for each copy."""
        fate = self.pattern(data)
        self.passed += fate.copies > 0
        self.lost += fate.copies == 0
        self.doubled += fate.copies > 1
        self.late += fate.behind_next or fate.delay_s > 0
        loop = asyncio.get_running_loop()
        if fate.behind_next:
            self._held.append(deliver)
            loop.call_later(LONGEST_HOLD_S, self._release)
            return
        for _ in range(fate.copies):
            if fate.delay_s:
                loop.call_later(fate.delay_s, deliver)
            else:
                deliver()
        self._release()

    def _release(self) -> None:
        held, self._held = self._held, []
        for deliver in held:
            deliver()


@dataclass(slots=True)
class ImpairedLink:
    """What stands between one agent and everybody else."""

    outward: Direction
    inward: Direction

    @property
    def impaired(self) -> int:
        """How many packets did not simply pass."""
        return sum(way.lost + way.doubled + way.late for way in (self.outward, self.inward))


@dataclass(frozen=True, slots=True, kw_only=True)
class Weather:
    """A named pattern for each of the four directions around the service."""

    name: str
    from_pbx: MakePattern = clear
    to_pbx: MakePattern = clear
    from_phone: MakePattern = clear
    to_phone: MakePattern = clear

    def pbx_link(self, seed: int) -> ImpairedLink:
        """The link of a PBX."""
        return ImpairedLink(Direction(self.from_pbx(seed)), Direction(self.to_pbx(seed + 1)))

    def phone_link(self, seed: int) -> ImpairedLink:
        """The link of a phone."""
        return ImpairedLink(Direction(self.from_phone(seed)), Direction(self.to_phone(seed + 1)))


def everywhere(name: str, make: MakePattern) -> Weather:
    """The same in all four directions."""
    return Weather(name=name, from_pbx=make, to_pbx=make, from_phone=make, to_phone=make)


MIXED = mixed(lost=0.15, twice=0.15, late=0.25, longest_s=0.08)
MIXES = int(os.environ.get("PUSH_PROXY_MIXES", "1"))
WEATHERS = (
    Weather(name="first-to-service-lost", from_pbx=first_of_each, from_phone=first_of_each),
    Weather(name="first-to-pbx-lost", to_pbx=first_of_each),
    Weather(name="first-to-phone-lost", to_phone=first_of_each),
    everywhere("every-third-lost", every(3)),
    everywhere("doubled", doubled),
    everywhere("neighbours-swapped", swapped),
    Weather(name="burst-lost-inward-and-on", from_pbx=burst(3), to_phone=burst(3)),
    Weather(name="burst-lost-outward-and-back", to_pbx=burst(3), from_phone=burst(3)),
    *(everywhere(f"mixed-{number}", MIXED) for number in range(1, MIXES + 1)),
)
"""What the call flows of `tests/impaired` have to endure; a weather's name goes into its seeds."""
