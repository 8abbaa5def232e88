"""A service with something going on, for pictures: phones of several vendors, calls of any kind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.lab.pbx import Pbx
from tests.lab.push_sink import PushSink
from tests.lab.service import LabService, ServiceOptions
from tests.lab.sip_call import IncomingCall, OutgoingCall
from tests.scenarios.conftest import Extension

_KEY = b"a key for pictures"
_NOTHING_FOR_S = 5.5
"""A caller who gives up later than that after the push has met a phone that does not wake."""
_PIXEL = {"platform": "android", "vendor": "google", "model": "Pixel 9"}
_GALAXY = {"platform": "android", "vendor": "samsung", "model": "Galaxy S24"}
_REDMI = {"platform": "android", "vendor": "xiaomi", "model": "Redmi Note 13"}
_IPHONE = {"platform": "ios", "vendor": "apple", "model": "iPhone 16"}
_SAVER = {"permissions": {"battery_unrestricted": False, "battery_saver": True}}
PEOPLE: dict[str, dict[str, dict[str, Any]]] = {
    "101": {"pixel": _PIXEL, "desk": {**_GALAXY, "model": "Galaxy Tab"}},
    "102": {"iphone": _IPHONE},
    "103": {"redmi": {**_REDMI, **_SAVER}},
    "104": {"galaxy": _GALAXY},
}
_WAKES_S: dict[str, tuple[float, ...]] = {
    "101": (0.4, 0.6, 0.5, 0.9, 0.7),
    "102": (0.3, 0.4, 0.3, 0.6, 0.4),
    "103": (1.2, 2.3, 1.7, 3.1),
    "104": (0.6, 0.8, 1.1, 0.7),
}
"""How long each of a person's wakes takes."""


@dataclass(slots=True)
class Stage:
    """The service and the people on it."""

    service: LabService
    pbx: Pbx
    sink: PushSink
    people: dict[str, Extension] = field(default_factory=dict)

    async def invite(self, user: str, caller: str, name: str) -> OutgoingCall:
        """A call with a caller's name; its pushes are out."""
        person = self.people[user]
        binding = await self.pbx.registered(user)
        pushes = len(person.pushes("call"))
        call = self.pbx.as_caller(caller).call(
            person.aor,
            request_uri=binding.uri,
            next_hop=binding.source,
            from_value=f'"{name}" <sip:{caller}@{self.pbx.realm}>;tag=stage-{caller}',
        )
        person.calls.append(call)
        await person.pushed(pushes + 1)
        return call

    async def wake(self, user: str, *, after_s: float, report: bool = True) -> IncomingCall:
        """The person's first device wakes and gets the call."""
        person, device = self.people[user], next(iter(PEOPLE[user]))
        await asyncio.sleep(after_s * 0.4)
        if report:
            await self.service.expect(
                "POST",
                f"/v1/calls/{person.pushes('call')[-1].call_id}/events",
                {"event": "push_received", "device": device, "network": "wifi"},
            )
        await asyncio.sleep(after_s * 0.6)
        phone = person.phone(device)
        incoming = await person.rung(phone)
        incoming.ring()
        return incoming

    async def talk(self, user: str, caller: str, name: str, *, after_s: float) -> None:
        """A call from INVITE to BYE; the phone sleeps again."""
        call = await self.invite(user, caller, name)
        incoming = await self.wake(user, after_s=after_s)
        await asyncio.sleep(0.4)
        incoming.accept()
        dialog = await call.answered()
        await incoming.expect_ack()
        dialog.send("BYE")
        await incoming.dialog().expect_bye()
        await self.people[user].record(call)
        await self.people[user].phones[-1].unregister()
        self.people[user].phones[-1].sleep()

    async def past(self) -> None:
        """Calls that are over: most went well, one phone did not wake."""

        async def of(user: str) -> None:
            for number, after_s in enumerate(_WAKES_S[user]):
                await self.talk(user, f"+4144555{user}{number}", "Anna Meier", after_s=after_s)

        await asyncio.gather(*map(of, PEOPLE))
        call = await self.invite("103", "+41791112233", "Luca Rossi")
        await asyncio.sleep(_NOTHING_FOR_S)
        await call.cancel()
        await self.people["103"].record(call)

    async def present(self) -> None:
        """Calls that go on: one wakes, one rings, one talks."""
        talking = await self.invite("104", "+390299887766", "Giulia Bianchi")
        incoming = await self.wake("104", after_s=0.7)
        incoming.accept()
        await talking.answered()
        await incoming.expect_ack()
        await self.invite("101", "+74951234567", "Ольга Смирнова")
        await self.wake("101", after_s=0.6)
        await self.invite("102", "+33142685300", "Camille Dupont")


@asynccontextmanager
async def stage(directory: Path) -> AsyncIterator[Stage]:
    """The service with its people, and the recorder on."""
    async with PushSink(key=_KEY) as sink, Pbx() as pbx:
        options = ServiceOptions(
            webhook_url=sink.url, webhook_key=_KEY, extra={"recorder": {"enabled": True}}
        )
        service = LabService(directory / "service", options)
        await service.start()
        try:
            made = Stage(service, pbx, sink)
            for user, devices in PEOPLE.items():
                made.people[user] = await _person(made, user, devices)
            yield made
        finally:
            for person in made.people.values():
                person.leave()
            await service.stop()
            await service.close()


async def _person(stage: Stage, user: str, devices: Mapping[str, Mapping[str, Any]]) -> Extension:
    person = Extension(
        service=stage.service,
        pbx=stage.pbx,
        sink=stage.sink,
        user=user,
        registrar=f"sip:{stage.pbx.domain}",
    )
    await person.put()
    for device, fields in devices.items():
        await person.put_device(device, instance_id=f"urn:x-lab:{device}", **fields)
    await stage.pbx.registered(user)
    return person
