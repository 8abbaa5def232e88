"""A binding that its phone cannot refresh alone is refreshed by a push (RFC 8599 §5.5)."""

import asyncio
import json
import time
from pathlib import Path

from redis.asyncio import Redis

from push_proxy.core.ids import AccountKey
from push_proxy.store import keys
from push_proxy.store.embedded import SOCKET

from .conftest import Extension
from .push_apps import PushApps, push_stage, register

ENDS_IN_S = 12.0
RESTARTS = 4
"""So many starts as the first, which shows how busy the machine is, fit into a binding's life."""


async def shorten(ext: Extension, ends_at: float) -> None:
    """Its stored binding ends soon, although no phone may ask for less than a minute."""
    key = keys.bindings(AccountKey(f"demo/{ext.account}"))
    socket = ext.service.directory / "data" / SOCKET
    async with Redis(unix_socket_path=str(socket)) as redis:
        deadline = time.monotonic() + 5
        while not (stored := await redis.hgetall(key)):
            assert time.monotonic() < deadline, "no binding was stored"
            await asyncio.sleep(0.02)
        for device, value in stored.items():
            binding = json.loads(value) | {"expires_at": ends_at}
            await redis.hset(key, device, json.dumps(binding))


async def test_a_refresh_push(workdir: Path) -> None:
    """It leaves well before the binding's end, also after a restart; the phone that it wakes has
    its binding renewed, and neither that one nor one that sleeps on is pushed again.
    """
    began = time.monotonic()
    async with push_stage(workdir) as stage:
        ends_in_s = max(ENDS_IN_S, RESTARTS * (time.monotonic() - began))
        apps = PushApps(stage=stage)
        comes, sleeps = await apps.extension(), await apps.extension()
        targets = [stage.fcm.device(), stage.fcm.device()]
        params = [apps.fcm_params(target.token) for target in targets]
        phone, other = comes.phone(), sleeps.phone()
        assert (await register(phone, params[0], expires_s=60)).status == 200
        assert (await register(other, params[1], expires_s=60)).status == 200
        other.sleep()
        for ext in (comes, sleeps):
            await stage.pbx.registered(ext.user)
        ends_at = time.time() + ends_in_s
        for ext in (comes, sleeps):
            await shorten(ext, ends_at)
        await stage.service.stop()
        await stage.service.start()
        await stage.fcm.wait(2, where=lambda r: r.token in apps.tokens, within=ends_in_s)
        assert time.time() < ends_at
        assert (await register(phone, params[0], expires_s=60)).status == 200
        assert [push.data["type"] for target in targets for push in target.received] == [
            "refresh",
            "refresh",
        ]
        fetched = await phone.register(contact="", expires_s=None)
        assert len(fetched.listed("Contact")) == 1
        await asyncio.sleep(0.5)
        assert apps.pushes() == 2
        await apps.leave()
