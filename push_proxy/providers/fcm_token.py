"""The access token of a service account: OAuth 2.0 by a signed assertion (RFC 7523).

google-auth would fetch it by a blocking request in the middle of a push, and sleep between its
own retries. Its signature is used here, and the request is one of ours: it can be waited for, given
up and repeated without holding up anything else.
"""

import asyncio
import json
import random
import time
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from urllib.parse import urlencode

from google.auth import jwt

from ..ports import Clock
from ..public_http import Answer, PublicHttp, Unanswered
from ..tasks import spawn
from .attempt import MISCONFIGURED, UNAVAILABLE, Attempt
from .fcm_account import ServiceAccount
from .unanswered import judge_silence

SCOPE = "https://www.googleapis.com/auth/firebase.messaging"
CLOCK_WRONG = "oauth_clock_wrong"
BLOCKS_S = 60.0
"""Between requests of an account that is refused."""
_GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_FORM = {"Content-Type": "application/x-www-form-urlencoded"}
_ASSERTION_S = 3600
_MARGIN_S = 60.0
_RENEW = 0.8
_SLOWEST_S = 30.0
_GRANTS = (
    # Google tells these apart in its text alone.
    ("timeframe", CLOCK_WRONG),
    ("signature", "oauth_key_revoked"),
    ("not found", "oauth_account_gone"),
    ("disabled", "oauth_account_disabled"),
)


class NoToken(Exception):
    """There is none; ``attempt`` says what that means for a push."""

    def __init__(self, attempt: Attempt) -> None:
        super().__init__(attempt.reason)
        self.attempt = attempt


class AccessToken:
    """Fetched before it is needed, renewed before it ends; by one request at a time."""

    def __init__(
        self,
        http: PublicHttp,
        account: ServiceAccount,
        clock: Clock,
        *,
        token_uri: str,
        fetch_s: float = 10.0,
    ) -> None:
        """``fetch_s``: how long one request may take; pushes wait no longer than they may."""
        self.fault: Attempt | None = None
        """Why the last request brought none; an earlier token may still be good."""
        self.skew_s: float | None = None
        """Our wall clock less Google's, at the last answer."""
        self._http = http
        self._account = account
        self._clock = clock
        self._token_uri = token_uri
        self._fetch_s = fetch_s
        self._token = ""
        self._good_until = 0.0
        self._renew_at = 0.0
        self._not_before = 0.0
        self._failures = 0
        self._fetching: asyncio.Task[None] | None = None
        self._closed = False

    @property
    def good(self) -> bool:
        """Whether there is one that can be used now."""
        return bool(self._token) and self._clock.now() < self._good_until

    async def get(self, *, timeout_s: float) -> str:
        """The token; waits for one that is on its way. Raises `NoToken`."""
        if self._closed:
            raise NoToken(Attempt(UNAVAILABLE, "disconnected"))
        if not self.good:
            wait_s = self._not_before - self._clock.now()
            if self.fault is not None and wait_s > 0:
                fault = self.fault
                raise NoToken(
                    Attempt(fault.outcome, fault.reason, again=fault.again, pause_s=wait_s)
                )
            await asyncio.wait({self._fetch_now()}, timeout=timeout_s)
        if self.good:
            return self._token
        raise NoToken(self.fault or Attempt(UNAVAILABLE, "oauth_timeout", again=True))

    async def settle(self, *, timeout_s: float) -> None:
        """Return when there is one, when it is refused, or after ``timeout_s``."""
        ends_at = self._clock.now() + timeout_s
        while (left_s := ends_at - self._clock.now()) > 0:
            try:
                await self.get(timeout_s=left_s)
            except NoToken as fault:
                pause_s = max(fault.attempt.pause_s, 0.01)
                if fault.attempt.again and pause_s < ends_at - self._clock.now():
                    await asyncio.sleep(pause_s)
                    continue
            return

    def forget(self, token: str) -> None:
        """FCM has refused it: the next push fetches another one."""
        if token == self._token:
            self._token = ""

    async def keep(self, tell: Callable[[Attempt | None], None]) -> None:
        """Renew for ever; ``tell`` hears of each failure, and None of each success."""
        while True:
            await asyncio.wait({self._fetch_now()})
            tell(self.fault)
            due = self._renew_at if self.fault is None else self._not_before
            # A bit apart from other nodes and projects; never in a tight loop.
            pause_s = max(due - self._clock.now(), 0.05) * random.uniform(0.9, 1.0)
            await asyncio.sleep(pause_s)

    async def aclose(self) -> None:
        """Give up what is on its way, and whatever comes later."""
        self._closed = True
        if self._fetching is not None:
            self._fetching.cancel()
            await asyncio.wait({self._fetching})
        await self._http.aclose()

    def _fetch_now(self) -> asyncio.Task[None]:
        """One request for everybody who waits: it outlives each of them."""
        if self._fetching is None or self._fetching.done():
            self._fetching = spawn(self._fetch(), name="fcm-oauth")
        return self._fetching

    async def _fetch(self) -> None:
        form = urlencode({"grant_type": _GRANT, "assertion": self._assertion()}).encode()
        try:
            answer = await self._http.post(self._token_uri, form, _FORM, timeout_s=self._fetch_s)
        except Unanswered as silence:
            known = judge_silence(silence)
            blocks_s = 0.0 if known.again else BLOCKS_S
            reason = f"oauth_{known.reason}"
            self._failed(Attempt(known.outcome, reason, again=known.again, blocks_s=blocks_s))
            return
        self.skew_s = _skew_s(answer)
        if answer.status != 200:
            self._failed(_refusal(answer))
            return
        found = _granted(answer.body)
        if found is None:
            self._failed(Attempt(MISCONFIGURED, "oauth_no_token", blocks_s=BLOCKS_S))
            return
        self._token, life_s = found
        now = self._clock.now()
        self._good_until = now + max(life_s - _MARGIN_S, life_s / 2)
        self._renew_at = now + life_s * _RENEW
        self.fault, self._failures = None, 0

    def _failed(self, fault: Attempt) -> None:
        self.fault = fault
        self._failures += 1
        pause_s = fault.blocks_s or min(2.0 ** (self._failures - 1), _SLOWEST_S)
        self._not_before = self._clock.now() + pause_s

    def _assertion(self) -> str:
        now = int(time.time())
        claims = {
            "iss": self._account.email,
            "scope": SCOPE,
            "aud": self._account.token_uri,
            "iat": now,
            "exp": now + _ASSERTION_S,
        }
        signed: bytes = jwt.encode(self._account.signer, claims)  # type: ignore[no-untyped-call]
        return signed.decode("ascii")


def _refusal(answer: Answer) -> Attempt:
    """Any answer but 200."""
    if answer.status in {408, 429} or answer.status >= 500:
        return Attempt(UNAVAILABLE, f"oauth_http_{answer.status}", again=True)
    try:
        said = json.loads(answer.body)
        error, text = str(said["error"]), str(said.get("error_description", ""))
    except (ValueError, RecursionError, KeyError, TypeError, AttributeError):
        error = text = ""
    reason = f"oauth_http_{answer.status}"
    if error == "invalid_grant":
        lower = text.lower()
        found = (known for part, known in _GRANTS if part in lower)
        reason = next(found, "oauth_invalid_grant")
    elif error in {"invalid_client", "invalid_scope", "unauthorized_client"}:
        reason = f"oauth_{error}"
    return Attempt(MISCONFIGURED, reason, blocks_s=BLOCKS_S)


def _granted(body: bytes) -> tuple[str, float] | None:
    """The token and its life in seconds."""
    try:
        said = json.loads(body)
        token, life_s = said["access_token"], float(said["expires_in"])
    except (ValueError, RecursionError, KeyError, TypeError):
        return None
    if not isinstance(token, str) or not token.isascii() or not token.isprintable():
        return None
    return (token, life_s) if token and life_s > 0 else None


def _skew_s(answer: Answer) -> float | None:
    try:
        return time.time() - parsedate_to_datetime(answer.headers["Date"]).timestamp()
    except (KeyError, ValueError):
        return None
