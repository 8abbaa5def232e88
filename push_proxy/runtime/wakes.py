"""The wakes that go on: facts are routed to them, and what others ask about them is answered.

From a fact to the last order that follows from it nothing is awaited.
"""

from collections.abc import Callable
from functools import partial
from uuid import uuid4

from ..core.events import (
    AnsweredBefore,
    AppActed,
    AppAction,
    AppEvent,
    AppReported,
    CallerCancelled,
    Candidate,
    DeviceRegistered,
    DeviceUnregistered,
    Event,
    GivingUp,
    Invite,
    TokenRotated,
    WakeSettings,
)
from ..core.evidence import NO_WORDS, AppWords
from ..core.held import held_devices, pushing, worth_keeping
from ..core.ids import AccountKey, CallId, DeviceId, Instant
from ..core.incoming import incoming_call
from ..core.matching import route_key
from ..core.message import Message, parse
from ..core.model import (
    Account,
    Binding,
    CallRecord,
    HeldDevice,
    TimelineEntry,
    Verdict,
    push_target,
)
from ..core.policy import case_of
from ..core.wake import Ended, Live, State, Step, start
from ..core.waking import report_note
from ..observability.metrics import Metrics
from ..ports import Store
from ..signaling.contract import Signaling
from ..signaling.facts import (
    BranchResponse,
    CancelReceived,
    FormerAnswered,
    OrderFailed,
    RequestReceived,
    TransactionLost,
)
from .branch_events import branch_event
from .calls import Calls
from .candidates import candidates_for, settings_for
from .changes import Change, DeviceChanged
from .clock import TimerClock
from .directory import Directory
from .held_call import HeldCall
from .held_invites import HeldInvites
from .interpreter import Interpreter
from .live_wake import LiveWake
from .merging import catch_up, is_same_request, refuse, takes_over
from .pusher import Pusher
from .redirections import Redirections
from .refused_calls import RefusedCalls, record_of
from .wake_book import WakeBook
from .wake_outcomes import WakeOutcomes, WakeWatcher

MAX_WAITING = 20_000
"""Calls that may wait at once, unless configured otherwise."""

FirstStep = Callable[[Invite, tuple[Candidate, ...], WakeSettings, Instant], Step]
"""What a wake begins with: its state, and what is to be done at once."""


class Wakes:
    """One wake per INVITE; several of one account go on beside each other."""

    def __init__(  # noqa: PLR0913 - its collaborators
        self,
        *,
        signaling: Signaling,
        directory: Directory,
        pusher: Pusher,
        store: Store,
        calls: Calls,
        clock: TimerClock,
        metrics: Metrics,
        settings: WakeSettings | None = None,
        max_waiting: int = MAX_WAITING,
        watcher: WakeWatcher | None = None,
        node: str = "",
        host: str = "",
    ) -> None:
        """``settings``: the service's; an account's own come over them.

        ``node`` and ``host``: as whom we hold INVITEs, so that a restart finds them.

        ``max_waiting``: so many calls may wait at once; more are refused with 503.
        """
        self._signaling = signaling
        self._directory = directory
        self._pusher = pusher
        self._calls = calls
        self._clock = clock
        self._settings = settings or WakeSettings()
        self._max_waiting = max_waiting
        self._refused = RefusedCalls(signaling=signaling, calls=calls, clock=clock, metrics=metrics)
        self.outcomes = WakeOutcomes(
            directory=directory, calls=calls, metrics=metrics, watcher=watcher
        )
        self._redirections = Redirections()
        self._held_invites = HeldInvites(store, clock=clock, node=node, host=host)
        self._interpreter = Interpreter(
            redirections=self._redirections,
            signaling=signaling,
            directory=directory,
            pusher=pusher,
            held_invites=self._held_invites,
            calls=calls,
            clock=clock,
            metrics=metrics,
        )
        self._book = WakeBook(metrics.waiting_calls.inc)
        directory.subscribe(self._on_change)

    @property
    def waiting(self) -> int:
        """Calls without a final response."""
        return self._book.waiting

    def waiting_accounts(self) -> frozenset[AccountKey]:
        """Whose calls have no final response."""
        return frozenset(wake.held.account.key for wake in self._book.open())

    @property
    def lingering(self) -> int:
        """Calls that have ended, of which a branch may still answer."""
        return self._book.lingering

    def end_all(self) -> None:
        """The service stops: every call without a final response gets one now."""
        self._held_invites.answer_now()
        for wake in self._book.open():
            wake.tell(GivingUp("the service was stopped"))

    async def aclose(self) -> None:
        """Stop all timers. Of calls that go on, what is held stays in the store."""
        await self._held_invites.aclose()
        for wake in self._book.all():
            wake.close()
        self._book.clear()

    # SIP

    def invite(
        self, fact: RequestReceived, account: Account, message: Message | None = None
    ) -> None:
        """An INVITE from the account's PBX; ``message`` is its raw text when parsed already."""
        if self.joins(fact, account.key):
            return
        now = self._clock.now()
        message = message or parse(fact.raw)
        if self.waiting >= self._max_waiting:
            over = Verdict.OVERLOADED
            self._refused.unavailable(fact, account, message, verdict=over, why="overloaded")
            return
        call = CallId(str(uuid4()))
        self.begin(call, fact, account, message, received_at=now, first=start)

    def begin(
        self,
        call: CallId,
        fact: RequestReceived,
        account: Account,
        message: Message,
        *,
        received_at: Instant,
        first: FirstStep,
        record: CallRecord | None = None,
        kept: tuple[HeldDevice, ...] | None = None,
    ) -> None:
        """A call begins, or goes on after a restart: ``first`` says with what.

        ``record`` and ``kept``: what there is of it already, on record and of its held INVITE.
        """
        now = self._clock.now()
        incoming = incoming_call(message)
        settings = settings_for(account, self._settings)
        case = case_of(account, message)
        if case is not None:
            case = self._redirections.known(case, received_at)
        invite = Invite(
            call=call,
            received_at=received_at,
            requires_100rel=incoming.requires_100rel,
            expires_s=incoming.expires_s,
            case=case,
        )
        candidates = candidates_for(
            account, self._directory, self._pusher, fresh_s=settings.fresh_s, now=now
        )
        state, actions = first(invite, candidates, settings, now)
        held = HeldCall(
            call=call,
            fact=fact,
            account=account,
            incoming=incoming,
            received_at=received_at,
            case=case,
            tell=partial(self._tell, call),
            devices=partial(self._devices, call),
            kept=kept,
        )
        wake = LiveWake(
            held,
            state,
            clock=self._clock,
            interpreter=self._interpreter,
            changed=self._changed,
        )
        self._book.put(wake)
        self._calls.open(record or record_of(call, fact, account, incoming, received_at))
        wake.begin(actions)
        self.outcomes.expect(account.key)

    def joins(self, fact: RequestReceived, account: AccountKey) -> bool:
        """Whether it is the INVITE of a call that goes on; then it has been taken for that."""
        for wake in self._book.of_account(account):
            state, old = wake.state, wake.held.fact
            if isinstance(state, Ended) or not is_same_request(old, fact):
                continue
            if isinstance(state, Live) and takes_over(state):
                self._book.replace(wake, fact)
                refuse(self._signaling, old)
                catch_up(self._signaling, fact, state)
            else:
                refuse(self._signaling, fact)
            entry = TimelineEntry(self._clock.now(), "invite_repeated")
            self._calls.note(wake.held.call, entry)
            return True
        return False

    def refuse(
        self,
        fact: RequestReceived,
        account: Account,
        message: Message,
        *,
        status: int,
        reason: str,
        why: str,
    ) -> None:
        """An INVITE that wakes nobody, for ``why``: answered with ``status``, and on record."""
        self._refused.refuse(
            fact,
            account,
            message,
            verdict=Verdict.REFUSED,
            status=status,
            reason=reason,
            why=why,
        )

    def turn_away(self, fact: RequestReceived, account: Account, message: Message) -> None:
        """An INVITE that comes while we go, and that no other node takes: 503, and on record."""
        self._refused.unavailable(
            fact, account, message, verdict=Verdict.PROXY_ERROR, why="draining"
        )

    def on_fact(
        self, fact: CancelReceived | BranchResponse | FormerAnswered | TransactionLost | OrderFailed
    ) -> None:
        """What became of an INVITE. One that we no longer know is too late for anything."""
        wake = self._book.by_txn(fact.txn)
        if wake is None:
            return
        if isinstance(fact, FormerAnswered):
            device = self._device_named(wake.held.account.key, fact.route_key)
            wake.tell(AnsweredBefore(device, fact.status))
        elif (event := _event(fact)) is not None:
            wake.tell(event)

    def hung_up(self, call: CallId) -> None:
        """A BYE has passed: a call of a former life that waits here still was answered in that."""
        wake = self._book.by_call(call)
        if wake is not None and wake.held.fact.restored is not None:
            wake.tell(AnsweredBefore(None))

    def registered(self, binding: Binding) -> None:
        """A REGISTER was answered 2xx: every call of the account hears of it."""
        now = self._clock.now()
        for wake in self._book.of_account(binding.account):
            wake.held.registered_at[binding.device] = now
            self.outcomes.registered(wake, binding.device, now)
            wake.tell(DeviceRegistered(binding))
            wake.held.registered_at.pop(binding.device, None)
        late_for = self.outcomes.came(binding.account, binding.device, now)
        if late_for is not None and self._book.by_call(late_for) is None:
            self._calls.note(late_for, TimelineEntry(now, "registered_late", binding.device))

    def unregistered(self, account_key: AccountKey, device: DeviceId) -> None:
        """The device's binding is gone."""
        for wake in self._book.of_account(account_key):
            wake.tell(DeviceUnregistered(device))

    # people and apps

    def token_rotated(self, account_key: AccountKey, device: DeviceId) -> None:
        """The device's push token has changed: open calls push again."""
        for wake in self._book.of_account(account_key):
            wake.tell(TokenRotated(device))

    def report(
        self,
        call: CallId,
        device: DeviceId,
        event: AppEvent,
        detail: str,
        *,
        words: AppWords = NO_WORDS,
    ) -> bool:
        """The app reports its progress; False when the call is decided already.

        A late report is kept all the same: it says why a phone rang too late or not at all.
        ``detail`` is what the timeline says of it, ``words`` what may explain the call's end.
        """
        self._calls.hear(call, device, words)
        reported = AppReported(device=device, event=event, detail=detail)
        wake = self._book.by_call(call)
        if wake is not None:
            decided = isinstance(wake.state, Ended)
            wake.tell(reported)
            return not decided
        note = report_note(reported)
        at = self._clock.now()
        self._calls.note(call, TimelineEntry(at, note.event, note.device, note.detail))
        return False

    def act(self, call: CallId, device: DeviceId, action: AppAction) -> bool:
        """The person declined on the push screen; False when nothing waits for this device."""
        wake = self._book.by_call(call)
        if wake is None or not isinstance(wake.state, Live):
            return False
        part = wake.state.part(device)
        if part is None or part.answer is not None:
            return False
        wake.tell(AppActed(device=device, action=action))
        return True

    # how it is done

    def _tell(self, call: CallId, event: Event) -> None:
        wake = self._book.by_call(call)
        if wake is not None:
            wake.tell(event)

    def _device_named(self, account_key: AccountKey, name: str) -> DeviceId | None:
        """The device that route tokens call so, whether or not it is registered."""
        known = [each.device for each in self._directory.devices(account_key)]
        known += [each.device for each in self._directory.bindings(account_key)]
        return next((each for each in known if route_key(account_key, each) == name), None)

    def _on_change(self, change: Change) -> None:
        if not isinstance(change, DeviceChanged) or change.old is None or change.new is None:
            return
        if change.new.has_target and push_target(change.old) != push_target(change.new):
            self.token_rotated(change.account, change.new.device)

    def _changed(self, wake: LiveWake, _before: State) -> None:
        if not isinstance(wake.state, Ended):
            self._keep_up(wake)
            return
        if self._book.end(wake.held.call):
            self.outcomes.ended(wake.held, wake.state.last, self._clock.now())
        if wake.state.finished:
            self._book.drop(wake.held)

    def _keep_up(self, wake: LiveWake) -> None:
        """Tell the store what a restart would get wrong: once for most calls, never before 100."""
        held, state = wake.held, wake.state
        if held.kept is None or not isinstance(state, Live):
            return
        devices = held_devices(state)
        if worth_keeping(held.kept, devices, pushing=pushing(state)):
            held.kept = devices
            self._held_invites.update(held.account.key, held.call, devices)

    def _devices(self, call: CallId) -> tuple[HeldDevice, ...]:
        wake = self._book.by_call(call)
        return held_devices(wake.state) if wake and isinstance(wake.state, Live) else ()


def _event(
    fact: CancelReceived | BranchResponse | TransactionLost | OrderFailed,
) -> Event | None:
    return CallerCancelled(fact.reason) if isinstance(fact, CancelReceived) else branch_event(fact)
