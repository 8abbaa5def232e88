"""What we use of firebase-admin's insides is still there: this fails first when it changes."""

from __future__ import annotations

import inspect
from importlib.metadata import requires, version

import httpx
import pytest
from firebase_admin import exceptions, messaging
from google.auth import jwt
from google.auth.crypt import RSASigner

from push_proxy.core.actions import PushType
from push_proxy.core.payload import Privacy
from push_proxy.providers.fcm_answer import Answer, read
from push_proxy.providers.fcm_message import _WAYS
from push_proxy.providers.fcm_verdicts import _BY_FAULT, verdict

HINT = "firebase-admin has changed: read push_proxy/providers/fcm_sdk.py against the new version"


def test_version_is_pinned() -> None:
    """pyproject.toml allows the minor version that fcm_sdk.py was written for, and no other."""
    [wanted] = [each for each in requires("push-proxy") or () if "firebase-admin" in each]
    assert wanted == "firebase-admin==7.7.*"
    assert version("firebase-admin").startswith("7.7."), HINT


def test_insides() -> None:
    """The service sends by `_async_client.request(method, url=, headers=, json=)` to `_fcm_url`;
    its sending uses nothing else that its constructor made.
    """
    service = messaging._MessagingService
    source = inspect.getsource(service.send_each_async)
    for part in (
        "self._async_client.request(",
        "url=self._fcm_url",
        "headers=dict(self._fcm_headers)",
        "json=data",
        "self._handle_fcm_httpx_error(exception)",
        "self._message_data(message, dry_run)",
    ):
        assert part in source, HINT
    used = {word for word in ("self._credential", "self._client.", "self._app") if word in source}
    assert not used, HINT
    assert issubclass(exceptions.UnknownError, exceptions.FirebaseError), HINT
    assert list(inspect.signature(service.send_each_async).parameters) == [
        "self",
        "messages",
        "dry_run",
    ], HINT


def test_message() -> None:
    """A message has settable targets, and `fid` is one."""
    made = messaging.Message(data={"a": "b"})
    made.token = "t"
    assert messaging._MessagingService.encode_message(made) == {"data": {"a": "b"}, "token": "t"}
    made.token, made.fid = None, "f"
    assert messaging._MessagingService.encode_message(made) == {"data": {"a": "b"}, "fid": "f"}


def test_google_auth() -> None:
    """Assertions are signed by the account's key."""
    assert callable(jwt.encode)
    assert callable(RSASigner.from_service_account_info)


def test_httpx_errors() -> None:
    """Errors that we tell apart are httpx's."""
    for name in ("ConnectError", "ReadError", "RemoteProtocolError", "TimeoutException"):
        assert issubclass(getattr(httpx, name), httpx.TransportError)


def test_every_push_type_has_a_way() -> None:
    """A new kind of push cannot be forgotten here."""
    assert set(_WAYS) == set(PushType)
    assert Privacy.FULL


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"{}", b'{"error": 1}', b'{"error": {"details": 7, "status": 3}}', b"\xff",
     b'{"error": {"details": [1, {"@type": "x"}]}}', b"[" * 100_000],
    ids=range(8),
)  # fmt: skip
def test_odd_bodies(body: bytes) -> None:
    """Whatever a body is, the status alone decides, and no token dies of it."""
    for status in (400, 401, 403, 404, 429, 500, 503):
        answer = read(status, body, retry_after="soon", unix=0.0)
        assert (answer.code, answer.about_target, answer.retry_after_s) == ("", False, None)
        assert verdict(answer, renewed=False).token == "keep"


def test_unknown_faults() -> None:
    """Faults without an answer are asked again, but for those that asking cannot cure."""
    again = {name for name, attempt in _BY_FAULT.items() if attempt.again}
    assert set(_BY_FAULT) - again == {"tls_failed", "bad_url", "bad_message"}
    assert verdict(Answer(fault="never heard of"), renewed=False).reason == "internal_error"
