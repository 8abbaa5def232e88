"""TLS toward PBXs: whose certificate the service believes, and what it shows itself."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import Any

from tests.lab.certificates import Authority
from tests.lab.fixtures import StartKamailio
from tests.lab.kamailio import KamailioOptions, pbx_tls
from tests.lab.pbx import Pbx
from tests.lab.service import LabService, ServiceOptions

from .conftest import REALM, TRANSPORTS, StartService


async def register_at(service: LabService, name: str) -> None:
    """An account of that PBX's, which registers at once."""
    await service.put_account(
        name, f"sip:{name}@{REALM}", pbx=name, password=f"pw-{name}", register="always"
    )


async def test_certificate_of_the_pbx(start_service: StartService, authority: Authority) -> None:
    """A PBX must show a certificate that is valid, of an authority that we believe, and names it;
    `tls.ca`, `tls.server_name` and `tls.verify` say what that means. It hears nothing before.
    """
    stranger = Authority(authority.directory / "stranger")
    shown = {
        "good": (authority.issue(), {}),
        "expired": (authority.issue(expired=True), {}),
        "foreign": (stranger.issue(), {}),
        "misnamed": (authority.issue("pbx.example.com"), {}),
        "foreign-ca": (stranger.issue(), {"ca": str(stranger.ca)}),
        "renamed": (authority.issue("pbx.example.com"), {"server_name": "pbx.example.com"}),
        "unverified": (stranger.issue(expired=True), {"verify": False}),
    }
    believed = {"good", "foreign-ca", "renamed", "unverified"}
    async with AsyncExitStack() as stack:
        pbxes = {
            name: await stack.enter_async_context(Pbx(realm=REALM, transport="tls", tls=identity))
            for name, (identity, _) in shown.items()
        }
        configured: dict[str, dict[str, Any]] = {
            name: {"registrar": pbx.uri, "tls": shown[name][1]} for name, pbx in pbxes.items()
        }
        service = await start_service(
            ServiceOptions(listen=TRANSPORTS, tls=authority.issue().files, pbxes=configured)
        )
        for name in shown:
            await register_at(service, name)
        for name in believed:
            await service.is_registered(name)
        for name in shown.keys() - believed:
            refused = await service.registration_until(name, lambda found: bool(found["advice"]))
            assert refused["state"] == "retrying"
            assert "certificate" in refused["last_reason"]
            assert refused["advice"].startswith("TLS with the PBX fails")
            assert pbxes[name].registrations == []


async def test_pbx_wants_our_certificate(
    start_service: StartService, start_kamailio: StartKamailio, authority: Authority
) -> None:
    """A PBX that asks for a client certificate gets the one of its own `tls` section; without one
    there it turns us away.
    """
    kamailio = await start_kamailio(
        KamailioOptions(realm=REALM, tls=pbx_tls(authority.issue(), wants_certificate=True))
    )
    client = authority.issue("push.example.com").files
    service = await start_service(
        ServiceOptions(
            listen=TRANSPORTS,
            tls=authority.issue().files,
            pbxes={
                "shows": {"registrar": kamailio.uri("tls"), "tls": client},
                "silent": {"registrar": kamailio.uri("tls")},
            },
        )
    )
    for name in ("shows", "silent"):
        await register_at(service, name)
    await service.is_registered("shows")
    refused = await service.registration_until("silent", lambda found: bool(found["advice"]))
    assert refused["state"] == "retrying"
    assert "certificate required" in refused["last_reason"]
    assert await kamailio.bindings("silent") == []
