"""PBXs that fail, move calls to another server, or forget: found out and repaired on the wire."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from tests.lab.certificates import Authority
from tests.lab.dns_server import DnsServer
from tests.lab.fixtures import StartKamailio
from tests.lab.kamailio import Kamailio, KamailioOptions, pbx_tls
from tests.lab.pbx import Answer, Pbx
from tests.lab.process import poll_until
from tests.lab.service import LabService, ServiceOptions
from tests.lab.sip_message import Message

from .conftest import StartService

OTHER_HOST = "127.0.0.2"


def records(first: Pbx, second: Pbx) -> str:
    """Two servers: the second only when the first fails."""
    return (
        f"_sip._udp SRV 10 0 {first.agent.address[1]} one\n"
        f"_sip._udp SRV 20 0 {second.agent.address[1]} two\n"
        f"one A 127.0.0.1\ntwo A {OTHER_HOST}\n"
    )


def options(server: DnsServer, **pbx: Any) -> ServiceOptions:
    return ServiceOptions(
        pbxes={"office": {"registrar": "sip:lab.test", "qualify_s": 1, **pbx}},
        extra={"sip": {"nameservers": [server.hostport]}},
    )


async def account(service: LabService, user: str = "101", **fields: Any) -> None:
    body = {"pbx": "office", "password": f"pw-{user}", "register": "always", **fields}
    await service.put_account(user, f"sip:{user}@pbx.test", **body)


async def invited(pbx: Pbx, user: str) -> Message:
    """The final answer to a call from this PBX."""
    return await pbx.call(user).final(within=5)


async def test_the_second_server_takes_over_and_gives_back(start_service: StartService) -> None:
    """SRV by `sip.nameservers`: registered at the first server alone; when that falls silent our
    OPTIONS notice it and we register at the second, whose calls are ours at once; when the first
    answers again, the next refresh goes home.
    """
    async with (
        DnsServer("lab.test.") as server,
        Pbx(max_expires_s=4) as first,
        Pbx(max_expires_s=4, host=OTHER_HOST) as second,
    ):
        server.set(records(first, second))
        service = await start_service(options(server))
        await account(service)
        await first.registered("101")
        assert second.registrations == []
        port = first.agent.address[1]
        first.stop()
        first.bindings.clear()
        await second.registered("101", within=8)
        await service.is_registered("101")
        # Not 403: it is believed, although it is not the server that we were registered at.
        assert (await invited(second, "101")).status == 480
        await first.start(port=port)
        await first.registered("101", within=8)
        assert (await invited(first, "101")).status == 480


async def test_a_busy_server_costs_no_time(start_service: StartService) -> None:
    """503 from the first: registered at the second in the same attempt, without a back-off, with
    the second's own challenge answered.
    """
    async with DnsServer("lab.test.") as server, Pbx() as first, Pbx(host=OTHER_HOST) as second:
        server.set(records(first, second))
        first.always = Answer(503, "Busy", (("Retry-After", "60"),))
        service = await start_service(options(server))
        await account(service)
        await second.registered("101", within=1.9)
        assert [r.status for r in second.registrations] == [401, 200]
        assert len(first.registrations) == 1
        await account(service, "102")
        await second.registered("102", within=1.9)
        assert len(first.registrations) == 1, "it has asked for a minute's rest"


async def bound(kamailio: Kamailio, users: list[str]) -> int:
    found = await asyncio.gather(*(kamailio.bindings(user) for user in users))
    return sum(1 for bindings in found if bindings)


async def all_bound(kamailio: Kamailio, users: list[str], *, within: float) -> None:
    deadline = time.monotonic() + within
    while (count := await bound(kamailio, users)) < len(users):
        assert time.monotonic() < deadline, f"{count} of {len(users)} are bound"
        await asyncio.sleep(0.1)


async def test_a_restarted_pbx_gets_everybody_back(
    start_service: StartService, start_kamailio: StartKamailio
) -> None:
    """Bindings live an hour, yet a PBX that has forgotten them has all of them again after the
    canary's second and the time that its pace needs; nobody is lost.
    """
    kamailio = await start_kamailio(KamailioOptions())
    office = {
        "registrar": f"sip:{kamailio.domain}",
        "qualify_s": 1,
        "registrations_per_second": 20,
        "expires_s": 3600,
    }
    service = await start_service(ServiceOptions(pbxes={"office": office}))
    users = [str(201 + number) for number in range(30)]
    await asyncio.gather(*(account(service, user) for user in users))
    await all_bound(kamailio, users, within=10)
    await kamailio.stop()
    restarted = time.time()  # it is found to be back before we know that it is
    await kamailio.start()
    await all_bound(kamailio, users, within=10)
    arrivals = sorted(
        event.at
        for event in kamailio.events()
        if event.event == "own-response"
        and event.method == "REGISTER"
        and event.status == 200
        and event.at > restarted
    )
    assert len(arrivals) >= len(users)
    assert arrivals[len(users) - 1] - arrivals[0] > 1, "30 at 20 per second take longer"


async def test_a_broken_tcp_connection_registers_again(
    start_service: StartService, start_kamailio: StartKamailio
) -> None:
    """Over TCP the PBX sends calls on the connection that registered: our Contact asks for TCP,
    and when the connection goes we register on a new one at once, an hour before the refresh.
    """
    kamailio = await start_kamailio(KamailioOptions())
    service = await start_service(ServiceOptions())
    await account(service, pbx=None, registrar=f"sip:{kamailio.domain};transport=tcp")
    await all_bound(kamailio, ["101"], within=5)
    (binding,) = await kamailio.bindings("101")
    assert ";transport=tcp" in binding.uri
    await kamailio.restart()
    await all_bound(kamailio, ["101"], within=12)


async def test_a_dead_pbx_is_left_in_peace(start_service: StartService) -> None:
    """No answer at all: a handful of REGISTERs however many accounts wait; all of them register
    as soon as it answers, whatever their back-off says.
    """
    async with DnsServer("lab.test.") as server, Pbx() as pbx, Pbx(host=OTHER_HOST) as unused:
        server.set(records(pbx, unused).replace("_sip._udp SRV 20", "_sip._tcp SRV 20"))
        service = await start_service(options(server))
        users = [str(301 + number) for number in range(20)]
        await account(service, users[0])
        await pbx.registered(users[0])
        port = pbx.agent.address[1]
        pbx.stop()
        await service.process.wait_for("a PBX's server does not answer", within_s=8)
        before = await service.metric("push_proxy_sip_messages_total")
        await asyncio.gather(*(account(service, user) for user in users[1:]))
        await asyncio.sleep(1)
        assert await service.metric("push_proxy_sip_messages_total") - before < 15
        await pbx.start(port=port)
        assert await poll_until(
            lambda: all(pbx.bindings.get(user) for user in users), within_s=8
        ), sorted(pbx.bindings)


@pytest.mark.parametrize(
    ("certified", "server_name", "good"),
    [
        ("lab.test", None, True),
        ("one.lab.test", None, False),
        ("one.lab.test", "one.lab.test", True),
    ],
)
async def test_the_certificate_names_what_the_operator_wrote(
    start_service: StartService,
    start_kamailio: StartKamailio,
    authority: Authority,
    certified: str,
    server_name: str | None,
    good: bool,
) -> None:
    """TLS behind SRV: the domain in the registrar's URI counts, not the host that an unprotected
    SRV record names (RFC 5922 §4), unless `tls.server_name` says so. A PBX that shows another
    name gets no credentials.
    """
    kamailio = await start_kamailio(KamailioOptions(tls=pbx_tls(authority.issue(certified))))
    zone = f"_sips._tcp SRV 10 0 {kamailio.tls_port} one\none A 127.0.0.1\n"
    async with DnsServer("lab.test.", zone) as server:
        tls = {"ca": str(authority.ca), "server_name": server_name}
        service = await start_service(options(server, registrar="sips:lab.test", tls=tls))
        await account(service)
        if good:
            await all_bound(kamailio, ["101"], within=5)
            return
        shown = await service.registration_until("101", lambda found: found["state"] == "retrying")
        assert shown["last_status"] == 503
        assert await kamailio.bindings("101") == []
        assert not any(event.method == "REGISTER" for event in kamailio.events())
        assert "certificate" in shown["last_reason"], shown
