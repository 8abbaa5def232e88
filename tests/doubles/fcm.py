"""A strict double of FCM: the token endpoint and the v1 send, over TLS, with errors on demand.

    async with FcmDouble(directory) as fcm:
        phone = fcm.device()
        fcm.next(error("UNAVAILABLE", retry_after=1))
        ...  # push to phone.token at fcm.base_url with fcm.service_account_file
        [request] = await fcm.wait(1)

`python -m tests.doubles.fcm` runs it as a process (`fcm_program`).
"""

from __future__ import annotations

import asyncio
import inspect
import json
import secrets
import sys
import time
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Self

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from push_proxy.tasks import spawn
from tests.lab.certificates import Authority
from tests.lab.process import poll_until

from . import fcm_errors as errors
from .fcm_errors import Refusal
from .fcm_listener import FcmListener, Line
from .fcm_oauth import TokenEndpoint, claims_of, form_of
from .fcm_play import (
    BY_THE_RULES,
    Play,
    bad_gateway,
    drop,
    error,
    held,
    refused,
    reset,
    silence,
    slow,
)
from .fcm_rules import body_fault, ttl_of, well_formed
from .fcm_world import (
    AccessToken,
    Deliver,
    Delivery,
    FcmDevice,
    OauthRequest,
    Project,
    Request,
    ServiceAccount,
)
from .h2_line import H2Line, Headers

__all__ = [
    "BY_THE_RULES",
    "PROJECT",
    "Delivery",
    "FcmDevice",
    "FcmDouble",
    "OauthRequest",
    "Play",
    "Project",
    "Request",
    "ServiceAccount",
    "bad_gateway",
    "drop",
    "error",
    "errors",
    "held",
    "refused",
    "reset",
    "silence",
    "slow",
]

PROJECT = "lab-project"
TOKEN_PATH = "/token"
_SEND = "/v1/projects/"


class FcmDouble:
    """FCM on one port of 127.0.0.1. Every request and every delivery is recorded."""

    def __init__(
        self,
        directory: Path,
        *,
        authority: Authority | None = None,
        streams: int = 100,
        token_life_s: float = 3600.0,
    ) -> None:
        """`streams`: MAX_CONCURRENT_STREAMS, 100 at Google. `token_life_s`: of access tokens."""
        self.directory = directory
        self.authority = authority or Authority(directory / "ca", name="fcm")
        self.ahead_s = 0.0
        """The double's clock is so far ahead of ours, also in its Date header."""
        self.projects: dict[str, Project] = {}
        self.devices: dict[str, FcmDevice] = {}
        self.requests: list[Request] = []
        self.delivered: list[Delivery] = []
        self.oauth_requests: list[OauthRequest] = []
        self.lines: list[Line] = []
        """Every connection that ever was, in order; its number is its place, from 1."""
        self.always: Play = BY_THE_RULES
        """The fate of every send request that no other play is meant for."""
        self.oauth_always: Play = BY_THE_RULES
        """The same of requests for access tokens."""
        self.oauth = TokenEndpoint(life_s=token_life_s)
        self._next: deque[Play] = deque()
        self._oauth_next: deque[Play] = deque()
        self._for_token: dict[str, deque[Play]] = defaultdict(deque)
        self._always_for: dict[str, Play] = {}
        self._work: set[asyncio.Task[Any]] = set()
        self._requests_of: dict[tuple[int, int], Request] = {}
        tls = self.authority.issue("127.0.0.1", "localhost").server_context()
        tls.set_alpn_protocols(["h2", "http/1.1"])
        self._tls = tls
        self.listener = FcmListener(tls, self, streams=streams)
        self._first_account: ServiceAccount | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Listen on a free port, with one project."""
        await self.listener.listen()
        if self._first_account is None:
            self.project()
            self._first_account = self.account()

    async def stop(self) -> None:
        """Close everything."""
        await self.listener.close()
        self.drop_connections()
        for task in tuple(self._work):
            task.cancel()
        await asyncio.gather(*self._work, return_exceptions=True)
        await poll_until(lambda: not self.open_lines, within_s=5)

    # ---- where it is, and what a provider needs ----

    @property
    def base_url(self) -> str:
        """Instead of https://fcm.googleapis.com."""
        return self.listener.base_url

    @property
    def token_uri(self) -> str:
        """Instead of https://oauth2.googleapis.com/token; service account files name it."""
        return self.base_url + TOKEN_PATH

    @property
    def ca_file(self) -> Path:
        """Whom a client must believe."""
        return self.authority.ca

    @property
    def first_account(self) -> ServiceAccount:
        """Of the first project."""
        assert self._first_account is not None, "the double is not started"
        return self._first_account

    @property
    def service_account_file(self) -> Path:
        """Of the first account."""
        return self.first_account.file

    def project(self, project_id: str = PROJECT, *, sender_id: str = "123456789012") -> Project:
        """Make a project known; again is fine."""
        return self.projects.setdefault(
            project_id, Project(project_id=project_id, sender_id=sender_id)
        )

    def account(self, project_id: str = PROJECT, *, name: str = "pusher") -> ServiceAccount:
        """Make one more service account, with its file."""
        self.project(project_id)
        private = _key(name)
        email = f"{name}@{project_id}.iam.gserviceaccount.com"
        self.directory.mkdir(parents=True, exist_ok=True)
        file = self.directory / f"{project_id}-{name}.json"
        key_id = secrets.token_hex(20)
        pem = private.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        said = {
            "type": "service_account",
            "project_id": project_id,
            "private_key_id": key_id,
            "private_key": pem.decode(),
            "client_email": email,
            "client_id": "114815071071071071071",
            "auth_uri": "https://accounts.google.com/o/oauth2/auth",
            "token_uri": self.token_uri,
            "universe_domain": "googleapis.com",
        }
        file.touch(mode=0o600)
        file.write_text(json.dumps(said, indent=2))
        account = ServiceAccount(
            email=email,
            project_id=project_id,
            key_id=key_id,
            file=file,
            public=private.public_key(),
        )
        self.oauth.accounts[email] = account
        self.oauth.audiences.add(self.token_uri)
        return account

    def device(
        self,
        project_id: str = PROJECT,
        *,
        kind: str = "token",
        token: str | None = None,
        deliver: Deliver | None = None,
    ) -> FcmDevice:
        """Register a phone's token (or, `kind="fid"`, installation), and its project if need be.

        `deliver` is called, or awaited in the background, with each `Delivery`.
        """
        self.project(project_id)
        made = _new_token() if kind == "token" else "e" + secrets.token_hex(11)[:21]
        device = FcmDevice(token=token or made, kind=kind, project_id=project_id, deliver=deliver)
        self.devices[device.token] = device
        return device

    def unregister(self, token: str) -> None:
        """The app is gone from that phone: 404 from now on."""
        self.devices[token].gone = True

    def wake(self, device: FcmDevice) -> None:
        """The phone is online and out of Doze: it gets what waits."""
        device.online, device.dozing = True, False
        waiting, device.stored = device.stored, []
        for delivery in waiting:
            self._hand_over(device, delivery)

    def revoke_tokens(self) -> None:
        """No access token given out so far is good any more."""
        for token in self.oauth.tokens.values():
            token.revoked = True

    # ---- misbehaving ----

    def next(self, *plays: Play) -> None:
        """The fates of the next send requests, one each, whatever their token."""
        self._next.extend(plays)

    def for_token(self, token: str, *plays: Play) -> None:
        """The fates of the next send requests for one token."""
        self._for_token[token].extend(plays)

    def always_for(self, token: str, play: Play | None) -> None:
        """The fate of every send request for one token; None: no more."""
        if play is None:
            self._always_for.pop(token, None)
        else:
            self._always_for[token] = play

    def oauth_next(self, *plays: Play) -> None:
        """The fates of the next requests for access tokens."""
        self._oauth_next.extend(plays)

    def only_http_1_1(self) -> None:
        """New connections get no HTTP/2 (as behind some proxies)."""
        self._tls.set_alpn_protocols(["http/1.1"])

    def drop_connections(self) -> None:
        """Break every connection."""
        for line in self.open_lines:
            line.drop()

    def freeze_connections(self) -> None:
        """No open connection hears anything any more; new ones work."""
        for line in self.open_lines:
            line.deaf = True

    def go_away(self) -> int:
        """GOAWAY on every open HTTP/2 connection; how many there were."""
        lines = [line for line in self.open_lines if isinstance(line, H2Line)]
        for line in lines:
            line.go_away()
        return len(lines)

    # ---- what was seen ----

    def now(self) -> float:
        """The double's wall clock."""
        return time.time() + self.ahead_s

    @property
    def connections(self) -> int:
        """How many were ever made (with a good handshake)."""
        return len(self.lines)

    @property
    def open_lines(self) -> list[Line]:
        """Connections that are open now."""
        return [line for line in self.lines if line.open]

    @property
    def faults(self) -> list[str]:
        """What clients did that HTTP/2 forbids."""
        return [
            f"connection {line.number}: {fault}"
            for line in self.lines
            if isinstance(line, H2Line)
            for fault in line.faults
        ]

    async def wait(
        self,
        count: int = 1,
        *,
        within: float = 5.0,
        where: Callable[[Request], bool] = lambda _: True,
    ) -> list[Request]:
        """All send requests (that fit) as soon as there are `count`. Raises AssertionError."""

        def fitting() -> list[Request]:
            return [request for request in self.requests if where(request)]

        if not await poll_until(lambda: len(fitting()) >= count, within_s=within):
            raise AssertionError(f"wanted {count} requests in {within} s: {self.requests}")
        return fitting()

    async def wait_oauth(self, count: int = 1, *, within: float = 5.0) -> list[OauthRequest]:
        """All requests for access tokens as soon as there are `count`. Raises AssertionError."""
        if not await poll_until(lambda: len(self.oauth_requests) >= count, within_s=within):
            raise AssertionError(f"wanted {count} token requests: {self.oauth_requests}")
        return self.oauth_requests

    async def wait_delivered(self, count: int = 1, *, within: float = 5.0) -> list[Delivery]:
        """All deliveries as soon as there are `count`. Raises AssertionError."""
        if not await poll_until(lambda: len(self.delivered) >= count, within_s=within):
            raise AssertionError(
                f"wanted {count} deliveries in {within} s, had {len(self.delivered)}: "
                f"{self.requests}"
            )
        return self.delivered

    # ---- the lines' owner ----

    def line_opened(self, line: Line) -> bool:
        self.lines.append(line)
        line.number = len(self.lines)
        return True

    def line_closed(self, line: Line) -> None:
        pass

    def stream_cancelled(self, line: H2Line, stream: int) -> None:
        if (request := self._requests_of.get((line.number, stream))) is not None:
            request.cancelled = True

    def request_arrived(self, line: Line, stream: int, headers: Headers, body: bytes) -> None:
        fields = dict(headers)
        path = fields.get(":path", "")
        if fields.get(":method") == "POST" and path == TOKEN_PATH:
            self._take_oauth(line, stream, fields, body)
        elif fields.get(":method") == "POST" and path.startswith(_SEND):
            self._take_send(line, stream, fields, body)
        else:
            self._say(line, stream, errors.html(404, errors.HTML_404), Play())

    # ---- the token endpoint ----

    def _take_oauth(self, line: Line, stream: int, fields: dict[str, str], body: bytes) -> None:
        form = form_of(body)
        request = OauthRequest(
            form=form,
            claims=claims_of(form.get("assertion", "")),
            arrived_s=time.monotonic(),
        )
        self.oauth_requests.append(request)
        play = self._oauth_next.popleft() if self._oauth_next else self.oauth_always

        def answer() -> Refusal | dict[str, Any]:
            found = play.refusal or self.oauth.answer(fields, form, now=self.now())
            if isinstance(found, Refusal):
                request.status, request.error = found.status, found.code
                return found
            request.status = 200
            return {
                "access_token": found.value,
                "expires_in": int(self.oauth.life_s),
                "token_type": "Bearer",
            }

        self._perform(line, stream, play, answer)

    # ---- sending ----

    def _take_send(self, line: Line, stream: int, fields: dict[str, str], body: bytes) -> None:
        said = _object(body)
        request = Request(
            project_id=fields[":path"].removeprefix(_SEND).partition("/")[0],
            headers=fields,
            body=body,
            message=said.get("message", {}),
            validate_only=said.get("validate_only") is True,
            http="2" if isinstance(line, H2Line) else "1.1",
            connection=line.number,
            arrived_at=time.time(),
            arrived_s=time.monotonic(),
        )
        self.requests.append(request)
        self._requests_of[line.number, stream] = request
        play = self._play_for(request.token)
        refusal = play.refusal or self._refusal(fields, request)
        if refusal is not None:
            request.code = refusal.code
        silent = play.silent or play.drop or play.reset
        delivers = not silent if play.delivers is None else play.delivers
        if refusal is None and not request.validate_only:
            request.message_id = f"projects/{request.project_id}/messages/0:{_message_number()}"
            if delivers:
                self._deliver(request)

        def answer() -> Refusal | dict[str, Any]:
            request.status = 200 if refusal is None else refusal.status
            fake = f"projects/{request.project_id}/messages/fake_message_id"
            return refusal or {"name": request.message_id or fake}

        self._perform(line, stream, play, answer)

    def _play_for(self, token: str) -> Play:
        if self._for_token.get(token):
            return self._for_token[token].popleft()
        if self._next:
            return self._next.popleft()
        return self._always_for.get(token, self.always)

    def _refusal(self, fields: dict[str, str], request: Request) -> Refusal | None:
        """The refusal by the rules, or None."""
        path = f"{_SEND}{request.project_id}/messages:send"
        if fields[":path"] != path:
            return errors.html(404, errors.HTML_404)
        bearer = self._bearer(fields)
        if isinstance(bearer, Refusal):
            return bearer
        project = self.projects.get(request.project_id)
        account = bearer.account
        if project is None or account.project_id != project.project_id or not account.may_send:
            return errors.forbidden(request.project_id)
        if not project.api_enabled:
            return errors.service_disabled(request.project_id)
        if not fields.get("content-type", "").startswith("application/json"):
            return errors.bad_request("", "Invalid JSON payload received.")
        return body_fault(request.body) or self._target_fault(request)

    def _bearer(self, fields: dict[str, str]) -> AccessToken | Refusal:
        scheme, _, value = fields.get("authorization", "").partition(" ")
        if scheme != "Bearer" or not value:
            return errors.unauthenticated("CREDENTIALS_MISSING")
        token = self.oauth.tokens.get(value)
        if token is None:
            return errors.unauthenticated("ACCESS_TOKEN_TYPE_UNSUPPORTED")
        if token.revoked or token.ends_at <= self.now():
            return errors.unauthenticated("ACCESS_TOKEN_EXPIRED")
        return token

    def _target_fault(self, request: Request) -> Refusal | None:
        kind = next(
            name for name in ("token", "fid", "topic", "condition") if name in request.message
        )
        if kind in {"topic", "condition"}:
            return None
        target = request.message[kind]
        device = self.devices.get(target)
        if device is None or device.kind != kind:
            good = device is None and well_formed(kind, target)
            return errors.fcm("UNREGISTERED" if good else "INVALID_ARGUMENT")
        if device.project_id != request.project_id:
            return errors.fcm("SENDER_ID_MISMATCH")
        if device.gone:
            return errors.fcm("UNREGISTERED")
        return None

    def _deliver(self, request: Request) -> None:
        device = self.devices.get(request.token)
        if device is None:
            return
        android = request.android
        delivery = Delivery(
            token=device.token,
            data=android.get("data", request.data),
            priority=str(android.get("priority", "normal")).lower(),
            ttl_s=ttl_of(android),
            message_id=request.message_id,
            at=time.time(),
        )
        if device.reachable(delivery):
            request.delivered = True
            self._hand_over(device, delivery)
        elif delivery.ttl_s != 0:
            device.stored.append(delivery)

    def _hand_over(self, device: FcmDevice, delivery: Delivery) -> None:
        self.delivered.append(delivery)
        device.received.append(delivery)
        if device.deliver is not None:
            found = device.deliver(delivery)
            if inspect.isawaitable(found):
                self._spawn(_awaited(found), name="delivery by FCM")

    # ---- answering ----

    def _perform(
        self,
        line: Line,
        stream: int,
        play: Play,
        answer: Callable[[], Refusal | dict[str, Any]],
    ) -> None:
        if play.after_s or play.until is not None:
            self._spawn(self._later(line, stream, play, answer), name="slow answer of FCM")
        else:
            self._finish(line, stream, play, answer)

    async def _later(
        self,
        line: Line,
        stream: int,
        play: Play,
        answer: Callable[[], Refusal | dict[str, Any]],
    ) -> None:
        if play.after_s:
            await asyncio.sleep(play.after_s)
        if play.until is not None:
            await play.until.wait()
        self._finish(line, stream, play, answer)

    def _finish(
        self,
        line: Line,
        stream: int,
        play: Play,
        answer: Callable[[], Refusal | dict[str, Any]],
    ) -> None:
        if play.silent:
            return
        if play.drop:
            line.drop()
        elif play.reset:
            line.reset(stream)
        else:
            if play.go_away:
                line.go_away()
            self._say(line, stream, answer(), play)

    def _say(self, line: Line, stream: int, answer: Refusal | dict[str, Any], play: Play) -> None:
        if isinstance(answer, Refusal):
            status, body, kind = answer.status, answer.body, answer.content_type
        else:
            status, kind = 200, "application/json; charset=UTF-8"
            body = json.dumps(answer, indent=2).encode()
        date = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(self.now()))
        headers = [("content-type", kind), ("date", date), *play.headers]
        line.respond(stream, status, headers, body)

    def _spawn(self, coro: Any, *, name: str) -> None:
        task = spawn(coro, name=name)
        self._work.add(task)
        task.add_done_callback(self._work.discard)


@cache
def _key(name: str) -> rsa.RSAPrivateKey:
    """Making one takes long, so that a run has one per name."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def _new_token() -> str:
    return f"{secrets.token_urlsafe(16)}:APA91b{secrets.token_urlsafe(100)}"


def _message_number() -> str:
    return f"{time.time_ns() // 1000}%{secrets.token_hex(8)}"


def _object(body: bytes) -> dict[str, Any]:
    try:
        said = json.loads(body)
    except ValueError:
        return {}
    return said if isinstance(said, dict) and isinstance(said.get("message"), dict) else {}


async def _awaited(found: Any) -> None:
    await found


def _main(argv: Sequence[str] | None = None) -> int:
    from .fcm_program import main

    return main(argv)


if __name__ == "__main__":
    sys.exit(_main())
