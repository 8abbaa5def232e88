"""The main job on one machine: PBX, service, a phone that sleeps, and one real call."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import pushing
from .kamailio import Kamailio
from .phone_process import PhoneProcess
from .ports import free_port
from .process import ProcessError, poll_until
from .pushing import ProviderName, Pushing
from .service import Service, ServiceOptions

CALLEE, CALLER = "101", "200"
TALK_S = 2.0
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """Everything that runs."""

    pbx: Kamailio
    service: Service
    phone: PhoneProcess
    pushing: Pushing


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """What one call left behind."""

    caller: dict[str, Any]
    """The caller's last event, with its RTP counts."""
    callee: dict[str, Any]
    """The phone's."""
    record: dict[str, Any]
    """The service's view: `GET /v1/calls/{id}`."""


@contextlib.asynccontextmanager
async def open_scene(
    directory: Path, say: Say, *, provider: ProviderName = "webhook"
) -> AsyncIterator[Scene]:
    """Start everything and put the phone to sleep. Raises `ProcessError`."""
    pushing.check(provider)
    key_file = directory / "push.key"
    key_file.write_bytes(secrets.token_hex(16).encode())
    async with contextlib.AsyncExitStack() as stack:
        pbx = Kamailio(directory / "pbx", free_port())
        stack.push_async_callback(pbx.stop)
        say(f"starting Kamailio as PBX at {pbx.domain}")
        await pbx.start()

        sip_port = free_port()
        phone = await stack.enter_async_context(
            PhoneProcess(
                directory,
                "phone",
                *("--aor", _aor(pbx, CALLEE), "--password", pbx.password(CALLEE)),
                *("--registrar", f"sip:127.0.0.1:{sip_port}"),
                # A platform hands the app its payload without our signature.
                *(("--push-key-file", str(key_file)) if provider == "webhook" else ()),
            )
        )
        if provider == "webhook":
            way = pushing.webhook(phone.url, key_file=key_file)
        else:
            say(f"starting a double of {provider.upper()}, which hands pushes to the phone")
            way = await pushing.through_double(provider, directory, phone.url)
        stack.push_async_callback(way.stop)
        say("starting push-proxy with an embedded Valkey")
        service = Service(
            directory / "service",
            ServiceOptions(
                pbxes={"office": {"registrar": f"sip:{pbx.domain}"}},
                extra={"providers": way.sections},
            ),
            sip_port=sip_port,
        )
        stack.push_async_callback(service.stop)
        await service.start()
        await _provision(service, pbx, way)
        say(f"waiting until extension {CALLEE} is registered at the PBX on the phone's behalf")
        await _registered(pbx, service)
        await phone.event("asleep")
        if ports := phone.udp_ports():
            raise ProcessError(f"the phone should sleep, but has UDP sockets on {ports}")
        say("the phone sleeps: it has no SIP socket")
        yield Scene(pbx=pbx, service=service, phone=phone, pushing=way)


async def place_call(scene: Scene, directory: Path, say: Say) -> Call:
    """One call from the PBX's other extension, talked and hung up. Raises `ProcessError`."""
    pbx = scene.pbx
    calls_before = len(scene.phone.events("bye"))
    say(f"extension {CALLER} calls {CALLEE} through the PBX")
    caller = PhoneProcess(
        directory,
        "caller",
        *("--aor", _aor(pbx, CALLER), "--password", pbx.password(CALLER)),
        *("--proxy", f"sip:{pbx.domain}", "--no-register"),
        *("--call", _aor(pbx, CALLEE), "--hangup-after", str(TALK_S)),
    )
    async with caller:
        await caller.event("answered", within_s=20)
        say(f"answered; both sides talk for {TALK_S:.0f} s")
        caller_end = await caller.event("bye", within_s=TALK_S + 10)
        callee_end = await scene.phone.event("bye", nth=calls_before + 1)
    record = await _ended_record(scene.service)
    return Call(caller=caller_end, callee=callee_end, record=record)


def _aor(pbx: Kamailio, user: str) -> str:
    return f"sip:{user}@{pbx.options.realm}"


async def _provision(service: Service, pbx: Kamailio, way: Pushing) -> None:
    await service.expect(
        "PUT",
        f"/v1/accounts/{CALLEE}",
        {"aor": _aor(pbx, CALLEE), "pbx": "office", "password": pbx.password(CALLEE)},
    )
    await service.expect("PUT", f"/v1/accounts/{CALLEE}/devices/handset", way.device)


async def _registered(pbx: Kamailio, service: Service) -> None:
    for _ in range(100):
        if any(f":{service.sip_port}" in contact.uri for contact in await pbx.bindings(CALLEE)):
            return
        await poll_until(lambda: False, within_s=0.1)
    raise service.process.failure(f"extension {CALLEE} was not registered at the PBX within 10 s")


async def _ended_record(service: Service) -> dict[str, Any]:
    for _ in range(50):
        page = await service.expect("GET", f"/v1/calls?account={CALLEE}&limit=1")
        if page["calls"] and page["calls"][0]["state"] == "ended":
            record: dict[str, Any] = await service.expect(
                "GET", f"/v1/calls/{page['calls'][0]['id']}"
            )
            return record
        await poll_until(lambda: False, within_s=0.1)
    raise service.process.failure("no ended call is on record")
