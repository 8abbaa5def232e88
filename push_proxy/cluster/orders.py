"""What one node asks of another: a call's action, a record, how an account is registered.

A message goes into the other node's inbox in the store, its answer into ours. Whoever does not
answer in time is silent: nothing is sent twice, and an order that was not taken in time is dropped.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Protocol, TypeVar
from uuid import uuid4

import msgspec
import structlog

from ..cluster_ports import ClusterStore
from ..errors import PushProxyError, StoreUnavailable
from ..ports import Clock
from ..tasks import spawn

_log = structlog.get_logger(__name__)
_WAIT_S = 2.0
_AGAIN_S = 0.5
ANSWER_S = 2.0
_INBOX_S = 10.0
_CLOCKS_S = 1.0
"""Nodes' clocks may differ by so much before orders count as too old."""
_T = TypeVar("_T")
_A = TypeVar("_A")


class NodeSilent(PushProxyError):
    """Another node has what was asked for, and does not answer."""

    http_status = 503
    title = "Node does not answer"


class OrderMeters(Protocol):
    """Who counts: `observability.cluster_metrics.ClusterMetrics`."""

    def asked(self, kind: str, result: str) -> None:
        """Another node was asked; ``result``: ``answered``, ``silent`` or ``failed``."""


class _Message(msgspec.Struct, omit_defaults=True):
    """In an inbox: an order, or with ``answers`` what came of one."""

    body: msgspec.Raw
    order: str = ""
    kind: str = ""
    sender: str = ""
    until: float = 0.0
    answers: str = ""
    failed: bool = False


_Handler = Callable[[bytes], Awaitable[bytes]]


class Orders:
    """Asks other nodes, and answers them."""

    def __init__(
        self, node: str, *, store: ClusterStore, clock: Clock, meters: OrderMeters
    ) -> None:
        """``node``: our id."""
        self._node = node
        self._store = store
        self._clock = clock
        self._meters = meters
        self._handlers: dict[str, _Handler] = {}
        self._waiting: dict[str, asyncio.Future[_Message]] = {}
        self._task: asyncio.Task[None] | None = None

    def serve(self, kind: str, what: type[_T], handler: Callable[[_T], Awaitable[Any]]) -> None:
        """Answer such orders: ``handler`` gets what was asked, and returns the answer."""
        decoder = msgspec.json.Decoder(what)

        async def handle(body: bytes) -> bytes:
            return msgspec.json.encode(await handler(decoder.decode(body)))

        self._handlers[kind] = handle

    def start(self) -> None:
        """Take orders and answers from now on."""
        self._task = spawn(self._run(), name="orders of other nodes")

    async def aclose(self) -> None:
        """Take no more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait((self._task,))
            self._task = None

    async def ask(
        self, node: str, kind: str, what: Any, answer: type[_A], *, timeout_s: float = ANSWER_S
    ) -> _A:
        """What the other node answers.

        Raises `NodeSilent` when it does not, or could not do it, and `errors.StoreUnavailable`.
        """
        name = uuid4().hex
        waiting = self._waiting[name] = asyncio.get_running_loop().create_future()
        message = _Message(
            body=msgspec.Raw(msgspec.json.encode(what)),
            order=name,
            kind=kind,
            sender=self._node,
            until=self._clock.now() + timeout_s,
        )
        try:
            async with asyncio.timeout(timeout_s):
                await self._store.put_order(node, msgspec.json.encode(message), ttl_s=_INBOX_S)
                found = await waiting
        except TimeoutError:
            self._meters.asked(kind, "silent")
            raise NodeSilent(
                f"node {node} has this, and does not answer; try again in a moment"
            ) from None
        finally:
            del self._waiting[name]
        if found.failed:
            self._meters.asked(kind, "failed")
            raise NodeSilent(f"node {node} has this, and could not do it; its log says why")
        self._meters.asked(kind, "answered")
        return msgspec.json.decode(found.body, type=answer)

    async def _run(self) -> None:
        decoder = msgspec.json.Decoder(_Message)
        while True:
            try:
                taken = await self._store.take_order(self._node, wait_s=_WAIT_S)
                if taken is not None:
                    self._taken(decoder.decode(taken))
            except StoreUnavailable:
                await asyncio.sleep(_AGAIN_S)
            except msgspec.DecodeError as error:
                _log.warning("an order of another node cannot be read", error=str(error))
            except Exception:  # noqa: BLE001 - logged; else nobody would be answered any more
                _log.exception("taking other nodes' orders failed")
                await asyncio.sleep(_AGAIN_S)

    def _taken(self, message: _Message) -> None:
        if message.answers:
            waiting = self._waiting.get(message.answers)
            if waiting is not None and not waiting.done():
                waiting.set_result(message)
        elif message.until + _CLOCKS_S >= self._clock.now():
            spawn(self._do(message), name=f"order {message.kind}")
        else:
            _log.warning(
                "an order came too late to be done: we were held up, or the nodes' clocks differ",
                kind=message.kind,
                sender=message.sender,
                late_s=round(self._clock.now() - message.until, 1),
            )

    async def _do(self, message: _Message) -> None:
        handler, failed, body = self._handlers.get(message.kind), False, b"null"
        try:
            if handler is None:
                # A newer node may know more orders than we do.
                raise LookupError(f"unknown order {message.kind!r}")
            body = await handler(bytes(message.body))
        except Exception:  # noqa: BLE001 - logged, and the other node is told
            _log.exception("an order of another node failed", kind=message.kind)
            failed = True
        answer = _Message(body=msgspec.Raw(body), answers=message.order, failed=failed)
        try:
            await self._store.put_order(message.sender, msgspec.json.encode(answer), ttl_s=_INBOX_S)
        except StoreUnavailable as error:
            _log.info("an answer could not be given", kind=message.kind, error=str(error))
