"""A sender to FCM by httpx alone, as Google documents the protocol."""

from __future__ import annotations

import json
import ssl
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
import jwt

from tests.doubles.fcm import FcmDevice, FcmDouble

GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
SCOPE = "https://www.googleapis.com/auth/firebase.messaging"
DATA = {"v": "1", "type": "call", "call_id": "7d1c"}


def assertion(file: Path, *, algorithm: str = "RS256", **changed: Any) -> str:
    """The JWT of a service account's file; `changed` claims, None for what is left out."""
    said = json.loads(file.read_text())
    now = int(time.time())
    claims: dict[str, Any] = {
        "iss": said["client_email"],
        "scope": SCOPE,
        "aud": said["token_uri"],
        "iat": now,
        "exp": now + 3600,
    }
    claims = {name: value for name, value in (claims | changed).items() if value is not None}
    key = said["private_key"] if algorithm == "RS256" else "x" * 32
    return jwt.encode(claims, key, algorithm=algorithm, headers={"kid": said["private_key_id"]})


def data_message(device: FcmDevice, **changed: Any) -> dict[str, Any]:
    """A good push; `changed` are fields of the message."""
    android = {"priority": "high", "ttl": "0s"}
    return {device.kind: device.token, "data": DATA, "android": android, **changed}


class Sender:
    """One HTTP client with an access token."""

    def __init__(self, fcm: FcmDouble, *, http2: bool = True) -> None:
        context = ssl.create_default_context(cafile=fcm.ca_file)
        self.http = httpx.AsyncClient(http2=http2, verify=context, timeout=5)
        self.fcm = fcm
        self.token = ""

    async def __aenter__(self) -> Self:
        self.token = (await self.grant(assertion(self.fcm.service_account_file))).json()[
            "access_token"
        ]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        await self.http.aclose()

    async def grant(self, jwt_text: str, *, grant_type: str = GRANT) -> httpx.Response:
        form = {"grant_type": grant_type, "assertion": jwt_text}
        return await self.http.post(self.fcm.token_uri, data=form)

    async def send(
        self, message: dict[str, Any], *, project: str = "lab-project", **more: Any
    ) -> httpx.Response:
        headers = {"authorization": f"Bearer {self.token}"} if self.token else {}
        url = f"{self.fcm.base_url}/v1/projects/{project}/messages:send"
        return await self.http.post(url, json={"message": message, **more}, headers=headers)


def refused(response: httpx.Response) -> tuple[int, str, list[str]]:
    """Status, Google's status, and what each detail says."""
    error = response.json()["error"]
    assert error["code"] == response.status_code
    details = [
        detail.get("errorCode") or detail.get("reason") or detail["@type"].rpartition(".")[2]
        for detail in error.get("details", [])
    ]
    return response.status_code, error["status"], details
