"""One OPTIONS over UDP from a port of its own, without a SIP stack (RFC 3261 §11, §17.1.2)."""

import asyncio
import secrets

from ..core.model import Address
from ..tasks import spawn

_T1_S, _T2_S = 0.5, 4.0


async def options_status(to: Address, *, name: str, timeout_s: float) -> str:
    """What a server answers to OPTIONS: status and reason phrase, whatever they are.

    ``name``: the host that the request is about. Raises `TimeoutError` on silence and `OSError`
    when the port is closed.
    """
    loop = asyncio.get_running_loop()
    transport, answered = await loop.create_datagram_endpoint(
        _Answer, remote_addr=(to.host, to.port)
    )
    try:
        local = transport.get_extra_info("sockname")
        request = _request(to, name, (local[0], local[1]), answered.branch)
        sender = spawn(_send(transport, request), name="OPTIONS of the doctor")
        try:
            async with asyncio.timeout(timeout_s):
                return await answered.status
        finally:
            sender.cancel()
    finally:
        transport.close()


class _Answer(asyncio.DatagramProtocol):
    """Waits for the first final response of our transaction."""

    def __init__(self) -> None:
        self.branch = f"z9hG4bK{secrets.token_hex(8)}"
        self.status: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:  # noqa: ARG002
        line, _, rest = data.decode("utf-8", "replace").partition("\r\n")
        version, _, status = line.partition(" ")
        mine = version == "SIP/2.0" and self.branch in rest
        if mine and not status.startswith("1") and not self.status.done():
            self.status.set_result(status[:60])

    def error_received(self, exc: Exception) -> None:
        if not self.status.done():
            self.status.set_exception(exc)


async def _send(transport: asyncio.DatagramTransport, request: bytes) -> None:
    pause_s = _T1_S
    while True:
        transport.sendto(request)
        await asyncio.sleep(pause_s)
        pause_s = min(2 * pause_s, _T2_S)


def _request(to: Address, name: str, local: tuple[str, int], branch: str) -> bytes:
    here = f"{_bracketed(local[0])}:{local[1]}"
    uri = f"sip:{_bracketed(name)}" + ("" if to.port == 5060 else f":{to.port}")
    lines = (
        f"OPTIONS {uri} SIP/2.0",
        f"Via: SIP/2.0/UDP {here};branch={branch};rport",
        "Max-Forwards: 70",
        f"From: <sip:doctor@{here}>;tag={secrets.token_hex(6)}",
        f"To: <{uri}>",
        f"Call-ID: {secrets.token_hex(12)}",
        "CSeq: 1 OPTIONS",
        f"Contact: <sip:doctor@{here}>",
        "Accept: application/sdp",
        "User-Agent: push-proxy doctor",
        "Content-Length: 0",
    )
    return "\r\n".join((*lines, "", "")).encode()


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
