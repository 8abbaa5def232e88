"""One service for all scenarios of a worker; each test has a PBX and extensions of its own."""

from __future__ import annotations

import itertools
import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.lab.pbx import Pbx
from tests.lab.phone import Phone
from tests.lab.ports import free_port
from tests.lab.process import Process, poll_until
from tests.lab.push_sink import Push, PushSink
from tests.lab.service import LabService, Record, ServiceOptions
from tests.lab.sip_call import IncomingCall, OutgoingCall

WEBHOOK_KEY = b"scenario webhook key"
_numbers = itertools.count(1001)


@dataclass(slots=True, kw_only=True)
class Extension:
    """One account toward the scripted PBX, with the devices that wake for it."""

    service: LabService
    pbx: Pbx
    sink: PushSink
    user: str
    registrar: str
    phones: list[Phone] = field(default_factory=list)
    calls: list[OutgoingCall] = field(default_factory=list)

    @property
    def account(self) -> str:
        """Its name in the API."""
        return f"ext-{self.user}"

    @property
    def aor(self) -> str:
        """Its address of record."""
        return f"sip:{self.user}@{self.pbx.realm}"

    def phone(self, device: str | None = None, **fields: Any) -> Phone:
        """A phone of this extension, asleep; `device` names its instance."""
        fields.setdefault("password", self.pbx.password(self.user))
        phone = self.service.phone(self.aor, device=device, **fields)
        self.phones.append(phone)
        return phone

    def call(self, **fields: Any) -> OutgoingCall:
        """The PBX calls it."""
        self.calls.append(self.pbx.call(self.user, **fields))
        return self.calls[-1]

    def leave(self) -> None:
        """Cancel what the test left open, so that nothing of it meets the next one."""
        for call in self.calls:
            if self.pbx.agent.is_open and not any(map(call.is_final, self.pbx.agent.history)):
                call.send_cancel()
        for phone in self.phones:
            phone.sleep()

    async def woken(
        self, device: str | None = None, **fields: Any
    ) -> tuple[OutgoingCall, IncomingCall]:
        """A call that woke a phone: the PBX's half and the phone's, nothing answered yet."""
        call = self.call(**fields)
        await self.pushed(len(self.pushes("call")) + 1)
        return call, await self.rung(self.phone(device))

    async def rung(self, phone: Phone) -> IncomingCall:
        """The phone registers and gets the INVITE."""
        response = await phone.register()
        assert response.status == 200, response
        return await phone.incoming()

    async def pushed(
        self, count: int = 1, *, kind: str = "call", within: float = 5.0
    ) -> list[Push]:
        """All pushes of that kind for this extension, as soon as there are `count`."""
        await poll_until(lambda: len(self.pushes(kind)) >= count, within_s=within)
        found = self.pushes(kind)
        assert len(found) >= count, f"{len(found)} of {count} {kind} pushes in {within} s"
        return found

    def pushes(self, kind: str | None = None) -> list[Push]:
        """The pushes for this extension so far."""
        return [
            push
            for push in self.sink.pushes
            if push.payload.get("account") == self.account and kind in (None, push.type)
        ]

    async def record(
        self, call: OutgoingCall | None = None, *, state: str = "ended", within: float = 5.0
    ) -> Record:
        """The call's record (or the newest one's) once it is in that state."""
        return await self.service.call_record(
            account=self.account,
            sip_call_id=call.invite.call_id if call else None,
            state=state,
            within=within,
        )

    async def put(self, **fields: Any) -> dict[str, Any]:
        """PUT the account; what is given here over what it has by default."""
        body = {
            "registrar": self.registrar,
            "password": self.pbx.password(self.user),
            **fields,
        }
        return await self.service.put_account(self.account, self.aor, **body)

    async def put_device(self, device: str = "handset", **fields: Any) -> dict[str, Any]:
        """PUT a device."""
        return await self.service.put_device(self.account, device, **fields)


MakeExtension = Callable[..., Awaitable[Extension]]


@pytest.fixture(scope="session")
def shared_service() -> Iterator[LabService]:
    """The service of this worker. It is a process, so it may serve many event loops."""
    directory = Path(tempfile.mkdtemp(prefix="pp-"))
    sink_url = f"http://127.0.0.1:{free_port()}/push"
    options = ServiceOptions(webhook_url=sink_url, webhook_key=WEBHOOK_KEY)
    service = LabService(directory / "service", options)
    yield service
    service.kill()
    Process.started.discard(service.process)
    # The killed service's Valkey may be removing its own files still.
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
async def service(shared_service: LabService) -> AsyncIterator[LabService]:
    """The shared service, alive at both ends of the test, without a fault in its log."""
    if not shared_service.process.running:
        try:
            await shared_service.start()
        except BaseException:
            await shared_service.close()
            raise
    mark = shared_service.process.output_size()
    yield shared_service
    await shared_service.close()
    assert shared_service.process.running, "the service died"
    log = shared_service.process.output(since=mark)
    assert "Traceback" not in log, log


@pytest.fixture
async def push_sink(service: LabService) -> AsyncIterator[PushSink]:
    """Where the shared service's pushes go; a fresh one for each test, on the same port."""
    url = service.options.webhook_url
    assert url is not None
    port = int(url.rpartition(":")[2].partition("/")[0])
    async with PushSink(key=WEBHOOK_KEY, port=port) as sink:
        yield sink


@pytest.fixture
async def extension(
    service: LabService, pbx: Pbx, push_sink: PushSink
) -> AsyncIterator[MakeExtension]:
    """Makes extensions: account, devices, and our registration at the PBX, waited for."""
    made: list[Extension] = []

    async def make(
        *devices: str, registered: bool = True, at: Pbx | None = None, **fields: Any
    ) -> Extension:
        home = at or pbx
        new = Extension(
            service=service,
            pbx=home,
            sink=push_sink,
            user=str(next(_numbers)),
            registrar=f"sip:{home.domain}",
        )
        made.append(new)
        await new.put(**fields)
        for device in devices or ("handset",):
            # With one device the phone need not name its instance.
            named = {"instance_id": f"urn:x-lab:{device}"} if devices else {}
            await new.put_device(device, **named)
        if registered and fields.get("topology") != "trunk":
            await new.pbx.registered(new.user)
        return new

    yield make
    for each in made:
        each.leave()
        await service.delete_account(each.account)
