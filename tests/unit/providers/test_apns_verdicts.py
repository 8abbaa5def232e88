"""The verdict table of APNs, without a wire: each documented reason, and what is not documented."""

import json

import pytest

from push_proxy.core.events import PushOutcome as O
from push_proxy.core.push_advice import known_advice
from push_proxy.ports import TokenFate as F
from push_proxy.providers.apns_verdicts import Answer, proves_provider, verdict
from push_proxy.providers.attempt import Attempt
from tests.doubles.apns import STATUS

OURS = {
    "BadCollapseId", "BadExpirationDate", "BadMessageId", "BadPriority", "InvalidPushType",
    "DuplicateHeaders", "PayloadEmpty", "MissingDeviceToken", "BadPath", "MethodNotAllowed",
    "PayloadTooLarge",
}  # fmt: skip
DEAD = {"BadDeviceToken", "Unregistered", "ExpiredToken"}
AGAIN = {
    "IdleTimeout", "TooManyRequests", "TooManyProviderTokenUpdates", "InternalServerError",
    "ServiceUnavailable", "Shutdown",
}  # fmt: skip


@pytest.mark.parametrize(("reason", "status"), STATUS.items())
def test_every_documented_reason_has_its_own_row(reason: str, status: int) -> None:
    """No documented reason falls back to its status; token and retries are as its kind wants."""
    found = verdict(Answer(status, reason))
    assert found.reason == reason
    assert found.ours == (reason in OURS)
    assert (found.token is F.DEAD) == (reason in DEAD)
    assert (found.token is F.WRONG_APP) == (reason == "DeviceTokenNotForTopic")
    assert (found.outcome is O.UNAVAILABLE) == (reason in AGAIN)
    assert (found.outcome is O.REJECTED) == (reason in DEAD | {"DeviceTokenNotForTopic"})
    assert (found.blocks_s > 0) == (found.outcome is O.MISCONFIGURED and reason not in OURS)
    if found.blocks_s or found.token is F.WRONG_APP:
        assert known_advice("apns", reason), "whoever must act is told what to do"


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (200, Attempt(O.ACCEPTED, "http_200")),
        (400, Attempt(O.MISCONFIGURED, "http_400", ours=True)),
        (403, Attempt(O.MISCONFIGURED, "http_403", blocks_s=60)),
        (404, Attempt(O.MISCONFIGURED, "http_404", ours=True)),
        (410, Attempt(O.REJECTED, "http_410", token=F.DEAD)),
        (413, Attempt(O.MISCONFIGURED, "http_413", ours=True, again=True)),
        (418, Attempt(O.MISCONFIGURED, "http_418", ours=True)),
        (429, Attempt(O.UNAVAILABLE, "http_429", again=True, pause_s=1)),
        (500, Attempt(O.UNAVAILABLE, "http_500", again=True)),
        (599, Attempt(O.UNAVAILABLE, "http_599", again=True)),
        (301, Attempt(O.UNAVAILABLE, "http_301", again=True)),
        (0, Attempt(O.UNAVAILABLE, "http_0", again=True)),
    ],
)
def test_unknown_reason(status: int, expected: Attempt) -> None:
    """A reason that Apple has not documented is judged by the status, and never quoted."""
    headers = {b":status": str(status).encode()} if status else {}
    answer = Answer.read(headers, b'{"reason": "SomethingNew"}')
    assert verdict(answer) == expected


def test_dead_since() -> None:
    """A 410's timestamp, in milliseconds, says since when the token is dead."""
    body = json.dumps({"reason": "Unregistered", "timestamp": 1_454_402_113_250}).encode()
    answer = Answer.read({b":status": b"410"}, body)
    assert verdict(answer).dead_since == 1_454_402_113.25
    assert verdict(Answer(410, "Unregistered")).dead_since is None
    assert verdict(Answer(400, "BadTopic", 1)).dead_since is None


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"null", b'"Unregistered"', b'{"reason": 7}', b'{"reason": null}', b"\xff",
     b"[" * 4000, b'{"timestamp": "1", "reason": []}', b'{"timestamp": true}'],
)  # fmt: skip
def test_odd_bodies(body: bytes) -> None:
    """Whatever the body is, the status is judged."""
    answer = Answer.read({b":status": b"503"}, body)
    assert answer == Answer(503)
    assert verdict(answer) == Attempt(O.UNAVAILABLE, "http_503", again=True)


def test_what_proves_the_provider() -> None:
    """Any answer but a refused credential shows that it was good: more streams may be opened."""
    assert proves_provider(Answer(200))
    assert proves_provider(Answer(400, "BadDeviceToken"))
    assert not proves_provider(Answer(403, "InvalidProviderToken"))
    assert not proves_provider(Answer(429, "TooManyProviderTokenUpdates"))
