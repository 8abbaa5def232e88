"""Which accounts a call has been sent on by, for PBXs that do not tell.

Asterisk names only who diverted last, without a counter: two accounts that send calls on to each
other would never see their own names.
"""

from collections import OrderedDict
from dataclasses import replace

from ..core.ids import Instant
from ..core.policy import PolicyCase

FOLLOWED_S = 60.0
"""Within which a PBX follows a 302, also when it plays an announcement before."""
_MOST = 50_000


class Redirections:
    """Redirections of the last minute, by who sent the call on and who calls."""

    def __init__(self) -> None:
        self._by_whom: OrderedDict[tuple[str, str], tuple[Instant, frozenset[str]]] = OrderedDict()

    def __len__(self) -> int:
        """How much is remembered."""
        return len(self._by_whom)

    def made(self, case: PolicyCase, now: Instant) -> None:
        """The account has sent this call on."""
        way = self._way(case, now) | {case.aor}
        for caller in case.callers:
            key = (case.aor, caller)
            self._by_whom.pop(key, None)
            self._by_whom[key] = (Instant(now + FOLLOWED_S), way)
        self._forget(now)

    def known(self, case: PolicyCase, now: Instant) -> PolicyCase:
        """The call as it is, with what we remember of its way."""
        way = self._way(case, now)
        if not way:
            return case
        said = case.diversions
        remembered = replace(
            said, count=max(said.count, len(way)), from_here=said.from_here or case.aor in way
        )
        return replace(case, diversions=remembered)

    def _way(self, case: PolicyCase, now: Instant) -> frozenset[str]:
        """The accounts that have sent this call on."""
        by = case.diverted_by
        found = [self._by_whom.get((by, caller)) for caller in case.callers if by]
        ways = [way for until, way in filter(None, found) if now < until]
        return frozenset().union(*ways)

    def _forget(self, now: Instant) -> None:
        while self._by_whom:
            key, (until, _) = next(iter(self._by_whom.items()))
            if now < until and len(self._by_whom) <= _MOST:
                return
            del self._by_whom[key]
