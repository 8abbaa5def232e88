"""A phone that holds one TCP connection and rests: as cheap as possible for the load's machine."""

import asyncio
import hashlib
import re
from typing import Self

from .wake_load import REALM

ANSWER_S = 30.0
_NONCE = re.compile(rb'algorithm=MD5[^\r]*nonce="([^"]+)"|nonce="([^"]+)"[^\r]*algorithm=MD5')


class RestingPhone(asyncio.Protocol):
    """One account's phone. Each step is true when the service answered as it should."""

    def __init__(self, user: str, password: str, proxy: tuple[str, int]) -> None:
        self._user, self._password, self._proxy = user, password, proxy
        self._transport: asyncio.WriteTransport | None = None
        self._answer: asyncio.Future[bytes] | None = None
        self._buffer = b""
        self._cseq = 0

    async def connect(self) -> bool:
        """Open the connection and register."""
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_connection(self._itself, *self._proxy)
        self._transport = transport
        return await self.register()

    async def register(self) -> bool:
        """REGISTER, 401, REGISTER with digest, 200."""
        challenge = await self._ask(self._request(""))
        found = _NONCE.search(challenge)
        if found is None:
            return False
        return (await self._ask(self._request(self._proof(found)))).startswith(b"SIP/2.0 200")

    async def keep_alive(self) -> bool:
        """Two line ends, answered by one."""
        return await self._ask(b"\r\n\r\n") == b"\r\n"

    def close(self) -> None:
        """Without a word."""
        if self._transport is not None:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """An answer is whole at its empty line (none has a body); a pong is one line end."""
        self._buffer += data
        whole = self._buffer.endswith(b"\r\n\r\n") or self._buffer == b"\r\n"
        if whole and self._answer is not None and not self._answer.done():
            self._answer.set_result(self._buffer)
            self._buffer = b""

    def _itself(self) -> Self:
        return self

    async def _ask(self, message: bytes) -> bytes:
        if self._transport is None:
            return b""
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(message)
        try:
            return await asyncio.wait_for(self._answer, ANSWER_S)
        except TimeoutError:
            return b""

    def _request(self, authorization: str) -> bytes:
        self._cseq += 1
        return (
            f"REGISTER sip:{REALM} SIP/2.0\r\n"
            f"Via: SIP/2.0/TCP 127.0.0.1:9;rport;branch=z9hG4bK{self._user}r{self._cseq}\r\n"
            f"From: <sip:{self._user}@{REALM}>;tag=r\r\nTo: <sip:{self._user}@{REALM}>\r\n"
            f"Call-ID: reg-{self._user}\r\nCSeq: {self._cseq} REGISTER\r\nMax-Forwards: 70\r\n"
            f"Contact: <sip:{self._user}@127.0.0.1:9;transport=tcp>\r\nExpires: 3600\r\n"
            f"{authorization}Content-Length: 0\r\n\r\n"
        ).encode()

    def _proof(self, found: re.Match[bytes]) -> str:
        nonce = (found[1] or found[2]).decode()
        uri = f"sip:{REALM}"

        def md5(text: str) -> str:
            return hashlib.md5(text.encode()).hexdigest()  # noqa: S324 - what the phone speaks

        ha1 = md5(f"{self._user}:{REALM}:{self._password}")
        response = md5(f"{ha1}:{nonce}:00000001:bench:auth:{md5(f'REGISTER:{uri}')}")
        return (
            f'Authorization: Digest username="{self._user}", realm="{REALM}", nonce="{nonce}", '
            f'uri="{uri}", response="{response}", algorithm=MD5, qop=auth, nc=00000001, '
            'cnonce="bench"\r\n'
        )
