"""RuStore's push server."""

from __future__ import annotations

import json
import re
import secrets
from typing import Any

from aiohttp import web

from .http_platform import Deliver, HttpPlatform, PlatformRequest, Play

LONGEST = 4096
_TTL = re.compile(r"[0-9]+(\.[0-9]+)?s")
BAD_TOKEN = "The registration token is not a valid FCM registration token"


def error_body(code: int, status: str, message: str = "said by the test") -> bytes:
    """An error as RuStore says it."""
    return json.dumps({"error": {"code": code, "message": message, "status": status}}).encode()


def error(code: int, status: str, message: str = "said by the test", **headers: str) -> Play:
    """Answer with this error."""
    said = {name.replace("_", "-"): value for name, value in headers.items()}
    return Play(status=code, body=error_body(code, status, message), headers=said)


class RustoreDouble(HttpPlatform):
    """One project. Strict: a field that the reference does not know is an error."""

    def __init__(self) -> None:
        super().__init__()
        self.project_id = "VWaaaBBBcccDDDeee"
        self.service_token = secrets.token_urlsafe(48)
        self.looked_at = 0
        """Messages with `validate_only`."""
        self._devices: dict[str, Deliver | None] = {}

    def device(self, deliver: Deliver | None = None) -> str:
        """A phone; its push token."""
        token = secrets.token_urlsafe(40)
        self._devices[token] = deliver
        return token

    def add_routes(self, app: web.Application) -> None:
        """The one method there is."""
        app.router.add_post("/v1/projects/{project}/messages:send", self._take)

    async def _take(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        asked = json.loads(body)
        message = asked.get("message", {})
        code, status, text = self._fault(request, body, asked)
        self.requests.append(
            PlatformRequest(
                path=request.path,
                headers=dict(request.headers),
                body=body,
                said=message.get("data", {}),
                fault=status,
            )
        )
        played = await self.play(request)
        if played is not None:
            return played
        if status:
            return web.Response(
                status=code, body=error_body(code, status, text), content_type="application/json"
            )
        if asked.get("validate_only"):
            return web.json_response({})
        await self.give(message["data"], self._devices[message["token"]])
        return web.json_response({})

    def _fault(
        self, request: web.Request, body: bytes, asked: dict[str, Any]
    ) -> tuple[int, str, str]:
        message = asked.get("message", {})
        if request.headers.get("Authorization") != f"Bearer {self.service_token}":
            return 403, "PERMISSION_DENIED", "wrong service token"
        if request.match_info["project"] != self.project_id:
            return 403, "PERMISSION_DENIED", "no such project"
        if asked.keys() - {"message", "validate_only"} or message.keys() - {
            "token",
            "data",
            "android",
        }:
            return 400, "INVALID_ARGUMENT", "unknown field"
        if not all(isinstance(value, str) for value in message.get("data", {}).values()):
            return 400, "INVALID_ARGUMENT", "data are strings"
        if not _TTL.fullmatch(message.get("android", {}).get("ttl", "1s")):
            return 400, "INVALID_ARGUMENT", "ttl is a duration"
        if len(body) > LONGEST:
            return 413, "INVALID_ARGUMENT", "message is too long"
        if asked.get("validate_only"):
            self.looked_at += 1
        if message.get("token") not in self._devices:
            return 404, "NOT_FOUND", "Requested entity was not found."
        return 200, "", ""
