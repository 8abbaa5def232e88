"""A strict double of APNs: HTTP/2 over TLS, provider tokens, topics, tokens, errors on demand.

    async with ApnsDouble(directory) as apns:
        phone = apns.device(bundle="com.example.phone")
        apns.next(error("TooManyRequests"))
        ...  # push to phone.token at apns.base_url with apns.key_file
        [request] = await apns.wait(1)

`python -m tests.doubles.apns` runs it as a process (`apns_program`).
"""

from __future__ import annotations

import asyncio
import inspect
import json
import secrets
import sys
import time
import uuid
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from h2.errors import ErrorCodes

from push_proxy.tasks import spawn
from tests.lab.certificates import Authority
from tests.lab.process import poll_until

from .apns_listener import ApnsListener
from .apns_play import (
    BY_THE_RULES,
    Goaway,
    Play,
    drop,
    empty,
    error,
    going_away,
    held,
    reset,
    silence,
    slow,
    split,
    unavailable_and_away,
)
from .apns_provider import ProviderRules
from .apns_reasons import STATUS
from .apns_rules import (
    body_fault,
    device_fault,
    duplicates,
    message_fault,
    path_fault,
    payload_of,
    worthless,
)
from .apns_world import (
    ENVIRONMENTS,
    PRODUCTION,
    SANDBOX,
    ApnsDevice,
    App,
    Deliver,
    Delivery,
    ProviderKey,
    Request,
)
from .h2_line import H2Line, Headers

__all__ = [
    "BY_THE_RULES",
    "PRODUCTION",
    "SANDBOX",
    "STATUS",
    "ApnsDevice",
    "ApnsDouble",
    "Delivery",
    "Goaway",
    "Play",
    "ProviderKey",
    "Request",
    "drop",
    "empty",
    "error",
    "going_away",
    "held",
    "reset",
    "silence",
    "slow",
    "split",
    "unavailable_and_away",
]

BUNDLE = "com.example.phone"
TEAM = "LABTEAM001"


class ApnsDouble:
    """APNs on two ports of 127.0.0.1. Every request and every delivery is recorded."""

    def __init__(
        self,
        directory: Path,
        *,
        authority: Authority | None = None,
        streams: int = 1000,
        streams_before_token: int = 1,
        token_life_s: float = 3600.0,
        token_update_s: float = 1200.0,
        one_token_per_connection: bool = True,
    ) -> None:
        self.directory = directory
        self.authority = authority or Authority(directory / "ca", name="apns")
        self.streams = streams
        """MAX_CONCURRENT_STREAMS after the first valid token."""
        self.streams_before_token = streams_before_token
        self.ahead_s = 0.0
        """The double's clock is so far ahead of ours."""
        self.apps: dict[str, App] = {}
        self.keys: dict[str, ProviderKey] = {}
        self.devices: dict[str, ApnsDevice] = {}
        self.requests: list[Request] = []
        self.delivered: list[Delivery] = []
        self.lines: list[H2Line] = []
        """Every connection that ever was, in order; its number is its place, from 1."""
        self.always: Play = BY_THE_RULES
        """The fate of every request that no other play is meant for."""
        self.listener: Callable[[Request], object] | None = None
        """Hears of every request once it is judged."""
        self._next: deque[Play] = deque()
        self._for_token: dict[str, deque[Play]] = defaultdict(deque)
        self._always_for: dict[str, Play] = {}
        self._work: set[asyncio.Task[Any]] = set()
        self._requests_of: dict[tuple[int, int], Request] = {}
        self._provider = ProviderRules(
            keys=self.keys,
            apps=self.apps,
            token_life_s=token_life_s,
            token_update_s=token_update_s,
            one_token_per_connection=one_token_per_connection,
        )
        tls = self.authority.issue("127.0.0.1", "localhost").server_context()
        tls.set_alpn_protocols(["h2"])
        self._listeners = {name: ApnsListener(name, tls, self._line) for name in ENVIRONMENTS}
        self._first_key = self.key("LABKEY0001")

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Listen on two free ports."""
        for listener in self._listeners.values():
            await listener.listen("open")

    async def stop(self) -> None:
        """Close everything."""
        for listener in self._listeners.values():
            await listener.close()
        for line in self.open_lines:
            line.drop()
        for task in tuple(self._work):
            task.cancel()
        await asyncio.gather(*self._work, return_exceptions=True)
        await poll_until(lambda: not self.open_lines, within_s=1)

    # ---- where it is, and what a provider needs ----

    @property
    def production(self) -> ApnsListener:
        """As api.push.apple.com."""
        return self._listeners[PRODUCTION]

    @property
    def sandbox(self) -> ApnsListener:
        """As api.development.push.apple.com."""
        return self._listeners[SANDBOX]

    @property
    def base_url(self) -> str:
        """Of production."""
        return self.production.base_url

    @property
    def ca_file(self) -> Path:
        """Whom a client must believe."""
        return self.authority.ca

    @property
    def key_file(self) -> Path:
        """The .p8 of the first key."""
        return self._first_key.file

    @property
    def key_id(self) -> str:
        """Of the first key."""
        return self._first_key.key_id

    @property
    def team_id(self) -> str:
        """Of the first key."""
        return self._first_key.team_id

    def key(self, key_id: str, *, team_id: str = TEAM, **limits: Any) -> ProviderKey:
        """Make one more provider key; `limits` are fields of `ProviderKey`."""
        private = ec.generate_private_key(ec.SECP256R1())
        self.directory.mkdir(parents=True, exist_ok=True)
        file = self.directory / f"AuthKey_{key_id}.p8"
        file.touch(mode=0o600)
        file.write_bytes(
            private.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        key = ProviderKey(
            key_id=key_id, team_id=team_id, file=file, public=private.public_key(), **limits
        )
        self.keys[key_id] = key
        return key

    def certificate(
        self, bundle: str = BUNDLE, *, environment: str = "", expired: bool = False
    ) -> Path:
        """One PEM file with certificate and key of a provider that has no .p8."""
        self.app(bundle)
        name = f"{bundle}@{environment}" if environment else bundle
        identity = self.authority.issue(name, expired=expired)
        assert identity.certificate is not None
        assert identity.key is not None
        file = identity.certificate.with_suffix(".both.pem")
        file.touch(mode=0o600)
        file.write_bytes(identity.certificate.read_bytes() + identity.key.read_bytes())
        return file

    def app(self, bundle: str = BUNDLE, *, team_id: str = TEAM) -> App:
        """Make a bundle id known; again is fine."""
        return self.apps.setdefault(bundle, App(bundle=bundle, team_id=team_id))

    def device(
        self,
        bundle: str = BUNDLE,
        *,
        token: str | None = None,
        kind: str = "voip",
        environment: str = PRODUCTION,
        deliver: Deliver | None = None,
    ) -> ApnsDevice:
        """Register a device token (64 hex digits unless given), and its app if need be.

        `deliver` is called, or awaited in the background, with each `Delivery`.
        """
        self.app(bundle)
        device = ApnsDevice(
            token=token or secrets.token_hex(32),
            bundle=bundle,
            kind=kind,
            environment=environment,
            deliver=deliver,
        )
        self.devices[device.token.lower()] = device
        return device

    def unregister(
        self, token: str, *, reason: str = "Unregistered", ago_s: float = 0.0
    ) -> ApnsDevice:
        """The app is gone from that phone since `ago_s`."""
        device = self.devices[token.lower()]
        device.unregister(at_ms=int((self.now() - ago_s) * 1000), reason=reason)
        return device

    # ---- misbehaving ----

    def next(self, *plays: Play) -> None:
        """The fates of the next requests, one each, whatever their token."""
        self._next.extend(plays)

    def for_token(self, token: str, *plays: Play) -> None:
        """The fates of the next requests for one token."""
        self._for_token[token.lower()].extend(plays)

    def always_for(self, token: str, play: Play | None) -> None:
        """The fate of every request for one token; None: no more."""
        if play is None:
            self._always_for.pop(token.lower(), None)
        else:
            self._always_for[token.lower()] = play

    def go_away(
        self, reason: str = "Shutdown", *, close: bool = False, last_stream: int | None = None
    ) -> int:
        """GOAWAY on every open connection; how many there were.

        Requests up to `last_stream` (default: all that were begun) are answered still.
        """
        lines = [line for line in self.open_lines if not line.going_away]
        for line in lines:
            self._go_away(line, Goaway(reason=reason, close=close), last_stream=last_stream)
        return len(lines)

    def drop_connections(self) -> None:
        """Break every connection."""
        for line in self.open_lines:
            line.drop()

    def freeze_connections(self) -> None:
        """No open connection hears anything any more; new ones work."""
        for line in self.open_lines:
            line.deaf = True

    # ---- what was seen ----

    def now(self) -> float:
        """The double's wall clock."""
        return time.time() + self.ahead_s

    @property
    def connections(self) -> int:
        """How many were ever made (with a good handshake)."""
        return len(self.lines)

    @property
    def open_lines(self) -> list[H2Line]:
        """Connections that are open now."""
        return [line for line in self.lines if line.open]

    @property
    def tokens_seen(self) -> list[str]:
        """Distinct provider tokens with a good signature, in order."""
        return self._provider.seen

    @property
    def pings(self) -> int:
        """PING frames received, on all connections."""
        return sum(line.pings for line in self.lines)

    @property
    def faults(self) -> list[str]:
        """What clients did that HTTP/2 or APNs forbids on the level of connections."""
        return [
            f"connection {line.number}: {fault}" for line in self.lines for fault in line.faults
        ]

    async def wait(
        self,
        count: int = 1,
        *,
        within: float = 5.0,
        where: Callable[[Request], bool] = lambda _: True,
    ) -> list[Request]:
        """All requests (that fit) as soon as there are `count`. Raises AssertionError."""

        def fitting() -> list[Request]:
            return [request for request in self.requests if where(request)]

        if not await poll_until(lambda: len(fitting()) >= count, within_s=within):
            raise AssertionError(f"wanted {count} requests in {within} s: {self.requests}")
        return fitting()

    async def wait_delivered(self, count: int = 1, *, within: float = 5.0) -> list[Delivery]:
        """All deliveries as soon as there are `count`. Raises AssertionError."""
        if not await poll_until(lambda: len(self.delivered) >= count, within_s=within):
            raise AssertionError(
                f"wanted {count} deliveries in {within} s, had {len(self.delivered)}: "
                f"{self.requests}"
            )
        return self.delivered

    # ---- the lines' owner ----

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
        play = self._play_for(request.token.lower())
        away = play.goaway
        if away is not None and not away.accepts:
            self._go_away(line, away, last_stream=stream - 2)
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

    def _line(self, environment: str) -> H2Line:
        return H2Line(self, allowed=self.streams_before_token, environment=environment)

    def _play_for(self, token: str) -> Play:
        if self._for_token.get(token):
            return self._for_token[token].popleft()
        if self._next:
            return self._next.popleft()
        return self._always_for.get(token, self.always)

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


def _main(argv: Sequence[str] | None = None) -> int:
    from .apns_program import main

    return main(argv)


if __name__ == "__main__":
    sys.exit(_main())
