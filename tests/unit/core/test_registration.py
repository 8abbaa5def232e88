"""core.registration: the call flows of one account's registration at its PBX."""

from dataclasses import replace

import pytest

from push_proxy.core import registration
from push_proxy.core.ids import AccountKey, Instant
from push_proxy.core.model import Algorithm, Credentials, RegistrationRecord
from push_proxy.core.registration_answer import Answer, Listed, own_and_others
from push_proxy.core.registration_state import (
    Action,
    Chance,
    Concluded,
    ForgetRecord,
    Kind,
    Registration,
    SaveRecord,
    SendRegister,
    Target,
)
from push_proxy.core.registration_status import RegistrationState
from push_proxy.core.registration_target import state_of, status_of

KEY = AccountKey("t/a")
TARGET = Target(
    account=KEY,
    aor="sip:101@pbx",
    registrar="sip:pbx:5070",
    contact="sip:101@10.0.0.7:5060;pp=tok",
    user="101",
    credentials=Credentials(password="secret"),
    expires_s=600,
)
CHANCE = Chance(unit=0.5, text="0123456789abcdef")
MD5 = 'Digest realm="pbx", nonce="n1", algorithm=MD5, qop="auth"'
SHA256 = 'Digest realm="pbx", nonce="n1", algorithm=SHA-256, qop="auth"'
OURS = Listed(TARGET.contact, 600)


class Account:
    """One machine, driven like the runtime drives it."""

    def __init__(self, state: Registration | None = None) -> None:
        self.state = state or Registration(account=KEY)
        self.now = Instant(1_000_000.0)
        self.actions: list[Action] = []

    def _take(self, step: registration.Step) -> list[Action]:
        self.state, actions = step
        self.actions.extend(actions)
        return list(actions)

    def want(self, target: Target | None = TARGET) -> list[Action]:
        return self._take(registration.want(self.state, target, now=self.now))

    def wait(self, seconds: float | None = None) -> list[Action]:
        """Until it is due (or some seconds), then let it go."""
        if seconds is None:
            assert self.state.due_at is not None
            self.now = max(self.now, self.state.due_at)
        else:
            self.now = Instant(self.now + seconds)
        return self._take(registration.due(self.state, now=self.now, chance=CHANCE))

    def answer(self, status: int, **more: object) -> list[Action]:
        answer = Answer(status=status, reason=f"R{status}", **more)  # type: ignore[arg-type]
        return self._take(registration.answered(self.state, answer, now=self.now, chance=CHANCE))

    def elsewhere(self, status: int, **more: object) -> list[Action]:
        answer = Answer(status=status, reason=f"R{status}", **more)  # type: ignore[arg-type]
        return self._take(
            registration.answered(self.state, answer, now=self.now, chance=CHANCE, elsewhere=True)
        )

    def registered(self, **more: object) -> "Account":
        self.want()
        self.wait()
        self.answer(200, **({"contacts": (OURS,)} | more))
        return self

    @property
    def public(self) -> RegistrationState:
        return state_of(self.state, self.now)


def sent(actions: list[Action]) -> SendRegister:
    (found,) = [action for action in actions if isinstance(action, SendRegister)]
    return found


def header(action: SendRegister, name: str) -> list[str]:
    return [value for key, value in action.headers if key == name]


def results(actions: list[Action]) -> list[str]:
    return [action.result for action in actions if isinstance(action, Concluded)]


def test_digest_and_refresh() -> None:
    """REGISTER, 401, answer, 200; the refresh uses the nonce again with its count."""
    account = Account()
    assert account.want() == []
    assert account.public is RegistrationState.PENDING
    first = sent(account.wait())
    assert first.kind is Kind.REGISTER
    assert header(first, "Contact") == ["<sip:101@10.0.0.7:5060;pp=tok>;expires=600"]
    assert header(first, "Authorization") == []
    second = sent(account.answer(401, www=(MD5, SHA256)))
    assert (second.call_id, second.cseq) == (first.call_id, first.cseq + 1)
    assert "algorithm=SHA-256" in header(second, "Authorization")[0]
    assert "nc=00000001" in header(second, "Authorization")[0]
    done = account.answer(200, contacts=(OURS,))
    (record,) = [a.record for a in done if isinstance(a, SaveRecord)]
    assert (record.cseq, record.contact) == (second.cseq, TARGET.contact)
    assert record.expires_at == account.now + 600
    assert account.public is RegistrationState.REGISTERED
    assert results(done) == ["registered"]
    assert account.state.refresh_at == account.now + 480
    refresh = sent(account.wait())
    assert refresh.cseq == second.cseq + 1
    assert "nc=00000002" in header(refresh, "Authorization")[0]


def test_a_nonce_that_went_stale_is_replaced() -> None:
    """401 to a remembered nonce, with or without stale=true, is answered once more."""
    for stale in ("", ", stale=true"):
        account = Account().registered()
        account.wait()
        account.answer(401, www=(MD5,))
        account.answer(200, contacts=(OURS,))
        account.wait()
        again = sent(account.answer(401, www=(MD5.replace("n1", "n2") + stale,)))
        assert 'nonce="n2"' in header(again, "Authorization")[0]
        assert results(account.answer(200, contacts=(OURS,))) == ["registered"]


def test_a_wrong_password_stops() -> None:
    """401 again after a fresh challenge was answered: rejected until the account changes."""
    account = Account()
    account.want()
    account.wait()
    account.answer(401, www=(MD5,))
    assert results(account.answer(401, www=(MD5.replace("n1", "n2"),))) == ["wrong_password"]
    assert account.public is RegistrationState.REJECTED
    assert account.state.due_at is None
    assert "credentials" in status_of(account.state, account.now).advice
    assert account.want() == []
    assert account.state.due_at is None
    account.want(replace(TARGET, credentials=Credentials(password="right")))
    assert account.public is RegistrationState.PENDING
    assert header(sent(account.wait()), "Authorization") == []


def test_stale_answers_are_repeated_but_not_for_ever() -> None:
    """stale=true on every answer ends in back-off, not in a loop and not in a rejection."""
    account = Account()
    account.want()
    account.wait()
    for n in range(3):
        sent(account.answer(401, www=(MD5.replace("n1", f"n{n}") + ", stale=true",)))
    assert results(account.answer(401, www=(MD5 + ", stale=true",))) == ["401"]
    assert account.public is RegistrationState.RETRYING


def test_proxy_and_registrar_may_both_ask() -> None:
    """407 then 401: both are answered in one request."""
    account = Account()
    account.want()
    account.wait()
    account.answer(407, proxy=(MD5.replace("pbx", "edge"),))
    both = sent(account.answer(401, www=(MD5,)))
    assert len(header(both, "Authorization")) == len(header(both, "Proxy-Authorization")) == 1


def test_no_secret_for_what_is_offered_stops() -> None:
    """An HA1 for another algorithm or realm: rejected at once, nothing sent in vain."""
    account = Account()
    ha1 = Credentials(ha1={Algorithm.MD5: "a" * 32}, realm="other")
    account.want(replace(TARGET, credentials=ha1))
    account.wait()
    assert results(account.answer(401, www=(MD5,))) == ["no_credentials"]
    assert account.public is RegistrationState.REJECTED


@pytest.mark.parametrize("status", [403, 404])
def test_permanent_rejections(status: int) -> None:
    """403 and 404 stop and show."""
    account = Account()
    account.want()
    account.wait()
    assert results(account.answer(status)) == [str(status)]
    shown = status_of(account.state, account.now)
    assert (shown.state, shown.last_status) == (RegistrationState.REJECTED, status)
    assert shown.advice


def test_advice_for_a_refused_connection_is_to_look_at_the_pbx() -> None:
    """Its name resolves and the network is up: nothing listens there."""
    account = Account()
    account.want()
    account.wait()
    refused = Answer(status=503, reason="Connection refused", local=True)
    account.state, _ = registration.answered(account.state, refused, now=account.now, chance=CHANCE)
    assert status_of(account.state, account.now).advice.startswith("Nothing listens at the reg")


@pytest.mark.parametrize("status", [408, 480, 500, 503, 600])
def test_failures_are_retried_slower_and_slower(status: int) -> None:
    """Back-off doubles, jittered, up to five minutes."""
    account = Account()
    account.want()
    delays = []
    for _ in range(9):
        account.wait()
        account.answer(status, local=status == 408)
        assert account.public is RegistrationState.RETRYING
        assert account.state.due_at is not None
        delays.append(account.state.due_at - account.now)
    assert delays == [3, 6, 12, 24, 48, 96, 192, 225, 225]


def test_retry_after_is_obeyed() -> None:
    """503 with Retry-After; an absurd one is cut at an hour."""
    account = Account()
    account.want()
    account.wait()
    account.answer(503, retry_after_s=120)
    assert account.state.due_at == account.now + 120
    account.wait()
    account.answer(503, retry_after_s=10**9)
    assert account.state.due_at == account.now + 3600


def test_too_brief_is_asked_longer() -> None:
    """423: Min-Expires at once, and remembered."""
    account = Account()
    account.want()
    account.wait()
    again = sent(account.answer(423, min_expires_s=900))
    assert header(again, "Expires") == ["900"]
    account.answer(200, contacts=(Listed(TARGET.contact, 900),))
    assert header(sent(account.wait()), "Expires") == ["900"]
    account.answer(423, min_expires_s=800)
    assert account.state.doing is None


def test_a_pbx_that_asks_for_longer_and_longer_has_to_wait() -> None:
    """A second more each time must not become REGISTERs without pace and end."""
    account = Account()
    account.want()
    account.wait()
    for longer in range(20):
        account.answer(423, min_expires_s=900 + longer)
        if account.state.doing is None:
            break
    assert account.state.failures == 1
    assert account.state.due_at is not None
    assert account.state.due_at > account.now
    assert header(sent(account.wait()), "Expires") == [str(900 + longer)]


def test_granted_expiry_is_our_own_contacts() -> None:
    """Not the first Contact's, not the header's."""
    account = Account().registered(
        contacts=(Listed("sip:101@192.0.2.1:5060", 3600), Listed(TARGET.contact, 299)),
        expires_s=3600,
    )
    shown = status_of(account.state, account.now)
    assert (shown.granted_s, shown.expires_at) == (299, account.now + 299)
    assert shown.other_contacts == ("sip:101@192.0.2.1:5060",)
    assert "Other phones" in shown.advice


@pytest.mark.parametrize(
    ("listed", "known", "own"),
    [
        (("sip:x@y;pp=tok",), None, 0),
        (("sip:101@192.0.2.9:5060", "sip:101@10.0.0.7:5060"), None, 1),
        (("sip:101@203.0.113.5:40000;ob",), None, 0),
        (("sip:101@203.0.113.5:40000;ob",), "sip:101@203.0.113.5:40000", 0),
        (("sip:101@192.0.2.9",), "sip:101@203.0.113.5:40000", None),
        (("sip:101@10.0.0.7:5060;pp=another",), None, None),
        (("sip:101@192.0.2.9", "sip:101@192.0.2.8"), None, None),
        (("tel:101",), None, None),
        ((), None, None),
    ],
)
def test_which_contact_is_ours(listed: tuple[str, ...], known: str | None, own: int | None) -> None:
    """By token, else by address, else as it was listed before, else by a lone user part."""
    contacts = tuple(Listed(uri, 60) for uri in listed)
    found, others = own_and_others(contacts, TARGET.contact, listed_as=known)
    assert found == (None if own is None else contacts[own])
    assert len(others) == len(listed) - (own is not None)


def test_an_identical_target_sends_nothing() -> None:
    """A PUT without change: no action, no new due time."""
    account = Account().registered()
    before = account.state
    assert account.want(replace(TARGET)) == []
    assert account.state == before


def test_unregistering() -> None:
    """Not wanted: Contact with expires 0, then nothing is left."""
    account = Account().registered()
    account.want(None)
    gone = sent(account.wait())
    assert gone.kind is Kind.UNREGISTER
    assert header(gone, "Contact") == ["<sip:101@10.0.0.7:5060;pp=tok>;expires=0"]
    done = account.answer(200)
    assert ForgetRecord() in done
    assert account.state.idle
    assert account.public is RegistrationState.UNUSED


def test_unregistering_gives_up() -> None:
    """A dead PBX is asked three times."""
    account = Account().registered()
    account.want(None)
    for _ in range(3):
        assert sent(account.wait()).kind is Kind.UNREGISTER
        account.answer(408, local=True)
    assert account.state.idle


def test_unwanted_while_registering() -> None:
    """The REGISTER on its way is answered first; then it is undone."""
    account = Account()
    account.want()
    account.wait()
    account.want(None)
    assert account.state.due_at == account.now + 64
    account.answer(401, www=(MD5,))
    assert account.state.idle
    account.want()
    account.wait()
    account.want(None)
    account.answer(200, contacts=(OURS,))
    assert sent(account.wait()).kind is Kind.UNREGISTER


def test_wanted_again_while_unregistering() -> None:
    """The last wish counts."""
    account = Account().registered()
    account.want(None)
    account.wait()
    account.want()
    account.answer(200)
    assert sent(account.wait()).kind is Kind.REGISTER


def test_changed_while_in_flight() -> None:
    """A new password during a REGISTER: the answer to the old one stops nothing."""
    account = Account()
    account.want()
    account.wait()
    account.want(replace(TARGET, credentials=Credentials(password="new")))
    account.answer(403)
    assert account.public is not RegistrationState.REJECTED
    assert sent(account.wait()).kind is Kind.REGISTER


def test_a_restart_refreshes() -> None:
    """Same Call-ID, higher CSeq than any used, the new Contact with the old one removed."""
    now = Instant(1_000_000.0)
    record = RegistrationRecord(
        account=KEY, call_id="kept", cseq=40, contact="sip:101@old:5060;pp=tok",
        expires_at=Instant(now + 300),
    )  # fmt: skip
    account = Account(registration.restored(record, None, now=now, chance=CHANCE))
    account.want()
    request = sent(account.wait())
    assert request.call_id == "kept"
    assert request.cseq > 40 + 16
    assert header(request, "Contact") == [
        "<sip:101@old:5060;pp=tok>;expires=0",
        "<sip:101@10.0.0.7:5060;pp=tok>;expires=600",
    ]
    account.answer(200, contacts=(OURS,))
    assert header(sent(account.wait()), "Contact") == ["<sip:101@10.0.0.7:5060;pp=tok>;expires=600"]


@pytest.mark.parametrize("kind", [Kind.REGISTER, Kind.FETCH])
def test_a_pbx_that_restarts_between_challenge_and_answer_is_asked_again(kind: Kind) -> None:
    """It does not know its own nonce any more: what it accepted before is no wrong password. When
    it refuses once more, it is.
    """
    account = Account().registered()
    if kind is Kind.FETCH:
        account._take(registration.check(account.state, now=account.now))
    assert sent(account.wait()).kind is kind
    sent(account.answer(401, www=(MD5,)))
    assert results(account.answer(401, www=(MD5.replace("n1", "n2"),))) == ["401"]
    assert account.public is RegistrationState.REGISTERED
    assert sent(account.wait()).kind is Kind.REGISTER
    sent(account.answer(401, www=(MD5.replace("n1", "n3"),)))
    assert results(account.answer(401, www=(MD5.replace("n1", "n4"),))) == ["wrong_password"]
    assert account.public is RegistrationState.REJECTED


def test_a_new_password_has_to_prove_itself() -> None:
    """What the former one was worth says nothing: refused, it is not tried again."""
    account = Account().registered()
    account.want(replace(TARGET, credentials=Credentials(password="other")))
    account.wait()
    sent(account.answer(401, www=(MD5,)))
    assert results(account.answer(401, www=(MD5.replace("n1", "n2"),))) == ["wrong_password"]


def test_a_restart_goes_on_with_what_the_pbx_has() -> None:
    """Nothing is sent before the refresh is due; then the same Call-ID and a higher CSeq."""
    before = Account().registered()
    (record,) = [a.record for a in before.actions if isinstance(a, SaveRecord)]
    now = Instant(before.now + 100)
    account = Account(registration.restored(record, TARGET, now=now, chance=CHANCE))
    account.now = now
    assert account.want() == []
    assert account.public is RegistrationState.REGISTERED
    assert status_of(account.state, now).granted_s == 600
    assert account.state.due_at == before.state.refresh_at
    request = sent(account.wait())
    assert request.kind is Kind.REGISTER
    assert (request.call_id, request.cseq > record.cseq + 16) == (record.call_id, True)


@pytest.mark.parametrize(
    "change",
    [
        {"contact": "sip:101@10.0.0.8:5060;pp=tok"},
        {"registrar": "sip:other:5070"},
    ],
)
def test_a_restart_with_another_address_registers_at_once(change: dict[str, str]) -> None:
    """What the PBX has is of no use where our Contact or the registrar is another."""
    before = Account().registered()
    (record,) = [a.record for a in before.actions if isinstance(a, SaveRecord)]
    target = replace(TARGET, **change)  # type: ignore[arg-type]
    restored = registration.restored(record, target, now=before.now, chance=CHANCE)
    account = Account(restored)
    account.want(target)
    assert sent(account.wait(0)).kind is Kind.REGISTER


def test_a_clock_that_was_set_back_while_we_were_down() -> None:
    """A refresh further away than was granted is not believed: it would never come."""
    before = Account().registered()
    (record,) = [a.record for a in before.actions if isinstance(a, SaveRecord)]
    now = Instant(before.now - 1_000_000)
    account = Account(registration.restored(record, TARGET, now=now, chance=CHANCE))
    account.now = now
    account.want()
    assert sent(account.wait(0)).kind is Kind.REGISTER


def test_a_service_route_ends_with_its_registration() -> None:
    """RFC 3608: it is the route of a registered user."""
    account = Account()
    account.want()
    account.wait(0)
    account.answer(200, contacts=(OURS,), service_route=("<sip:edge;lr>",))
    assert account.state.service_route
    account.want(None)
    account.wait(0)
    account.answer(200)
    assert account.state.service_route == ()


@pytest.mark.parametrize("how", ["renewed", "evicted"])
def test_what_the_pbx_has_lost_is_not_believed_after_a_restart(how: str) -> None:
    """The record goes as soon as the loss is known, not when the new REGISTER is answered."""
    account = Account().registered()
    if how == "renewed":
        step = registration.renew(account.state, now=account.now, lost=True)
        assert ForgetRecord() in step[1]
        assert ForgetRecord() not in registration.renew(step[0], now=account.now, lost=True)[1]
        return
    account._take(registration.check(account.state, now=account.now))
    account.wait(0)
    assert ForgetRecord() in account.answer(200)


def test_a_restart_of_an_unwanted_registration_removes_it() -> None:
    """Disabled while we were down: what the PBX still has goes away."""
    now = Instant(1_000_000.0)
    record = RegistrationRecord(
        account=KEY, call_id="kept", cseq=40, contact=TARGET.contact, expires_at=Instant(now + 300)
    )
    account = Account(registration.restored(record, TARGET, now=now, chance=CHANCE))
    account.want(None)
    assert sent(account.wait()).kind is Kind.UNREGISTER


def test_a_removal_that_the_pbx_refuses_is_left_out() -> None:
    """403 to old-out-new-in: once more with the new Contact alone."""
    account = Account().registered()
    account.want(replace(TARGET, contact="sip:101@10.0.0.8:5060;pp=tok"))
    assert len(header(sent(account.wait()), "Contact")) == 2
    account.answer(403)
    assert header(sent(account.wait()), "Contact") == ["<sip:101@10.0.0.8:5060;pp=tok>;expires=600"]
    account.answer(403)
    assert account.public is RegistrationState.REJECTED


def test_changed_to_and_fro() -> None:
    """Another Contact and back before anything was sent: the first one is still known."""
    account = Account().registered()
    account.want(replace(TARGET, contact="sip:101@10.0.0.8:5060;pp=tok"))
    account.want(TARGET)
    assert account.public is RegistrationState.REGISTERED
    account.want(None)
    assert sent(account.wait()).kind is Kind.UNREGISTER


def test_an_eviction_is_noticed_by_a_fetch_and_mended() -> None:
    """REGISTER without Contact; our absence is counted and we register again at once."""
    account = Account().registered(expires_s=7200, contacts=(Listed(TARGET.contact, 7200),))
    fetch = sent(account.wait())
    assert fetch.kind is Kind.FETCH
    assert header(fetch, "Contact") == []
    foreign = Listed("sip:101@192.0.2.9:5060", 60)
    assert results(account.answer(200, contacts=(foreign,))) == ["evicted"]
    shown = status_of(account.state, account.now)
    assert (shown.evictions, shown.other_contacts) == (1, ("sip:101@192.0.2.9:5060",))
    assert sent(account.wait()).kind is Kind.REGISTER
    account.answer(200, contacts=(OURS, foreign))
    assert "dropped our Contact" in status_of(account.state, account.now).advice


def test_a_fetch_that_fails_changes_nothing() -> None:
    """Some PBXs do not answer it; silence brings the refresh forward."""
    account = Account().registered(contacts=(Listed(TARGET.contact, 7200),))
    account.wait()
    account.answer(500)
    assert account.public is RegistrationState.REGISTERED
    account.wait()
    account.answer(408, local=True)
    assert account.state.refresh_at is not None
    assert account.state.refresh_at <= account.now + 5


def test_failing_refreshes_stay_registered_until_expiry() -> None:
    """The status follows what the PBX granted."""
    account = Account().registered()
    account.wait()
    account.answer(503)
    assert account.public is RegistrationState.REGISTERED
    account.now = Instant(account.now + 200)
    assert account.public is RegistrationState.RETRYING


def test_a_lost_answer_is_not_waited_for_for_ever() -> None:
    """After 64 s it counts as silence."""
    account = Account()
    account.want()
    account.wait()
    assert account.wait(63) == []
    assert results(account.wait(1)) == ["timeout"]
    assert account.public is RegistrationState.RETRYING


def test_another_server_is_asked_at_once() -> None:
    """408 or 503 where another server is well: due at once, no back-off, no failure of ours; its
    own challenge is answered, whatever the first thought of our answer.
    """
    for status, local in ((408, True), (503, True), (503, False)):
        account = Account()
        account.want()
        account.wait()
        account.answer(401, www=(MD5,))
        assert results(account.elsewhere(status, local=local)) == [
            "timeout" if status == 408 else "503"
        ]
        assert (account.state.due_at, account.state.failures) == (account.now, 0)
        again = sent(account.wait())
        assert header(again, "Authorization") == []
        answer = sent(account.answer(401, www=(MD5.replace("n1", "n2"),)))
        assert 'nonce="n2"' in header(answer, "Authorization")[0]
        assert results(account.answer(200, contacts=(OURS,))) == ["registered"]


@pytest.mark.parametrize("status", [403, 404, 408, 480, 500])
def test_what_speaks_of_the_registration_is_not_asked_elsewhere(status: int) -> None:
    """Only silence and 503 speak of the server (RFC 3263 §4.3); a 408 of the PBX does not."""
    account = Account()
    account.want()
    account.wait()
    account.elsewhere(status)
    assert account.state.due_at != account.now


def test_renewal() -> None:
    """Due at once, back-off forgotten; with the binding lost it no longer counts as registered; a
    rejected account, and one that nobody wants, stay as they are.
    """
    account = Account().registered()
    account._take(registration.renew(account.state, now=account.now, lost=False))
    assert account.public is RegistrationState.REGISTERED
    assert sent(account.wait(0)).kind is Kind.REGISTER
    account.answer(200, contacts=(OURS,))
    account._take(registration.renew(account.state, now=account.now, lost=True))
    assert account.public is RegistrationState.PENDING
    assert sent(account.wait(0)).kind is Kind.REGISTER
    account.answer(403)
    before = account.state
    assert registration.renew(before, now=account.now, lost=True) == (before, ())
    unwanted = Registration(account=KEY)
    assert registration.renew(unwanted, now=account.now, lost=True) == (unwanted, ())


def test_a_check_asks_and_changes_nothing() -> None:
    """A REGISTER without Contact; not while another one is on its way."""
    account = Account().registered()
    account._take(registration.check(account.state, now=account.now))
    fetch = sent(account.wait(0))
    assert (fetch.kind, header(fetch, "Contact")) == (Kind.FETCH, [])
    assert registration.check(account.state, now=account.now) == (account.state, ())
    assert results(account.answer(200, contacts=(OURS,))) == ["fetched"]
    account._take(registration.check(account.state, now=account.now))
    account.wait(0)
    assert results(account.answer(200)) == ["evicted"]


def test_a_pbx_that_lists_nobody_is_not_believed_when_it_does_not_list_us() -> None:
    """Its 200 to our REGISTER had no Contact either."""
    account = Account().registered(contacts=())
    account._take(registration.check(account.state, now=account.now))
    account.wait(0)
    assert results(account.answer(200)) == ["fetched"]
    assert account.public is RegistrationState.REGISTERED
    assert account.state.evictions == 0


def test_a_request_that_broke_off_may_have_been_carried_out() -> None:
    """503 of our own stack for a broken connection: unregistered in the end; not when it never
    left.
    """
    for left, kinds in ((True, [Kind.UNREGISTER]), (False, [])):
        account = Account()
        account.want()
        account.wait()
        account.answer(503, local=True, left=left)
        account.want(None)
        found = [a.kind for a in account.wait(0) if isinstance(a, SendRegister)]
        assert found == kinds
