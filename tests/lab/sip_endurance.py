"""What RFC 3261 has an end repeat and absorb on UDP, for agents whose packets may be lost."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import NamedTuple

from .sip_message import Message, parse

Address = tuple[str, int]
Transmit = Callable[[bytes, Address], None]


class Transaction(NamedTuple):
    """What a request and its responses have in common (RFC 3261 §17.1.3, §17.2.3)."""

    branch: str
    method: str


class Acknowledged(NamedTuple):
    """What a final response to INVITE and its ACK have in common; their branches may differ."""

    call_id: str
    cseq: int
    to_tag: str


class Endurance:
    """Transactions and the 2xx of one agent, without a word to the test.

    Requests are repeated until they are answered (timers A and E, §17.1), final responses to
    INVITE until their ACK comes (timer G, §17.2.1, and the 2xx, §13.3.1.4). A request that is
    repeated by the other end gets the last response again, a final response its ACK, and the
    test sees neither. All gives up after 64 * T1.
    """

    def __init__(self, transmit: Transmit, *, t1_s: float, t2_s: float) -> None:
        self._transmit = transmit
        self._t1_s = t1_s
        self._t2_s = t2_s
        self._timers: dict[Transaction | Acknowledged, asyncio.TimerHandle] = {}
        self._responses: dict[Transaction, tuple[bytes, Address]] = {}
        self._acks: dict[Acknowledged, tuple[bytes, Address]] = {}
        self._requests_seen: set[Transaction | Acknowledged] = set()
        self._responses_seen: set[tuple[Transaction, int, str]] = set()
        self.repeated = 0
        """Messages sent again, by timers or because the other end repeated its own."""
        self.absorbed = 0
        """Messages of the other end that the test did not see."""

    def close(self) -> None:
        """Repeat nothing any more."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()

    def sent(self, data: bytes, to: Address) -> None:
        """The agent has sent this for the first time."""
        message = parse(data)
        transaction = Transaction(message.branch, message.method)
        if not message.is_request:
            self._responses[transaction] = data, to
            if message.method == "INVITE" and message.status >= 200:
                self._repeat(_acknowledged(message), data, to, slower_until_s=self._t2_s)
        elif message.method == "ACK":
            self._acks[_acknowledged(message)] = data, to
        else:
            longest_s = 64 * self._t1_s if message.method == "INVITE" else self._t2_s
            self._repeat(transaction, data, to, slower_until_s=longest_s)

    def absorbs(self, message: Message) -> bool:
        """Whether `message` only repeats what has arrived before; then it has been dealt with."""
        repeated = self._request(message) if message.is_request else self._response(message)
        self.absorbed += repeated
        return repeated

    def _request(self, message: Message) -> bool:
        if message.method == "ACK":
            acknowledged = _acknowledged(message)
            self._stop(acknowledged)
            return self._seen_before(acknowledged)
        transaction = Transaction(message.branch, message.method)
        if not self._seen_before(transaction):
            return False
        if transaction in self._responses:
            self._again(*self._responses[transaction])
        return True

    def _response(self, message: Message) -> bool:
        transaction = Transaction(message.branch, message.cseq_method)
        if message.cseq_method == "INVITE" or message.status >= 200:
            self._stop(transaction)
        known = transaction, message.status, message.to_tag
        if known not in self._responses_seen:
            self._responses_seen.add(known)
            return False
        ack = self._acks.get(_acknowledged(message))
        if ack is not None and message.cseq_method == "INVITE" and message.status >= 200:
            self._again(*ack)
        return True

    def _seen_before(self, name: Transaction | Acknowledged) -> bool:
        seen = name in self._requests_seen
        self._requests_seen.add(name)
        return seen

    def _again(self, data: bytes, to: Address) -> None:
        self.repeated += 1
        self._transmit(data, to)

    def _repeat(
        self, name: Transaction | Acknowledged, data: bytes, to: Address, *, slower_until_s: float
    ) -> None:
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + 64 * self._t1_s

        def fire(pause_s: float) -> None:
            if loop.time() >= ends_at:
                self._stop(name)
                return
            self._again(data, to)
            longer_s = min(2 * pause_s, slower_until_s)
            self._timers[name] = loop.call_later(longer_s, fire, longer_s)

        self._stop(name)
        self._timers[name] = loop.call_later(self._t1_s, fire, self._t1_s)

    def _stop(self, name: Transaction | Acknowledged) -> None:
        timer = self._timers.pop(name, None)
        if timer is not None:
            timer.cancel()


def _acknowledged(message: Message) -> Acknowledged:
    return Acknowledged(message.call_id, message.cseq, message.to_tag)
