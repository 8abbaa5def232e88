"""Apps that announce themselves by REGISTER (RFC 8599), and a service that can push to them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

from tests.doubles.apns import ApnsDouble
from tests.doubles.apns import Request as ApnsRequest
from tests.doubles.fcm import FcmDouble
from tests.doubles.fcm import Request as FcmRequest
from tests.lab.pbx import Pbx
from tests.lab.phone import Phone
from tests.lab.push_sink import PushSink
from tests.lab.service import APP_ID, LabService, Record, ServiceOptions
from tests.lab.sip_message import Message

from .conftest import Extension

INSTANCE = "urn:uuid:65f9b73f-d655-4dd3-8633-10d8122c5299"
_users = count(8001)


@dataclass(frozen=True, slots=True, kw_only=True)
class PushStage:
    """The service, the platforms and the PBX that tests share."""

    service: LabService
    pbx: Pbx
    sink: PushSink
    apns: ApnsDouble
    fcm: FcmDouble


@asynccontextmanager
async def push_stage(directory: Path) -> AsyncIterator[PushStage]:
    """A service with APNs and FCM, UDP and TCP, and a webhook that RFC 8599 cannot name."""
    async with (
        ApnsDouble(directory / "apns") as apns,
        FcmDouble(directory / "fcm") as fcm,
        Pbx() as pbx,
        PushSink(key=b"webhook key of RFC 8599 tests") as sink,
        LabService(directory / "service", _options(apns, fcm, sink)) as service,
    ):
        yield PushStage(service=service, pbx=pbx, sink=sink, apns=apns, fcm=fcm)


def _options(apns: ApnsDouble, fcm: FcmDouble, sink: PushSink) -> ServiceOptions:
    apple = {
        "app_id": APP_ID,
        "team_id": apns.team_id,
        "key_id": apns.key_id,
        "key_file": str(apns.key_file),
        "base_url": apns.production.base_url,
        "sandbox_base_url": apns.sandbox.base_url,
        "ca_file": str(apns.ca_file),
    }
    google = {
        "app_id": APP_ID,
        "service_account_file": str(fcm.service_account_file),
        "base_url": fcm.base_url,
        "ca_file": str(fcm.ca_file),
    }
    return ServiceOptions(
        webhook_url=sink.url,
        webhook_key=sink.key,
        listen=("udp", "tcp"),
        wake={"fresh_s": 0.5},
        extra={"providers": {"apns": [apple], "fcm": [google]}},
    )


@dataclass(slots=True, kw_only=True)
class PushApps:
    """What one test does on that stage."""

    stage: PushStage
    tokens: list[str] = field(default_factory=list)
    """All that it has handed out: none may show anywhere."""
    made: list[Extension] = field(default_factory=list)

    async def extension(self) -> Extension:
        """An account without any device."""
        stage = self.stage
        new = Extension(
            service=stage.service,
            pbx=stage.pbx,
            sink=stage.sink,
            user=str(next(_users)),
            registrar=f"sip:{stage.pbx.domain}",
        )
        self.made.append(new)
        await new.put()
        return new

    def fcm_params(self, token: str) -> str:
        """As the standard has them."""
        self.tokens.append(token)
        return f"pn-provider=fcm;pn-param=lab-project;pn-prid={token}"

    def apns_params(self, voip: str, alert: str = "") -> str:
        """As Linphone has them, with all that it adds."""
        self.tokens += [voip, alert] if alert else [voip]
        prid = f"{voip}:voip&{alert}:remote" if alert else f"{voip}:voip"
        kinds = "voip&remote" if alert else "voip"
        return (
            f"pn-prid={prid};pn-provider=apns;pn-param={self.stage.apns.team_id}.{APP_ID}.{kinds}"
            ";pn-silent=1;pn-timeout=0;pn-msg-str=IM_MSG;pn-call-str=IC_MSG"
            ";pn-groupchat-str=GC_MSG;pn-call-snd=notes_of_the_optimistic.caf;pn-msg-snd=msg.caf"
        )

    async def pushed_by_apns(self, count: int = 1) -> list[ApnsRequest]:
        """The pushes to this test's tokens, once there are so many."""
        return await self.stage.apns.wait(count, where=lambda r: r.token in self.tokens)

    async def pushed_by_fcm(self, count: int = 1) -> list[FcmRequest]:
        """The same of FCM."""
        return await self.stage.fcm.wait(count, where=lambda r: r.token in self.tokens)

    def pushes(self) -> int:
        """How many pushes have gone to this test's tokens."""
        requests = (*self.stage.apns.requests, *self.stage.fcm.requests)
        return sum(request.token in self.tokens for request in requests)

    async def devices(self, ext: Extension) -> list[dict[str, Any]]:
        """The account's devices, as the API has them."""
        answer = await self.stage.service.expect("GET", f"/v1/accounts/{ext.account}/devices")
        found: list[dict[str, Any]] = answer["devices"]
        return found

    async def only_device(self, ext: Extension) -> dict[str, Any]:
        """Its one device."""
        (device,) = await self.devices(ext)
        return device

    async def record(self, ext: Extension) -> Record:
        """Its newest call, ended."""
        return await self.stage.service.call_record(account=ext.account)

    async def leave(self) -> None:
        """End what goes on. No token, and no push parameter, may have shown to a PBX or in logs."""
        for ext in self.made:
            ext.leave()
        seen = "".join(str(message) for message in self.stage.pbx.agent.history)
        written = self.stage.service.process.output()
        for token in self.tokens:
            assert token not in seen, "a PBX saw a token"
            assert token not in written, "a token was logged"
        for name in ("pn-prid", "pn-tok", "pn-param", "pn-provider", "app-id"):
            assert name not in seen.lower(), f"a PBX saw {name}"
        assert "Traceback" not in written
        assert self.stage.apns.faults == []
        for ext in self.made:
            await self.stage.service.delete_account(ext.account)


async def register(
    phone: Phone, params: str, *, behind: str = "", instance: str | None = INSTANCE, **more: Any
) -> Message:
    """REGISTER with these URI parameters, and those `behind` the URI; wakes the phone."""
    await phone.wake()
    instance_param = f';+sip.instance="<{instance}>"' if instance else ""
    uri = f"{phone.contact};{params}" if params else phone.contact
    return await phone.register(contact=f"<{uri}>{instance_param}{behind}", **more)
