"""One push on its way: what of an answer depends on what was tried before."""

import asyncio
from collections.abc import Callable
from dataclasses import replace

from ..core.payload import Privacy, Push
from ..ports import TokenFate
from .apns_app import ApnsApp
from .apns_payload import message, to_alert_token
from .apns_pool import ApnsPool, Route
from .apns_request import ApnsRequest, NoAnswer, NoConnection
from .apns_verdicts import (
    BAD_DEVICE_TOKEN,
    EXPIRED_PROVIDER_TOKEN,
    TOO_LARGE,
    TOO_MANY_TOKENS,
    Answer,
    verdict,
)
from .attempt import ACCEPTED, MISCONFIGURED, REJECTED, UNAVAILABLE, Attempt

_OURS = frozenset({"tls_failed", "no_http2", "certificate_refused"})
"""Reasons without an answer that a person must look into."""


class Sending:
    """Makes the requests of one push; `Delivery` decides how many."""

    def __init__(
        self,
        push: Push,
        app: ApnsApp,
        *,
        token: str,
        privacy: Privacy,
        pool: Callable[[str], ApnsPool],
    ) -> None:
        """``push`` on the wall clock; ``pool`` of an environment."""
        self._push = push
        self._app = app
        self._token = token
        self._privacy = privacy
        self._pool = pool
        self._environment = push.device.environment or app.environment
        self._tried_other = False
        self._slim = False
        self._route = Route()

    async def send(self, _: int, timeout_s: float) -> Attempt:
        """One request, within ``timeout_s``."""
        request = ApnsRequest(
            token=self._token,
            apns_id=self._push.id,
            message=message(
                self._push, app_id=self._app.app_id, privacy=self._privacy, slim=self._slim
            ),
        )
        try:
            pool = self._pool(self._environment)
        except NoConnection as closed:
            return Attempt(UNAVAILABLE, closed.reason)
        try:
            async with asyncio.timeout(timeout_s):
                answer = await pool.exchange(request, self._route)
                if answer.reason == EXPIRED_PROVIDER_TOKEN:
                    return await self._renewed(answer, pool)
        except TimeoutError:
            reason = (pool.fault or "no_connection") if self._route.waits else "timeout"
            return Attempt(UNAVAILABLE, reason, again=True)
        except NoAnswer as fault:
            if fault.reason in _OURS:
                # It may also have been a server that was just going down.
                again = fault.reason == "certificate_refused"
                return Attempt(MISCONFIGURED, fault.reason, again=again)
            return Attempt(UNAVAILABLE, fault.reason, again=True)
        return self._scoped(self._judged(answer))

    async def _renewed(self, answer: Answer, pool: ApnsPool) -> Attempt:
        """The provider token is too old by Apple's clock: once more with a new one, if allowed."""
        used = self._route.connection
        if used is None or not await self._app.credential.expired(used.bearer):
            return self._scoped(replace(verdict(answer), again=False))
        pool.review()
        return Attempt(UNAVAILABLE, EXPIRED_PROVIDER_TOKEN, again=True)

    def _judged(self, answer: Answer) -> Attempt:
        attempt = verdict(answer)
        if answer.reason == TOO_MANY_TOKENS and self._route.connection is not None:
            self._app.credential.too_many(self._route.connection.bearer)
            self._route.connection.retire()
        elif answer.reason == TOO_LARGE or answer.status == 413:
            self._slim = True
        elif answer.reason == BAD_DEVICE_TOKEN and not self._tried_other:
            return self._elsewhere(attempt)
        if not self._tried_other:
            return attempt
        if attempt.outcome is MISCONFIGURED:
            # This environment does not let us in, and the other one does not know the token.
            return Attempt(REJECTED, BAD_DEVICE_TOKEN, token=TokenFate.WRONG_APP)
        at_home = attempt.outcome in {ACCEPTED, REJECTED} and answer.reason != BAD_DEVICE_TOKEN
        return replace(attempt, environment=self._environment if at_home else None)

    def _elsewhere(self, attempt: Attempt) -> Attempt:
        """A token is bad where it is not at home; nobody but the app knows where that is."""
        other = self._app.other_environment
        if self._push.device.environment is not None or other is None:
            return attempt
        self._tried_other = True
        self._environment = other
        self._route = Route()
        return replace(attempt, again=True, token=TokenFate.KEEP)

    def _scoped(self, attempt: Attempt) -> Attempt:
        """Only what is true of calls at home blocks the app.

        A certificate for VoIP alone takes no alerts; a key may be good for one environment.
        """
        elsewhere = self._environment != self._app.environment
        if elsewhere or to_alert_token(self._push.type):
            return replace(attempt, blocks_s=0.0)
        return attempt
