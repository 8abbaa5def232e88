"""The APNs double knows who may push: provider tokens, their pace, and certificates."""

from __future__ import annotations

import ssl
import time

import httpx
import jwt
import pytest

from tests.doubles.apns import ApnsDouble

from .apns_sender import Sender, context, provider_token

BUNDLE = "com.example.phone"
INVALID = (403, "InvalidProviderToken")


async def first_answer(apns: ApnsDouble, token: str | None) -> tuple[int, str]:
    """What a connection of its own gets with this token."""
    async with Sender(apns) as sender:
        sender.token = token
        return await sender.answer(apns.device(BUNDLE))


async def test_tokens_that_are_none(apns: ApnsDouble) -> None:
    """Unknown key, wrong key, wrong team, wrong algorithm, no iat, iat from the future: refused."""
    key, other = apns.keys[apns.key_id], apns.key("OTHERKEY01", team_id="OTHERTEAM1")
    stranger = jwt.encode(
        {"iss": key.team_id, "iat": time.time()},
        other.file.read_text(),
        algorithm="ES256",
        headers={"kid": key.key_id},
    )
    unknown = jwt.encode(
        {"iss": key.team_id, "iat": time.time()},
        key.file.read_text(),
        algorithm="ES256",
        headers={"kid": "NOSUCHKEY1"},
    )
    symmetric = jwt.encode(
        {"iss": key.team_id, "iat": time.time()},
        "x" * 32,
        algorithm="HS256",
        headers={"kid": key.key_id},
    )
    timeless = jwt.encode(
        {"iss": key.team_id}, key.file.read_text(), algorithm="ES256", headers={"kid": key.key_id}
    )
    for token in (stranger, unknown, symmetric, timeless):
        assert await first_answer(apns, token) == INVALID
    assert await first_answer(apns, provider_token(key, iss="OTHERTEAM1")) == INVALID
    assert await first_answer(apns, provider_token(key, iat=time.time() + 600)) == INVALID
    assert await first_answer(apns, provider_token(other)) == INVALID, "another team's topic"
    assert await first_answer(apns, None) == (403, "MissingProviderToken")


async def test_token_ages(apns: ApnsDouble) -> None:
    """A token is good for 60 minutes."""
    key = apns.keys[apns.key_id]
    token = provider_token(key)
    assert await first_answer(apns, token) == (200, "")
    apns.ahead_s = 3590
    assert await first_answer(apns, token) == (200, "")
    apns.ahead_s = 3610
    assert await first_answer(apns, token) == (403, "ExpiredProviderToken")


async def test_token_updates(apns: ApnsDouble) -> None:
    """A key's second token within 20 minutes is refused while the first one stays good."""
    key = apns.keys[apns.key_id]
    first, second = provider_token(key), provider_token(key, iat=time.time() - 1)
    assert await first_answer(apns, first) == (200, "")
    assert await first_answer(apns, second) == (429, "TooManyProviderTokenUpdates")
    assert await first_answer(apns, first) == (200, "")
    apns.ahead_s = 1201
    assert await first_answer(apns, second) == (200, "")
    assert await first_answer(apns, first) == (200, "")
    assert apns.tokens_seen == [first, second]


async def test_two_tokens_on_a_connection(apns: ApnsDouble) -> None:
    """A connection knows one token; after another one it is of no use any more."""
    key = apns.keys[apns.key_id]
    async with Sender(apns) as sender:
        phone = apns.device(BUNDLE)
        assert await sender.answer(phone) == (200, "")
        first, sender.token = sender.token, provider_token(key, iat=time.time() - 1)
        apns.ahead_s = 1500
        assert await sender.answer(phone) == (429, "TooManyProviderTokenUpdates")
        sender.token = first
        assert await sender.answer(phone) == (429, "TooManyProviderTokenUpdates")
    assert apns.connections == 1
    assert await first_answer(apns, first) == (200, "")


async def test_limits_of_a_key(apns: ApnsDouble) -> None:
    """A key may be revoked, or made for one environment or for some apps."""
    key = apns.keys[apns.key_id]
    token = provider_token(key)
    key.bundles = ("com.example.other",)
    assert await first_answer(apns, token) == (403, "UnrelatedKeyIdInToken")
    key.bundles, key.environments = None, ("sandbox",)
    assert await first_answer(apns, token) == (403, "BadEnvironmentKeyIdInToken")
    key.environments, key.revoked = ("production",), True
    assert await first_answer(apns, token) == INVALID
    key.revoked = False
    assert await first_answer(apns, token) == (200, "")


async def test_certificate(apns: ApnsDouble) -> None:
    """A client certificate stands for the token, and for its own app alone."""
    async with Sender(apns, certificate=str(apns.certificate(BUNDLE))) as sender:
        assert await sender.answer(apns.device(BUNDLE)) == (200, "")
        other = apns.device("com.example.other")
        assert await sender.answer(other) == (400, "TopicDisallowed")
    assert apns.tokens_seen == []


async def test_wrong_certificates(apns: ApnsDouble) -> None:
    """Of an unknown app, of the other environment, or expired: each is told in its own way."""
    phone = apns.device(BUNDLE)
    sandbox = str(apns.certificate(BUNDLE, environment="sandbox"))
    async with Sender(apns, certificate=sandbox) as sender:
        assert await sender.answer(phone) == (403, "BadCertificateEnvironment")
    stranger = str(apns.certificate("com.example.gone"))
    del apns.apps["com.example.gone"]
    async with Sender(apns, certificate=stranger) as sender:
        assert await sender.answer(phone) == (403, "BadCertificate")
    async with Sender(apns, certificate=str(apns.certificate(BUNDLE, expired=True))) as sender:
        with pytest.raises(httpx.TransportError):
            await sender.push(phone)


async def test_tls_is_strict(apns: ApnsDouble) -> None:
    """Its certificate must be verified by its own authority, and ALPN must offer h2."""
    phone = apns.device(BUNDLE)
    url = f"{apns.base_url}/3/device/{phone.token}"
    async with httpx.AsyncClient(http1=False, http2=True, trust_env=False) as stranger:
        with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
            await stranger.post(url)
    for alpn in (["http/1.1"], None):
        tls = context(apns, alpn=alpn)
        tls.minimum_version = ssl.TLSVersion.TLSv1_2
        with pytest.raises((OSError, EOFError)):
            await _nothing_comes(apns, tls)
    assert apns.requests == []
    assert len([fault for fault in apns.faults if "ALPN" in fault]) == 2


async def _nothing_comes(apns: ApnsDouble, tls: ssl.SSLContext) -> None:
    import asyncio

    reader, writer = await asyncio.open_connection(*apns.production.address, ssl=tls)
    try:
        if not await reader.read(1):
            raise EOFError
    finally:
        writer.transport.abort()
