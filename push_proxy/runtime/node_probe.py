"""Asks other nodes whether they live, as anybody is asked in SIP: by OPTIONS (RFC 3261 §11).

A node that its store has not heard of for long may be cut off from the store alone. Its stack
answers all the same, before anything else of it is asked.
"""

import asyncio
import secrets
from collections.abc import Callable
from itertools import count

from ..core.model import Address
from ..signaling.contract import Signaling
from ..signaling.facts import RequestAnswered

WITHIN_S = 4.0
"""Over UDP the request leaves four times in that time (Timer E, RFC 3261 §17.1.2.2)."""
_AGAIN_S = 1.0
_FIRST_REQUEST = 1 << 60
"""Our requests' numbers are beyond those of MESSAGEs."""


class NodeProbe:
    """One question at a time for each address; many may be asked at once."""

    def __init__(self, signaling: Signaling, me: Callable[[], Address]) -> None:
        """``me``: where other nodes take our own SIP."""
        self._signaling = signaling
        self._me = me
        self._numbers = count(_FIRST_REQUEST)
        self._asked: dict[int, asyncio.Future[bool]] = {}

    async def answers(self, node: Address) -> bool:
        """Whether a response comes from there in time; any one will do, also 503.

        What fails on our side, such as a connection that is refused, is tried again until then.
        """
        try:
            async with asyncio.timeout(WITHIN_S):
                while True:
                    if await self._ask(node):
                        return True
                    await asyncio.sleep(_AGAIN_S)
        except TimeoutError:
            return False

    def on_answer(self, fact: RequestAnswered) -> bool:
        """A final response, or none; False when it is to no request of ours."""
        asked = self._asked.pop(fact.request, None)
        if asked is None:
            return False
        if not asked.done():
            asked.set_result(not fact.local)
        return True

    async def _ask(self, node: Address) -> bool:
        request = next(self._numbers)
        answer: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._asked[request] = answer
        uri, us = _uri(node), _uri(self._me())
        listening = self._signaling.listening()
        self._signaling.request(
            request,
            method="OPTIONS",
            request_uri=uri,
            from_=f"<{us}>;tag={secrets.token_hex(4)}",
            to=f"<{uri}>",
            call_id=secrets.token_hex(12),
            cseq=1,
            destination=node,
            local=next((a for a in listening if a.transport == node.transport), listening[0]),
        )
        return await answer


def _uri(address: Address) -> str:
    host = f"[{address.host}]" if ":" in address.host else address.host
    transport = "" if address.transport == "udp" else f";transport={address.transport}"
    return f"sip:{host}:{address.port}{transport}"
