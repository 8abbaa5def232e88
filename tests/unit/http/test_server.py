"""The API on a real socket."""

import asyncio
import socket
import threading

import httpx
import pytest

from push_proxy.errors import ConfigurationError
from push_proxy.http.server import HttpServer

from .conftest import Api


async def test_it_serves_on_a_real_socket_and_stops(api: Api) -> None:
    """Port 0 takes a free one; after stop nothing listens there."""
    server = HttpServer(api.app, ("127.0.0.1", 0), key="http.listen")
    host, port = await server.start()
    try:
        async with httpx.AsyncClient(base_url=f"http://{host}:{port}") as client:
            assert (await client.get("/healthz")).json() == {"status": "alive"}
            assert (await client.get("/v1/accounts")).status_code == 401
    finally:
        await server.stop()
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection(host, port)


async def test_requests_are_answered_on_the_loop_and_at_once(api: Api) -> None:
    """No worker thread is made for a request, and no answer waits for a delayed ACK."""
    await api.account()
    await api.device()
    await api.call("GET", "/v1/accounts/101")
    await api.call("GET", "/v1/accounts")
    assert [thread.name for thread in threading.enumerate() if "AnyIO" in thread.name] == []
    server = HttpServer(api.app, ("127.0.0.1", 0), key="http.listen")
    await server.start()
    try:
        assert server._socket is not None
        assert server._socket.proto == socket.IPPROTO_TCP  # asyncio sets TCP_NODELAY only then
    finally:
        await server.stop()


async def test_a_taken_port_is_named(api: Api) -> None:
    """The error says which key and address, and what to do."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        server = HttpServer(api.app, ("127.0.0.1", port), key="http.listen")
        with pytest.raises(ConfigurationError, match=rf"http\.listen.*127\.0\.0\.1:{port}.*in use"):
            await server.start()
        await server.stop()
