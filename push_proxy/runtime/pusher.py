"""Pushes, whoever orders them: sent, measured, and learned from."""

from collections.abc import Callable
from uuid import uuid4

from structlog.contextvars import bound_contextvars

from ..core.actions import PushType
from ..core.events import PushOutcome
from ..core.ids import Instant, PushId
from ..core.model import Device
from ..core.payload import Push
from ..observability.metrics import Metrics
from ..ports import Clock, PushResult
from ..providers.registry import Providers

Learn = Callable[[Push, PushResult], None]


class Pusher:
    """Hands pushes to the provider of their device."""

    def __init__(
        self, *, providers: Providers, clock: Clock, metrics: Metrics, learn: Learn
    ) -> None:
        """``learn`` is told of every answer: it looks after tokens; it must return at once."""
        self._providers = providers
        self._clock = clock
        self._metrics = metrics
        self._learn = learn

    def serves(self, device: Device) -> bool:
        """Whether there is anything to push to, and a provider that would do it."""
        return device.has_target and self._providers.for_device(device) is not None

    async def send(self, push: Push) -> PushResult:
        """Send it. Never raises: a failure is a result."""
        device = push.device
        provider = self._providers.for_device(device) if device.has_target else None
        if provider is None:
            return PushResult(outcome=PushOutcome.REJECTED, reason="no_target", attempts=0)
        call = {"call_id": push.call} if push.call else {}
        with self._providers.in_use(provider), bound_contextvars(**call):
            result = await provider.send(push)
        self._metrics.push_answered(
            result.elapsed_s,
            provider=provider.name,
            push_type=push.type.value,
            outcome=result.outcome,
        )
        self._learn(push, result)
        return result

    async def send_without_call(
        self, device: Device, push_type: PushType, *, within_s: float
    ) -> PushResult:
        """A push about no call, worth something for ``within_s`` from now."""
        now = self._clock.now()
        return await self.send(
            Push(
                id=PushId(str(uuid4())),
                type=push_type,
                device=device,
                sent_at=now,
                expires_at=Instant(now + within_s),
            )
        )
