"""iPhones for calls through a service that pushes to the APNs double."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

from tests.doubles.apns import ApnsDevice, ApnsDouble, Request
from tests.lab.kamailio import Kamailio
from tests.lab.push_sink import PushSink
from tests.lab.service import APP_ID, LabService, ServiceOptions
from tests.lab.sip_call import IncomingCall

from .conftest import Extension

_numbers = itertools.count(7001)


def apns_section(apns: ApnsDouble, **fields: Any) -> dict[str, Any]:
    """An entry of `providers.apns` for the double."""
    return {
        "app_id": APP_ID,
        "team_id": apns.team_id,
        "key_id": apns.key_id,
        "key_file": str(apns.key_file),
        "base_url": apns.production.base_url,
        "sandbox_base_url": apns.sandbox.base_url,
        "ca_file": str(apns.ca_file),
        **fields,
    }


def by_certificate(apns: ApnsDouble) -> dict[str, Any]:
    """The same for a provider without a .p8."""
    section = apns_section(apns, certificate_file=str(apns.certificate(APP_ID)))
    return {name: value for name, value in section.items() if not name.startswith(("key", "team"))}


def apple_options(
    apns: ApnsDouble, sink: PushSink, *, section: dict[str, Any] | None = None, **extra: Any
) -> ServiceOptions:
    """A service that pushes to the double, and by webhook to `sink`."""
    return ServiceOptions(
        webhook_url=sink.url,
        webhook_key=sink.key,
        extra={"providers": {"apns": [section or apns_section(apns)]}, **extra},
    )


@dataclass(slots=True, kw_only=True)
class IPhone(Extension):
    """An extension whose phone is woken by APNs."""

    voip: ApnsDevice
    alert: ApnsDevice | None

    @property
    def tokens(self) -> set[str]:
        """Its tokens of both kinds."""
        return {each.token for each in (self.voip, self.alert) if each is not None}

    def mine(self, request: Request) -> bool:
        """Whether this request is for one of its tokens."""
        return request.token in self.tokens

    async def put_again(self, **fields: Any) -> None:
        """The app tells its push tokens (once more)."""
        alert = self.alert.token if self.alert else None
        body = {"token": self.voip.token, "alert_token": alert}
        body |= {"provider": "apns", "platform": "ios", **fields}
        await self.service.put_device(self.account, **body)

    async def is_called(self) -> str:
        """A whole call that the pushed phone takes; its Call-ID. The phone sleeps afterwards."""
        async with self.caller() as caller, self.phone() as app:
            self.register_when_pushed(app.register)
            call = caller.call(self.aor)
            # Not just any INVITE: a phone that was woken for an earlier call hears of that, too.
            invite = await app.agent.expect(method="INVITE", call_id=call.invite.call_id, within=10)
            incoming = IncomingCall(app.agent, invite, user=self.user)
            incoming.accept()
            dialog = await call.answered()
            await incoming.expect_ack()
            dialog.send("BYE")
            await incoming.dialog().expect_bye()
            await app.unregister()
        record = await self.record(sip_call_id=call.invite.call_id)
        assert record["verdict"] == "answered"
        return str(call.invite.call_id)

    def register_when_pushed(self, register: Any) -> None:
        """The first VoIP push does `register`, in the background."""
        left = [register]

        async def wake(_: object) -> None:
            if left:
                await left.pop()()

        self.voip.deliver = wake


@dataclass(frozen=True, slots=True, kw_only=True)
class Apple:
    """The service, its APNs and its PBX."""

    service: LabService
    apns: ApnsDouble
    pbx: Kamailio
    sink: PushSink

    async def iphone(self, *, alerts: bool = True, **device: Any) -> IPhone:
        """A new extension with one iPhone, which sleeps."""
        made = IPhone(
            **self._extension(),
            voip=self.apns.device(APP_ID),
            alert=self.apns.device(APP_ID, kind="alert") if alerts else None,
        )
        await made.provision()
        await made.put_again(**device)
        return made

    async def other_phone(self) -> Extension:
        """A new extension with a phone that is woken by webhook."""
        made = Extension(**self._extension())
        await made.provision()
        return made

    def calls(self) -> list[Request]:
        """The requests that were about calls: not the word of a missed one, or of a call's end."""
        return [request for request in self.apns.requests if request.push_type == "voip"]

    def _extension(self) -> dict[str, Any]:
        user = str(next(_numbers))
        return {"service": self.service, "pbx": self.pbx, "sink": self.sink, "user": user}
