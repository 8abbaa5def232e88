"""Kamailio as PBX and the service between it and its phones."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.lab.baresip import Baresip
from tests.lab.certificates import Authority
from tests.lab.fixtures import MakeBaresip, MakeLinphone, MakePjsua2
from tests.lab.kamailio import Kamailio, KamailioOptions, Trunk, pbx_tls
from tests.lab.linphone import Linphone
from tests.lab.phone import Caller, Phone
from tests.lab.pjsua2 import Pjsua2
from tests.lab.ports import free_block, free_port
from tests.lab.process import Process
from tests.lab.push_sink import Push, PushSink
from tests.lab.service import LabService, Record, ServiceOptions

WEBHOOK_KEY = b"e2e webhook key"
REALM = "pbx.test"
TOPOLOGIES = ["hold", "trunk"]
TRANSPORTS = ("udp", "tcp", "tls")
StartService = Callable[[ServiceOptions], Awaitable[LabService]]
_numbers = itertools.count(101)


@pytest.fixture
async def start_service(workdir: Path) -> AsyncIterator[StartService]:
    """Starts a service of the test's own with the given options, and waits until it is ready."""
    running: list[LabService] = []

    async def start(options: ServiceOptions) -> LabService:
        service = LabService(workdir / f"service{len(running)}", options)
        running.append(service)
        await service.start()
        return service

    yield start
    for service in running:
        await service.stop()


@pytest.fixture
async def own_service(start_service: StartService, push_sink: PushSink) -> LabService:
    """A service of the test's own, with an embedded Valkey, that pushes to `push_sink`."""
    return await start_service(ServiceOptions(webhook_url=push_sink.url, webhook_key=push_sink.key))


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """What all calls of a worker share."""

    service: LabService
    hold: Kamailio
    """The service registers here."""
    trunk: Kamailio
    """Its calls go to the service as a peer."""
    authority: Authority
    """Vouches for the service and the PBXs."""

    def pbx(self, topology: str) -> Kamailio:
        """The PBX of that topology."""
        return self.hold if topology == "hold" else self.trunk


@pytest.fixture(scope="session")
def running_stage(authority: Authority) -> Iterator[Stage]:
    """Two PBXs and the service of this worker: processes, so they may serve many event loops."""
    directory = Path(tempfile.mkdtemp(prefix="pp-"))
    sip_port = free_block(2)
    own = authority.issue(for_linphone=True)
    hold = Kamailio(
        directory / "hold",
        free_port(),
        KamailioOptions(realm=REALM, tls=pbx_tls(authority.issue())),
    )
    peer = Trunk("127.0.0.1", sip_port, users=r"^[1-9][0-9]{2,3}$")
    trunk = Kamailio(directory / "trunk", free_port(), KamailioOptions(realm=REALM, trunk=peer))
    service = LabService(
        directory / "service",
        ServiceOptions(
            webhook_url=f"http://127.0.0.1:{free_port()}/push",
            webhook_key=WEBHOOK_KEY,
            listen=TRANSPORTS,
            tls=own.files,
            pbxes={
                "hold": {"registrar": hold.uri()},
                "hold-tcp": {"registrar": hold.uri("tcp")},
                "hold-tls": {"registrar": hold.uri("tls")},
                "trunk": {"registrar": f"sip:{trunk.domain}", "peers": ["127.0.0.1"]},
            },
        ),
        sip_port=sip_port,
    )

    async def start() -> None:
        try:
            await asyncio.gather(hold.start(), trunk.start(), service.start())
        finally:
            await service.close()

    try:
        asyncio.run(start())
        yield Stage(service=service, hold=hold, trunk=trunk, authority=authority)
    finally:
        service.kill()
        Process.started.discard(service.process)
        asyncio.run(hold.stop())
        asyncio.run(trunk.stop())
        # The killed service's Valkey may be removing its own files still.
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
async def stage(running_stage: Stage) -> AsyncIterator[Stage]:
    """The stage, with a service that is alive at both ends and logged no fault."""
    service = running_stage.service
    mark = service.process.output_size()
    assert service.process.running, "the service died in an earlier test"
    yield running_stage
    await service.close()
    assert service.process.running, "the service died"
    assert "Traceback" not in service.process.output(since=mark)


@pytest.fixture
async def sink(stage: Stage) -> AsyncIterator[PushSink]:
    """Where the stage's pushes go, on the same port for each test."""
    url = stage.service.options.webhook_url
    assert url is not None
    port = int(url.rpartition(":")[2].partition("/")[0])
    async with PushSink(key=WEBHOOK_KEY, port=port) as sink:
        yield sink


@dataclass(slots=True, kw_only=True)
class Extension:
    """An extension of a PBX whose phone has us for registrar, and sleeps."""

    service: LabService
    pbx: Kamailio
    sink: PushSink
    user: str
    topology: str = "hold"
    by: str = "udp"
    """Transport between the service and the PBX."""
    authority: Authority | None = None
    """Whom its phones believe over TLS."""

    @property
    def aor(self) -> str:
        """Its address of record."""
        return f"sip:{self.user}@{REALM}"

    @property
    def account(self) -> str:
        """Its name in the API."""
        return f"ext-{self.user}"

    @property
    def password(self) -> str:
        """What its phone proves to us."""
        return self.pbx.password(self.user)

    async def provision(self, pbx: str | None = None, **fields: Any) -> None:
        """Make account and device, and wait until the PBX can call us."""
        body: dict[str, Any] = {"topology": self.topology}
        body |= {"pbx": pbx} if pbx else {"registrar": self.pbx.uri(self.by)}
        if self.topology == "hold":
            body["password"] = self.password
        # baresip 1.0 gives up as soon as it is offered SHA-256, so it is offered MD5 alone.
        ha1 = hashlib.md5(f"{self.user}:{REALM}:{self.password}".encode()).hexdigest()
        body["app_auth"] = {"user": self.user, "realm": REALM, "ha1": {"MD5": ha1}}
        await self.service.put_account(self.account, self.aor, **{**body, **fields})
        await self.service.put_device(self.account)
        if self.topology == "hold":
            await self.service.is_registered(self.account)

    def phone(self, transport: str = "udp", **fields: Any) -> Phone:
        """A phone of plain sockets; over TLS it shows nothing, and nobody could connect to it."""
        tls = self.authority.trust if self.authority is not None else None
        return self.service.phone(
            self.aor, password=self.password, transport=transport, tls=tls, **fields
        )

    def baresip(
        self, make: MakeBaresip, *, auto_answer: bool = True, transport: str = "udp"
    ) -> Baresip:
        """A real one, asleep. Its domain is our address: it would look up any other by DNS."""
        return make(
            self.user,
            domain="{}:{}".format(*self.service.sip_at(transport)),
            proxy=self.service.sip_at(transport),
            password=self.password,
            auto_answer=auto_answer,
            transport=transport,
        )

    def linphone(self, make: MakeLinphone, **fields: Any) -> Linphone:
        """A real one, asleep."""
        return make(self.user, realm=REALM, **self._account_fields(**fields))

    def pjsua2(self, make: MakePjsua2, **fields: Any) -> Pjsua2:
        """The simulated phone, asleep."""
        return make(self.user, **self._account_fields(**fields))

    def _account_fields(self, *, transport: str = "udp", **fields: Any) -> dict[str, Any]:
        return {
            "domain": REALM,
            "proxy": self.service.sip_at(transport),
            "password": self.password,
            "transport": transport,
            "ca": self.authority.ca if self.authority is not None else None,
            **fields,
        }

    def wake_on_push(self, wake: Callable[[], Awaitable[Any]]) -> None:
        """The first call push for it does `wake` before the push is answered."""
        left = [wake]

        async def hook(push: Push) -> None:
            if push.type == "call" and push.payload["account"] == self.account and left:
                await left.pop()()

        self.sink.hook = hook

    def caller(self, user: str = "9000") -> Caller:
        """Somebody else at the PBX, who calls with digest."""
        return Caller(
            f"sip:{user}@{REALM}", proxy=self.pbx.address, password=self.pbx.password(user)
        )

    async def record(self, **fields: Any) -> Record:
        """The newest call's record, once it has ended."""
        return await self.service.call_record(account=self.account, **fields)

    def answers(self, call_id: str, status: int = 200) -> int:
        """How often the PBX received a response with this status to this call's INVITE."""
        return sum(
            event.matches(event="response", method="INVITE", status=status, callid=call_id)
            for event in self.pbx.events()
        )


MakeExtension = Callable[..., Awaitable[Extension]]


@pytest.fixture
async def extension(stage: Stage, sink: PushSink) -> AsyncIterator[MakeExtension]:
    """Makes extensions on the stage: `hold` (by udp, tcp or tls toward the PBX) or `trunk`."""
    made: list[Extension] = []

    async def make(topology: str = "hold", by: str = "udp", **fields: Any) -> Extension:
        new = Extension(
            service=stage.service,
            pbx=stage.pbx(topology),
            sink=sink,
            user=str(next(_numbers)),
            topology=topology,
            by=by,
            authority=stage.authority,
        )
        made.append(new)
        await new.provision(topology if by == "udp" else f"{topology}-{by}", **fields)
        return new

    yield make
    for each in made:
        await stage.service.delete_account(each.account)
