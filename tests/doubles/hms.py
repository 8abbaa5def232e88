"""Huawei Push Kit and its OAuth server."""

from __future__ import annotations

import json
import re
import secrets
import time
from collections import deque
from typing import Any
from urllib.parse import parse_qs

from aiohttp import web

from .http_platform import Deliver, HttpPlatform, PlatformRequest, Play

LONGEST = 4096
TOKEN_PATH = "/oauth2/v3/token"
_TTL = re.compile(r"[1-9][0-9]*(\.[0-9]{1,9})?s")
_MESSAGE = frozenset({"data", "android", "token"})
_ANDROID = frozenset({"ttl", "urgency", "category", "collapse_key", "data"})


def code_body(code: str, msg: str = "said by the test") -> bytes:
    """An answer of Push Kit."""
    return json.dumps({"code": code, "msg": msg, "requestId": f"request-{code}"}).encode()


def code(code: str, status: int = 200, msg: str = "said by the test") -> Play:
    """Answer with this result code."""
    return Play(status=status, body=code_body(code, msg))


class HmsDouble(HttpPlatform):
    """One app. Strict: a field that the reference does not know is an error."""

    def __init__(self, *, token_life_s: float = 3600.0, may_be_urgent: bool = True) -> None:
        super().__init__()
        self.app_id = "104567890"
        self.client_secret = secrets.token_hex(32)
        self.token_life_s = token_life_s
        self.may_be_urgent = may_be_urgent
        self.looked_at = 0
        """Messages with `validate_only`."""
        self.tokens_asked = 0
        self.oauth_plays: deque[Play] = deque()
        self._access: dict[str, float] = {}
        self._devices: dict[str, Deliver | None] = {}

    @property
    def token_uri(self) -> str:
        """Where access tokens come from."""
        return self.url + TOKEN_PATH

    def device(self, deliver: Deliver | None = None) -> str:
        """A phone; its push token."""
        token = f"IQAAAACy{secrets.token_urlsafe(96)}"
        self._devices[token] = deliver
        return token

    def revoke_access(self) -> None:
        """No access token that was given is good any more."""
        self._access.clear()

    def add_routes(self, app: web.Application) -> None:
        """Both servers."""
        app.router.add_post(TOKEN_PATH, self._give_token)
        app.router.add_post("/v1/{app_id}/messages:send", self._take)

    async def _give_token(self, request: web.Request) -> web.StreamResponse:
        self.tokens_asked += 1
        form = {name: values[0] for name, values in parse_qs(await request.text()).items()}
        if self.oauth_plays:
            self.plays.appendleft(self.oauth_plays.popleft())
            played = await self.play(request)
            if played is not None:
                return played
        if request.content_type != "application/x-www-form-urlencoded":
            return _oauth_error(20001)
        if form.get("grant_type") != "client_credentials":
            return _oauth_error(20001)
        if form.get("client_id") != self.app_id:
            return _oauth_error(20003)
        if form.get("client_secret") != self.client_secret:
            return _oauth_error(12304)
        token = secrets.token_urlsafe(64)
        self._access[token] = time.monotonic() + self.token_life_s
        return web.json_response(
            {"access_token": token, "expires_in": self.token_life_s, "token_type": "Bearer"}
        )

    async def _take(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        status, found, said = self._judge(request, body)
        token = said.pop("token", "")
        self.requests.append(
            PlatformRequest(
                path=request.path,
                headers=dict(request.headers),
                body=body,
                said=said,
                fault="" if found == "80000000" else found,
            )
        )
        played = await self.play(request)
        if played is not None:
            return played
        if found == "80000000":
            await self.give(said, self._devices[token])
        return web.Response(status=status, body=code_body(found), content_type="application/json")

    def _judge(self, request: web.Request, body: bytes) -> tuple[int, str, dict[str, Any]]:
        """HTTP status, result code, and what the phone gets with its token."""
        scheme, _, access = request.headers.get("Authorization", "").partition(" ")
        if scheme != "Bearer" or access not in self._access:
            return 401, "80200001", {}
        if self._access[access] < time.monotonic():
            return 401, "80200003", {}
        if request.match_info["app_id"] != self.app_id:
            return 400, "80300002", {}
        asked = json.loads(body)
        message = asked.get("message", {})
        if asked.keys() - {"message", "validate_only"} or message.keys() - _MESSAGE:
            return 400, "80100003", {}
        if fault := self._fault(message):
            return 400, fault, {}
        if asked.get("validate_only"):
            self.looked_at += 1
            return 200, "80300007" if message["token"][0] not in self._devices else "80000000", {}
        token = message["token"][0]
        if token not in self._devices:
            return 400, "80300007", {}
        return 200, "80000000", {**json.loads(message["data"]), "token": token}

    def _fault(self, message: dict[str, Any]) -> str:
        tokens, data = message.get("token"), message.get("data")
        android = message.get("android", {})
        if not isinstance(tokens, list) or not 1 <= len(tokens) <= 1000:
            return "80300010"
        if not isinstance(data, str) or android.keys() - _ANDROID:
            return "80100003"
        if not _TTL.fullmatch(android.get("ttl", "86400s")):
            return "80100004"
        if android.get("urgency", "NORMAL") not in {"HIGH", "NORMAL"}:
            return "80100003"
        if android.get("urgency") == "HIGH" and not self.may_be_urgent:
            return "80300011"
        without = json.dumps({"message": {**message, "token": []}}, ensure_ascii=False)
        if len(without.replace(": ", ":").replace(", ", ",").encode()) > LONGEST:
            return "80300008"
        return ""


def _oauth_error(sub_error: int) -> web.Response:
    said = {"error": 1101, "sub_error": sub_error, "error_description": "invalid request"}
    return web.json_response(said, status=400)
