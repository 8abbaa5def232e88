"""Redirections that are remembered for PBXs that tell only who diverted a call last."""

from push_proxy.core.diversion import Diversions
from push_proxy.core.ids import Instant
from push_proxy.core.policy import PolicyCase
from push_proxy.core.policy_rules import Policy
from push_proxy.runtime.redirections import FOLLOWED_S, Redirections

NOW = Instant(1000.0)


def case(user: str, by: str = "", *, caller: str = "200", host: str = "pbx.example") -> PolicyCase:
    return PolicyCase(
        policy=Policy(),
        aor=f"sip:{user}@{host}",
        callers=(caller, f"{caller}@{host}"),
        diversions=Diversions(count=1 if by else 0, last=by),
    )


def test_a_ring_of_three_is_closed() -> None:
    """101 sends on to 102, 102 to 103, 103 to 101: there it has been before, three times sent on,
    though the INVITE names 103 alone.
    """
    redirections = Redirections()
    for user, by in (("101", ""), ("102", "101"), ("103", "102")):
        met = redirections.known(case(user, by), NOW)
        assert not met.diversions.from_here
        redirections.made(met, NOW)
    back = redirections.known(case("101", "103"), NOW).diversions
    assert (back.from_here, back.count) == (True, 3)


def test_other_calls_are_not_taken_for_it() -> None:
    """Another caller, a call that was not diverted, another PBX's users, and a minute later."""
    redirections = Redirections()
    redirections.made(case("101"), NOW)
    redirections.made(redirections.known(case("102", "101"), NOW), NOW)
    loop = case("101", "102")
    assert redirections.known(loop, NOW).diversions.from_here
    for other in (
        case("101", "102", caller="201"),
        case("101"),
        case("101", "102", host="pbx.other"),
    ):
        assert redirections.known(other, NOW) == other
    assert redirections.known(loop, Instant(NOW + FOLLOWED_S)) == loop


def test_memory_is_given_back() -> None:
    """What is older than a minute is forgotten with the next redirection."""
    redirections = Redirections()
    for number in range(100):
        redirections.made(case("101", caller=str(number)), NOW)
    redirections.made(case("101"), Instant(NOW + FOLLOWED_S))
    assert len(redirections) == 2, "the two names of the last caller"
