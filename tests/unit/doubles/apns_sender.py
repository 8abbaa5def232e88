"""A provider of APNs by httpx, and one by bare h2 frames, for what httpx would not do."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
import time
import uuid
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import httpx
import jwt
from h2.config import H2Configuration
from h2.connection import ConnectionState, H2Connection
from h2.errors import ErrorCodes
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    RemoteSettingsChanged,
    ResponseReceived,
    StreamEnded,
    StreamReset,
)
from h2.settings import SettingCodes

from tests.doubles.apns import ApnsDevice, ApnsDouble, ProviderKey

VOIP = {"aps": {}, "type": "call", "call_id": "7d1c"}
Answer = tuple[int, str]
POLL_S = 0.02


def provider_token(key: ProviderKey, *, iat: float | None = None, **claims: Any) -> str:
    said = {"iss": key.team_id, "iat": int(time.time() if iat is None else iat), **claims}
    return jwt.encode(said, key.file.read_text(), algorithm="ES256", headers={"kid": key.key_id})


def voip_headers(device: ApnsDevice, token: str | None, **changed: str | None) -> dict[str, str]:
    """A good push; `changed` has underscores for hyphens, and None for what is left out."""
    headers: dict[str, str | None] = {
        "authorization": f"bearer {token}" if token else None,
        "apns-topic": f"{device.bundle}.voip",
        "apns-push-type": "voip",
        "apns-priority": "10",
        "apns-expiration": "0",
        "apns-id": str(uuid.uuid4()),
    }
    headers |= {name.replace("_", "-"): value for name, value in changed.items()}
    return {name: value for name, value in headers.items() if value is not None}


def context(apns: ApnsDouble, *, alpn: list[str] | None = None) -> ssl.SSLContext:
    tls = ssl.create_default_context(cafile=apns.ca_file)
    if alpn is not None:
        tls.set_alpn_protocols(alpn)
    return tls


class Sender:
    """Pushes by httpx over one connection (as long as that lives)."""

    def __init__(self, apns: ApnsDouble, *, certificate: str | None = None) -> None:
        self.apns = apns
        self.token: str | None = None if certificate else provider_token(apns.keys[apns.key_id])
        tls = context(apns)
        if certificate:
            tls.load_cert_chain(certificate)
        self._http = httpx.AsyncClient(http1=False, http2=True, verify=tls, trust_env=False)

    async def push(
        self,
        device: ApnsDevice,
        payload: Any = VOIP,
        *,
        path: str | None = None,
        method: str = "POST",
        extra: list[tuple[str, str]] | None = None,
        sandbox: bool = False,
        within: float = 5.0,
        **headers: str | None,
    ) -> httpx.Response:
        listener = self.apns.sandbox if sandbox else self.apns.production
        fields = list(voip_headers(device, self.token, **headers).items()) + (extra or [])
        body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        url = listener.base_url + (path or f"/3/device/{device.token}")
        return await self._http.request(method, url, headers=fields, content=body, timeout=within)

    async def answer(self, device: ApnsDevice, payload: Any = VOIP, **fields: Any) -> Answer:
        """Status and reason."""
        response = await self.push(device, payload, **fields)
        return response.status_code, response.json()["reason"] if response.content else ""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._http.aclose()


@dataclass(slots=True)
class Stream:
    """What came back on one stream."""

    status: int | None = None
    chunks: list[bytes] = field(default_factory=list)
    ended: bool = False
    reset: int | None = None


class RawSender:
    """HTTP/2 frame by frame."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.h2 = H2Connection(H2Configuration(client_side=True, header_encoding="utf-8"))
        self.streams: dict[int, Stream] = {}
        self.max_streams: list[int] = []
        self.goaway: ConnectionTerminated | None = None
        self.closed = False
        self._reader, self._writer = reader, writer
        self.h2.initiate_connection()
        self.flush()

    @classmethod
    async def connect(cls, apns: ApnsDouble) -> RawSender:
        host, port = apns.production.address
        return cls(*await asyncio.open_connection(host, port, ssl=context(apns, alpn=["h2"])))

    def push(self, device: ApnsDevice, token: str) -> int:
        """Send a good push at once; its stream."""
        stream = self.h2.get_next_available_stream_id()
        head = [
            (":method", "POST"),
            (":scheme", "https"),
            (":authority", "127.0.0.1"),
            (":path", f"/3/device/{device.token}"),
            *voip_headers(device, token).items(),
        ]
        self.streams[stream] = Stream()
        self.h2.send_headers(stream, head)
        self.h2.send_data(stream, json.dumps(VOIP).encode(), end_stream=True)
        self.flush()
        return stream

    def flush(self) -> None:
        self._writer.write(self.h2.data_to_send())

    async def until(self, condition: Any, *, within: float = 3.0) -> None:
        """Read until it holds. Raises TimeoutError."""
        async with asyncio.timeout(within):
            while not condition():
                try:
                    data = await asyncio.wait_for(self._reader.read(65536), POLL_S)
                except TimeoutError:
                    continue
                if not data:
                    self.closed = True
                    assert condition(), "the connection was closed"
                    return
                for event in self.h2.receive_data(data):
                    self._take(event)
                self.flush()

    def _take(self, event: Event) -> None:
        match event:
            case ResponseReceived(stream_id=int(stream), headers=list(headers)):
                self.streams[stream].status = int(dict(headers)[":status"])
            case DataReceived(stream_id=int(stream), data=bytes(data)):
                self.streams[stream].chunks.append(data)
            case StreamEnded(stream_id=int(stream)):
                self.streams[stream].ended = True
            case StreamReset(stream_id=int(stream)):
                self.streams[stream].reset = event.error_code
            case RemoteSettingsChanged():
                if limit := event.changed_settings.get(SettingCodes.MAX_CONCURRENT_STREAMS):
                    self.max_streams.append(limit.new_value)
            case ConnectionTerminated():
                self.goaway = event
                # RFC 9113 §6.8: accepted streams go on. h2 would read no further.
                self.h2.state_machine.state = ConnectionState.CLIENT_OPEN

    def ignore_limits(self) -> None:
        """Open as many streams as it likes from now on."""
        self.h2.remote_settings[SettingCodes.MAX_CONCURRENT_STREAMS] = 2**31 - 1
        self.h2.remote_settings.acknowledge()

    def give_up(self, stream: int) -> None:
        """RST_STREAM: no answer is wanted any more."""
        self.h2.reset_stream(stream, ErrorCodes.CANCEL)
        self.flush()

    async def close(self) -> None:
        self._writer.transport.abort()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()
