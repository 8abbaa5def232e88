"""Any order of wishes, time and answers over core.registration, against a model of a PBX."""

from dataclasses import replace

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from push_proxy.core import registration
from push_proxy.core.ids import AccountKey, Instant
from push_proxy.core.model import Credentials
from push_proxy.core.registration_answer import Answer, Listed
from push_proxy.core.registration_state import (
    Chance,
    Kind,
    Registration,
    SaveRecord,
    SendRegister,
    Target,
)

KEY = AccountKey("t/a")
BASE = Target(
    account=KEY, aor="sip:101@pbx", registrar="sip:pbx", contact="sip:101@10.0.0.1:5060;pp=t",
    user="101", credentials=Credentials(password="p"), expires_s=600,
)  # fmt: skip
TARGETS = (
    BASE,
    replace(BASE, contact="sip:101@10.0.0.2:5060;pp=t"),
    replace(BASE, credentials=Credentials(password="q")),
    replace(BASE, expires_s=120),
)
UNIT = st.floats(0, 1, exclude_max=True)


class RegistrationMachine(RuleBasedStateMachine):
    """The machine, its wire, and what the PBX has of it."""

    def __init__(self) -> None:
        super().__init__()
        self.now = Instant(1_000_000.0)
        self.state = Registration(account=KEY)
        self.flying: SendRegister | None = None
        self.last_cseq = 0
        self.at_pbx: set[str] = set()
        self.saved = 0
        self.nonce = 0
        self.willing = True

    @initialize(willing=st.booleans())
    def pbx(self, willing: bool) -> None:
        """A willing PBX refuses nothing, though answers to what it carried out may be lost."""
        self.willing = willing

    def take(self, step: registration.Step) -> list[SendRegister]:
        self.state, actions = step
        sent = [action for action in actions if isinstance(action, SendRegister)]
        for action in actions:
            if isinstance(action, SaveRecord):
                assert action.record.cseq >= self.saved
                self.saved = action.record.cseq
        assert len(sent) <= 1
        for action in sent:
            assert self.flying is None, "a second REGISTER while one is in flight"
            assert action.cseq > self.last_cseq
            self.last_cseq = action.cseq
            self.flying = action
        return sent

    def chance(self, unit: float) -> Chance:
        return Chance(unit=unit, text="0123456789abcdef")

    def carry_out(self, request: SendRegister) -> None:
        for name, value in request.headers:
            if name == "Contact":
                uri = value[1 : value.index(">")]
                if value.endswith("expires=0"):
                    self.at_pbx.discard(uri)
                else:
                    self.at_pbx.add(uri)

    def answer(self, answer: Answer, unit: float) -> None:
        assert self.flying is not None
        self.flying = None
        self.take(registration.answered(self.state, answer, now=self.now, chance=self.chance(unit)))

    @rule(what=st.sampled_from(TARGETS))
    def wanted(self, what: Target) -> None:
        before = self.state
        self.take(registration.want(self.state, what, now=self.now))
        if before.wanted and before.target == what:
            assert self.state == before

    @rule()
    def unwanted(self) -> None:
        self.take(registration.want(self.state, None, now=self.now))

    @rule(seconds=st.floats(0, 2000), unit=UNIT)
    def time(self, seconds: float, unit: float) -> None:
        self.now = Instant(self.now + seconds)
        if self.state.doing is not None and self.state.due_at and self.state.due_at <= self.now:
            assert self.flying is not None
            self.willing = self.willing and self.flying.kind is not Kind.UNREGISTER
            self.flying = None  # lost: 64 s without an answer
        self.take(registration.due(self.state, now=self.now, chance=self.chance(unit)))

    @precondition(lambda self: self.state.due_at is not None and self.flying is None)
    @rule(unit=UNIT)
    def due(self, unit: float) -> None:
        assert self.state.due_at is not None
        self.now = max(self.now, self.state.due_at)
        assert self.take(registration.due(self.state, now=self.now, chance=self.chance(unit)))

    @precondition(lambda self: self.flying is not None)
    @rule(unit=UNIT, listed=st.booleans())
    def accepts(self, unit: float, listed: bool) -> None:
        request = self.flying
        assert request is not None
        self.carry_out(request)
        listing = self.at_pbx if listed or request.kind is not Kind.REGISTER else set()
        contacts = tuple(Listed(uri, request.target.expires_s) for uri in sorted(listing))
        self.answer(Answer(status=200, reason="OK", contacts=contacts), unit)
        if request.kind is Kind.REGISTER and self.state.wanted:
            assert self.state.failures == 0
            if self.state.target == request.target:
                assert self.state.is_registered(self.now)

    @precondition(
        lambda self: (
            self.flying is not None and not (self.willing and self.flying.kind is Kind.UNREGISTER)
        )
    )
    @rule(unit=UNIT, carried_out=st.booleans())
    def silent(self, unit: float, carried_out: bool) -> None:
        assert self.flying is not None
        if carried_out:
            self.carry_out(self.flying)
        self.answer(Answer(status=408, reason="Timeout", local=True), unit)

    @precondition(lambda self: self.flying is not None and not self.willing)
    @rule(
        unit=UNIT,
        status=st.sampled_from([401, 407]),
        stale=st.booleans(),
        realm=st.sampled_from(["pbx", "edge"]),
    )
    def challenges(self, unit: float, status: int, stale: bool, realm: str) -> None:
        self.nonce += 1
        value = f'Digest realm="{realm}", nonce="{self.nonce}", qop="auth"'
        value += ", stale=true" if stale else ""
        lines = {"www" if status == 401 else "proxy": (value,)}
        self.answer(Answer(status=status, reason="Who?", **lines), unit)  # type: ignore[arg-type]

    @precondition(lambda self: self.flying is not None and not self.willing)
    @rule(
        unit=UNIT,
        status=st.sampled_from([400, 403, 404, 423, 480, 500, 503, 603]),
        seconds=st.none() | st.integers(0, 10**9),
    )
    def refuses(self, unit: float, status: int, seconds: int | None) -> None:
        answer = Answer(status=status, reason="No", min_expires_s=seconds, retry_after_s=seconds)
        self.answer(answer, unit)

    @invariant()
    def it_never_gets_stuck(self) -> None:
        state = self.state
        assert (state.doing is not None) == (self.flying is not None)
        if state.rejected:
            assert state.wanted
            assert state.due_at is None
        elif state.wanted:
            assert state.due_at is not None
            assert state.due_at <= self.now + 7200

    def teardown(self) -> None:
        """Unwanted and with a PBX that answers, it ends, and leaves nothing behind."""
        self.take(registration.want(self.state, None, now=self.now))
        for _ in range(6):
            if self.flying is not None:
                self.accepts(0.5, True)  # type: ignore[call-arg]
            elif self.state.due_at is not None:
                self.due(0.5)  # type: ignore[call-arg]
        assert self.state.idle
        assert self.state.due_at is None
        assert not (self.willing and self.at_pbx), "left at the PBX"


RegistrationMachine.TestCase.settings = settings(
    max_examples=150, stateful_step_count=40, deadline=None
)
TestRegistrationMachine = RegistrationMachine.TestCase
