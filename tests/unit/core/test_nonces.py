"""core.nonces: what a challenge of ours accepts, and what it never accepts twice."""

import pytest

from push_proxy.core.digest import Challenge, authorization
from push_proxy.core.ids import Instant
from push_proxy.core.model import Algorithm, Credentials
from push_proxy.core.nonces import Asker, Nonces, Proof

NOW = Instant(1_800_000_000.0)
SECRET = Credentials(password="s3cret")
ALICE = Asker(user="alice", realm="pbx", credentials=SECRET, host="192.0.2.1")
BOTH = (Algorithm.MD5, Algorithm.SHA256)


def later(seconds: float) -> Instant:
    return Instant(NOW + seconds)


def ask(nonces: Nonces, *, host: str = "192.0.2.1", at: Instant = NOW) -> list[Challenge]:
    values = nonces.challenges(realm="pbx", host=host, algorithms=BOTH, stale=False, now=at)
    read = [Challenge.parse(value) for value in values]
    return [challenge for challenge in read if challenge is not None]


def answer(
    challenge: Challenge, *, nc: int = 1, password: str = "s3cret", user: str = "alice",
    method: str = "REGISTER",
) -> list[str]:  # fmt: skip
    return [
        authorization(
            challenge,
            Credentials(password=password),
            user=user,
            method=method,
            uri="sip:pbx",
            cnonce="c",
            nc=nc,
        )
    ]


@pytest.mark.parametrize("index", [0, 1])
def test_the_right_answer_is_right_in_both_algorithms(index: int) -> None:
    """MD5 and SHA-256, offered in this order with one nonce."""
    nonces = Nonces(b"k" * 32)
    challenges = ask(nonces)
    assert [challenge.algorithm for challenge in challenges] == list(BOTH)
    assert challenges[0].nonce == challenges[1].nonce
    values = answer(challenges[index])
    assert nonces.judge(values, ALICE, method="REGISTER", now=later(1)) is Proof.RIGHT


@pytest.mark.parametrize(
    ("values", "method"),
    [
        ([], "REGISTER"),
        (["Digest garbage"], "REGISTER"),
        (["Basic abc"], "REGISTER"),
        (['Digest realm="pbx", nonce="", response=""'], "REGISTER"),
    ],
)
def test_no_proof_is_wrong(values: list[str], method: str) -> None:
    """Absent or unreadable credentials are a reason to challenge, not to fail."""
    assert Nonces(b"k").judge(values, ALICE, method=method, now=NOW) is Proof.WRONG


def test_another_password_user_method_or_realm_is_wrong() -> None:
    """Each part counts."""
    nonces = Nonces(b"k" * 32)
    challenge = ask(nonces)[0]
    for values, method in (
        (answer(challenge, password="guess"), "REGISTER"),
        (answer(challenge, user="bob"), "REGISTER"),
        (answer(challenge), "INVITE"),
    ):
        assert nonces.judge(values, ALICE, method=method, now=NOW) is Proof.WRONG
    other = Asker(user="alice", realm="elsewhere", credentials=SECRET, host="192.0.2.1")
    assert nonces.judge(answer(challenge), other, method="REGISTER", now=NOW) is Proof.WRONG


def test_the_same_count_is_good_once() -> None:
    """A captured request sent again is stale; the next count is right."""
    nonces = Nonces(b"k" * 32)
    challenge = ask(nonces)[0]
    assert nonces.judge(answer(challenge), ALICE, method="REGISTER", now=NOW) is Proof.RIGHT
    assert nonces.judge(answer(challenge), ALICE, method="REGISTER", now=NOW) is Proof.STALE
    assert nonces.judge(answer(challenge, nc=2), ALICE, method="REGISTER", now=NOW) is Proof.RIGHT


def test_requests_may_overtake_each_other() -> None:
    """Nc 3 before nc 2: both are right, each once; far behind is stale."""
    nonces = Nonces(b"k" * 32)
    challenge = ask(nonces)[0]
    proofs = [
        nonces.judge(answer(challenge, nc=nc), ALICE, method="REGISTER", now=NOW)
        for nc in (1, 3, 2, 3, 2, 200, 199, 100, 0)
    ]
    right, stale = Proof.RIGHT, Proof.STALE
    assert proofs == [right, right, right, stale, stale, right, right, stale, stale]


def test_a_nonce_expires() -> None:
    """After its lifetime a right answer is stale, a wrong one stays wrong."""
    nonces = Nonces(b"k" * 32, lifetime_s=60)
    challenge = ask(nonces)[0]
    at = later(61)
    assert nonces.judge(answer(challenge), ALICE, method="REGISTER", now=at) is Proof.STALE
    wrong = answer(challenge, password="guess")
    assert nonces.judge(wrong, ALICE, method="REGISTER", now=at) is Proof.WRONG


def test_a_nonce_is_good_from_its_host_only() -> None:
    """Taken to another address, or from another service's key, it is stale."""
    nonces = Nonces(b"k" * 32)
    stolen = answer(ask(nonces, host="192.0.2.99")[0])
    assert nonces.judge(stolen, ALICE, method="REGISTER", now=NOW) is Proof.STALE
    foreign = answer(ask(Nonces(b"x" * 32))[0])
    assert nonces.judge(foreign, ALICE, method="REGISTER", now=NOW) is Proof.STALE


def test_an_answer_without_qop_is_good_once() -> None:
    """RFC 2069 clients have no count: each needs a nonce of its own."""
    nonces = Nonces(b"k" * 32)
    offered = ask(nonces)[0]
    old = Challenge(realm=offered.realm, nonce=offered.nonce)
    assert nonces.judge(answer(old), ALICE, method="REGISTER", now=NOW) is Proof.RIGHT
    assert nonces.judge(answer(old), ALICE, method="REGISTER", now=NOW) is Proof.STALE


def test_full_memory_never_lets_a_replay_through() -> None:
    """The oldest used nonce is pushed out: it is stale from then on."""
    nonces = Nonces(b"k" * 32, memory=10)
    first = ask(nonces)[0]
    assert nonces.judge(answer(first), ALICE, method="REGISTER", now=NOW) is Proof.RIGHT
    for step in range(1, 12):
        challenge = ask(nonces, at=later(step))[0]
        proof = nonces.judge(answer(challenge), ALICE, method="REGISTER", now=later(step))
        assert proof is Proof.RIGHT
    assert nonces.judge(answer(first), ALICE, method="REGISTER", now=later(12)) is Proof.STALE
    assert len(nonces._counts) <= 10


def test_only_held_algorithms_are_accepted() -> None:
    """An HA1 for SHA-256 does not let an MD5 answer in."""
    nonces = Nonces(b"k" * 32)
    challenges = ask(nonces)
    strict = Asker(
        user="alice",
        realm="pbx",
        credentials=Credentials(ha1={Algorithm.SHA256: _sha256_ha1()}, realm="pbx"),
        host="192.0.2.1",
    )
    assert nonces.judge(answer(challenges[0]), strict, method="REGISTER", now=NOW) is Proof.WRONG
    assert nonces.judge(answer(challenges[1]), strict, method="REGISTER", now=NOW) is Proof.RIGHT


def _sha256_ha1() -> str:
    from push_proxy.core.digest import ha1

    return ha1(Algorithm.SHA256, user="alice", realm="pbx", password="s3cret")
