"""Digest authentication, RFC 7616 and 8760, from both sides."""

from __future__ import annotations

import hashlib
import re
import secrets
from dataclasses import dataclass

from .sip_message import Message

_FIELD = re.compile(r'(\w[\w-]*)\s*=\s*(?:"((?:\\.|[^"\\])*)"|([^,\s]+))')
_HASHES = {"MD5": hashlib.md5, "SHA-256": hashlib.sha256}


@dataclass(frozen=True, slots=True)
class Credentials:
    """Who an agent says it is."""

    user: str
    password: str


def digest_fields(value: str) -> dict[str, str]:
    """The fields of a challenge or of credentials, names in lower case. Empty for non-Digest."""
    scheme, _, rest = value.partition(" ")
    if scheme.lower() != "digest":
        return {}
    return {name.lower(): quoted or plain for name, quoted, plain in _FIELD.findall(rest)}


def response_hash(
    credentials: Credentials, fields: dict[str, str], *, method: str, algorithm: str
) -> str:
    """The `response` that belongs to `fields` (realm, nonce, uri, and with qop nc, cnonce)."""

    def digest(text: str) -> str:
        return _HASHES[algorithm](text.encode()).hexdigest()

    ha1 = digest(f"{credentials.user}:{fields['realm']}:{credentials.password}")
    ha2 = digest(f"{method}:{fields['uri']}")
    if "qop" in fields:
        middle = f"{fields['nonce']}:{fields['nc']}:{fields['cnonce']}:{fields['qop']}"
    else:
        middle = fields["nonce"]
    return digest(f"{ha1}:{middle}:{ha2}")


def answer_challenge(
    response: Message,
    credentials: Credentials,
    *,
    method: str,
    uri: str,
    algorithm: str | None = None,
    nc: int = 1,
) -> tuple[str, str]:
    """The header (name and value) that answers a 401 or 407.

    Takes the first challenge whose algorithm we know, or the one with `algorithm`.
    Raises ValueError when no challenge fits.
    """
    challenge_name, answer_name = (
        ("WWW-Authenticate", "Authorization")
        if response.status == 401
        else ("Proxy-Authenticate", "Proxy-Authorization")
    )
    for value in response.all(challenge_name):
        challenge = digest_fields(value)
        offered = challenge.get("algorithm", "MD5").upper()
        if challenge and offered in _HASHES and algorithm in (None, offered):
            return answer_name, _credentials_value(
                credentials, challenge, method=method, uri=uri, algorithm=offered, nc=nc
            )
    raise ValueError(f"no digest challenge that fits {algorithm or 'MD5 or SHA-256'}:\n{response}")


def _credentials_value(
    credentials: Credentials,
    challenge: dict[str, str],
    *,
    method: str,
    uri: str,
    algorithm: str,
    nc: int,
) -> str:
    fields = {"realm": challenge["realm"], "nonce": challenge["nonce"], "uri": uri}
    if "auth" in [word.strip() for word in challenge.get("qop", "").split(",")]:
        fields |= {"qop": "auth", "nc": f"{nc:08x}", "cnonce": secrets.token_hex(8)}
    answer = response_hash(credentials, fields, method=method, algorithm=algorithm)
    parts = [f'username="{credentials.user}"']
    parts += [
        f"{name}={value}" if name in ("qop", "nc") else f'{name}="{value}"'
        for name, value in fields.items()
    ]
    parts += [f'response="{answer}"', f"algorithm={algorithm}"]
    if "opaque" in challenge:
        parts.append(f'opaque="{challenge["opaque"]}"')
    return "Digest " + ", ".join(parts)


def challenge_value(
    realm: str, nonce: str, *, algorithm: str = "MD5", qop: bool = True, stale: bool = False
) -> str:
    """A challenge to send in WWW-Authenticate or Proxy-Authenticate."""
    value = f'Digest realm="{realm}", nonce="{nonce}", algorithm={algorithm}'
    if qop:
        value += ', qop="auth"'
    return value + (", stale=true" if stale else "")


def is_right_answer(value: str, credentials: Credentials, *, method: str) -> bool:
    """Whether the credentials header `value` proves `credentials`; the nonce is not judged."""
    fields = digest_fields(value)
    algorithm = fields.get("algorithm", "MD5").upper()
    if algorithm not in _HASHES or not {"realm", "nonce", "uri", "response"} <= fields.keys():
        return False
    if fields.get("username") != credentials.user:
        return False
    expected = response_hash(credentials, fields, method=method, algorithm=algorithm)
    return secrets.compare_digest(expected, fields["response"])
