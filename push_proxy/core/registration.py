"""Our registration of one account at its PBX, as a pure machine (RFC 3261 §10.2).

Three things happen to it: somebody wants it otherwise (`want`), its time has come (`due`), or
the PBX answered (`answered`). Each gives the next state and what to do. Randomness is handed
in, time too.
"""

from dataclasses import replace

from .digest import choose_challenge
from .ids import Instant
from .model import RegistrationRecord
from .registration_answer import Answer, own_and_others
from .registration_request import asked_s, contact_headers, login_headers
from .registration_state import (
    Action,
    Chance,
    Concluded,
    ForgetRecord,
    Kind,
    Login,
    Registration,
    SaveRecord,
    SendRegister,
    Target,
)

MAX_FRESH_ANSWERS = 3
"""Challenges and 423s answered in one attempt, beside the pace: proxy and registrar may both ask,
and nonces go stale."""
UNREGISTER_TRIES = 3
BACKOFF_BASE_S, BACKOFF_MAX_S = 4.0, 300.0
MAX_RETRY_AFTER_S = 3600.0
MAX_MIN_EXPIRES_S = 86_400
FETCH_EVERY_S = 1800.0
EARLIEST_REFRESH, LATEST_REFRESH = 0.75, 0.85
"""Parts of the granted expiry after which it is refreshed: early enough for a retry."""
RESTART_CSEQ_GAP = 32
_SAVE_CSEQ_EVERY = 16
PERMANENT = frozenset({403, 404})


Step = tuple[Registration, tuple[Action, ...]]


def restored(
    record: RegistrationRecord,
    target: Target | None,
    *,
    now: Instant,
    chance: Chance,
    shared: bool = False,
) -> Registration:
    """As it was before a restart, or at another node: the same Call-ID, a CSeq beyond any used.

    ``shared``: another node may go on in our place.

    ``target``: what the account would register, so that it can be unregistered if need be. When
    that is what the PBX has, nothing is sent before the refresh is due: a restart with many
    accounts must not make the PBX register all of them again.
    """
    alive = record.expires_at > now
    ours = target.contact if target else ""
    leftovers = tuple(c for c in record.leftovers if c not in {ours, record.contact})
    state = Registration(
        account=record.account,
        target=target,
        call_id=record.call_id,
        cseq=record.cseq + RESTART_CSEQ_GAP,
        saved_cseq=record.cseq,
        bound=record.contact if alive else None,
        leftovers=leftovers if alive else (),
        expires_at=record.expires_at if alive else None,
        known=(record.contact, *record.leftovers) if shared else None,
    )
    # Further away than was granted it says that the clock was set back: it would never come.
    latest = now + (record.granted_s or MAX_MIN_EXPIRES_S)
    if target is None or not (alive and now < record.refresh_at <= latest):
        return state
    if (record.contact, record.registrar) != (target.contact, target.registrar) or leftovers:
        return state
    return replace(
        state,
        wanted=True,
        refresh_at=record.refresh_at,
        fetch_at=_next_fetch(now, chance),
        proved=True,
        granted_s=record.granted_s,
        listed_as=record.listed_as or record.contact,
        listed=record.listed_as is not None,
        service_route=record.service_route,
    )


def want(state: Registration, target: Target | None, *, now: Instant) -> Step:
    """Register ``target``, or (None) be registered no more."""
    if target is None:
        return _unwant(state, now)
    if state.wanted and state.target == target:
        return state, ()
    leftovers, bound = state.leftovers, state.bound
    if bound is not None and bound != target.contact:
        leftovers, bound = (*leftovers, bound), None
    if bound is None and target.contact in leftovers:
        bound = target.contact  # changed to and fro before anything was sent
    same_login = state.target is not None and (
        (state.target.user, state.target.credentials) == (target.user, target.credentials)
    )
    return replace(
        state,
        target=target,
        wanted=True,
        bound=bound,
        leftovers=tuple(dict.fromkeys(c for c in leftovers if c != target.contact)),
        proved=state.proved and same_login,
        www=state.www if same_login else None,
        proxy=state.proxy if same_login else None,
        rejected=False,
        failures=0,
        refresh_at=now,
    ), ()


def due(state: Registration, *, now: Instant, chance: Chance) -> Step:
    """Its time has come, and the PBX's pace allows it."""
    if state.due_at is None or now < state.due_at:
        return state, ()
    if state.doing is not None:
        lost = Answer(status=408, reason="No answer from the SIP stack", local=True)
        return answered(state, lost, now=now, chance=chance)
    if not state.wanted:
        kind = Kind.UNREGISTER
    elif state.refresh_at is not None and state.refresh_at <= now:
        kind = Kind.REGISTER
    else:
        kind = Kind.FETCH
    return _send(replace(state, fresh_answers=0), kind, now=now, chance=chance)


def renew(state: Registration, *, now: Instant, lost: bool) -> Step:
    """Register again as soon as the pace allows: the PBX is back, or calls cannot reach us.

    ``lost``: it has none of our Contacts any more. A rejected account stays as it is.
    """
    if not state.wanted or state.rejected:
        return state, ()
    state = replace(state, refresh_at=now, failures=0)
    if not lost or state.bound is None:
        return state, ()
    # Kept, a restart before its turn would believe that the PBX has it.
    lost_all = replace(state, bound=None, expires_at=None, known=_nothing(state))
    return lost_all, (ForgetRecord(),)


def recorded(state: Registration) -> tuple[Action, ...]:
    """The record as it should be kept now; nothing while there is nothing at the PBX."""
    return (_record(state),) if state.bound is not None else ()


def check(state: Registration, *, now: Instant) -> Step:
    """Ask the PBX whether it still has our Contact, by a REGISTER without one."""
    if not state.wanted or state.bound is None or state.doing is not None:
        return state, ()
    return replace(state, fetch_at=now), ()


def answered(
    state: Registration, answer: Answer, *, now: Instant, chance: Chance, elsewhere: bool = False
) -> Step:
    """The PBX answered what is in flight, or our stack did for it (``answer.local``).

    ``elsewhere``: it has another server that is worth asking at once (RFC 3263 §4.3).
    """
    kind = state.doing
    if kind is None:
        return state, ()
    state = replace(
        state,
        doing=None,
        last_status=answer.status,
        last_reason=answer.reason,
        last_at=now,
        last_local=answer.local,
    )
    if answer.status in (401, 407) and not answer.local:
        return _challenged(state, kind, answer, now=now, chance=chance)
    if answer.status == 423 and kind is Kind.REGISTER:
        wanted_s = answer.min_expires_s or 0
        if asked_s(state) < wanted_s <= MAX_MIN_EXPIRES_S:
            state = replace(state, min_expires_s=wanted_s)
            if state.fresh_answers < MAX_FRESH_ANSWERS:
                longer = replace(state, fresh_answers=state.fresh_answers + 1)
                return _send(longer, kind, now=now, chance=chance)
    if 200 <= answer.status < 300:
        return _accepted(state, kind, answer, now=now, chance=chance)
    if elsewhere and kind is Kind.REGISTER and state.wanted and is_server_failure(answer):
        return _go_elsewhere(state, answer, now=now)
    return _failed(state, kind, answer, now=now, chance=chance)


def is_server_failure(answer: Answer) -> bool:
    """Whether it speaks of the server asked and not of the registration (RFC 3263 §4.3)."""
    return answer.status == 503 or (answer.local and answer.status == 408)


def _unwant(state: Registration, now: Instant) -> Step:
    at_work = state.doing is not None or state.refresh_at is not None
    if not state.wanted and (at_work or not (state.bound or state.leftovers)):
        return state, ()
    state = replace(state, wanted=False, failures=0, rejected=False, fetch_at=None)
    if state.doing is not None:
        return state, ()
    if state.target is None or not (state.bound or state.leftovers):
        return _off(state)
    return replace(state, refresh_at=now), ()


def _off(state: Registration) -> Step:
    off = replace(
        state,
        refresh_at=None,
        fetch_at=None,
        bound=None,
        leftovers=(),
        expires_at=None,
        granted_s=None,
        service_route=(),
        others=(),
        failures=0,
        known=_nothing(state),
    )
    return off, (ForgetRecord(),)


def _nothing(state: Registration) -> tuple[str, ...] | None:
    """What is known of a registration whose record is forgotten."""
    return None if state.known is None else ()


def _send(state: Registration, kind: Kind, *, now: Instant, chance: Chance) -> Step:
    target = state.target
    if target is None:
        return state, ()
    call_id = state.call_id or chance.text
    cseq = state.cseq + 1
    headers, www, proxy = login_headers(state, target, chance)
    state = replace(
        state,
        call_id=call_id,
        cseq=cseq,
        doing=kind,
        sent=target,
        sent_at=now,
        www=www,
        proxy=proxy,
    )
    actions: list[Action] = []
    first: RegistrationRecord | None = None
    told = (target.contact, *state.leftovers)
    if kind is Kind.REGISTER and state.known is not None and not {*told} <= {*state.known}:
        state = replace(state, known=told, saved_cseq=cseq)
        first = _intended(state, target, now)
    elif cseq - state.saved_cseq >= _SAVE_CSEQ_EVERY and state.bound is not None:
        state = replace(state, saved_cseq=cseq)
        actions.append(_record(state))
    headers = (*contact_headers(state, target, kind), *headers)
    actions.append(
        SendRegister(
            kind=kind, target=target, call_id=call_id, cseq=cseq, headers=headers, first=first
        )
    )
    return state, tuple(actions)


def _challenged(
    state: Registration, kind: Kind, answer: Answer, *, now: Instant, chance: Chance
) -> Step:
    target = state.target
    if target is None:
        return state, ()
    www = answer.status == 401
    values = answer.www if www else answer.proxy
    challenge = choose_challenge(values, target.credentials, user=target.user)
    if challenge is None:
        return _refused(
            state, kind, "no_credentials", "No secret for the realm and algorithms offered", now=now
        )
    before = state.www if www else state.proxy
    # A cached nonce that is turned down proves nothing; a fresh challenge answered in this
    # attempt and asked again without "stale" means that the secret is wrong.
    answered_fresh = state.fresh_answers > 0 and before is not None and before.uses == 1
    if answered_fresh and state.sent == target and not challenge.stale:
        if state.proved:
            # Restarted in between, a PBX does not know its own challenge any more.
            state = replace(state, proved=False, www=None, proxy=None)
            return _failed(state, kind, answer, now=now, chance=chance)
        return _refused(state, kind, "wrong_password", "Password not accepted", now=now)
    if state.fresh_answers >= MAX_FRESH_ANSWERS:
        return _failed(state, kind, answer, now=now, chance=chance)
    login = Login(challenge, 0)
    state = replace(
        state,
        www=login if www else state.www,
        proxy=state.proxy if www else login,
        fresh_answers=state.fresh_answers + 1,
    )
    if kind is Kind.REGISTER and not state.wanted:
        return _unwant(replace(state, wanted=True), now)
    return _send(state, kind, now=now, chance=chance)


def _accepted(
    state: Registration, kind: Kind, answer: Answer, *, now: Instant, chance: Chance
) -> Step:
    if kind is Kind.UNREGISTER:
        off, forget = _off(state)
        if state.wanted:
            return replace(off, refresh_at=now), (*forget, Concluded("unregistered"))
        return off, (*forget, Concluded("unregistered"))
    sent = state.sent
    if sent is None:
        return state, ()
    known = state.listed_as
    own, others = own_and_others(answer.contacts, sent.contact, listed_as=known)
    if own is None and kind is Kind.REGISTER:
        own, others = own_and_others(answer.contacts, sent.contact, listed_as=None)
    state = replace(state, others=others, failures=0, rejected=False, proved=True)
    fetch_at = _next_fetch(now, chance)
    if kind is Kind.FETCH:
        state = replace(state, fetch_at=fetch_at)
        if own is None and state.listed:
            # Thrown out: another phone took the only place, or the PBX lost its memory.
            state = replace(
                state,
                evictions=state.evictions + 1,
                bound=None,
                expires_at=None,
                refresh_at=now,
                known=_nothing(state),
            )
            return _after(state, now), (ForgetRecord(), Concluded("evicted"))
        return _after(state, now), (Concluded("fetched"),)
    granted = answer.expires_s if own is None or own.expires_s is None else own.expires_s
    granted = granted or asked_s(state)
    state = replace(
        state,
        bound=sent.contact,
        listed_as=sent.contact if own is None else own.uri,
        # A PBX that does not list us at all must not be believed when it does not list us.
        listed=own is not None,
        service_route=answer.service_route,
        leftovers=(),
        granted_s=granted,
        expires_at=Instant(now + granted),
        refresh_at=Instant(now + granted * _refresh_part(chance)),
        # This answer lists what is bound, as a fetch would.
        fetch_at=fetch_at,
        unlisted=own is None and bool(answer.contacts),
        saved_cseq=state.cseq,
        known=None if state.known is None else (sent.contact,),
    )
    record = _record(state)
    return _after(state, now), (record, Concluded("registered"))


def _next_fetch(now: Instant, chance: Chance) -> Instant:
    return Instant(now + FETCH_EVERY_S * (0.75 + 0.5 * chance.unit))


def _refresh_part(chance: Chance) -> float:
    return EARLIEST_REFRESH + (LATEST_REFRESH - EARLIEST_REFRESH) * chance.unit


def _after(state: Registration, now: Instant) -> Registration:
    """What was wanted may have changed while the request was on its way."""
    if not state.wanted:
        return replace(state, refresh_at=now, fetch_at=None)
    if state.target is not None and state.sent != state.target:
        stale = state.bound is not None and state.bound != state.target.contact
        leftovers = (*state.leftovers, state.bound) if stale and state.bound else state.leftovers
        return replace(
            state, refresh_at=now, leftovers=leftovers, bound=None if stale else state.bound
        )
    return state


def _failed(
    state: Registration, kind: Kind, answer: Answer, *, now: Instant, chance: Chance
) -> Step:
    result = _result(answer)
    if kind is Kind.REGISTER:
        state = _maybe_bound(state, answer)
    failures = state.failures + 1
    delay = min(BACKOFF_MAX_S, BACKOFF_BASE_S * 2.0 ** min(failures - 1, 12))
    delay *= 0.5 + 0.5 * chance.unit
    if answer.retry_after_s is not None:
        delay = max(delay, min(float(answer.retry_after_s), MAX_RETRY_AFTER_S))
    if kind is Kind.UNREGISTER:
        if state.wanted:
            return replace(state, refresh_at=now), (Concluded(result),)
        if failures >= UNREGISTER_TRIES:
            off, forget = _off(state)
            return off, (*forget, Concluded(result))
        return replace(state, failures=failures, refresh_at=Instant(now + delay)), (
            Concluded(result),
        )
    if not state.wanted:
        state, actions = _unwant(replace(state, wanted=True), now)
        return state, (*actions, Concluded(result))
    if kind is Kind.FETCH:
        # Silence says that the PBX may be gone: make sure soon; else try again in a while.
        state = replace(state, fetch_at=Instant(now + FETCH_EVERY_S))
        if answer.local and state.refresh_at is not None:
            state = replace(state, refresh_at=min(state.refresh_at, Instant(now + delay)))
        return _after(state, now), (Concluded(result),)
    if state.sent != state.target:
        return replace(state, refresh_at=now), (Concluded(result),)
    if answer.status in PERMANENT and not answer.local:
        if state.leftovers:
            # It may be the removal that the PBX does not take: once more without it.
            return replace(state, leftovers=(), refresh_at=now), (Concluded(result),)
        return _refused(state, kind, result, answer.reason, now=now)
    return replace(state, failures=failures, refresh_at=Instant(now + delay)), (Concluded(result),)


def _go_elsewhere(state: Registration, answer: Answer, *, now: Instant) -> Step:
    """The same at another server: no failure of ours, so no back-off, only the pace.

    That server has challenges of its own: what this one thought of our answer says nothing.
    """
    state = replace(_maybe_bound(state, answer), refresh_at=now, www=None, proxy=None)
    return state, (Concluded(_result(answer)),)


def _result(answer: Answer) -> str:
    return "timeout" if answer.local and answer.status == 408 else str(answer.status)


def _maybe_bound(state: Registration, answer: Answer) -> Registration:
    """A REGISTER without an answer may have been carried out: to be removed in the end."""
    if not (answer.local and answer.left) or state.sent is None or state.target is None:
        return state
    if state.sent.contact == state.target.contact:
        return replace(state, bound=state.bound or state.sent.contact)
    leftovers = dict.fromkeys((*state.leftovers, state.sent.contact))
    return replace(state, leftovers=tuple(leftovers))


def _refused(state: Registration, kind: Kind, result: str, reason: str, *, now: Instant) -> Step:
    """For good: nothing is tried until the account changes."""
    state = replace(state, www=None, proxy=None)
    if not state.wanted:
        off, forget = _off(state)
        return off, (*forget, Concluded(result))
    if state.sent != state.target or kind is Kind.UNREGISTER:
        return replace(state, refresh_at=now), (Concluded(result),)
    return replace(
        state,
        rejected=True,
        refresh_at=None,
        fetch_at=None,
        bound=None,
        expires_at=None,
        granted_s=None,
        last_reason=reason or state.last_reason,
        failures=state.failures + 1,
    ), (Concluded(result),)


def _record(state: Registration) -> SaveRecord:
    return SaveRecord(
        RegistrationRecord(
            account=state.account,
            call_id=state.call_id,
            cseq=state.cseq,
            contact=state.bound or "",
            expires_at=state.expires_at or Instant(0.0),
            registrar=state.sent.registrar if state.sent else "",
            refresh_at=state.refresh_at or Instant(0.0),
            granted_s=state.granted_s,
            listed_as=state.listed_as if state.listed else None,
            service_route=state.service_route,
            leftovers=state.leftovers,
        )
    )


def _intended(state: Registration, target: Target, now: Instant) -> RegistrationRecord:
    """What may be at the PBX once this REGISTER has left; it counts as due at once."""
    return RegistrationRecord(
        account=state.account,
        call_id=state.call_id,
        cseq=state.cseq,
        contact=target.contact,
        expires_at=Instant(max(now + asked_s(state), state.expires_at or now)),
        registrar=target.registrar,
        leftovers=state.leftovers,
    )
