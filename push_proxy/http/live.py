"""What goes on now, as a stream: the console's live view."""

import asyncio
import json
from collections.abc import Callable
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request, Response
from pydantic import Field
from starlette.types import Receive, Scope, Send

from ..core.model import CallRecord
from ..errors import PushProxyError
from ..runtime.live_feed import SHOWN_CALLS, Changed, Picture, Reader
from ..tasks import spawn
from .access import CallsOperator
from .call_view import CallView, view
from .calls import LanguageChoice, advice_on
from .deps import Deps, HttpDeps
from .fields import Timestamp, View, rfc3339
from .import_export import MEDIA_TYPE
from .openapi import errors, publish

router = APIRouter(prefix="/v1", tags=["calls"])

PING_S = 15.0
_SLOW_S = 10.0
"""A reader whose connection takes nothing for so long is dropped."""
_AT_ONCE = 20
"""Calls rendered in one go: between them the loop is free for calls."""


class Busy(PushProxyError):
    """No more readers, or none any more."""

    http_status = 503
    title = "Not available"


class LiveQuery(LanguageChoice):
    """What to tell."""

    once: Annotated[bool, Query(description="End after the `snapshot`.")] = False


class LiveMessage(View):
    """One line of the stream."""

    type: Literal["snapshot", "call", "ping"]
    at: Timestamp = Field(description="The service's clock.")
    calls: list[CallView] | None = Field(
        None, description=f"`snapshot`: the newest {SHOWN_CALLS} calls that go on, newest first."
    )
    call: CallView | None = Field(None, description="`call`: one that has changed, as it is now.")


publish(LiveMessage)


class _Ndjson(Response):
    media_type = MEDIA_TYPE


@router.get(
    "/live",
    summary="Calls as they change",
    response_class=_Ndjson,
    responses={
        200: {
            "description": "JSON, one object per line, for as long as the client reads.",
            "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/LiveMessage"}}},
        },
        **errors(403, 503),
    },
)
async def watch_calls(
    request: Request,
    query: Annotated[LiveQuery, Query()],
    caller: CallsOperator,
    deps: Deps,
) -> Response:
    """First a `snapshot` of the calls that go on, then a `call` at each change.

    One call is told at most ten times a second; when nothing has happened for 15 s, a `ping`.
    A reader that is too slow is dropped: connect again, the snapshot says where things stand.
    The stream also ends when the service stops or the key is no longer valid.
    """
    reader = deps.live.open(caller.tenant)
    if reader is None:
        raise Busy("too many watch, or the service is stopping: try again later")
    key = request.state.key

    def goes_on() -> bool:
        return not query.once and deps.callers.find(key) == caller

    def rendered(record: CallRecord) -> dict[str, Any]:
        shown = view(record, advice_on(deps, record, query.language, None))
        return shown.model_dump(mode="json")

    return _Stream(reader, deps=deps, rendered=rendered, goes_on=goes_on)


class _Stream(_Ndjson):
    """Written as it happens; ends with its reader, whichever side goes first."""

    def __init__(
        self,
        reader: Reader,
        *,
        deps: HttpDeps,
        rendered: Callable[[CallRecord], dict[str, Any]],
        goes_on: Callable[[], bool],
    ) -> None:
        super().__init__(headers={"Cache-Control": "no-store"})
        del self.headers["content-length"]
        self._reader = reader
        self._deps = deps
        self._rendered = rendered
        self._goes_on = goes_on

    async def __call__(self, _scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        gone = spawn(_gone(receive, self._reader), name="reader of the live feed")
        try:
            async with asyncio.timeout(None) as patience:
                await self._write(send, patience)
        except TimeoutError:
            return  # unfinished: the server closes the connection
        finally:
            gone.cancel()
            self._reader.close()

    async def _write(self, send: Send, patience: asyncio.Timeout) -> None:
        async def write(body: bytes, *, more: bool = True) -> None:
            patience.reschedule(asyncio.get_running_loop().time() + _SLOW_S)
            await send({"type": "http.response.body", "body": body, "more_body": more})
            patience.reschedule(None)

        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        while (news := await self._reader.next(within_s=PING_S)) is not None:
            match news:
                case Changed(()):
                    await write(self._line("ping"))
                case Changed(calls):
                    for first in range(0, len(calls), _AT_ONCE):
                        some = calls[first : first + _AT_ONCE]
                        lines = (self._line("call", call=self._rendered(one)) for one in some)
                        await write(b"".join(lines))
                        await asyncio.sleep(0)
                case Picture(calls):
                    shown = []
                    for one in calls:
                        shown.append(self._rendered(one))
                        await asyncio.sleep(0)
                    await write(self._line("snapshot", calls=shown))
            if not self._goes_on():
                break
        await write(b"", more=False)

    def _line(self, kind: str, **content: Any) -> bytes:
        message = {"type": kind, "at": rfc3339(self._deps.clock.now()), **content}
        return json.dumps(message, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


async def _gone(receive: Receive, reader: Reader) -> None:
    """Close the reader when its client leaves."""
    while (await receive())["type"] != "http.disconnect":
        pass
    reader.close()
