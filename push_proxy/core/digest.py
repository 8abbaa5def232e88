"""Digest authentication (RFC 7616, RFC 8760): reading, computing, and answering a challenge.

The other direction, challenging, is in `core.nonces`.
"""

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Self

from .model import Algorithm, Credentials

_PARAMETER = re.compile(r'([\w!%*+.`~^\'-]+)\s*=\s*("(?:[^"\\]|\\.?)*"?|[^\s,"]*)', re.DOTALL)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_HASHES: Mapping[Algorithm, Callable[..., Any]] = {
    # Not a choice of ours: MD5 is what most phones and PBXs speak (RFC 8760 §2.4).
    Algorithm.MD5: lambda data: hashlib.md5(data, usedforsecurity=False),
    Algorithm.SHA256: hashlib.sha256,
}
STRONGEST_FIRST = (Algorithm.SHA256, Algorithm.MD5)
_NAMES = {algorithm.value.upper(): algorithm for algorithm in Algorithm}


def digest_params(value: str) -> dict[str, str]:
    """Parameters of a ``Digest …`` value, names in lower case; empty for other schemes.

    Quotes are taken off, escapes stay as received: RFC 7616 hashes nonce, uri and the like
    as they stand between the quotes. See `unescape` for realm and user name.
    """
    scheme, _, rest = value.strip().partition(" ")
    if scheme.lower() != "digest":
        return {}
    params: dict[str, str] = {}
    for match in _PARAMETER.finditer(rest):
        text = match[2]
        if text.startswith('"'):
            text = text[1:-1] if len(text) > 1 and text.endswith('"') else text[1:]
        params.setdefault(match[1].lower(), text)
    return params


def unescape(text: str) -> str:
    """The text that a quoted string's inside stands for."""
    return _ESCAPED.sub(r"\1", text) if "\\" in text else text


def quoted(text: str) -> str:
    """``text`` as a quoted string."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def algorithm_named(name: str | None) -> Algorithm | None:
    """The algorithm of a parameter (absent means MD5), or None for one that we cannot compute."""
    return Algorithm.MD5 if name is None else _NAMES.get(name.upper())


def ha1(algorithm: Algorithm, *, user: str, realm: str, password: str) -> str:
    """The secret's hash, in hex (RFC 7616 §3.4.2)."""
    return _hex(algorithm, f"{user}:{realm}:{password}")


def secret_for(
    credentials: Credentials, algorithm: Algorithm, *, user: str, realm: str
) -> str | None:
    """HA1 for this algorithm and realm, or None when the credentials do not give one."""
    if credentials.password is not None:
        return ha1(algorithm, user=user, realm=realm, password=credentials.password)
    if credentials.realm != realm:
        return None
    given = credentials.ha1.get(algorithm)
    return None if given is None else given.lower()


def held_algorithms(credentials: Credentials) -> tuple[Algorithm, ...]:
    """Algorithms that these credentials can check, MD5 first.

    RFC 8760 §2.3 lists by preference, but pjsip before 2.11, FreeSWITCH, SIPp and others read
    only the first challenge and fail on one they do not know; a peer that knows SHA-256 finds
    it in second place too. An attacker on the path could strip it either way.
    """
    if credentials.password is not None:
        return (Algorithm.MD5, Algorithm.SHA256)
    return tuple(algorithm for algorithm in Algorithm if algorithm in credentials.ha1)


def digest_response(
    algorithm: Algorithm,
    secret: str,
    *,
    method: str,
    uri: str,
    nonce: str,
    cnonce: str = "",
    nc: str = "",
    qop: str = "",
) -> str:
    """The ``response`` parameter (RFC 7616 §3.4.1); without ``qop`` as in RFC 2069."""
    ha2 = _hex(algorithm, f"{method}:{uri}")
    middle = f"{nonce}:{nc}:{cnonce}:{qop}" if qop else nonce
    return _hex(algorithm, f"{secret}:{middle}:{ha2}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Challenge:
    """One WWW-Authenticate or Proxy-Authenticate that we can compute an answer to."""

    realm: str
    nonce: str
    """As received, escapes included."""
    algorithm: Algorithm = Algorithm.MD5
    names_algorithm: bool = True
    """The challenge said its algorithm; an answer repeats it only then."""
    qop_auth: bool = False
    opaque: str | None = None
    """As received."""
    stale: bool = False

    @classmethod
    def parse(cls, value: str) -> Self | None:
        """Read one header line; None for schemes, algorithms or qops that we cannot answer."""
        params = digest_params(value)
        algorithm = algorithm_named(params.get("algorithm"))
        if algorithm is None or "realm" not in params or not params.get("nonce"):
            return None
        offered = [word.strip().lower() for word in params.get("qop", "").split(",")]
        if any(offered) and "auth" not in offered:
            return None
        return cls(
            realm=unescape(params["realm"]),
            nonce=params["nonce"],
            algorithm=algorithm,
            names_algorithm="algorithm" in params,
            qop_auth="auth" in offered,
            opaque=params.get("opaque"),
            stale=params.get("stale", "").lower() == "true",
        )


def choose_challenge(
    values: Iterable[str], credentials: Credentials, *, user: str
) -> Challenge | None:
    """The challenge with the strongest algorithm that we hold a secret for, or None.

    Our order, not the server's (RFC 8760 §2.3 leaves that to local policy): MD5 is taken
    only when there is nothing better.
    """
    readable = [challenge for value in values if (challenge := Challenge.parse(value)) is not None]
    for algorithm in STRONGEST_FIRST:
        for challenge in readable:
            if challenge.algorithm is algorithm and (
                secret_for(credentials, algorithm, user=user, realm=challenge.realm) is not None
            ):
                return challenge
    return None


def authorization(
    challenge: Challenge,
    credentials: Credentials,
    *,
    user: str,
    method: str,
    uri: str,
    cnonce: str,
    nc: int = 1,
) -> str:
    """The value of Authorization or Proxy-Authorization that answers ``challenge``.

    ``nc`` counts the requests sent with this nonce, from 1. ``cnonce`` is fresh randomness.

    Raises:
        ValueError: the credentials hold no secret for the challenge (see `choose_challenge`).
    """
    secret = secret_for(credentials, challenge.algorithm, user=user, realm=challenge.realm)
    if secret is None:
        raise ValueError(f"no {challenge.algorithm} secret for realm {challenge.realm!r}")
    count, qop = f"{nc:08x}", "auth" if challenge.qop_auth else ""
    response = digest_response(
        challenge.algorithm,
        secret,
        method=method,
        uri=uri,
        nonce=challenge.nonce,
        cnonce=cnonce,
        nc=count,
        qop=qop,
    )
    parts = [
        f"username={quoted(user)}",
        f"realm={quoted(challenge.realm)}",
        f'nonce="{challenge.nonce}"',
        f'uri="{uri}"',
        f'response="{response}"',
    ]
    if challenge.names_algorithm:
        parts.append(f"algorithm={challenge.algorithm.value}")
    if qop:
        parts += [f'cnonce="{cnonce}"', f"qop={qop}", f"nc={count}"]
    if challenge.opaque is not None:
        parts.append(f'opaque="{challenge.opaque}"')
    return "Digest " + ", ".join(parts)


def _hex(algorithm: Algorithm, text: str) -> str:
    digest: str = _HASHES[algorithm](text.encode("utf-8", "surrogateescape")).hexdigest()
    return digest
