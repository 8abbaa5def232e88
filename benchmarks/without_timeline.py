"""The service without records of calls: what `timeline_cost` compares with. Not for use.

`python -m benchmarks.without_timeline serve` is `push-proxy serve` that keeps nothing of a call:
no record, no timeline, nothing of it in the store. Calls themselves go on as ever.
"""

from collections.abc import Callable
from typing import Any

from push_proxy import assembly
from push_proxy.cli import main
from push_proxy.core.ids import AccountKey, CallId, DeviceId, Instant, TenantId
from push_proxy.core.model import CallRecord, CallState, Outcome, TimelineEntry
from push_proxy.signaling.facts import DialogEnded


class NoCalls:
    """`push_proxy.runtime.calls.Calls` that forgets all it is told."""

    degraded = False

    def __init__(self, **parts: Any) -> None:
        self._metrics = parts["metrics"]

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *_, **__: None

    def get(self, _: CallId) -> CallRecord | None:
        return None

    def outcome(self, _: CallId) -> Outcome | None:
        return None

    def ongoing(self) -> tuple[CallRecord, ...]:
        return ()

    def live(self, _: TenantId, *, limit: int) -> tuple[CallRecord, ...]:
        del limit
        return ()

    def holder(self, _: AccountKey, __: str) -> DeviceId | None:
        return None

    def open(self, record: CallRecord) -> None:
        pass

    def note(self, _: CallId, __: TimelineEntry) -> bool:
        return True

    def move(self, call: CallId, state: CallState, at: Instant) -> None:
        pass

    def finish(self, _: CallId, result: Outcome, **__: bool) -> None:
        self._metrics.call_ended(result)

    def dialog_ended(self, fact: DialogEnded) -> None:
        pass

    async def aclose(self) -> None:
        pass


if __name__ == "__main__":
    vars(assembly)["Calls"] = NoCalls
    main()
