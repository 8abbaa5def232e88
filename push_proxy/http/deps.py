"""What the API is built from, and how a route gets at it."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from ..advice.texts import Texts
from ..cluster.elsewhere import Elsewhere
from ..core.ids import AccountKey
from ..core.message_summary import Mailbox
from ..core.model import Account, Address
from ..core.payload import Push
from ..core.rates import Buckets
from ..ports import AppHealth, Clock, PushResult, Store
from ..runtime.live_feed import LiveFeed
from ..runtime.pbx_watch import PbxState
from ..runtime.survey import Survey
from ..runtime.verdict_counts import VerdictCounts
from ..runtime.wake_latency import WakeLatencies
from ..settings import Settings
from .backend import (
    Accounts,
    CallRecorder,
    DeadLetters,
    LiveCalls,
    LiveWakes,
    Readiness,
    Registrations,
    UnseenCalls,
    WakeHistories,
)
from .callers import Callers
from .idempotency import Idempotency


async def _nothing_is_missing() -> None:
    return


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpDeps:
    """Everything that the API talks to."""

    current_settings: Callable[[], Settings]
    """A reload changes them."""
    store: Store
    accounts: Accounts
    clock: Clock
    callers: Callers
    registrations: Registrations
    calls: LiveCalls
    wakes: LiveWakes
    elsewhere: Elsewhere
    """What other nodes have in memory."""
    readiness: Callable[[], Readiness]
    metrics: Callable[[], bytes]
    """The Prometheus text."""
    serves: Callable[[str, str], bool]
    """Whether a provider (first) is configured for an app id (second)."""
    mailbox: Callable[[AccountKey], Awaitable[Mailbox | None]]
    """What the PBX said last of an account's voice mail."""
    missed_calls: UnseenCalls
    """Missed calls that nobody has seen."""
    wake_history: WakeHistories
    """How each device has woken lately."""
    wake_latencies: WakeLatencies
    """How fast they all did, by platform and vendor."""
    recorder: CallRecorder
    """The SIP of calls."""
    sip_listening: Callable[[], tuple[Address, ...]]
    """The addresses really bound."""

    pbx_state: Callable[[Account], PbxState | None]
    """How an account's PBX is, as far as it is watched."""
    dead_letters: DeadLetters
    """Events that no webhook took."""
    push: Callable[[Push], Awaitable[PushResult]]
    """Send a push: `runtime.pusher.Pusher.send`."""
    live: LiveFeed
    """Calls as they change."""
    verdicts: VerdictCounts
    """How the calls of the last hour ended."""
    survey: Survey
    """A tenant's accounts in numbers."""
    provider_health: Callable[[], tuple[tuple[str, AppHealth], ...]]
    """Every configured app with its provider's name."""
    texts: Callable[[], Texts]
    """What people are told about calls; a reload changes them."""

    caught_up: Callable[[], Awaitable[None]] = _nothing_is_missing
    """Return when what other nodes have written is known here."""

    @property
    def settings(self) -> Settings:
        """The configuration as it is now."""
        return self.current_settings()


@dataclass(frozen=True, slots=True)
class Shared:
    """`HttpDeps` and what the app keeps for itself."""

    deps: HttpDeps
    idempotency: Idempotency
    failures: Buckets
    """Wrong keys and codes, per source."""
    test_pushes: Buckets
    """Test pushes, per account."""
    app_logs: Buckets
    """Logs that are handed in, per device."""


# All dependencies are coroutines: others would run in a thread, for no reason but a delay.


async def _shared(request: Request) -> Shared:
    shared: Shared = request.app.state.shared
    return shared


async def _deps(request: Request) -> HttpDeps:
    return (await _shared(request)).deps


SharedDep = Annotated[Shared, Depends(_shared)]
Deps = Annotated[HttpDeps, Depends(_deps)]
