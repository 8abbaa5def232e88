"""What ``push-proxy doctor`` finds out about APNs, without any phone noticing."""

import asyncio
import time
from collections.abc import AsyncIterator
from email.utils import parsedate_to_datetime
from uuid import uuid4

from ..core.push_advice import push_advice
from ..ports import Check
from .apns_app import ApnsApp
from .apns_payload import ONCE, ApnsMessage
from .apns_pool import ApnsPool, Route
from .apns_request import ApnsRequest, NoAnswer
from .apns_verdicts import BAD_DEVICE_TOKEN, Answer, verdict

_NOBODY = "0" * 64
"""A token that no phone has."""
_CLOCK_S = 30.0


async def check_app(
    app: ApnsApp, environment: str, pool: ApnsPool, *, timeout_s: float
) -> AsyncIterator[Check]:
    """Push to a token that nobody has: only who may push is told that it is bad."""
    what = f"apns {app.app_id}: {environment}"
    if fault := app.credential.fault():
        yield Check(what=what, ok=False, text=_advised(fault))
        return
    try:
        async with asyncio.timeout(timeout_s):
            answer = await pool.exchange(_request(app), Route())
    except TimeoutError:
        yield Check(what=what, ok=False, text=_advised("timeout"))
        return
    except NoAnswer as error:
        yield Check(what=what, ok=False, text=_advised(error.reason))
        return
    if answer.reason == BAD_DEVICE_TOKEN:
        text = "connects; credentials and topic are right"
        yield Check(what=what, ok=True, text=text)
    else:
        yield Check(what=what, ok=False, text=_advised(answer.reason or verdict(answer).reason))
    if (clock := _clock(what, answer)) is not None:
        yield clock


def _request(app: ApnsApp) -> ApnsRequest:
    return ApnsRequest(
        token=_NOBODY,
        apns_id=str(uuid4()),
        message=ApnsMessage(
            push_type="voip",
            topic=f"{app.app_id}.voip",
            priority=10,
            expiration=ONCE,
            body=b'{"aps":{}}',
        ),
    )


def _clock(what: str, answer: Answer) -> Check | None:
    """How far our clock is from Apple's; None: it did not say."""
    try:
        ahead_s = time.time() - parsedate_to_datetime(answer.date).timestamp()
    except ValueError:
        return None
    ok = abs(ahead_s) < _CLOCK_S
    text = f"this machine's clock is {abs(ahead_s):.0f} s {'ahead' if ahead_s > 0 else 'behind'}"
    advice = "" if ok else ": set it right (NTP), or provider tokens are refused"
    return Check(what=f"{what} clock", ok=ok, text=text + advice)


def _advised(reason: str) -> str:
    return f"{reason}: {push_advice('apns', reason)}"
