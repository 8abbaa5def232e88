"""How fast a PBX is asked: a token bucket, and whether its rate can suffice at all."""

from collections import Counter
from collections.abc import Iterable, Mapping

from .ids import Instant
from .model import Account, Topology
from .pbx import Pbx, pbx_of
from .registration import EARLIEST_REFRESH, FETCH_EVERY_S


class Pace:
    """A token bucket: ``rate`` per second, and a tenth of a second's worth at once."""

    def __init__(self, rate: float, now: Instant) -> None:
        self.rate = rate
        self._tokens = self._burst
        self._at = now

    @property
    def _burst(self) -> float:
        return max(1.0, self.rate / 10)

    def take(self, now: Instant) -> bool:
        """Take a token; False when there is none yet."""
        self._tokens = min(self._burst, self._tokens + max(0.0, now - self._at) * self.rate)
        self._at = now
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True

    def next_at(self) -> Instant:
        """When the next token is there, as of the last `take`.

        Never sooner than a millisecond: Unix time as a float is no finer than a quarter of a
        microsecond, and a token missed by a hair would be asked for again and again.
        """
        return Instant(self._at + max(0.001, (1.0 - self._tokens) / self.rate))


def rate_faults(accounts: Iterable[Account], pbxes: Mapping[str, Pbx]) -> list[str]:
    """Why configured rates cannot keep the accounts registered; empty when they can.

    Each account refreshes after three quarters of its expiry at the earliest, and is fetched
    now and then. For the start, which had better fail than let registrations lapse.
    """
    needs: Counter[str] = Counter()
    seconds: dict[str, float] = {}
    for account in accounts:
        pbx = pbx_of(account, pbxes)
        if pbx is None or not account.enabled or account.topology is not Topology.HOLD:
            continue
        needs[pbx.key] += 1
        expires_s = account.expires_s or pbx.expires_s
        need = 1 / (EARLIEST_REFRESH * expires_s) + 1 / FETCH_EVERY_S
        seconds[pbx.key] = seconds.get(pbx.key, 0.0) + need
    return [
        f"pbxes.{key}.registrations_per_second: {pbxes[key].registrations_per_second:g} is too "
        f"little for {needs[key]} accounts, which need {need:.1f}; raise it, or raise expires_s"
        for key, need in sorted(seconds.items())
        if key in pbxes and need > pbxes[key].registrations_per_second
    ]
