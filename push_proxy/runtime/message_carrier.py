"""Carries accepted MESSAGEs from the store to devices: in order, each to one device.

An account has one of them on its way at a time. Who is awake gets it at once; else all devices
are pushed, and the first that registers gets everything there is.
"""

import asyncio
from dataclasses import dataclass, field
from functools import partial
from itertools import count

import structlog

from ..cluster.once import Once
from ..cluster_ports import FeedKind
from ..core.actions import PushType
from ..core.binding import route_headers
from ..core.events import WakeSettings
from ..core.held_message import MessageResult
from ..core.ids import AccountKey, CallId, Instant
from ..core.incoming import IncomingCall
from ..core.kept_message import MOST_REFUSALS, Fate, KeptMessage, fate
from ..core.model import Account, Address, Binding
from ..core.part import push_id
from ..errors import StoreUnavailable
from ..message_ports import KeptMessageStore
from ..observability.metrics import Metrics
from ..signaling.facts import RequestAnswered
from ..tasks import spawn
from .candidates import settings_for
from .changes import AccountChanged, BindingChanged, Change
from .live_message import MessageMeans
from .message_push import message_push
from .nodes import Alone, News
from .write_behind import WriteBehind

_log = structlog.get_logger(__name__)
_FIRST_REQUEST = 1 << 56
"""Our requests' numbers are beyond all others'."""
_READ_AT_ONCE = 32
_ANSWER_S = 2.0
"""A device that has said nothing for so long is in doubt: whoever comes gets the message too."""
_CLAIM_S = 5.0
"""So long no other node sends the message that we are about to send."""
_MOST_WITHDRAWN = 20_000
_PUSH_S = 86_400.0
"""So long a message is worth telling to a phone that is off."""

_Flow = tuple[Address, str]


@dataclass(slots=True)
class _Sent:
    """One message on its way to one device."""

    message: KeptMessage
    binding: Binding
    answer: asyncio.Future[RequestAnswered]
    doubted: bool = False


@dataclass(slots=True)
class _Lane:
    """One account, as far as its messages go."""

    carrier: asyncio.Task[None] | None = None
    again: bool = False
    """There is something to do that the carrier may have missed."""
    on_its_way: _Sent | None = None
    here: set[_Flow] = field(default_factory=set)
    """Who has registered since the carrier was last done: awake, whatever counts as fresh."""
    dead: set[_Flow] = field(default_factory=set)
    """Where nobody has answered since the last REGISTER over it."""
    untold: dict[str, tuple[IncomingCall, Instant]] = field(default_factory=dict)
    """Messages that no device was pushed for, with their ends: one seemed awake. By id."""
    refusals: dict[str, int] = field(default_factory=dict)
    done: set[str] = field(default_factory=set)
    """Those that the store has yet to forget."""


class MessageCarrier:
    """Hands over what all accounts have in the store."""

    def __init__(
        self,
        *,
        means: MessageMeans,
        store: KeptMessageStore,
        metrics: Metrics,
        wake: WakeSettings,
        news: News | None = None,
        once: Once | None = None,
    ) -> None:
        """``wake`` says what is fresh; an account's own settings come over it.

        ``news`` tells other nodes what is kept, ``once`` which of them sends it.
        """
        self._news: News = news or Alone()
        self._once = once or Once()
        self._means = means
        self._store = store
        self._metrics = metrics
        self._wake = wake
        self._lanes: dict[AccountKey, _Lane] = {}
        self._empty: set[AccountKey] = set()
        """Accounts that have nothing in the store."""
        self._numbers = count(_FIRST_REQUEST)
        self._sent: dict[int, _Sent] = {}
        self._withdrawn: set[str] = set()
        self._writes = WriteBehind("messages")
        self._reading = asyncio.Semaphore(_READ_AT_ONCE)

    def start(self) -> None:
        """Follow who registers, and which accounts go."""
        self._means.directory.subscribe(self._on_change)

    async def aclose(self) -> None:
        """Stop, and let the store forget what has been taken."""
        carriers = [lane.carrier for lane in self._lanes.values() if lane.carrier is not None]
        for carrier in carriers:
            carrier.cancel()
        if carriers:
            await asyncio.wait(carriers)
        await self._writes.aclose()

    def expect(self, kept: KeptMessage, incoming: IncomingCall) -> None:
        """One more is in the store."""
        key = kept.account
        self._empty.discard(key)
        self._news.tell(FeedKind.MESSAGE, key)
        lane = self._lanes.setdefault(key, _Lane())
        lane.untold[kept.id] = incoming, kept.until
        if lane.on_its_way is not None and lane.on_its_way.doubted:
            self._tell_untold(key, lane)
        self._carry(key, lane)

    def kept_elsewhere(self, key: AccountKey) -> None:
        """Another node has kept one for this account."""
        self._empty.discard(key)

    def withdraw(self, kept: KeptMessage) -> None:
        """It goes another way. The store did not say that it has it, and may have it all the same.

        With very many of them it stays there, and comes twice: better than memory without end.
        """
        if len(self._withdrawn) < _MOST_WITHDRAWN:
            lane = self._lanes.setdefault(kept.account, _Lane())
            lane.done.add(kept.id)
            self._withdrawn.add(kept.id)
            self._writes.submit(kept.id, partial(self._forget_stored, kept, lane))

    def is_withdrawn(self, kept: KeptMessage) -> bool:
        """The store is still to forget this one: it cannot be accepted now."""
        return kept.id in self._withdrawn

    def on_answer(self, fact: RequestAnswered) -> bool:
        """A device has answered, or none was there; False when it is none of ours."""
        sent = self._sent.pop(fact.request, None)
        if sent is None:
            return False
        if not sent.answer.done():
            sent.answer.set_result(fact)
            return True
        lane = self._lanes.get(sent.message.account)
        late = fate(fact.status, local=fact.local) is Fate.DELIVERED
        if late and lane is not None and sent.message.id not in lane.done:
            # We had given it up, and the device had it all the same.
            self._forget(sent.message, lane, MessageResult.DELIVERED, "late", sent.binding)
        return True

    def _on_change(self, change: Change) -> None:
        match change:
            case BindingChanged(new=Binding() as binding, remote=remote):
                # Who comes to another node gets there what is kept, unless we are about it.
                key = binding.account
                if key in self._lanes if remote else key not in self._empty:
                    # Not before the REGISTER's 200, which the registrar gives after this.
                    asyncio.get_running_loop().call_soon(self._came, binding)
            case AccountChanged(old=Account(key=key), new=None):
                self._empty.discard(key)
                lane = self._lanes.pop(key, None)
                if lane is not None and lane.carrier is not None:
                    lane.carrier.cancel()

    def _came(self, binding: Binding) -> None:
        key = binding.account
        if self._means.directory.account(key) is None:
            return
        lane = self._lanes.setdefault(key, _Lane())
        lane.dead.discard(_flow(binding))
        lane.here.add(_flow(binding))
        sent = lane.on_its_way
        if (
            sent is not None
            and not sent.answer.done()
            and _flow(sent.binding) != _flow(binding)
            and (sent.doubted or sent.binding.device == binding.device)
        ):
            sent.answer.set_result(_no_answer())
        self._carry(key, lane)

    def _carry(self, key: AccountKey, lane: _Lane) -> None:
        lane.again = True
        if lane.carrier is None:
            lane.carrier = spawn(self._carry_all(key, lane), name=f"messages to {key}")

    async def _carry_all(self, key: AccountKey, lane: _Lane) -> None:
        try:
            while lane.again:
                lane.again = False
                if self._awake(key, lane) is not None and await self._hand_over_all(key, lane):
                    continue
                self._tell_untold(key, lane)
        except StoreUnavailable as error:
            self._tell_untold(key, lane)
            _log.info("messages wait: the store is away", account=key, error=str(error))
        finally:
            lane.carrier = None
            lane.here.clear()

    async def _hand_over_all(self, key: AccountKey, lane: _Lane) -> bool:
        """Whether nothing is left."""
        async with self._reading:
            kept = await self._store.kept_messages(key)
        for message in kept:
            if message.id not in lane.done and not await self._hand_over(message, lane):
                return False
        lane.refusals.clear()
        if not (lane.again or lane.untold):
            self._empty.add(key)
            if not lane.done and self._lanes.get(key) is lane:
                del self._lanes[key]
        return True

    async def _hand_over(self, message: KeptMessage, lane: _Lane) -> bool:
        """Until it is off our hands; False: nobody takes it now."""
        key = message.account
        while message.until > self._means.clock.now():
            account, binding = self._means.directory.account(key), self._awake(key, lane)
            if account is None or binding is None:
                return False
            if not await self._once.mine(f"message/{message.id}", for_s=_CLAIM_S):
                lane.untold.pop(message.id, None)
                return False
            answer = await self._send(message, account, binding, lane)
            match fate(answer.status, local=answer.local):
                case Fate.DELIVERED:
                    self._forget(message, lane, MessageResult.DELIVERED, "", binding)
                    return True
                case Fate.NEVER:
                    reason = f"{answer.status} {answer.reason}".strip()
                    self._forget(message, lane, MessageResult.DROPPED, reason, binding)
                    return True
                case Fate.FLOW_DEAD:
                    lane.dead.add(_flow(binding))
                case Fate.NOT_NOW:
                    refusals = lane.refusals[message.id] = lane.refusals.get(message.id, 0) + 1
                    if refusals < MOST_REFUSALS:
                        return False
                    reason = f"{answer.status} {answer.reason}, again and again"
                    self._forget(message, lane, MessageResult.DROPPED, reason, binding)
                    return True
            if message.id in lane.done:
                return True  # a late answer has come
        self._forget(message, lane, MessageResult.EXPIRED, "nobody came in time")
        return True

    async def _send(
        self, message: KeptMessage, account: Account, binding: Binding, lane: _Lane
    ) -> RequestAnswered:
        request = next(self._numbers)
        answer = asyncio.get_running_loop().create_future()
        sent = lane.on_its_way = self._sent[request] = _Sent(message, binding, answer)
        text, clock = message.text, self._means.clock
        way = self._means.directory.way(binding)
        self._means.signaling.request(
            request,
            method="MESSAGE",
            request_uri=binding.contact,
            from_=f"{text.sender};tag={message.id[:16]}",
            to=f"<{account.aor}>",
            # The same each time: a device that has it already can tell.
            call_id=message.id,
            cseq=1,
            headers=(
                *route_headers(binding),
                ("P-Called-Party-ID", f"<{account.aor}>"),
                *text.headers,
            ),
            body=text.body,
            destination=binding.source,
            local=way.local,
            connect=False,
            through=way.through,
            route_key=binding.route_key if way.through else "",
        )
        timer = clock.call_at(Instant(clock.now() + _ANSWER_S), partial(self._doubt, sent, lane))
        try:
            return await sent.answer
        finally:
            timer.cancel()
            lane.on_its_way = None

    def _doubt(self, sent: _Sent, lane: _Lane) -> None:
        sent.doubted = True
        self._tell_untold(sent.message.account, lane)

    def _forget(
        self,
        message: KeptMessage,
        lane: _Lane,
        result: MessageResult,
        reason: str,
        binding: Binding | None = None,
    ) -> None:
        """It is over: the store forgets it as soon as it can."""
        lane.done.add(message.id)
        lane.untold.pop(message.id, None)
        lane.refusals.pop(message.id, None)
        self._writes.submit(message.id, partial(self._forget_stored, message, lane))
        self._metrics.message_ended(result)
        log = _log.warning if result is MessageResult.DROPPED else _log.info
        log(
            f"message {result}",
            account=message.account,
            device=binding.device if binding else None,
            message=message.id,
            reason=reason,
            waited_s=round(self._means.clock.now() - message.received_at, 3),
        )

    async def _forget_stored(self, message: KeptMessage, lane: _Lane) -> None:
        await self._store.drop_message(message.account, message.id)
        lane.done.discard(message.id)
        self._withdrawn.discard(message.id)

    def _awake(self, key: AccountKey, lane: _Lane) -> Binding | None:
        """The device heard last of those that were heard a moment ago, or cannot be pushed."""
        directory = self._means.directory
        account = directory.account(key)
        if account is None:
            return None
        heard_after = self._means.clock.now() - settings_for(account, self._wake).fresh_s
        awake = [
            binding
            for binding in directory.bindings(key)
            if directory.has_flow(binding)
            and _flow(binding) not in lane.dead
            and (
                binding.heard_at > heard_after
                or _flow(binding) in lane.here
                or not self._pushable(binding)
            )
        ]
        return max(awake, key=lambda binding: binding.heard_at, default=None)

    def _pushable(self, binding: Binding) -> bool:
        device = self._means.directory.device(binding.account, binding.device)
        return device is not None and self._means.pusher.serves(device)

    def _tell_untold(self, key: AccountKey, lane: _Lane) -> None:
        """Nobody awake has taken these: every device is told of each, once."""
        means, now = self._means, self._means.clock.now()
        devices = [each for each in means.directory.devices(key) if means.pusher.serves(each)]
        for message, (incoming, until) in lane.untold.items():
            for device in devices:
                name = push_id(CallId(message), device.device, PushType.MESSAGE)
                within_s = min(_PUSH_S, until - now)
                push = message_push(device, incoming, push=name, now=now, within_s=within_s)
                means.pushes.send(push)
        lane.untold.clear()


def _flow(binding: Binding) -> _Flow:
    return binding.source, binding.contact


def _no_answer() -> RequestAnswered:
    return RequestAnswered(
        request=0, status=408, reason="the phone has registered elsewhere", local=True, raw=b""
    )
