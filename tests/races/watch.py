"""What holds in every run of every race, read off the wire."""

from __future__ import annotations

from collections import Counter
from datetime import datetime

from tests.lab.push_sink import Push

from .calls import Attempt
from .phones import Ring
from .run import Run

TERMINAL = frozenset({"cancel", "answered_elsewhere"})
LATE_S = 0.3
"""So much later than the final response an INVITE may be read that left before it."""


def check(run: Run) -> None:
    """Raises AssertionError with what was violated."""
    for attempt in run.attempts:
        _caller(attempt)
    for call_id in {attempt.call_id for attempt in run.attempts}:
        _end(run, call_id)
    for phone in run.phones:
        for ring in phone.rings:
            _phone(run, ring)
    _one_at_a_time(run)
    _names(run)
    for push in run.pushes:
        _in_time(run, push)
    _terminal(run)


def _caller(attempt: Attempt) -> None:
    finals = [(m.status, m.to_tag) for m in attempt.finals]
    assert len(finals) == 1, f"final responses to one INVITE: {finals}"
    statuses = [m.status for m in attempt.heard]
    last = next(n for n, status in enumerate(statuses) if status >= 200)
    assert all(status >= 200 for status in statuses[last:]), f"a provisional after it: {statuses}"
    if attempt.cancelled_at:
        assert attempt.of_cancel, "CANCEL got no answer"
        assert all(m.status in {200, 481} for m in attempt.of_cancel), attempt.of_cancel


def _end_of(run: Run, call_id: str) -> float | None:
    """When the last of its transactions had its final response; None: not our call."""
    ends = [a.final_at for a in run.attempts if a.call_id == call_id and a.final_at is not None]
    return max(ends, default=None)


def _end(run: Run, call_id: str) -> None:
    """One answer; nothing begins to ring after the end, but what is to be cancelled at once."""
    answers = {
        m.to_tag for a in run.attempts for m in a.finals if a.call_id == call_id and a.answered
    }
    assert len(answers) <= 1, f"answered by several: {answers}"
    final_at = _end_of(run, call_id)
    assert final_at is not None
    for ring in run.rings:
        if ring.call_id == call_id and ring.at > final_at + LATE_S:
            assert run.late_invites, f"rung {ring.at - final_at:.3f} s after the end"
            assert ring.said == 0 or ring.cancel is not None or ring.byes, "rings for nobody"


def _phone(run: Run, ring: Ring) -> None:
    """Each INVITE to a phone ended: by its own word, or by ours; and every end was acknowledged."""
    heard = [m for a in run.attempts if a.call_id == ring.call_id for m in a.heard]
    if ring.said == 0:
        return  # no CANCEL before the first provisional (RFC 3261 §9.1)
    assert ring.said >= 200, f"{ring.phone.device} was left ringing"
    assert ring.acks, f"no ACK for the {ring.said} of {ring.phone.device}"
    if ring.answered:
        won = any(m.to_tag == ring.half.tag for m in heard if m.status // 100 == 2)
        assert won or ring.byes, f"{ring.phone.device} is left in a call with nobody"


def _one_at_a_time(run: Run) -> None:
    """Never two unfinished INVITEs of one call to one phone.

    One that the phone has not answered at all counts only on the same flow: it may have gone
    into a dead one, and cannot be cancelled.
    """
    for ring in run.rings:
        for older in run.rings:
            if older is ring or older.at > ring.at or older.call_id != ring.call_id:
                continue
            if older.phone.device != ring.phone.device:
                continue
            heard = older.said or older.phone is ring.phone
            done = (older.final_at and older.final_at <= ring.at) or (
                older.cancel is not None and older.cancel.arrived_s <= ring.at
            )
            left = older.phone.left_at is not None and older.phone.left_at <= ring.at
            assert not heard or done or left, f"{ring.phone.device} was rung twice for one call"


def _names(run: Run) -> None:
    """A call has one name: in its pushes, and in the INVITEs that they lead to."""
    names: dict[str, set[str]] = {}
    for push in run.pushes:
        if push.call_id:
            names.setdefault(push.payload["sip_call_id"], set()).add(push.call_id)
    for ring in run.rings:
        names.setdefault(ring.call_id, set()).add(ring.push_id)
    assert all(len(found) == 1 for found in names.values()), f"several names: {names}"
    every = [name for found in names.values() for name in found]
    assert len(set(every)) == len(every), f"one name for two calls: {names}"


def _in_time(run: Run, push: Push) -> None:
    assert not push.signature_error, push.signature_error
    expires = _at(push, "expires_at")
    assert _at(push, "sent_at") < expires, "it was worthless when it left"
    assert push.arrived_at < expires + LATE_S, "came after its deadline"
    final_at = _end_of(run, push.payload.get("sip_call_id", ""))
    if push.type == "call" and final_at is not None:
        offset = push.arrived_at - push.arrived_s
        assert _at(push, "sent_at") <= final_at + offset + 0.002, "pushed after the end"


def _terminal(run: Run) -> None:
    told = {
        (push.payload["push_id"], push.payload["device"], push.call_id, push.type)
        for push in run.pushes
    }
    by_device = Counter((device, call) for _, device, call, kind in told if kind in TERMINAL)
    assert all(n == 1 for n in by_device.values()), f"terminal pushes: {by_device}"
    for push in run.pushes:
        if push.type in TERMINAL:
            assert not _hears_sip(run, push), "a terminal push to one that hears by SIP"
    missed = Counter((device, call) for _, device, call, kind in told if kind == "missed")
    assert all(n == 1 for n in missed.values()), f"missed pushes: {missed}"
    names = {push_id: call for push_id, _, call, _ in told}
    assert len(names) == len({(p, c) for p, _, c, _ in told}), "one push id for two calls"
    called = {(device, call) for _, device, call, kind in told if kind == "call"}
    assert by_device.keys() <= called, "a terminal push to one that had no call push"


def _hears_sip(run: Run, push: Push) -> bool:
    """Whether the caller had heard this phone ring when the push left."""
    call_id, device = push.payload["sip_call_id"], push.payload["device"]
    tags = {r.half.tag for r in run.rings if r.call_id == call_id and r.phone.device == device}
    offset = push.arrived_at - push.arrived_s
    return any(
        message.to_tag in tags and message.arrived_s + offset < _at(push, "sent_at")
        for attempt in run.attempts
        for message in attempt.heard
        if attempt.call_id == call_id and 180 <= message.status < 200
    )


def _at(push: Push, field: str) -> float:
    return datetime.fromisoformat(push.payload[field]).timestamp()
