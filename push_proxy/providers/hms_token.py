"""The access token of an app at Huawei: OAuth 2.0 by client credentials (RFC 6749 §4.4)."""

import asyncio
import json
from collections.abc import Callable
from urllib.parse import urlencode

from ..public_http import PublicHttp, Unanswered
from .attempt import MISCONFIGURED, UNAVAILABLE, Attempt
from .unanswered import PAUSE_S, judge_silence

_MARGIN_S = 60.0
_BACKGROUND_S = 10.0
_AGAIN_S = 5.0
_BLOCKS_S = 60.0
_FORM = {"Content-Type": "application/x-www-form-urlencoded"}


class NoToken(Exception):
    """There is none; ``attempt`` says what that means for a push."""

    def __init__(self, attempt: Attempt) -> None:
        super().__init__(attempt.reason)
        self.attempt = attempt


class AccessToken:
    """Fetched before it is needed, renewed before it ends; by one request at a time."""

    def __init__(
        self, http: PublicHttp, *, token_uri: str, client_id: str, client_secret: str
    ) -> None:
        self._http = http
        self._token_uri = token_uri
        self._form = urlencode(
            {
                "grant_type": "client_credentials",
                "client_id": client_id,
                "client_secret": client_secret,
            }
        ).encode()
        self._token = ""
        self._ends_at = 0.0
        self._renewed_at = 0.0
        self._lock = asyncio.Lock()

    async def get(self, *, timeout_s: float) -> tuple[str, bool]:
        """The token, and whether it is quite new. Raises `NoToken`."""
        if self._good():
            return self._token, False
        try:
            async with asyncio.timeout(timeout_s), self._lock:
                if not self._good():
                    await self._fetch(timeout_s)
        except TimeoutError:
            raise NoToken(Attempt(UNAVAILABLE, "oauth_timeout", again=True)) from None
        return self._token, True

    def forget(self, token: str) -> None:
        """It was refused: the next push fetches another one."""
        if token == self._token:
            self._token = ""

    async def keep(self, tell: Callable[[Attempt | None], None]) -> None:
        """Renew for ever; ``tell`` hears of each failure, and None of each success."""
        while True:
            try:
                async with self._lock:
                    await self._fetch(_BACKGROUND_S)
            except NoToken as fault:
                tell(fault.attempt)
                await asyncio.sleep(fault.attempt.blocks_s or _AGAIN_S)
                continue
            tell(None)
            await asyncio.sleep(max(self._renewed_at - _now(), _AGAIN_S))

    def _good(self) -> bool:
        return bool(self._token) and _now() < self._ends_at

    async def _fetch(self, timeout_s: float) -> None:
        try:
            answer = await self._http.post(self._token_uri, self._form, _FORM, timeout_s=timeout_s)
        except Unanswered as fault:
            attempt = judge_silence(fault)
            raise NoToken(
                Attempt(
                    attempt.outcome,
                    f"oauth_{attempt.reason}",
                    again=attempt.again,
                    pause_s=attempt.pause_s,
                )
            ) from None
        reason = f"oauth_http_{answer.status}"
        if answer.status == 429 or answer.status >= 500:
            raise NoToken(Attempt(UNAVAILABLE, reason, again=True, pause_s=PAUSE_S))
        found = _read(answer.body) if answer.status == 200 else None
        if found is None:
            raise NoToken(Attempt(MISCONFIGURED, reason, blocks_s=_BLOCKS_S))
        self._token, life_s = found
        self._ends_at = _now() + max(life_s - _MARGIN_S, life_s / 2)
        self._renewed_at = _now() + life_s * 0.75


def _now() -> float:
    return asyncio.get_running_loop().time()


def _read(body: bytes) -> tuple[str, float] | None:
    """The token and its life in seconds."""
    try:
        said = json.loads(body)
        token, life_s = said["access_token"], float(said["expires_in"])
    except (ValueError, RecursionError, KeyError, TypeError):
        return None
    if not isinstance(token, str) or not token.isascii() or not token.isprintable():
        return None
    return (token, life_s) if token and life_s > 0 else None
