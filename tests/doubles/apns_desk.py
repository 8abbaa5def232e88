"""The desk of an APNs double: takes requests, judges, delivers and answers them, or does not."""

from __future__ import annotations

import asyncio
import inspect
import json
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from h2.errors import ErrorCodes

from push_proxy.tasks import spawn
from tests.lab.certificates import Authority

from .apns_fates import Fates
from .apns_play import Goaway, Play
from .apns_provider import ProviderRules
from .apns_reasons import STATUS
from .apns_registry import ApnsRegistry
from .apns_rules import (
    body_fault,
    device_fault,
    duplicates,
    message_fault,
    path_fault,
    payload_of,
    worthless,
)
from .apns_world import SANDBOX, Delivery, Request
from .h2_line import H2Line, Headers


class ApnsDesk(ApnsRegistry, Fates):
    """Owner of the connections (`h2_line.LineOwner`); everything is recorded."""

    def __init__(
        self,
        directory: Path,
        *,
        authority: Authority | None = None,
        streams: int = 1000,
        token_life_s: float = 3600.0,
        token_update_s: float = 1200.0,
        one_token_per_connection: bool = True,
    ) -> None:
        ApnsRegistry.__init__(self, directory, authority)
        Fates.__init__(self)
        self.streams = streams
        """MAX_CONCURRENT_STREAMS after the first valid token."""
        self.requests: list[Request] = []
        self.delivered: list[Delivery] = []
        self.lines: list[H2Line] = []
        """Every connection that ever was, in order; its number is its place, from 1."""
        self.listener: Callable[[Request], object] | None = None
        """Hears of every request once it is judged."""
        self._work: set[asyncio.Task[Any]] = set()
        self._requests_of: dict[tuple[int, int], Request] = {}
        self._provider = ProviderRules(
            keys=self.keys,
            apps=self.apps,
            token_life_s=token_life_s,
            token_update_s=token_update_s,
            one_token_per_connection=one_token_per_connection,
        )

    def line_opened(self, line: H2Line) -> bool:
        self.lines.append(line)
        line.number = len(self.lines)
        if line.client_certificate is not None:
            line.allowed = self.streams
        return True

    def line_closed(self, line: H2Line) -> None:
        pass

    def stream_cancelled(self, line: H2Line, stream: int) -> None:
        if (request := self._requests_of.get((line.number, stream))) is not None:
            request.cancelled = True

    def request_arrived(self, line: H2Line, stream: int, headers: Headers, body: bytes) -> None:
        fields = dict(headers)
        request = Request(
            token=fields.get(":path", "").rpartition("/")[2],
            headers=fields,
            body=body,
            payload=payload_of(body),
            environment=line.environment,
            connection=line.number,
            stream=stream,
            arrived_at=time.time(),
            arrived_s=time.monotonic(),
            apns_id=fields.get("apns-id") or str(uuid.uuid4()),
        )
        self.requests.append(request)
        self._requests_of[line.number, stream] = request
        play = self._take_play(request.token)
        away = play.goaway
        if away is not None and not away.accepts:
            self._go_away(line, away, last_stream=max(0, stream - 2))
            return
        request.fault = self._fault(line, headers, request, play)
        request.reason = play.reason or request.fault
        request.delivered = self._delivers(play, request)
        if self.listener is not None:
            self.listener(request)
        if request.delivered:
            self._deliver(request)
        if away is not None and not away.after_answer:
            self._go_away(line, away)
        if play.after_s or play.until is not None:
            self._spawn(self._answer_later(line, request, play), name="slow answer of APNs")
        else:
            self._answer(line, request, play)

    # ---- inside ----

    def _fault(self, line: H2Line, headers: Headers, request: Request, play: Play) -> str:
        """The reason of the refusal by the rules, or nothing."""
        fields = request.headers
        if fault := path_fault(fields):
            return fault
        if duplicates(headers):
            return "DuplicateHeaders"
        if fault := self._provider.fault(line, fields, now=self.now()):
            return fault
        if STATUS.get(play.reason) != 403:
            line.allow_streams(self.streams)
        if fault := message_fault(fields, self.apps) or body_fault(fields, request.body):
            return fault
        bundle = line.notes.get("certificate_of")
        if bundle is not None and request.topic not in self.apps[bundle].topics:
            return "TopicDisallowed"
        device = self.devices.get(request.token.lower())
        return device_fault(fields, device, line.environment)

    def _delivers(self, play: Play, request: Request) -> bool:
        if request.token.lower() not in self.devices:
            return False
        if play.delivers is not None:
            return play.delivers
        if request.reason or play.status not in (None, 200):
            return False
        return not worthless(request.headers, now=self.now())

    def _deliver(self, request: Request) -> None:
        device = self.devices[request.token.lower()]
        delivery = Delivery(
            token=device.token,
            payload=request.payload,
            push_type=request.push_type,
            topic=request.topic,
            priority=request.headers.get("apns-priority", "10"),
            apns_id=request.apns_id,
            environment=request.environment,
            at=time.time(),
        )
        self.delivered.append(delivery)
        device.received.append(delivery)
        if device.deliver is not None:
            found = device.deliver(delivery)
            if inspect.isawaitable(found):
                self._spawn(_awaited(found), name="delivery by APNs")

    async def _answer_later(self, line: H2Line, request: Request, play: Play) -> None:
        if play.after_s:
            await asyncio.sleep(play.after_s)
        if play.until is not None:
            await play.until.wait()
        self._answer(line, request, play)

    def _answer(self, line: H2Line, request: Request, play: Play) -> None:
        if play.silent:
            return
        if play.drop:
            line.drop()
            return
        if play.reset is not None:
            line.reset(request.stream, play.reset)
            return
        status = play.status or STATUS.get(request.reason, 200)
        headers: Headers = [("apns-id", request.apns_id), *play.headers]
        if request.environment == SANDBOX and status == 200:
            headers.append(("apns-unique-id", str(uuid.uuid4())))
        if line.open and not request.cancelled:
            request.status = status
        body = self._body(request, play, status)
        line.respond(request.stream, status, headers, body, split=play.split_body)
        if play.goaway is not None and play.goaway.after_answer:
            self._go_away(line, play.goaway)

    def _body(self, request: Request, play: Play, status: int) -> bytes:
        if play.body is not None:
            return play.body
        if status == 200:
            return b""
        said: dict[str, Any] = {"reason": request.reason}
        if status == 410:
            device = self.devices.get(request.token.lower())
            known_ms = device.gone_at_ms if device is not None and device.gone else None
            now_ms = int(self.now() * 1000)
            said["timestamp"] = play.timestamp_ms or known_ms or now_ms
        return json.dumps(said, separators=(",", ":")).encode()

    def _go_away(self, line: H2Line, away: Goaway, *, last_stream: int | None = None) -> None:
        data = json.dumps({"reason": away.reason}).encode() if away.reason else b""
        line.go_away(last_stream=last_stream, code=ErrorCodes.NO_ERROR, data=data, close=away.close)

    def _spawn(self, coro: Any, *, name: str) -> None:
        task = spawn(coro, name=name)
        self._work.add(task)
        task.add_done_callback(self._work.discard)


async def _awaited(found: Any) -> None:
    await found
