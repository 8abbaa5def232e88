"""The description of the API, /openapi.json."""

import asyncio

import httpx

from push_proxy.tasks import spawn

from .conftest import Api


async def test_calls_are_served_while_it_is_made(api: Api) -> None:
    """The one who asks first waits for it; the loop does not."""
    transport = httpx.ASGITransport(app=api.app)
    async with httpx.AsyncClient(transport=transport, base_url="http://api.test") as client:
        asked = spawn(client.get("/openapi.json"), name="test")
        turns = 0
        while not asked.done():
            turns += 1
            await asyncio.sleep(0)
        assert turns > 100
        first = await asked
        assert first.headers["Content-Type"] == "application/json"
        assert (await client.get("/openapi.json")).content == first.content


async def test_it_is_complete(api: Api) -> None:
    """Also what no route answers with as a whole: problem documents, the lines of a stream."""
    document = api.app.openapi()
    assert {"Problem", "LiveMessage"} <= set(document["components"]["schemas"])
    assert document["info"]["title"] == "push-proxy"
