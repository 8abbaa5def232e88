"""The headers of a REGISTER toward a PBX."""

from .digest import authorization
from .registration_state import Chance, Kind, Login, Registration, Target


def asked_s(state: Registration) -> int:
    """Seconds to ask for: the account's, or what the PBX demanded with 423."""
    return max(state.target.expires_s if state.target else 0, state.min_expires_s)


def contact_headers(state: Registration, target: Target, kind: Kind) -> tuple[tuple[str, str], ...]:
    """What is to be bound and what removed; nothing for a fetch."""
    if kind is Kind.FETCH:
        return ()
    gone = [("Contact", f"<{contact}>;expires=0") for contact in state.leftovers]
    if kind is Kind.UNREGISTER:
        own = state.bound or target.contact
        return (*gone, ("Contact", f"<{own}>;expires=0"), ("Expires", "0"))
    seconds = asked_s(state)
    return (*gone, ("Contact", f"<{target.contact}>;expires={seconds}"), ("Expires", str(seconds)))


def login_headers(
    state: Registration, target: Target, chance: Chance
) -> tuple[tuple[tuple[str, str], ...], Login | None, Login | None]:
    """Answers to the challenges known so far, and the logins with their use counted."""
    headers: list[tuple[str, str]] = []
    used: list[Login | None] = []
    for name, login in (("Authorization", state.www), ("Proxy-Authorization", state.proxy)):
        if login is None:
            used.append(None)
            continue
        value = authorization(
            login.challenge,
            target.credentials,
            user=target.user,
            method="REGISTER",
            uri=target.registrar,
            cnonce=chance.text,
            nc=login.uses + 1,
        )
        headers.append((name, value))
        # Without qop a nonce has no count: it may be used again all the same.
        used.append(Login(login.challenge, login.uses + 1))
    return tuple(headers), used[0], used[1]
