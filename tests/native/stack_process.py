"""A real SIP stack in a process of its own: pjsip allows one to each, and nodes are many."""

from __future__ import annotations

import asyncio
import multiprocessing
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Self, TypeVar

from push_proxy.core.ids import BranchId, ServerTxn
from push_proxy.core.model import Address
from push_proxy.signaling.contract import StackSettings
from push_proxy.signaling.facts import Fact, OrderFailed
from push_proxy.signaling.native import NativeSignaling

F = TypeVar("F", bound=Fact)
_SPAWN = multiprocessing.get_context("spawn")


class StackProcess:
    """Facts out, orders in, as `NativeSignaling` has them; for one test."""

    def __init__(self, settings: StackSettings) -> None:
        self._settings = settings
        self._facts: list[Fact] = []

    async def __aenter__(self) -> Self:
        self._pipe, theirs = _SPAWN.Pipe()
        self._process = _SPAWN.Process(target=_serve, args=(theirs, self._settings), daemon=True)
        self._process.start()
        theirs.close()
        self.listening: tuple[Address, ...] = await asyncio.to_thread(self._pipe.recv)
        asyncio.get_running_loop().add_reader(self._pipe.fileno(), self._take)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.kill()

    def kill(self) -> None:
        """As ``kill -9`` does; again: nothing."""
        if not self._process.is_alive():
            return
        asyncio.get_running_loop().remove_reader(self._pipe.fileno())
        self._process.kill()
        self._process.join()
        self._pipe.close()

    @property
    def at(self) -> Address:
        """The first address that it listens at."""
        return self.listening[0]

    def order(self, name: str, *args: object, **named: object) -> None:
        """Call that method of the stack."""
        self._pipe.send((name, args, named))

    async def settled(self) -> None:
        """The orders given so far have been carried out."""
        self.order("cancel", ServerTxn(0), BranchId(0))
        await self.fact(OrderFailed, where=lambda fact: fact.order == "cancel")

    async def fact(
        self, kind: type[F], *, within_s: float = 5, where: Callable[[F], bool] = lambda _: True
    ) -> F:
        """The next fact of that kind; others wait."""
        deadline = time.monotonic() + within_s
        while True:
            for fact in self._facts:
                if isinstance(fact, kind) and where(fact):
                    self._facts.remove(fact)
                    return fact
            if time.monotonic() > deadline:
                raise AssertionError(f"no {kind.__name__}; there is: {self._facts}")
            await asyncio.sleep(0.005)

    def _take(self) -> None:
        try:
            while self._pipe.poll():
                self._facts.append(self._pipe.recv())
        except (EOFError, OSError):
            asyncio.get_running_loop().remove_reader(self._pipe.fileno())


def _serve(pipe: Connection, settings: StackSettings) -> None:
    asyncio.run(_run(pipe, settings))


async def _run(pipe: Connection, settings: StackSettings) -> None:
    stack = NativeSignaling()
    await stack.start(settings, pipe.send)
    pipe.send(stack.listening())
    over = asyncio.Event()

    def obey() -> None:
        try:
            while pipe.poll():
                name, args, named = pipe.recv()
                getattr(stack, name)(*args, **named)
        except EOFError:
            over.set()

    asyncio.get_running_loop().add_reader(pipe.fileno(), obey)
    await over.wait()
