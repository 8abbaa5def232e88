"""Carries out what a wake orders. The only place where its actions touch the world.

All orders are given within the same turn of the loop as the fact that led to them; pushes and
the store's writes start in that turn and run on beside each other. One waits: a 2xx goes to the
PBX when the store has let go of the INVITE (`held_invites.ANSWER_S` at most).
"""

import asyncio
from dataclasses import replace
from functools import partial
from typing import assert_never

from ..core.actions import (
    AckAndBye,
    Action,
    CancelBranch,
    Finish,
    ForgetInvite,
    Fork,
    LateInvite,
    Move,
    Note,
    PushType,
    Relay,
    Reply,
    SendPush,
    SendTrying,
    StoreInvite,
)
from ..core.events import InviteStored, PushAnswered, PushOutcome
from ..core.ids import Instant
from ..core.model import HeldInvite, TimelineEntry
from ..core.payload import Push
from ..observability.metrics import Metrics
from ..ports import Clock
from ..signaling.contract import Signaling
from ..tasks import spawn
from .calls import Calls
from .directory import Directory
from .held_call import HeldCall
from .held_invites import HeldInvites
from .late_invites import LateInvites
from .pusher import Pusher
from .redirections import Redirections
from .toward_device import toward_device

_REDIRECTION = 302
LONGEST_CALL_S = 300.0
"""No caller waits longer for an answer: the longest wake, and Timer C (RFC 3261 §16.6)."""


class Interpreter:
    """Performs actions upon SIP, providers, store and records."""

    def __init__(
        self,
        *,
        redirections: Redirections,
        signaling: Signaling,
        directory: Directory,
        pusher: Pusher,
        held_invites: HeldInvites,
        calls: Calls,
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        self._redirections = redirections
        self._signaling = signaling
        self._late_invites = LateInvites(signaling)
        self._directory = directory
        self._pusher = pusher
        self._held_invites = held_invites
        self._calls = calls
        self._clock = clock
        self._metrics = metrics

    def perform(self, held: HeldCall, action: Action) -> None:  # noqa: C901, PLR0912 - a case per action
        """Carry out one action; what comes of it is told to the wake."""
        txn = held.fact.txn
        match action:
            case Note():
                self._note(held, action)
            case SendPush():
                self._push(held, action)
            case Fork():
                self._fork(held, action)
            case Relay():
                relay = partial(self._signaling.relay, txn, action.branch, action.response)
                if action.forgets:
                    self._held_invites.release(held.account.key, held.call, then=relay)
                else:
                    relay()
            case Reply():
                if action.status == _REDIRECTION and held.case is not None:
                    self._redirections.made(held.case, self._clock.now())
                self._signaling.reply(txn, action.status, action.reason, headers=action.headers)
            case SendTrying():
                self._signaling.reply(txn, 100, "Trying")
            case CancelBranch():
                self._signaling.cancel(txn, action.branch, reason=action.reason)
            case AckAndBye():
                self._signaling.ack_and_bye(txn, action.branch, action.response)
            case LateInvite():
                self._late_invites.send(
                    held.fact,
                    held.account,
                    action.binding,
                    self._directory.way(action.binding),
                    call=held.call,
                    strip=held.incoming.strip,
                    reason=action.reason,
                )
            case StoreInvite():
                spawn(self._hold(held), name=f"hold {held.call}")
            case ForgetInvite():
                self._held_invites.release(held.account.key, held.call)
            case Move():
                self._calls.move(held.call, action.state, self._clock.now())
            case Finish():
                self._calls.finish(held.call, action.outcome)
            case _:
                assert_never(action)

    def _note(self, held: HeldCall, note: Note) -> None:
        at = self._clock.now()
        self._calls.note(held.call, TimelineEntry(at, note.event, note.device, note.detail))

    def _fork(self, held: HeldCall, fork: Fork) -> None:
        binding = fork.binding
        way = self._directory.way(binding)
        if way.through is not None:
            self._metrics.cluster.relayed_through()
        rewrite = toward_device(
            binding,
            held.account,
            way,
            strip=held.incoming.strip,
            add=(("X-Push-ID", held.call),),
            call=held.call,
        )
        rewrite = replace(rewrite, branch_seed=fork.seed)
        self._signaling.fork(held.fact.txn, fork.branch, rewrite)
        registered_at = held.registered_at.pop(binding.device, None)
        if registered_at is not None:
            self._metrics.relayed(self._clock.now() - registered_at)

    def _push(self, held: HeldCall, order: SendPush) -> None:
        device = self._directory.device(held.account.key, order.device)
        if device is None or not self._pusher.serves(device):
            if order.type is PushType.CALL:
                held.tell(
                    PushAnswered(
                        device=order.device,
                        push=order.push,
                        outcome=PushOutcome.REJECTED,
                        reason="device_gone",
                    )
                )
            return
        now = self._clock.now()
        push = Push(
            id=order.push,
            type=order.type,
            call=held.call,
            sip_call_id=held.fact.call_id,
            device=device,
            caller_number=held.incoming.number,
            caller_name=held.incoming.name,
            video=held.incoming.video,
            sent_at=now,
            expires_at=Instant(now + order.deadline_s),
        )
        spawn(self._send(held, push), name=f"push {held.call}")

    async def _send(self, held: HeldCall, push: Push) -> None:
        result = await self._pusher.send(push)
        if push.type is PushType.CALL:
            held.tell(
                PushAnswered(
                    device=push.device.device,
                    push=push.id,
                    outcome=result.outcome,
                    reason=result.reason,
                )
            )

    async def _hold(self, held: HeldCall) -> None:
        # A push's request needs two turns of the loop until it is written. Sealing and sending
        # the INVITE takes as long as that: the phone comes first, only the 100 waits for this.
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        fact = held.fact
        devices = held.devices()
        invite = HeldInvite(
            call=held.call,
            account=held.account.key,
            raw=fact.raw,
            source=fact.source,
            local=fact.local,
            to_tag=fact.to_tag,
            received_at=held.received_at,
            deadline=Instant(held.received_at + LONGEST_CALL_S),
            node=self._held_invites.node,
            host=self._held_invites.host,
            devices=devices,
        )
        # Where it is not taken, the timeline says so and readiness does: no line for every call.
        stored = await self._held_invites.hold(invite)
        held.kept = devices if stored else None
        held.tell(InviteStored(ok=stored))
