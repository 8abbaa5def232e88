"""What a second node costs a request: INFO and its 200 through one stack, and through two.

Prints round trips on loopback in microseconds, one request at a time: PBX, node A and the phone;
then PBX, node A, node B and the phone. No Python runs between the sockets.
"""

import asyncio
import socket
import statistics
import time
from contextlib import AsyncExitStack

from push_proxy.core.model import Address
from tests.lab.sip_message import parse
from tests.native.test_two_nodes import ROUTE_KEY, Scene

ROUNDS = 1500


def _measure(far: bytes, to: tuple[str, int], phone: socket.socket, rounds: int) -> list[float]:
    took = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as pbx:
        pbx.bind(("127.0.0.1", 0))
        pbx.settimeout(5)
        for number in range(rounds):
            cseq = f"{number + 10} INFO".encode()
            branch = f"z9hG4bK{id(took)}-{number}"
            via = f"SIP/2.0/UDP 127.0.0.1:{pbx.getsockname()[1]};rport;branch={branch}"
            request = far.replace(b"{cseq}", cseq).replace(b"{via}", via.encode())
            began = time.perf_counter()
            pbx.sendto(request, to)
            raw, source = phone.recvfrom(65536)
            message = parse(raw)
            kept = [
                (name, value)
                for name, value in message.headers
                if name.lower() in ("via", "from", "to", "call-id", "cseq")
            ]
            lines = ["SIP/2.0 200 OK", *(f"{name}: {value}" for name, value in kept)]
            phone.sendto(("\r\n".join([*lines, "Content-Length: 0", "", ""])).encode(), source)
            pbx.recvfrom(65536)
            took.append(time.perf_counter() - began)
    return took


def _figures(name: str, seconds: list[float]) -> str:
    cuts = statistics.quantiles(seconds, n=100)
    return f"{name}: p50 {cuts[49] * 1e6:.0f} us, p95 {cuts[94] * 1e6:.0f} us"


async def main() -> None:
    """Run and print."""
    async with AsyncExitStack() as exits:
        scene = Scene(exits, "udp")
        await scene.open()
        far, _ = await scene.connect()
        asks = parse(far.build("INFO"))
        template = "\r\n".join(
            [
                asks.start,
                *(
                    f"{name}: {'{cseq}' if name == 'CSeq' else '{via}' if name == 'Via' else value}"
                    for name, value in asks.headers
                ),
                "",
                "",
            ]
        ).encode()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as phone:
            phone.bind(("127.0.0.9", 0))
            phone.settimeout(5)
            at = Address(*phone.getsockname())
            to = (scene.a.at.host, scene.a.at.port)
            scene.b.order("bind", ROUTE_KEY, at, scene.b.at)
            await scene.b.settled()
            for _ in range(2):
                scene.a.order("bind", ROUTE_KEY, at, scene.a.at)
                await scene.a.settled()
                one = await asyncio.to_thread(_measure, template, to, phone, ROUNDS)
                scene.a.order("bind_through", ROUTE_KEY, scene.sip(scene.b))
                await scene.a.settled()
                two = await asyncio.to_thread(_measure, template, to, phone, ROUNDS)
                print(_figures("one node ", one))
                print(_figures("two nodes", two))
                added = statistics.median(two) - statistics.median(one)
                print(f"added by the second node: {added * 1e6:.0f} us a round trip")


if __name__ == "__main__":
    asyncio.run(main())
