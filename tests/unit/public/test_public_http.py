"""HTTP to strangers' URLs, seen from the server that must or must not be reached."""

import asyncio
import socket
import threading
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult

from push_proxy.public_http import PublicHttp, Unanswered
from push_proxy.tasks import spawn


@dataclass
class Server:
    port: int = 0
    paths: list[str] = field(default_factory=list)

    async def answer(self, request: web.Request) -> web.Response:
        self.paths.append(request.path)
        if request.path == "/moved":
            return web.Response(status=302, headers={"Location": f"http://127.0.0.1:{self.port}/x"})
        return web.Response(status=200, text="a" * 9000 if request.path == "/long" else "fine")


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    made = Server()
    app = web.Application()
    app.router.add_route("*", "/{rest:.*}", made.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    made.port = runner.addresses[0][1]
    yield made
    await runner.cleanup()


class Names(AbstractResolver):
    """Answers in turn: the last one for ever."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers = list(answers)

    async def resolve(
        self,
        host: str,
        port: int = 0,
        family: socket.AddressFamily = socket.AF_INET,  # noqa: ARG002 - as the interface has it
    ) -> list[ResolveResult]:
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
            for address in answer
        ]

    async def close(self) -> None:
        pass


async def refused(http: PublicHttp, url: str) -> str:
    try:
        with pytest.raises(Unanswered) as caught:
            await http.post(url, b"{}", {}, timeout_s=2)
        return caught.value.reason
    finally:
        await http.aclose()


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "localhost"])
async def test_private_addresses_are_refused(server: Server, host: str) -> None:
    """Literal or by name: the server there gets nothing."""
    assert await refused(PublicHttp(), f"http://{host}:{server.port}/") == "address_refused"
    assert server.paths == []


@pytest.mark.parametrize("host", ["2130706433", "0x7f000001", "0177.0.0.1", "127.1", "0x7f.1"])
@pytest.mark.parametrize("allow", [False, True])
async def test_odd_numbers_are_refused(server: Server, host: str, allow: bool) -> None:
    """Loopback written as a number is refused, also where private addresses are allowed."""
    reason = await refused(PublicHttp(allow_private=allow), f"http://{host}:{server.port}/")
    assert reason in {"address_refused", "bad_url"}
    assert server.paths == []


async def test_a_name_with_a_private_address_is_refused(server: Server) -> None:
    """The name server decides nothing."""
    http = PublicHttp(resolver=Names(["127.0.0.1", "::1"]))
    assert await refused(http, f"http://rebind.example:{server.port}/") == "address_refused"
    assert server.paths == []


async def test_a_name_that_changes_its_mind_gains_nothing(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Resolved to a public address first, then to ours: we connect to what was judged."""
    wanted: list[object] = []

    def note(address: tuple[int, int, int, str, tuple[str | int, ...]]) -> socket.socket:
        wanted.append(address[4][0])
        raise OSError("no network here")

    monkeypatch.setattr("push_proxy.public_http._public_socket", note)
    http = PublicHttp(resolver=Names(["8.8.8.8"], ["127.0.0.1"]))
    assert await refused(http, f"http://rebind.example:{server.port}/") == "connect_failed"
    assert wanted == ["8.8.8.8"]
    assert server.paths == []


async def test_private_addresses_beside_public_ones_are_left_out(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a name's addresses the public ones alone are tried."""
    wanted: list[object] = []

    def note(address: tuple[int, int, int, str, tuple[str | int, ...]]) -> socket.socket:
        wanted.append(address[4][0])
        raise OSError("no network here")

    monkeypatch.setattr("push_proxy.public_http._public_socket", note)
    http = PublicHttp(resolver=Names(["127.0.0.1", "8.8.8.8", "10.0.0.1"]))
    await refused(http, f"http://mixed.example:{server.port}/")
    assert wanted == ["8.8.8.8"]


async def test_proxies_of_the_environment_are_not_asked(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy would resolve the name by itself."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{server.port}")
    http = PublicHttp(resolver=Names(["127.0.0.1"]))
    assert await refused(http, "http://somewhere.example/") == "address_refused"
    assert server.paths == []


async def test_silent_name_servers_hold_up_their_own_app_alone(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many of one app's names hang, another app's are looked up at once."""
    real, over = socket.getaddrinfo, threading.Event()

    def lookup(host: str, *rest: Any, **more: Any) -> Any:
        if host.startswith("silent"):
            over.wait(10)
        return real(host, *rest, **more)

    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    strangers, ours = PublicHttp(), PublicHttp(allow_private=True)
    hung = [
        spawn(strangers.post(f"http://silent{n}.example/", b"", {}, timeout_s=0.5), name="test")
        for n in range(40)
    ]
    try:
        await asyncio.sleep(0.1)
        answer = await ours.post(f"http://localhost:{server.port}/", b"", {}, timeout_s=2)
        assert answer.status == 200
        faults = await asyncio.gather(*hung, return_exceptions=True)
        assert {str(fault) for fault in faults} == {"timeout"}
    finally:
        over.set()
        await strangers.aclose()
        await ours.aclose()


async def test_redirects_are_not_followed(server: Server) -> None:
    """The redirect itself is the answer."""
    http = PublicHttp(allow_private=True)
    answer = await http.post(f"http://127.0.0.1:{server.port}/moved", b"{}", {}, timeout_s=2)
    await http.aclose()
    assert answer.status == 302
    assert server.paths == ["/moved"]


async def test_allowed_private_addresses_are_reached(server: Server) -> None:
    """``allow_private`` lifts the rule; a body is read up to its limit."""
    http = PublicHttp(allow_private=True)
    short = await http.post(f"http://localhost:{server.port}/a", b"{}", {}, timeout_s=2)
    long = await http.post(f"http://127.0.0.1:{server.port}/long", b"{}", {}, timeout_s=2)
    await http.aclose()
    assert (short.status, short.body) == (200, b"fine")
    assert (long.status, long.body) == (200, b"a" * 4096)
