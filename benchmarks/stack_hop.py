"""What the boundary between SIP thread and asyncio costs, one request at a time.

Prints microseconds from a packet sent to its fact in Python, and from an order given in Python
to the packet received. Both include loopback and pjsip's own work.
"""

import asyncio
import socket
import statistics
import time

from push_proxy.core.model import Address
from push_proxy.signaling.contract import StackSettings
from push_proxy.signaling.facts import Fact, RequestReceived
from push_proxy.signaling.native import NativeSignaling

ROUNDS = 3000


def _register(number: int, port: int) -> bytes:
    lines = (
        "REGISTER sip:bench.test SIP/2.0",
        f"Via: SIP/2.0/UDP 127.0.0.1:{port};rport;branch=z9hG4bKhop{number}",
        "From: <sip:a@bench.test>;tag=1",
        "To: <sip:a@bench.test>",
        f"Call-ID: hop{number}",
        "CSeq: 1 REGISTER",
        "Content-Length: 0",
        "",
        "",
    )
    return "\r\n".join(lines).encode()


def _figures(name: str, seconds: list[float]) -> str:
    cuts = statistics.quantiles(seconds, n=100)
    return f"{name}: p50 {cuts[49] * 1e6:.0f} us, p99 {cuts[98] * 1e6:.0f} us"


async def main() -> None:
    """Run and print."""
    stack = NativeSignaling()
    facts: asyncio.Queue[Fact] = asyncio.Queue()
    settings = StackSettings(
        listen=(Address("127.0.0.1", 0),), public_host="127.0.0.1", token_key=bytes(32)
    )
    await stack.start(settings, facts.put_nowait)
    target = ("127.0.0.1", stack.listening()[0].port)
    up, down = [], []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        peer.bind(("127.0.0.1", 0))
        peer.settimeout(2)
        for number in range(ROUNDS):
            sent = time.perf_counter()
            peer.sendto(_register(number, peer.getsockname()[1]), target)
            fact = await facts.get()
            told = time.perf_counter()
            assert isinstance(fact, RequestReceived)
            stack.reply(fact.txn, 200, "OK")
            peer.recv(65535)
            up.append(told - sent)
            down.append(time.perf_counter() - told)
    await stack.stop()
    print(f"{ROUNDS} rounds, one at a time, loopback")
    print(_figures("packet to fact", up))
    print(_figures("order to packet", down))


if __name__ == "__main__":
    asyncio.run(main())
