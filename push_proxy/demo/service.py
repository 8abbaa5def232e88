"""The service itself as a child process, with a configuration of its own: for demo and tests."""

from __future__ import annotations

import asyncio
import hashlib
import json
import secrets
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp
import yaml

from .ports import free_block, free_port
from .process import Process, ProcessError

START_S = 20.0
_POLL_S = 0.02
TENANT = "demo"
APP_ID = "com.example.phone"


class TryLater(ProcessError):
    """The service answers 503: its store does not answer at this moment, or it stops."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceOptions:
    """How the service is configured; the rest has the service's defaults."""

    pbxes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    webhook_url: str | None = None
    webhook_key: bytes | None = field(default=None, repr=False)
    wake: Mapping[str, Any] = field(default_factory=dict)
    listen: tuple[str, ...] = ("udp",)
    """Transports for SIP: `udp` and `tcp` on one port, `tls` on the next."""
    tls: Mapping[str, str] = field(default_factory=dict)
    """The section `sip.tls`: paths of `certificate`, `key` and `ca`."""
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Further sections, as in the configuration file."""


class Service:
    """One `push-proxy serve` on loopback. SIP and HTTP ports stay the same over restarts.

    A `sip_port` that is given needs a free port after it when the service listens for TLS.
    """

    def __init__(
        self,
        directory: Path,
        options: ServiceOptions,
        *,
        sip_port: int | None = None,
        host: str = "127.0.0.1",
        node: str = "proxy-1",
    ) -> None:
        self.directory = directory
        self.options = options
        self.host = host
        self.node = node
        self.sip_port = sip_port or free_block(2)
        self.http_port = free_port()
        self.api_key = secrets.token_urlsafe(24)
        self.config = directory / "push-proxy.yaml"
        self.process = Process(
            [sys.executable, "-m", "push_proxy", "serve"],
            name="push-proxy" if node == "proxy-1" else f"push-proxy {node}",
            log=directory / "push-proxy.log",
            env={"PUSH_PROXY_CONFIG": str(self.config)},
        )
        self._session: aiohttp.ClientSession | None = None

    @property
    def sip_address(self) -> tuple[str, int]:
        """Where phones and PBXs reach it over UDP and TCP."""
        return self.host, self.sip_port

    def sip_at(self, transport: str) -> tuple[str, int]:
        """Where they reach it over `udp`, `tcp` or `tls`."""
        return self.host, self.sip_port + (transport == "tls")

    @property
    def url(self) -> str:
        """Base of the HTTP API."""
        return f"http://{self.host}:{self.http_port}"

    def write_config(self) -> None:
        """Write the configuration file (and the webhook's key beside it)."""
        self.directory.mkdir(parents=True, exist_ok=True)
        sections: dict[str, Any] = {
            "node": {"id": self.node, "data_dir": str(self.directory / "data")},
            "sip": {
                "listen": [
                    "{}:{}:{}".format(transport, *self.sip_at(transport))
                    for transport in self.options.listen
                ],
                "public_address": self.host,
                "node_address": self.host,
            },
            "http": {
                "listen": f"{self.host}:{self.http_port}",
                "api_keys": [
                    {
                        "name": "demo",
                        "tenant": TENANT,
                        "key_sha256": hashlib.sha256(self.api_key.encode()).hexdigest(),
                        "scopes": ["accounts", "devices", "calls"],
                    }
                ],
            },
            "pbxes": {name: dict(pbx) for name, pbx in self.options.pbxes.items()},
        }
        if self.options.tls:
            sections["sip"]["tls"] = dict(self.options.tls)
        if self.options.wake:
            sections["wake"] = dict(self.options.wake)
        if self.options.webhook_url is not None:
            webhook: dict[str, Any] = {"app_id": APP_ID, "url": self.options.webhook_url}
            if self.options.webhook_key is not None:
                key_file = self.directory / "webhook.key"
                key_file.write_bytes(self.options.webhook_key)
                webhook["hmac_key_file"] = str(key_file)
            sections["providers"] = {"webhook": [webhook]}
        for name, section in self.options.extra.items():
            known = sections.get(name)
            merged = {**known, **section} if isinstance(known, dict) else section
            sections[name] = merged
        self.config.write_text(yaml.safe_dump(sections))

    async def start(self, *, ready: bool = True) -> None:
        """Start it and wait until it is ready. Raises `ProcessError` with its log."""
        self.write_config()
        self.process.start()
        if ready:
            await self.wait_ready()

    async def wait_ready(self, within_s: float = START_S) -> None:
        """Wait for `/readyz` to say 200. Raises `ProcessError`."""
        await self.wait_status("/readyz", 200, within_s=within_s)

    async def wait_status(self, path: str, status: int, *, within_s: float = 5.0) -> None:
        """Poll a path until it answers with this status. Raises `ProcessError`."""
        deadline = time.monotonic() + within_s
        last: int | str = "no answer"
        while last != status:
            if not self.process.running or time.monotonic() >= deadline:
                raise self.process.failure(f"{path} did not say {status} (last: {last})")
            try:
                last = (await self.request("GET", path))[0]
            except aiohttp.ClientError:
                last = "no answer"
            await asyncio.sleep(_POLL_S)

    async def stop(self) -> None:
        """SIGTERM, then whatever is needed."""
        await self.process.stop()
        if self._session is not None:
            await self._session.close()
            self._session = None

    def kill(self) -> None:
        """SIGKILL: nothing is said to anybody."""
        self.process.kill()

    async def request(
        self, method: str, path: str, body: Any = None, *, key: str | None = None
    ) -> tuple[int, Any]:
        """Status and JSON (or text) of an API call, as the operator unless `key` is given."""
        if self._session is None:
            self._session = aiohttp.ClientSession()
        headers = {"Authorization": f"Bearer {key or self.api_key}"}
        async with self._session.request(
            method, self.url + path, json=body, headers=headers
        ) as response:
            text = await response.text()
            is_json = "json" in response.headers.get("Content-Type", "")
            return response.status, json.loads(text) if is_json and text else text

    async def expect(self, method: str, path: str, body: Any = None) -> Any:
        """As `request`; raises `ProcessError` unless the status is 2xx, `TryLater` for a 503."""
        status, answer = await self.request(method, path, body)
        if not 200 <= status < 300:
            kind = TryLater if status == HTTPStatus.SERVICE_UNAVAILABLE else ProcessError
            raise kind(f"{method} {path} was answered {status}: {answer}")
        return answer

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.stop()
