"""From verdict and evidence to the cause of a call's end: one ordered table.

The most certain evidence comes first: what the app or provider has said, then what the phone
was told to forbid, then what its history and vendor make likely. The first rule that holds
names the cause; none: nothing is known beyond the verdict.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from .causes import Cause
from .course import Course, course_of
from .evidence import AppReason, Evidence, Network, Priority
from .ids import Instant
from .model import CallRecord, CallState, TokenState, Verdict
from .provider_trouble import is_throttling, is_unreachable
from .registration_status import RegistrationState
from .stores import is_no_store
from .vendors import VendorGroup, group_of, limits_apps
from .wake_health import FAILURES_TO_STOP

LATE_S = 5.0
"""A push that took longer to arrive is late: as long as a silence counts as a failure."""

_ASLEEP = frozenset({Verdict.NOT_WOKEN})
_NOT_HERE = frozenset({Verdict.NOT_WOKEN, Verdict.WOKE_NOT_REGISTERED})
_MISSED_BY_WAKING = _NOT_HERE | {Verdict.CALLER_CANCELLED}
_APP_AWAKE = frozenset({Verdict.WOKE_NOT_REGISTERED, Verdict.REGISTERED_NOT_RINGING})
_HAS_INVITE = frozenset({Verdict.REGISTERED_NOT_RINGING, Verdict.DEVICE_ERROR})
_UNSEEN = frozenset({Verdict.NO_ANSWER, Verdict.CALLER_CANCELLED, Verdict.REGISTERED_NOT_RINGING})
_NO_PUSH = frozenset({Verdict.NO_DEVICE, Verdict.PUSH_REJECTED})
_PBX = frozenset({Verdict.OUTBOUND_FAILED, Verdict.PBX_LOST})
_NO_EVIDENCE_NEEDED = frozenset(
    {Verdict.ANSWERED, Verdict.DECLINED, Verdict.BUSY, Verdict.REFUSED, Verdict.OVERLOADED}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A decided call, as the rules see it."""

    verdict: Verdict
    phase: CallState
    decided_at: Instant
    evidence: Evidence
    course: Course

    @property
    def group(self) -> VendorGroup:
        """Whose settings the phone has."""
        known = self.evidence
        return group_of(vendor=known.vendor, platform=known.platform, provider=known.provider)

    @property
    def push_took_s(self) -> float | None:
        """From the first push until the app had it; None: it was not pushed, or said nothing.

        That is when it says that it had it, else when it first reported.
        """
        pushed_at, had_at = self.course.pushed_at, self.evidence.words.at
        if had_at is None or pushed_at is None or had_at < pushed_at:
            had_at = self.course.reported_at
        return _between(pushed_at, had_at)

    @property
    def wake_took_s(self) -> float | None:
        """From the first push to the first REGISTER, as above."""
        return _between(self.course.pushed_at, self.course.registered_at)

    @property
    def rang(self) -> bool:
        """Whether the phone said that it rings."""
        return self.course.rang_at is not None


@dataclass(frozen=True, slots=True)
class Rule:
    """``cause`` is named for these verdicts where ``holds``."""

    cause: Cause
    verdicts: frozenset[Verdict]
    holds: Callable[[Case], bool]


def _denied(permission: str) -> Callable[[Case], bool]:
    return lambda case: case.evidence.denied(permission)


def _on(saver: str) -> Callable[[Case], bool]:
    return lambda case: case.evidence.switched_on(saver)


def _says(reason: AppReason) -> Callable[[Case], bool]:
    return lambda case: case.evidence.words.reason is reason


def _unseen(permission: str) -> Callable[[Case], bool]:
    """It rang, or had the INVITE and should have, and may not show or sound that."""
    return lambda case: (
        case.evidence.denied(permission)
        and (case.rang or case.verdict is Verdict.REGISTERED_NOT_RINGING)
    )


def _was_lowered(case: Case) -> bool:
    words = case.evidence.words
    if words.priority is not Priority.NORMAL:
        return False
    # Calls leave for FCM with high priority; of other providers only the app knows.
    return words.original_priority is Priority.HIGH or (
        words.original_priority is None and case.evidence.provider == "fcm"
    )


def _had_no_network(case: Case) -> bool:
    words = case.evidence.words
    return words.network is Network.NONE or words.reason is AppReason.NO_NETWORK


def _was_cut_off(case: Case) -> bool:
    """The app had the push in time, and could not tell us until the call was over."""
    pushed_at, reported_at = case.course.pushed_at, case.course.reported_at
    had_at = case.evidence.words.at
    if pushed_at is None or reported_at is None or had_at is None:
        return False
    came_late = reported_at > case.decided_at and reported_at - had_at > LATE_S
    return came_late and 0 <= had_at - pushed_at <= LATE_S


def _push_came_late(case: Case) -> bool:
    took_s, reported_at = case.push_took_s, case.course.reported_at
    if took_s is None or reported_at is None:
        return False
    return took_s > LATE_S and reported_at > case.decided_at


def _woke_late(case: Case) -> bool:
    took_s, registered_at = case.wake_took_s, case.course.registered_at
    if took_s is None or registered_at is None:
        return False
    return took_s > LATE_S and registered_at > case.decided_at


def _registered_elsewhere(case: Case) -> bool:
    registered_at = case.course.registered_at
    in_time = registered_at is not None and registered_at <= case.decided_at
    return case.course.said_registered and not in_time


def _no_cellular_data(case: Case) -> bool:
    return case.evidence.denied("cellular_data") and (
        case.evidence.words.network is not Network.WIFI
    )


def _has_stopped_waking(case: Case) -> bool:
    before = case.evidence.wakes
    return before.proven and before.failed_in_a_row + 1 >= FAILURES_TO_STOP


def _is_not_from_store(case: Case) -> bool:
    return is_no_store(case.evidence.install_source)


def _is_limited_by_vendor(case: Case) -> bool:
    return limits_apps(case.group)


def _is_of_wrong_app(case: Case) -> bool:
    known = case.evidence
    is_marked = known.token_state == TokenState.WRONG_APP
    return is_marked and known.token_reason == case.course.refusal_reason


def _is_dead(case: Case) -> bool:
    return case.evidence.token_state == TokenState.DEAD


def _not_pushed(why: str) -> Callable[[Case], bool]:
    return lambda case: case.course.not_pushed == why


def _refused(event: str) -> Callable[[Case], bool]:
    return lambda case: case.course.refusal == event


def _throttled(case: Case) -> bool:
    return is_throttling(case.course.refusal_reason)


def _unreachable(case: Case) -> bool:
    return is_unreachable(case.course.refusal_reason)


def _own_backend_failed(case: Case) -> bool:
    return case.evidence.provider == "webhook" and case.course.refusal == "push_unavailable"


def _no_codec(case: Case) -> bool:
    return case.course.refused_with.startswith(("415", "488", "606"))


def _app_failed(case: Case) -> bool:
    return case.course.failed


def _taken_by_other(case: Case) -> bool:
    return case.evidence.other_contacts > 0 and not case.rang


def _pushed_aside(case: Case) -> bool:
    return case.evidence.other_contacts > 0 and case.evidence.evictions > 0


def _is_down(case: Case) -> bool:
    down = {RegistrationState.RETRYING, RegistrationState.REJECTED}
    return case.evidence.registration in down


RULES: tuple[Rule, ...] = (
    # what the app has said
    Rule(Cause.FORCE_STOPPED, _ASLEEP, _says(AppReason.FORCE_STOPPED)),
    Rule(Cause.NO_INTERNET, _NOT_HERE, _had_no_network),
    Rule(Cause.PRIORITY_LOWERED, _MISSED_BY_WAKING, _was_lowered),
    Rule(Cause.NO_INTERNET, _ASLEEP, _was_cut_off),
    Rule(Cause.NO_MEDIA, _APP_AWAKE | _HAS_INVITE, _says(AppReason.NO_MEDIA)),
    Rule(Cause.SIP_BLOCKED, _NOT_HERE, _says(AppReason.SIP_FAILED)),
    Rule(Cause.LATE_PUSH, _MISSED_BY_WAKING, _push_came_late),
    Rule(Cause.REGISTERS_ELSEWHERE, _NOT_HERE, _registered_elsewhere),
    # what the provider has said, and what there was to push to
    Rule(Cause.DEAD_TOKEN, _NO_PUSH, _is_dead),
    Rule(Cause.WRONG_APP, _NO_PUSH, _is_of_wrong_app),
    Rule(Cause.NOT_FROM_STORE, _NO_PUSH, _is_not_from_store),
    Rule(Cause.PROVIDER_MISCONFIGURED, _NO_PUSH, _refused("push_misconfigured")),
    Rule(Cause.UNKNOWN_APP, _NO_PUSH, _not_pushed("unknown_app")),
    Rule(Cause.NO_TOKEN, _NO_PUSH, _not_pushed("no_token")),
    Rule(Cause.PROVIDER_THROTTLED, frozenset({Verdict.PROVIDER_UNAVAILABLE}), _throttled),
    Rule(Cause.PROVIDER_UNREACHABLE, frozenset({Verdict.PROVIDER_UNAVAILABLE}), _unreachable),
    Rule(Cause.BACKEND_DOWN, frozenset({Verdict.PROVIDER_UNAVAILABLE}), _own_backend_failed),
    Rule(
        Cause.PROVIDER_DOWN,
        frozenset({Verdict.PROVIDER_UNAVAILABLE}),
        _refused("push_unavailable"),
    ),
    # what the phone answered, and what its owner has forbidden: it rang unseen or unheard
    Rule(Cause.CODEC_MISMATCH, frozenset({Verdict.DEVICE_ERROR}), _no_codec),
    Rule(Cause.NO_MEDIA, _HAS_INVITE, _denied("media")),
    Rule(Cause.NO_PHONE_ACCOUNT, _HAS_INVITE, _denied("phone_account")),
    Rule(Cause.NOTIFICATIONS_OFF, _UNSEEN, _unseen("notifications")),
    Rule(Cause.NO_SOUND, _UNSEEN, _unseen("sound")),
    Rule(Cause.LOCK_SCREEN, _UNSEEN, _unseen("lock_screen")),
    Rule(Cause.FULL_SCREEN_OFF, _UNSEEN, _unseen("full_screen")),
    Rule(Cause.OVERLAY_OFF, _UNSEEN, _unseen("overlay")),
    # what keeps a phone from waking, as its app has reported it: likely, not certain
    Rule(Cause.BACKGROUND_DATA_OFF, _NOT_HERE, _denied("background_data")),
    Rule(Cause.DATA_SAVER, _NOT_HERE, _on("data_saver")),
    Rule(Cause.BACKGROUND_RESTRICTED, _NOT_HERE, _denied("battery_unrestricted")),
    Rule(Cause.BATTERY_SAVER, _NOT_HERE, _on("battery_saver")),
    Rule(Cause.CELLULAR_DATA_OFF, _NOT_HERE, _no_cellular_data),
    Rule(Cause.NO_MEDIA, frozenset({Verdict.WOKE_NOT_REGISTERED}), _denied("media")),
    Rule(Cause.NOTIFICATIONS_OFF, _ASLEEP, _denied("notifications")),
    Rule(Cause.NOT_FROM_STORE, _ASLEEP, _is_not_from_store),
    Rule(Cause.APP_FAILED, _APP_AWAKE, _app_failed),
    # what is left to go by
    Rule(Cause.LATE_WAKE, _MISSED_BY_WAKING, _woke_late),
    Rule(Cause.STOPPED_WAKING, _ASLEEP, _has_stopped_waking),
    Rule(Cause.VENDOR_LIMITS, _ASLEEP, _is_limited_by_vendor),
    # the PBX
    Rule(
        Cause.BLOCKED_BY_OTHER_REGISTRATION,
        frozenset({Verdict.ANSWERED_ELSEWHERE}),
        _taken_by_other,
    ),
    Rule(Cause.BLOCKED_BY_OTHER_REGISTRATION, _PBX, _pushed_aside),
    Rule(Cause.PBX_REGISTRATION_DOWN, _PBX, _is_down),
)


def wants_evidence(verdict: Verdict) -> bool:
    """Whether any rule is about this verdict: what went well needs no explanation."""
    return verdict not in _NO_EVIDENCE_NEEDED


def case_of(record: CallRecord) -> Case | None:
    """A record as the rules see it; None while the call is open, or of one without evidence.

    A call that was sent elsewhere because it failed is judged by that failure.
    """
    outcome, evidence = record.outcome, record.evidence
    if outcome is None or evidence is None:
        return None
    ended_at = record.ended_at
    return Case(
        verdict=outcome.led_by or outcome.verdict,
        phase=outcome.phase,
        decided_at=record.started_at if ended_at is None else ended_at,
        evidence=evidence,
        course=course_of(record.timeline, evidence.device),
    )


def cause_of(case: Case) -> Cause | None:
    """The cause by the first rule that holds."""
    fitting = (rule.cause for rule in RULES if case.verdict in rule.verdicts and rule.holds(case))
    return next(fitting, None)


def with_cause(record: CallRecord) -> CallRecord:
    """The record with what is known of its cause by now; verdict and fault stay."""
    case = case_of(record)
    if case is None or record.outcome is None:
        return record
    cause = cause_of(case) or ""
    if cause == record.outcome.cause:
        return record
    return replace(record, outcome=replace(record.outcome, cause=cause))


def _between(one: Instant | None, other: Instant | None) -> float | None:
    return None if one is None or other is None else other - one
