"""What every request passes first: its size, its caller, the caller's share."""

from collections import Counter
from collections.abc import Awaitable, Callable

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..core.rates import Buckets
from ..errors import InvalidInput, PushProxyError
from ..ports import Clock
from .callers import Callers
from .problems import NotAuthenticated, TooManyRequests, of_error, problem

ACCOUNTS = "/v1/accounts"
OPEN_PATHS = frozenset({"/v1/enrol"})
"""Under ``/v1`` without a key: the enrolment code is the proof."""


class Gate:
    """Finds the caller of every request under ``/v1`` and puts it into ``request.state.caller``.

    It stands before the body is read: a stranger cannot make us parse anything.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        callers: Callers,
        clock: Clock,
        failures: Buckets,
        requests: Buckets,
        caught_up: Callable[[], Awaitable[None]],
    ) -> None:
        """``caught_up`` returns when what other nodes have written is known here."""
        self._caught_up = caught_up
        self._app = app
        self._callers = callers
        self._clock = clock
        self._failures = failures
        self._requests = requests

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        path = scope.get("path", "")
        if scope["type"] == "http" and path in OPEN_PATHS:
            if self._may_ask(scope):
                await self._caught_up()
        elif scope["type"] == "http" and path.startswith("/v1/"):
            try:
                await self._admit(scope)
            except PushProxyError as error:
                await of_error(error)(scope, receive, send)
                return
        await self._app(scope, receive, send)

    async def _admit(self, scope: Scope) -> None:
        key = bearer(Headers(scope=scope).get("authorization", ""))
        caller = self._callers.find(key) if key else None
        known = caller is not None and scope["path"].startswith(ACCOUNTS)
        if known or (key and caller is None and self._may_ask(scope)):
            # What this client was told by another node a moment ago has to hold here, too.
            await self._caught_up()
            caller = self._callers.find(key) if key else None
        now = self._clock.now()
        if caller is None:
            source = source_of(scope)
            if wait_s := self._failures.take(source, now):
                raise too_many_failures(wait_s)
            raise NotAuthenticated(
                "send a valid key: Authorization: Bearer KEY (an API key, or a device key)"
                if key
                else "a key is needed: Authorization: Bearer KEY"
            )
        if wait_s := self._requests.take(caller, now):
            raise TooManyRequests(
                "this key sends more requests than http.requests_per_second allows",
                retry_after_s=wait_s,
            )
        state = scope.setdefault("state", {})
        state["caller"], state["key"] = caller, key

    def _may_ask(self, scope: Scope) -> bool:
        """Whether this stranger has not failed too often: each try costs the store a question."""
        return not self._failures.wait_s(source_of(scope), self._clock.now())


class BodyLimit:
    """Refuses bodies above a limit with 413, announced or not."""

    def __init__(self, app: ASGIApp, *, limit: Callable[[str], int]) -> None:
        self._app = app
        self._limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        limit = self._limit(scope["path"])
        announced = Headers(scope=scope).get("content-length", "")
        if announced.isascii() and announced.isdigit() and int(announced) > limit:
            await problem(413, _too_large(limit))(scope, receive, send)
            return
        seen = 0

        async def counted() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > limit:
                raise HTTPException(413, _too_large(limit))
            return message

        await self._app(scope, counted, send)


async def no_repeats(request: Request) -> None:
    """Refuse a query parameter given twice: which one would count?"""
    for name, count in Counter(name for name, _ in request.query_params.multi_items()).items():
        if count > 1:
            raise InvalidInput(f"the parameter {name!r} is given {count} times", field=name)


def bearer(authorization: str) -> str:
    """The key in an Authorization header; empty when there is none."""
    scheme, _, key = authorization.strip().partition(" ")
    return key.strip() if scheme.lower() == "bearer" else ""


def source_of(scope: Scope) -> str:
    """The address that a request came from."""
    client = scope.get("client")
    return client[0] if client else ""


def too_many_failures(wait_s: float) -> TooManyRequests:
    """A source that keeps guessing keys."""
    return TooManyRequests(
        "too many requests without a valid key from this address", retry_after_s=wait_s
    )


def _too_large(limit: int) -> str:
    return f"the body is larger than the {limit} bytes that are taken here"
