"""A push token that dies while the store is away is dead all the same, and stays it."""

from tests.lab.kamailio import Kamailio
from tests.lab.process import Process
from tests.lab.push_sink import PushSink, Reply

from .conftest import Extension, StartService
from .test_store_away import degraded, options, ready, redis

__all__ = ["redis"]


async def test_a_token_dies_while_redis_is_away(
    start_service: StartService, redis: Process, kamailio: Kamailio, push_sink: PushSink
) -> None:
    """The next call pushes nothing, Redis or not; and the service's next process knows it too."""
    redis.start()
    service = await start_service(options(redis, push_sink))
    ext = Extension(service=service, pbx=kamailio, sink=push_sink, user="101")
    await ext.provision(register="always", wake={"deadline_s": 5.0, "repush_after_s": None})
    redis.kill()
    await degraded(service, "redis.url")
    push_sink.replies.append(Reply(status=410))

    async def call() -> None:
        async with ext.caller() as caller:
            assert (await caller.call(ext.aor).final(within=10)).status == 480

    await call()
    await call()
    assert len(push_sink.pushes) == 1
    redis.start()
    await ready(service)
    await service.eventually(
        lambda: service.device_status(ext.account),
        lambda device: device["token"]["state"] == "dead",
        within=5,
        what="dead token",
    )
    await service.stop()
    await service.start()
    shown = await service.device_status(ext.account)
    assert (shown["token"]["state"], shown["token"]["reason"]) == ("dead", "http_410")
    await call()
    assert len(push_sink.pushes) == 1
