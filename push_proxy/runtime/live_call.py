"""One call's record while it changes: cheap to change, a `CallRecord` for whoever asks."""

from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

from ..core.advice import wants_evidence, with_cause
from ..core.evidence import NO_WORDS, AppWords, Evidence
from ..core.ids import AccountKey, CallId, DeviceId, Instant
from ..core.model import CallRecord, CallState, Direction, Outcome, TimelineEntry

TIMELINE_LIMIT = 200
"""Lines kept of one call; of more, those in the middle go."""


class CallView(Protocol):
    """What watchers are told of a call at each change; a `CallRecord` is one, too."""

    @property
    def id(self) -> CallId:
        """Its name."""

    @property
    def account(self) -> AccountKey:
        """Whose it is."""

    @property
    def direction(self) -> Direction:
        """From or toward the app."""

    @property
    def sip_call_id(self) -> str:
        """Its INVITE's Call-ID."""

    @property
    def started_at(self) -> Instant:
        """When the INVITE came."""

    @property
    def state(self) -> CallState:
        """Where it stands."""

    @property
    def outcome(self) -> Outcome | None:
        """What came of it, once that is decided."""


class LiveCall:
    """A record that still changes (a `CallView`).

    A call changes some twenty times in its life and is asked for once or twice: what does not
    change stays in the record that it began with, and a new one is made only for whoever asks.
    """

    __slots__ = (
        "_begun",
        "_shown",
        "account",
        "answered_at",
        "decided",
        "direction",
        "dirty",
        "ended_at",
        "evidence",
        "id",
        "outcome",
        "sip_call_id",
        "started_at",
        "state",
        "timeline",
        "words",
    )

    def __init__(self, record: CallRecord) -> None:
        self._begun = record
        self._shown: CallRecord | None = None
        self.id = record.id
        self.account = record.account
        self.direction = record.direction
        self.sip_call_id = record.sip_call_id
        self.started_at = record.started_at
        self.state = record.state
        self.decided = _is_decided(record.state)
        """Nothing of it has to be in memory: what is still to come finds it in the store."""
        self.answered_at = record.answered_at
        self.ended_at = record.ended_at
        self.outcome = record.outcome
        self.evidence = record.evidence
        self.timeline: list[TimelineEntry] = list(record.timeline)
        self.words: dict[DeviceId, AppWords] | None = None
        self.dirty = True
        """The store does not have it as it is now."""

    def add(self, entry: TimelineEntry) -> None:
        """One more line of the timeline."""
        if len(self.timeline) >= TIMELINE_LIMIT:
            del self.timeline[TIMELINE_LIMIT // 2]
        self.timeline.append(entry)
        self.dirty = True
        self._shown = None
        if self.evidence is not None:
            self._judge()

    def move(self, state: CallState, at: Instant) -> None:
        """It has come to this state."""
        self.state = state
        self.decided = _is_decided(state)
        if state is CallState.ANSWERED:
            self.answered_at = at
        elif state is CallState.ENDED:
            self.ended_at = at
        self._change()

    def hear(self, device: DeviceId, words: AppWords) -> None:
        """What an app's report says beside what happened."""
        evidence = self.evidence
        if evidence is None:
            self.words = self.words or {}
            self.words[device] = words.after(self.words.get(device, NO_WORDS))
        elif evidence.device == device:
            self.evidence = evidence.with_words(words)
            self._change()
            self._judge()

    def decide(self, result: Outcome, witness: Callable[[CallRecord], Evidence | None]) -> None:
        """The call has its outcome; ``witness`` knows what there is to know of its device."""
        self.outcome = result
        self._change()
        if not wants_evidence(result.led_by or result.verdict):
            return
        evidence = witness(self.snapshot())
        if evidence is None:
            return
        words = (self.words or {}).get(evidence.device) if evidence.device else None
        if words is not None:
            evidence = evidence.with_words(words)
        self.evidence = evidence
        self._change()
        self._judge()

    def ended_by(self, whom: str, result: Outcome) -> None:
        """Who has hung up; ``result`` is what had come of it."""
        self.outcome = replace(result, ended_by=whom)
        self._change()

    def snapshot(self) -> CallRecord:
        """As it is now; the same one until it changes."""
        if self._shown is None:
            self._shown = replace(
                self._begun,
                state=self.state,
                answered_at=self.answered_at,
                ended_at=self.ended_at,
                outcome=self.outcome,
                timeline=tuple(self.timeline),
                evidence=self.evidence,
            )
        return self._shown

    def _judge(self) -> None:
        """Name the cause by what is known now."""
        self.outcome = with_cause(self.snapshot()).outcome
        self._change()

    def _change(self) -> None:
        self.dirty = True
        self._shown = None


def _is_decided(state: CallState) -> bool:
    return state is CallState.ENDED or state is CallState.ANSWERED
