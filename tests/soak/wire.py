"""SIP as bytes: what the soak's ends say, and the little that they read. Templates, no parsing."""

from __future__ import annotations

import hashlib
import itertools
import re

from benchmarks.wake_load import REALM, SDP, headers, value

__all__ = ["REALM", "SDP", "branch_of", "digest", "headers", "number", "request", "value"]

_NONCE = re.compile(rb'algorithm=MD5[^\r]*nonce="([^"]+)"|nonce="([^"]+)"[^\r]*algorithm=MD5')
_BRANCH = re.compile(rb"\r\nVia: [^\r]*?;branch=([^;,\r]+)")
_numbers = itertools.count(1)


def number() -> int:
    """Another one at each call, for tags and branches."""
    return next(_numbers)


def branch_of(message: bytes) -> bytes:
    """Of the topmost Via."""
    found = _BRANCH.search(message)
    return found[1] if found else b""


def digest(challenge: bytes, *, user: str, password: str, method: str, uri: str) -> str | None:
    """The credentials for an MD5 challenge (RFC 7616), or None when there is none in it."""
    found = _NONCE.search(challenge)
    if found is None:
        return None
    nonce = (found[1] or found[2]).decode()

    def md5(text: str) -> str:
        return hashlib.md5(text.encode()).hexdigest()

    proof = md5(
        f"{md5(f'{user}:{REALM}:{password}')}:{nonce}:00000001:soak:auth:{md5(f'{method}:{uri}')}"
    )
    return (
        f'Digest username="{user}", realm="{REALM}", nonce="{nonce}", uri="{uri}", '
        f'response="{proof}", algorithm=MD5, qop=auth, nc=00000001, cnonce="soak"'
    )


def request(
    method: str,
    uri: str,
    *,
    via: str,
    branch: str,
    identity: bytes,
    cseq: int,
    extra: str = "",
    body: bytes = b"",
) -> bytes:
    """A request; ``identity`` are its From, To and Call-ID lines."""
    content = "Content-Type: application/sdp\r\n" if body else ""
    return (
        f"{method} {uri} SIP/2.0\r\nVia: SIP/2.0/{via};rport;branch={branch}\r\n"
        f"Max-Forwards: 70\r\nCSeq: {cseq} {method}\r\n{extra}{content}"
    ).encode() + (identity + b"Content-Length: %d\r\n\r\n" % len(body) + body)
