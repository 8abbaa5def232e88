"""Our way into firebase-admin: the one place that touches what it keeps private.

Its messaging service encodes messages, sends them and makes errors of answers. What it sends with
is replaced: its own client waits up to 120 s, repeats 500 and 503 for 7 s and 401 three times, and
fetches access tokens by a request that blocks the event loop. No `firebase_admin.App` is made: it
would be registered for the whole process, set up clients that nobody uses (a quarter of a second
in which nothing else runs), and could not be deleted inside an event loop.

pyproject.toml pins the version; tests/unit/providers/test_fcm_sdk.py fails when these parts change.
"""

import socket
import ssl
import time
from collections.abc import Iterator
from typing import Any

import firebase_admin
import httpx
from firebase_admin import exceptions, messaging

from .fcm_answer import Answer, read
from .fcm_lines import Lines

_FORMAT = {
    # Errors with details.
    "X-GOOG-API-FORMAT-VERSION": "2",
    "X-FIREBASE-CLIENT": f"fire-admin-python/{firebase_admin.__version__}",
}


class Sdk:
    """Sends messages to one project."""

    def __init__(self, lines: Lines, *, base_url: str, project_id: str) -> None:
        self._lines = lines
        self._project_id = project_id
        self._url = f"{base_url.rstrip('/')}/v1/projects/{project_id}/messages:send"

    async def send(
        self, message: messaging.Message, *, bearer: str, timeout_s: float, dry_run: bool = False
    ) -> Answer:
        """One request. Never raises for what the other side does.

        ``dry_run``: FCM only says what it would do.
        """
        client = _OneRequest(self._lines, bearer=bearer, timeout_s=timeout_s)
        service = _Service(client, project_id=self._project_id, url=self._url)
        try:
            [response] = (await service.send_each_async([message], dry_run)).responses
        except ValueError:
            return Answer(fault="bad_message")
        except exceptions.FirebaseError as error:
            return _answer(error, client.response)
        if response.success:
            return Answer(status=200, message_id=str(response.message_id))
        return _answer(response.exception, client.response)


class _Service(messaging._MessagingService):  # type: ignore[misc]  # noqa: SLF001
    """The SDK's, made without an app."""

    def __init__(self, client: "_OneRequest", *, project_id: str, url: str) -> None:
        # Not its own: see above.
        self._project_id = project_id
        self._fcm_url = url
        self._fcm_headers = _FORMAT
        self._async_client = client


class _OneRequest:
    """What the SDK takes for its HTTP client."""

    def __init__(self, lines: Lines, *, bearer: str, timeout_s: float) -> None:
        self.response: httpx.Response | None = None
        self._lines = lines
        self._bearer = bearer
        self._timeout_s = timeout_s

    async def request(
        self, _method: str, url: str, *, headers: dict[str, str], json: dict[str, Any]
    ) -> httpx.Response:
        """POST, once. Raises `httpx.HTTPError`, also for an answer that is no success."""
        self.response = await self._lines.post(
            url,
            headers={**headers, "Authorization": f"Bearer {self._bearer}"},
            json=json,
            timeout_s=self._timeout_s,
        )
        return self.response.raise_for_status()


def _answer(error: Exception | None, response: httpx.Response | None) -> Answer:
    """Of a message that was not taken, or whose answer cannot be read."""
    if response is not None:
        return read(
            response.status_code,
            response.content,
            retry_after=response.headers.get("Retry-After"),
            unix=time.time(),
        )
    return Answer(fault=_fault(error))


def _fault(error: BaseException | None) -> str:
    """Why there was no answer."""
    for cause in _causes(error):
        if isinstance(cause, ssl.SSLError):
            return "tls_failed"
        if isinstance(cause, socket.gaierror):
            return "dns_failed"
    for cause in _causes(error):
        if isinstance(cause, httpx.TimeoutException):
            return "timeout"
        if isinstance(cause, httpx.ConnectError):
            return "connect_failed"
        if isinstance(cause, httpx.TransportError):
            return "disconnected"
        if isinstance(cause, httpx.InvalidURL):
            return "bad_url"
    return "internal_error"


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        # The SDK's errors name theirs by an attribute.
        error = getattr(error, "cause", None) or error.__cause__ or error.__context__
