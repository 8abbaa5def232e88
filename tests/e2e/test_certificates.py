"""Certificates of the service and of its peers: shown, believed, read again."""

from __future__ import annotations

import json
import os
import shutil
import signal
import ssl
from pathlib import Path
from typing import Any

import pytest
import yaml

from push_proxy.demo.process import poll_until
from tests.lab.certificates import Authority, TlsIdentity
from tests.lab.pbx import Pbx
from tests.lab.phone import Caller
from tests.lab.push_sink import PushSink
from tests.lab.service import LabService, ServiceOptions

from .conftest import StartService

REALM = "apps.test"
TRUNK_NAME = "trunk.example.com"
STRANGE_HOST = "127.0.0.2"


@pytest.fixture
def files(workdir: Path, authority: Authority) -> dict[str, str]:
    """The service's certificate under a path of its own, where it can be renewed."""
    return put(workdir, authority.issue("127.0.0.1"))


def put(directory: Path, identity: TlsIdentity) -> dict[str, str]:
    """Copy certificate and key to where the service reads them."""
    assert identity.certificate is not None
    assert identity.key is not None
    found = {"certificate": directory / "service.pem", "key": directory / "service.key"}
    shutil.copy(identity.certificate, found["certificate"])
    shutil.copy(identity.key, found["key"])
    return {name: str(path) for name, path in found.items()} | {"ca": str(identity.ca)}


@pytest.fixture
async def service(
    start_service: StartService, push_sink: PushSink, files: dict[str, str]
) -> LabService:
    """It knows one trunk, by certificate alone."""
    return await start_service(
        ServiceOptions(
            webhook_url=push_sink.url,
            webhook_key=push_sink.key,
            listen=("udp", "tcp", "tls"),
            tls=files,
            pbxes={"trunk": {"peers": ["192.0.2.1"], "tls_names": [TRUNK_NAME]}},
        )
    )


async def trunk_account(service: LabService) -> str:
    await service.put_account(
        "t101",
        "sip:101@trunk.example.com",
        topology="trunk",
        pbx="trunk",
        app_auth={"user": "101", "realm": REALM, "password": "secret"},
    )
    await service.put_device("t101")
    return "sip:101@{}:{}".format(*service.sip_at("tls"))


def peer(service: LabService, identity: TlsIdentity, host: str = STRANGE_HOST) -> Caller:
    """Somebody who calls over TLS from an address that nobody has heard of."""
    return Caller(
        "sip:9000@trunk.example.com",
        proxy=service.sip_at("tls"),
        host=host,
        transport="tls",
        tls=identity,
    )


@pytest.mark.parametrize("as_sip_domain", [False, True])
async def test_a_trunk_is_known_by_its_certificate(
    service: LabService, push_sink: PushSink, authority: Authority, as_sip_domain: bool
) -> None:
    """From any address; the name stands as DNS name or as sip: URI (RFC 5922 §7.1)."""
    to = await trunk_account(service)
    if as_sip_domain:
        identity = authority.issue("other.example.com", sip_domains=[TRUNK_NAME])
    else:
        identity = authority.issue("other.example.com", TRUNK_NAME)
    async with peer(service, identity) as trunk:
        call = trunk.call(to)
        await call.expect(180)
        assert [push.type for push in await push_sink.wait()] == ["call"]
        await call.cancel()


async def test_other_certificates_make_no_trunk(
    service: LabService, push_sink: PushSink, authority: Authority, workdir: Path
) -> None:
    """No certificate, another name: strangers. Of an authority that nobody believes: no TLS."""
    to = await trunk_account(service)
    for identity in (authority.trust, authority.issue("other.example.com")):
        async with peer(service, identity) as stranger:
            assert (await stranger.call(to).final()).status == 403
    foreign = Authority(workdir / "foreign", "foreign").issue(TRUNK_NAME)
    async with peer(service, TlsIdentity(authority.ca, foreign.certificate, foreign.key)) as liar:
        call = liar.call(to)
        assert await poll_until(
            lambda: (
                bool(liar.agent.stream.errors)
                or any(connection.closed.is_set() for connection in liar.agent.connections)
            ),
            within_s=5,
        )
        assert not liar.agent.received(call_id=call.invite.call_id)
    assert push_sink.pushes == []


async def test_the_service_shows_the_renewed_certificate(
    service: LabService, authority: Authority, workdir: Path
) -> None:
    """After SIGHUP new connections get it; the one that stands goes on undisturbed."""
    to = await trunk_account(service)
    async with peer(service, authority.trust) as before, peer(service, authority.trust) as after:
        assert (await before.call(to).final()).status == 403
        (stands,) = before.agent.connections
        put(workdir, authority.issue("127.0.0.1", "renewed.example.com"))
        await reload(service, "configuration reloaded")
        assert (await after.call(to).final()).status == 403
        (new,) = after.agent.connections
        assert ("DNS", "renewed.example.com") in names(new.peer_certificate)
        assert ("DNS", "renewed.example.com") not in names(stands.peer_certificate)
        assert (await before.call(to).final()).status == 403
        assert before.agent.connections == [stands]


async def test_a_broken_certificate_changes_nothing(
    service: LabService, authority: Authority, workdir: Path
) -> None:
    """A key that is not the certificate's is told, and TLS goes on with what it had."""
    to = await trunk_account(service)
    put(workdir, authority.issue("127.0.0.1", "renewed.example.com"))
    other = authority.issue("127.0.0.1").key
    assert other is not None
    shutil.copy(other, workdir / "service.key")
    refused = await reload(service, "reload refused")
    assert "sip.tls.key" in refused["error"]
    assert "is not the key of" in refused["error"]
    async with peer(service, authority.trust) as phone:
        assert (await phone.call(to).final()).status == 403
        (connection,) = phone.agent.connections
        assert ("DNS", "renewed.example.com") not in names(connection.peer_certificate)


async def test_the_service_is_verified_by_its_phones(service: LabService, workdir: Path) -> None:
    """What it shows is its own: a phone that believes another authority gets no connection."""
    stranger = Authority(workdir / "stranger", "stranger")
    async with peer(service, stranger.trust) as phone:
        phone.call("sip:101@127.0.0.1")
        assert await poll_until(lambda: bool(phone.agent.stream.errors), within_s=5)
        (error,) = phone.agent.stream.errors
        assert isinstance(error, ssl.SSLCertVerificationError)


async def test_a_new_pbx_at_a_reload(service: LabService, push_sink: PushSink, pbx: Pbx) -> None:
    """An account may name it at once and registers there; it moves with it, and stops when it is
    taken away.
    """
    config: dict[str, Any] = yaml.safe_load(service.config.read_text())
    config["pbxes"]["new"] = {"registrar": f"sip:{pbx.domain}"}
    service.config.write_text(yaml.safe_dump(config))
    await reload(service, "configuration reloaded")
    await service.put_account(
        "n101", f"sip:101@{pbx.realm}", pbx="new", password=pbx.password("101"), register="always"
    )
    await pbx.registered("101")
    async with Pbx(realm=pbx.realm) as other:
        config["pbxes"]["new"] = {"registrar": f"sip:{other.domain}"}
        service.config.write_text(yaml.safe_dump(config))
        await reload(service, "configuration reloaded", count=2)
        await other.registered("101")
        await service.is_registered("n101")
        del config["pbxes"]["new"]
        service.config.write_text(yaml.safe_dump(config))
        await reload(service, "configuration reloaded", count=3)
        await service.registration_until("n101", lambda found: found["state"] == "unused")
    assert not [line for line in service.process.output().splitlines() if "Traceback" in line]
    assert push_sink.pushes == []


def names(certificate: dict[str, Any]) -> list[tuple[str, str]]:
    """Alternative names as Python's TLS tells them."""
    return list(certificate.get("subjectAltName", ()))


async def reload(service: LabService, event: str, *, count: int = 1) -> dict[str, Any]:
    """SIGHUP, and the line of the log that begins like that."""

    def found() -> list[dict[str, Any]]:
        lines = service.process.output().splitlines()
        told = [json.loads(line) for line in lines if line.startswith("{")]
        return [line for line in told if line["event"].startswith(event)]

    assert service.process.pid is not None
    os.kill(service.process.pid, signal.SIGHUP)
    assert await poll_until(lambda: len(found()) >= count, within_s=5), service.process.output()
    return found()[-1]
