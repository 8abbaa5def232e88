"""How PBXs' servers are: who answered, who did not, who is gone."""

from collections.abc import Callable

import structlog

from ..core.ids import Instant
from ..core.model import Address
from ..core.target_health import WELL, TargetHealth, failed, heard
from ..ports import Clock

_log = structlog.get_logger(__name__)
_Listener = Callable[[Address], None]


class PbxHealth:
    """Health of each server, told by all who send something there."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._health: dict[Address, TargetHealth] = {}
        self._gone: set[Address] = set()
        self._on_failed: list[_Listener] = []
        self._on_returned: list[_Listener] = []

    def of(self, server: Address) -> TargetHealth:
        """How it is."""
        return self._health.get(server, WELL)

    def is_well(self, server: Address) -> bool:
        """Whether it is worth being asked."""
        return server not in self._gone and self.of(server).is_well(self._clock.now())

    def rank(self, server: Address) -> tuple[bool, Instant]:
        """The smallest is worth being asked first; all that are well are equal."""
        return server in self._gone, max(self._clock.now(), self.of(server).avoided_until)

    def set_gone(self, server: Address, *, gone: bool) -> None:
        """Whoever watches it takes it to be gone, or back."""
        if gone:
            self._gone.add(server)
        else:
            self._gone.discard(server)

    def on_failed(self, listener: _Listener) -> None:
        """Call with a server that did not answer something."""
        self._on_failed.append(listener)

    def on_returned(self, listener: _Listener) -> None:
        """Call with a server that is taken to be gone and answered something."""
        self._on_returned.append(listener)

    def heard(self, server: Address) -> None:
        """It answered."""
        self._health[server] = heard(self.of(server), now=self._clock.now())
        if server in self._gone:
            for listener in self._on_returned:
                listener(server)

    def failed(
        self,
        server: Address,
        *,
        sent_at: Instant,
        local: bool,
        retry_after_s: float | None = None,
    ) -> None:
        """It did not answer, could not be reached (``local``), or answered 503."""
        before, now = self.of(server), self._clock.now()
        after = failed(before, now=now, sent_at=sent_at, local=local, retry_after_s=retry_after_s)
        self._health[server] = after
        if before.is_well(now) and not after.is_well(now):
            _log.warning(
                "a PBX's server fails and is avoided where there is another",
                server=str(server),
                seconds=round(after.avoided_until - now),
            )
        if local and after.heard_at <= sent_at:
            for listener in self._on_failed:
                listener(server)
