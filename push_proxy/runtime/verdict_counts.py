"""How this node's calls of the last hour ended, per tenant."""

from collections import Counter, deque

from ..core.ids import Instant, TenantId, split_account_key
from ..core.model import Verdict
from ..ports import Clock
from .live_call import CallView

SPAN_S = 3600.0
_STEP_S = 60.0


class VerdictCounts:
    """Counted as calls are decided, so that nobody has to read the history for it.

    Minutes are kept, not calls: what is told is of the last hour, to the minute.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._began_at = clock.now()
        self._minutes: deque[tuple[int, dict[TenantId, Counter[Verdict]]]] = deque()

    def on_outcome(self, call: CallView) -> None:
        """A call has its outcome."""
        if call.outcome is None:
            return
        minute = self._forget()
        if not self._minutes or self._minutes[-1][0] != minute:
            self._minutes.append((minute, {}))
        tenant = split_account_key(call.account)[0]
        self._minutes[-1][1].setdefault(tenant, Counter())[call.outcome.verdict] += 1

    def of(self, tenant: TenantId) -> tuple[Instant, Counter[Verdict]]:
        """Since when it is counted, and how many calls ended how."""
        self._forget()
        found: Counter[Verdict] = Counter()
        for _, by_tenant in self._minutes:
            found.update(by_tenant.get(tenant, {}))
        return Instant(max(self._began_at, self._clock.now() - SPAN_S)), found

    def _forget(self) -> int:
        minute = int(self._clock.now() // _STEP_S)
        while self._minutes and self._minutes[0][0] <= minute - SPAN_S // _STEP_S:
            self._minutes.popleft()
        return minute
