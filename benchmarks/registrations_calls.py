"""Wake calls to some of many accounts, by the Contacts that we registered for them."""

import asyncio
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass

from push_proxy.demo.service import APP_ID

from .registrations_scene import Scene
from .wake_load import Call, Load, Pbx, Phone, PushReceiver

RATE = 25.0
SETTLE_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """Of the calls to one account."""

    lost: int
    push_p50_ms: float
    push_p99_ms: float
    relay_p50_ms: float
    relay_p99_ms: float


class CallLoad:
    """PBX, phones and push receiver in this process (`wake_load`)."""

    def __init__(self) -> None:
        self._load = Load(proxy=("127.0.0.1", 0))
        self._receiver: asyncio.Server | None = None
        self._pbx: Pbx | None = None
        self._number = time.time_ns()
        self.push_url = ""

    async def open(self) -> None:
        """Begin to take pushes."""
        loop = asyncio.get_running_loop()
        self._receiver = await loop.create_server(lambda: PushReceiver(self._load), "127.0.0.1", 0)
        self.push_url = f"http://127.0.0.1:{self._receiver.sockets[0].getsockname()[1]}/"

    def close(self) -> None:
        """Take no more."""
        if self._receiver is not None:
            self._receiver.close()

    async def provision(self, scene: Scene, users: Sequence[str]) -> None:
        """A phone for each user, asleep; its calls go to the Contact that the registrar has."""
        loop = asyncio.get_running_loop()
        load = self._load
        load.proxy = scene.service.sip_address
        for user in users:
            _, phone = await loop.create_datagram_endpoint(
                lambda user=user: Phone(load, user, scene.kamailio.password(user)),  # type: ignore[misc]
                local_addr=("127.0.0.1", 0),
            )
            load.phones[user] = phone
            await scene.service.expect(
                "PUT",
                f"/v1/accounts/{user}/devices/d",
                {"provider": "webhook", "app_id": APP_ID, "token": f"t-{user}"},
            )
            (contact,) = await scene.kamailio.bindings(user)
            load.targets[user] = contact.uri
        _, self._pbx = await loop.create_datagram_endpoint(
            lambda: Pbx(load), local_addr=("127.0.0.1", 0)
        )

    async def run(self, users: Sequence[str], *, each: int) -> dict[str, Latency]:
        """So many calls to each user, in turns."""
        assert self._pbx is not None
        load = self._load
        load.calls.clear()
        began = time.perf_counter()
        placed: dict[str, list[Call]] = {user: [] for user in users}
        for number in range(each * len(users)):
            await asyncio.sleep(max(0.0, began + number / RATE - time.perf_counter()))
            user = users[number % len(users)]
            self._number += 1
            self._pbx.call(user, self._number)
            placed[user].append(load.by_user[user])
        deadline = time.perf_counter() + SETTLE_S
        while time.perf_counter() < deadline:
            if all(call.ended is not None for call in load.calls.values()):
                break
            await asyncio.sleep(0.05)
        return {user: _latency(found) for user, found in placed.items()}


def _latency(calls: Sequence[Call]) -> Latency:
    good = [call for call in calls if call.ended is not None]
    push = [call.push - call.invite for call in good if call.push is not None]
    relay = [
        call.relayed - call.register
        for call in good
        if call.relayed is not None and call.register is not None
    ]
    return Latency(
        lost=len(calls) - len(good),
        push_p50_ms=_cut(push, 50),
        push_p99_ms=_cut(push, 99),
        relay_p50_ms=_cut(relay, 50),
        relay_p99_ms=_cut(relay, 99),
    )


def _cut(seconds: Sequence[float], percent: int) -> float:
    if len(seconds) < 2:
        return float("nan")
    return statistics.quantiles(seconds, n=100, method="inclusive")[percent - 1] * 1000
