"""One service, one PBX and many accounts, so that calls of every kind can be played at once."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

import yaml

from tests.doubles.fcm import FcmDouble
from tests.lab.pbx import Pbx
from tests.lab.ports import free_port
from tests.lab.process import ProcessError, poll_until
from tests.lab.push_sink import Push, PushSink, Reply
from tests.lab.service import APP_ID, LabService, Record, ServiceOptions

from .conftest import Extension

SINK_KEY = b"webhook key of the verdicts"
AWAY_APP = "com.example.away"
"""Its webhook's port is closed."""
OLD_APP = "com.example.old"
"""Its provider is taken out of the configuration while the service runs."""
PATIENCE_S = 10.0
"""Everybody plays at once: what takes milliseconds alone may take its time here."""
_POLL_S = 0.2
_T = TypeVar("_T")
_users = count(7001)


async def patiently(ask: Callable[[], Awaitable[_T]]) -> _T:
    """A busy machine may keep the store from answering in time: then ask again."""
    due = time.monotonic() + PATIENCE_S
    while True:
        try:
            return await ask()
        except ProcessError as error:
            if "Store unavailable" not in str(error) or time.monotonic() > due:
                raise
            await asyncio.sleep(_POLL_S)


@dataclass(slots=True, kw_only=True)
class PatientExtension(Extension):
    """Made and changed while everybody else plays."""

    async def put(self, **fields: Any) -> dict[str, Any]:
        """As `Extension.put`."""
        own = partial(Extension.put, self, **fields)
        return await patiently(own)

    async def put_device(self, device: str = "handset", **fields: Any) -> dict[str, Any]:
        """As `Extension.put_device`."""
        own = partial(Extension.put_device, self, device, **fields)
        return await patiently(own)


@dataclass(slots=True, kw_only=True)
class Stage:
    """Who takes part in all calls."""

    service: LabService
    pbx: Pbx
    sink: PushSink
    fcm: FcmDouble
    replies: dict[str, Reply] = field(default_factory=dict)
    """What the webhook answers to an account's pushes, if not 200."""
    made: list[Extension] = field(default_factory=list)

    def extension(self, pbx: Pbx | None = None) -> Extension:
        """An account that is not known yet, at this PBX."""
        home = pbx or self.pbx
        new = PatientExtension(
            service=self.service,
            pbx=home,
            sink=self.sink,
            user=str(next(_users)),
            registrar=home.uri,
        )
        self.made.append(new)
        return new

    async def reconfigure(self, changes: Mapping[str, Any]) -> None:
        """Replace sections of the configuration file, SIGHUP, and wait until it is taken over."""
        process, config = self.service.process, self.service.config
        sections = yaml.safe_load(config.read_text())
        config.write_text(yaml.safe_dump({**sections, **changes}))
        mark = process.output_size()
        assert process.pid is not None
        os.kill(process.pid, signal.SIGHUP)
        await process.wait_for(r"configuration reloaded", within_s=5, since=mark)

    async def reply_to(self, push: Push) -> Reply | None:
        """The hook of the webhook."""
        return self.replies.get(push.payload["account"])

    async def leave(self) -> None:
        """End what goes on."""
        for ext in self.made:
            ext.leave()


@asynccontextmanager
async def stage_of(directory: Path, **wake: Any) -> AsyncIterator[Stage]:
    """A service with a webhook and FCM, on UDP and TCP; ``wake`` is its section."""
    async with (
        FcmDouble(directory / "fcm") as fcm,
        Pbx() as pbx,
        PushSink(key=SINK_KEY) as sink,
    ):
        key_file = directory / "webhook.key"
        key_file.write_bytes(SINK_KEY)
        hooks = {APP_ID: sink.url, OLD_APP: sink.url}
        hooks[AWAY_APP] = f"http://127.0.0.1:{free_port()}/push"
        google = {
            "app_id": APP_ID,
            "service_account_file": str(fcm.service_account_file),
            "base_url": fcm.base_url,
            "ca_file": str(fcm.ca_file),
        }
        providers = {
            "webhook": [
                {"app_id": app, "url": url, "hmac_key_file": str(key_file)}
                for app, url in hooks.items()
            ],
            "fcm": [google],
        }
        options = ServiceOptions(listen=("udp", "tcp"), wake=wake, extra={"providers": providers})
        async with LabService(directory / "service", options) as service:
            stage = Stage(service=service, pbx=pbx, sink=sink, fcm=fcm)
            sink.hook = stage.reply_to
            yield stage
            await stage.leave()
            log = service.process.output()
    assert "Traceback" not in log, log


@dataclass(slots=True, kw_only=True)
class Act:
    """One account's part in the play; a script tells what happens to it."""

    stage: Stage
    ext: Extension

    async def report(self, event: str, *, call: str = "", **said: Any) -> None:
        """The app on the handset reports, of the newest call unless another is named."""
        call = call or self.ext.pushes("call")[-1].call_id
        body = {"event": event, "device": "handset", **said}
        where = f"/v1/calls/{call}/events"
        await patiently(lambda: self.ext.service.expect("POST", where, body))

    async def ask(self, path: str) -> Record:
        """GET it."""
        found: Record = await patiently(lambda: self.ext.service.expect("GET", path))
        return found

    async def registration(self, state: str) -> None:
        """Wait until the PBX has taken the account's registration, or until it is in ``state``."""
        if state == "registered":
            # The PBX knows first, and asking it costs nothing.
            bindings = self.ext.pbx.bindings
            mine = self.ext.service.sip_port
            assert await poll_until(
                lambda: any(f":{mine}" in uri for uri in bindings.get(self.ext.user, {})),
                within_s=PATIENCE_S,
            ), "no registration"
            return
        due = time.monotonic() + PATIENCE_S
        while (await self.ext.service.registration(self.ext.account))["state"] != state:
            assert time.monotonic() < due, f"the registration of {self.ext.account} is not {state}"
            await asyncio.sleep(_POLL_S)

    async def ended(self, cause: str | None = None, *, within: float = PATIENCE_S) -> Record:
        """The newest call's record once it has ended, and names this cause, if one is given.

        The last that was seen when it never does.
        """
        due = time.monotonic() + within
        while True:
            page = await self.ask(f"/v1/calls?account={self.ext.account}")
            all_there = len(page["calls"]) >= len(self.ext.calls)
            for call in page["calls"][:1] if all_there else ():
                over = call["state"] == "ended" and cause in {None, call["cause"]}
                if over or time.monotonic() > due:
                    return await self.ask(f"/v1/calls/{call['id']}")
            assert time.monotonic() < due, f"no call of {self.ext.account} is on record"
            await asyncio.sleep(_POLL_S)

    async def pause(self, seconds: float) -> None:
        """Time passes for people: what a rule says in seconds has to go by."""
        await asyncio.sleep(seconds)
