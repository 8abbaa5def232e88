"""Keys and certificates of APNs: read, shown, ended, unusable; what the doctor says; secrecy."""

from __future__ import annotations

import asyncio
import datetime as dt
import io
import logging
import ssl
import time
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509 import load_pem_x509_certificate
from pydantic import AnyHttpUrl

from push_proxy.core.actions import PushType
from push_proxy.core.events import PushOutcome as O
from push_proxy.errors import ConfigurationError
from push_proxy.observability.logs import configure_logs
from push_proxy.ports import AppState, Check
from push_proxy.providers.apns import ApnsProvider
from push_proxy.providers.apns_app import apns_apps
from push_proxy.settings_providers import ApnsSection
from tests.doubles.apns import ApnsDouble, Play, error, going_away
from tests.lab.certificates import Authority

from .apns_bench import device, faultless, provider, push, section, warm, with_certificate


async def lines(of: ApnsProvider) -> list[Check]:
    return [line async for line in of.check()]


# ---- certificates ---------------------------------------------------------------------------


async def test_certificate(apns: ApnsDouble) -> None:
    """A certificate instead of a key: no token is shown, many streams from the start."""
    phone = apns.device()
    file = apns.certificate()
    async with provider(with_certificate(apns, file)) as one:
        await warm(one)
        results = await asyncio.gather(*(one.send(push(device(phone.token))) for _ in range(20)))
        [health] = one.health()
    assert {(each.outcome, each.attempts) for each in results} == {(O.ACCEPTED, 1)}
    assert all("authorization" not in each.headers for each in apns.requests)
    ends = load_pem_x509_certificate(file.read_bytes()).not_valid_after_utc
    assert health.credential_ends_at == ends.timestamp()
    faultless(apns)


async def test_certificate_in_two_files(apns: ApnsDouble, tmp_path: Path) -> None:
    """Certificate and key may be two files."""
    phone = apns.device()
    text = apns.certificate().read_text()
    head, _, tail = text.partition("-----END CERTIFICATE-----\n")
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    certificate.write_text(f"{head}-----END CERTIFICATE-----\n")
    key.write_text(tail[tail.index("-----BEGIN") :] if "PRIVATE KEY" in tail else text)
    entry = with_certificate(apns, certificate, certificate_key_file=key)
    async with provider(entry) as one:
        assert (await one.send(push(device(phone.token)))).outcome is O.ACCEPTED


async def test_expired_certificate_is_a_state(apns: ApnsDouble) -> None:
    """An expired certificate is told at start and in the app's health; nothing is connected to."""
    phone, other = apns.device(), apns.device("com.example.other")
    entry = with_certificate(apns, apns.certificate(expired=True))
    async with provider(entry, section(apns, app_id="com.example.other")) as one:
        result = await one.send(push(device(phone.token)))
        fine = await one.send(push(device(other.token, app_id="com.example.other")))
        health = {each.app_id: each for each in one.health()}
        found = await lines(one)
    assert (result.outcome, result.reason) == (O.MISCONFIGURED, "certificate_expired")
    assert result.attempts == 0
    assert fine.outcome is O.ACCEPTED, "the other app goes on"
    blocked = health["com.example.phone"]
    assert (blocked.state, blocked.reason) == (AppState.BLOCKED, "certificate_expired")
    assert blocked.credential_ends_at is not None
    assert blocked.credential_ends_at < time.time()
    assert [line.ok for line in found] == [False, True]
    assert "renew" in found[0].text


async def test_certificate_that_is_refused(apns: ApnsDouble, tmp_path: Path) -> None:
    """A certificate that APNs does not take ends in a reason, not in a time-out."""
    phone = apns.device()
    identity = Authority(tmp_path / "stranger", name="stranger").issue("com.example.phone")
    assert identity.certificate is not None
    entry = with_certificate(apns, identity.certificate, certificate_key_file=identity.key)
    for listener in (apns.production, apns.sandbox):
        listener._tls.verify_mode = ssl.CERT_REQUIRED
        listener._tls.load_verify_locations(apns.ca_file)
    async with provider(entry) as one:
        result = await one.send(push(device(phone.token)))
    assert (result.outcome, result.reason) == (O.MISCONFIGURED, "certificate_refused")


# ---- what cannot be used --------------------------------------------------------------------


def _rsa() -> bytes:
    return rsa.generate_private_key(65537, 2048).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def _other_curve() -> bytes:
    return ec.generate_private_key(ec.SECP384R1()).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def _encrypted() -> bytes:
    return ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"secret"),
    )


@pytest.mark.parametrize("make", [None, bytes, lambda: b"no key", _rsa, _other_curve, _encrypted])
def test_key_that_cannot_be_used(tmp_path: Path, make: Any) -> None:
    """A key file that is missing, empty, of another kind or encrypted is named by its setting."""
    file = tmp_path / "key.p8"
    if make is not None:
        file.write_bytes(make())
    entry = _entry(team_id="T", key_id="K", key_file=file)
    with pytest.raises(ConfigurationError, match=r"^providers\.apns\[0\]\.key_file: .*key\.p8"):
        list(apns_apps([entry]))


@pytest.mark.parametrize("content", [None, b"", b"rubbish", _rsa])
def test_certificate_that_cannot_be_used(tmp_path: Path, content: Any) -> None:
    """The same for certificates."""
    file = tmp_path / "cert.pem"
    if content is not None:
        file.write_bytes(content() if callable(content) else content)
    with pytest.raises(ConfigurationError, match=r"^providers\.apns\[0\]\.certificate_file: "):
        list(apns_apps([_entry(certificate_file=file)]))


@pytest.mark.parametrize("key", [None, _rsa, _encrypted, lambda: b"rubbish"])
async def test_certificate_without_its_key(apns: ApnsDouble, tmp_path: Path, key: Any) -> None:
    """A key that is missing, another certificate's, or encrypted is named, and nobody is asked."""
    both = apns.certificate().read_text()
    certificate, file = tmp_path / "cert.pem", tmp_path / "key.pem"
    certificate.write_text(both[: both.index("-----END CERTIFICATE-----") + 26])
    if key is not None:
        file.write_bytes(key())
    entry = _entry(certificate_file=certificate, certificate_key_file=file)
    with pytest.raises(
        ConfigurationError, match=r"^providers\.apns\[0\]\.certificate_key_file: .*key\.pem"
    ):
        list(apns_apps([entry]))


def test_entry_without_credential(tmp_path: Path) -> None:
    """Neither key nor certificate: what is missing is said."""
    with pytest.raises(ConfigurationError, match="team_id, key_id and key_file, or certificate"):
        list(apns_apps([_entry(team_id="T")]))


@pytest.mark.parametrize("content", [None, b"rubbish"])
async def test_authority_that_cannot_be_used(
    apns: ApnsDouble, tmp_path: Path, content: bytes | None
) -> None:
    """A `ca_file` that is missing or holds no certificate is told at start."""
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ConfigurationError, match=r"^providers\.apns\[0\]\.ca_file: .*ca\.pem"):
        list(apns_apps([section(apns, ca_file=file)]))


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "https://relay.example.com/apns"])
async def test_url_that_cannot_be_used(apns: ApnsDouble, url: str) -> None:
    """A server that is not plain HTTPS cannot speak APNs."""
    with pytest.raises(ConfigurationError, match=r"providers\.apns\[0\]\.base_url: must be https"):
        list(apns_apps([section(apns, base_url=AnyHttpUrl(url))]))


def _entry(**said: Any) -> Any:
    return ApnsSection(app_id="com.example.phone", **said)


# ---- RFC 8599 -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("param", "named"),
    [
        ("LABTEAM001.com.example.phone.voip", True),
        ("LABTEAM001.com.example.phone", True),
        ("LABTEAM001.com.example.phone.voip&remote", True),
        ("LABTEAM001.com.example.phone.remote", True),
        ("com.example.phone.voip", True),
        ("OTHERTEAM1.com.example.phone.voip", False),
        ("LABTEAM001.com.example.other.voip", False),
        ("", False),
    ],
)
async def test_app_for_pn_param(apns: ApnsDouble, param: str, *, named: bool) -> None:
    """The app that `pn-param` names, and none that only looks like it."""
    async with provider(section(apns), started=False) as one:
        assert one.app_for(param) == ("com.example.phone" if named else None)


# ---- the doctor -----------------------------------------------------------------------------


async def test_check_good(apns: ApnsDouble) -> None:
    """Good credentials are told by pushing to nobody; no phone gets anything."""
    phone = apns.device()
    async with provider(section(apns)) as one:
        [line] = await lines(one)
    assert line.ok
    assert line.what == "apns com.example.phone: production"
    assert "right" in line.text
    assert phone.received == []
    [request] = apns.requests
    assert request.reason == "BadDeviceToken"


@pytest.mark.parametrize("skew_s", [0, 500])
async def test_check_clock(apns: ApnsDouble, skew_s: int) -> None:
    """When APNs says its time, ours is compared with it."""
    apns.app()
    at = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=skew_s)
    date = at.strftime("%a, %d %b %Y %H:%M:%S GMT")
    apns.next(Play(reason="BadDeviceToken", headers=(("date", date),)))
    async with provider(section(apns)) as one:
        first, clock = await lines(one)
    assert first.ok
    assert clock.ok == (skew_s == 0)
    assert skew_s == 0 or "behind" in clock.text


async def test_check_revoked_key(apns: ApnsDouble) -> None:
    """A revoked key, a foreign topic and a server that is not there are each explained."""
    apns.app()
    apns.keys[apns.key_id].revoked = True
    async with provider(section(apns)) as one:
        [line] = await lines(one)
        assert not line.ok
        assert "InvalidProviderToken" in line.text
        apns.keys[apns.key_id].revoked = False
        apns.next(error("TopicDisallowed"))
        [line] = await lines(one)
        assert not line.ok
        assert "TopicDisallowed" in line.text
    await apns.production.listen("refusing")
    async with provider(section(apns)) as one:
        [line] = await lines(one)
    assert not line.ok
    assert "connect_failed" in line.text


# ---- secrecy --------------------------------------------------------------------------------


async def test_nothing_secret_is_logged(apns: ApnsDouble) -> None:
    """Even at debug no log line, ours or a library's, shows a device token, JWT, key or name."""
    said = io.StringIO()
    former = logging.getLogger().handlers[:], logging.getLogger().level
    phone, alert = apns.device(), apns.device(kind="alert")
    to = device(phone.token, alert_token=alert.token)
    try:
        configure_logs("debug", stream=said)
        async with provider(section(apns), request_s=0.5) as one:
            for play in (
                Play(), error("BadDeviceToken"), error("InternalServerError"), Play(silent=True),
                Play(body=b"\xff{", status=400), going_away(), Play(drop=True),
                error("InvalidProviderToken"),
            ):  # fmt: skip
                apns.next(play)
                await one.send(push(to))
                await one.send(push(to, PushType.MISSED))
            shown = [repr(one), repr(to), repr(one.health()), repr(vars(one))]
    finally:
        configure_logs("info")
        logging.getLogger().handlers[:], level = former
        logging.getLogger().setLevel(level)
    text = said.getvalue() + "".join(shown)
    assert "connected to APNs" in text
    for secret in (phone.token, alert.token, "Mustermann", *apns.tokens_seen):
        assert secret not in text
        assert secret[:20] not in text or secret == "Mustermann"
    key = apns.key_file.read_text().splitlines()[1]
    assert key not in text
