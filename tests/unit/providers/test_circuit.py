"""An app whose pushes would all fail alike is left alone for a while, and only that app."""

from push_proxy.core.events import PushOutcome
from push_proxy.core.ids import Instant
from push_proxy.ports import AppState
from push_proxy.providers.attempt import ACCEPTED, MISCONFIGURED, REJECTED, UNAVAILABLE, Attempt
from push_proxy.providers.circuit import Circuits

WRONG_KEY = Attempt(MISCONFIGURED, "InvalidProviderToken", blocks_s=60)
GOOD = Attempt(ACCEPTED, "ok")


def at(seconds: float) -> Instant:
    return Instant(1000.0 + seconds)


def test_a_configuration_fault_blocks_its_app_alone() -> None:
    """After a fault of the app's configuration its pushes are answered without a request."""
    circuits = Circuits()
    circuits.judged("one", WRONG_KEY, at(0))
    blocked = circuits.blocked("one", at(59))
    assert blocked is not None
    assert (blocked.outcome, blocked.reason) == (MISCONFIGURED, "InvalidProviderToken")
    assert circuits.blocked("other", at(59)) is None


def test_one_trial_after_the_time() -> None:
    """When the time is over one push is tried; the others wait for what becomes of it."""
    circuits = Circuits()
    circuits.judged("one", WRONG_KEY, at(0))
    assert circuits.blocked("one", at(60)) is None
    assert circuits.blocked("one", at(60)) is not None
    assert circuits.blocked("one", at(64)) is not None


def test_a_trial_without_an_answer_is_followed_by_another() -> None:
    """A trial that was never judged does not block the app for ever."""
    circuits = Circuits()
    circuits.judged("one", WRONG_KEY, at(0))
    assert circuits.blocked("one", at(60)) is None
    assert circuits.blocked("one", at(66)) is None


def test_an_accepted_push_closes_the_circuit() -> None:
    """A trial that succeeds lets all pushes go again."""
    circuits = Circuits()
    circuits.judged("one", WRONG_KEY, at(0))
    circuits.judged("one", GOOD, at(61))
    assert circuits.blocked("one", at(61)) is None
    assert circuits.health("one").state is AppState.OK


def test_a_dead_token_proves_the_credentials() -> None:
    """No provider judges a token for wrong credentials: a rejected token closes the circuit."""
    circuits = Circuits()
    circuits.judged("one", WRONG_KEY, at(0))
    circuits.judged("one", Attempt(REJECTED, "Unregistered"), at(61))
    assert circuits.health("one").state is AppState.OK


def test_silence_proves_nothing() -> None:
    """A push that was not taken in time neither opens nor closes a circuit."""
    circuits = Circuits()
    circuits.judged("one", Attempt(UNAVAILABLE, "timeout"), at(0))
    assert circuits.blocked("one", at(0)) is None
    assert circuits.health("one").state is AppState.UNKNOWN
    circuits.judged("one", WRONG_KEY, at(1))
    circuits.judged("one", Attempt(UNAVAILABLE, "timeout"), at(2))
    assert circuits.blocked("one", at(3)) is not None


def test_health_tells_a_pause_from_a_fault() -> None:
    """A pause asked for by the provider is ``throttled``; what a person must mend, ``blocked``."""
    circuits = Circuits()
    circuits.judged("busy", Attempt(UNAVAILABLE, "QUOTA_EXCEEDED", blocks_s=60), at(0))
    circuits.judged("wrong", WRONG_KEY, at(0))
    busy, wrong = circuits.health("busy"), circuits.health("wrong", credential_ends_at=5.0)
    assert (busy.state, busy.reason) == (AppState.THROTTLED, "QUOTA_EXCEEDED")
    assert (wrong.state, wrong.reason) == (AppState.BLOCKED, "InvalidProviderToken")
    assert wrong.credential_ends_at == 5.0
    blocked = circuits.blocked("busy", at(1))
    assert blocked is not None
    assert blocked.outcome is PushOutcome.UNAVAILABLE
