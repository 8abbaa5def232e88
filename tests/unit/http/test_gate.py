"""Who is let in may have become so at another node a moment ago; strangers cost little."""

from typing import Any

from push_proxy.core.rates import Buckets
from push_proxy.http.gate import Gate
from push_proxy.runtime.clock import ManualClock


class Door:
    """A gate, the callers it knows, and how often it asked what other nodes have written."""

    def __init__(self, *, known_later: bool = False) -> None:
        self.asked = 0
        self.keys = {"old"}
        self.known_later = known_later
        self.through: list[str] = []
        self.gate = Gate(
            self.inside,
            callers=self,  # type: ignore[arg-type]
            clock=ManualClock(),
            failures=Buckets(per_second=0.1, burst=3),
            requests=Buckets(per_second=100, burst=100),
            caught_up=self.caught_up,
        )

    def find(self, key: str) -> str | None:
        return key if key in self.keys else None

    async def caught_up(self) -> None:
        self.asked += 1
        if self.known_later:
            self.keys.add("new")

    async def inside(self, scope: Any, *_: object) -> None:
        self.through.append(scope["path"])

    async def knock(self, path: str, key: str = "") -> int:
        headers = [(b"authorization", f"Bearer {key}".encode())] if key else []
        said: list[int] = []

        async def send(message: Any) -> None:
            said.append(message.get("status", 0))

        async def receive() -> Any:
            return {"type": "http.request", "body": b""}

        scope = {
            "type": "http", "method": "POST", "path": path, "headers": headers,
            "client": ("192.0.2.1", 1), "query_string": b"",
        }  # fmt: skip
        await self.gate(scope, receive, send)
        return said[0] if said else 200


async def test_a_key_made_at_another_node_is_good_here() -> None:
    """Before it is refused, what the others have written is read."""
    door = Door(known_later=True)
    assert await door.knock("/v1/calls", "new") == 200
    assert door.asked == 1


async def test_strangers_do_not_make_us_ask_the_store_without_end() -> None:
    """Those without a key never, those with a wrong one as often as they may fail."""
    door = Door()
    for _ in range(5):
        assert await door.knock("/v1/accounts/a") in {401, 429}
    assert door.asked == 0
    door = Door()
    for _ in range(20):
        assert await door.knock("/v1/accounts/a", "wrong") in {401, 429}
    assert door.asked == 3
    await door.knock("/v1/enrol")
    assert (door.asked, door.through) == (3, ["/v1/enrol"])
    assert await door.knock("/v1/accounts/a", "old") == 200
    assert door.asked == 4
