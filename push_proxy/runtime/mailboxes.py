"""Hands on what PBXs say about voice mail: kept per account, told each device once per change.

A sleeping phone hears it after its next REGISTER; if there is more than before, a push says so.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import Protocol
from uuid import uuid4

import structlog

from ..cluster_ports import FeedKind
from ..core.binding import route_headers
from ..core.ids import AccountKey
from ..core.message import Message
from ..core.message_summary import Mailbox, mailbox, newest, rose, with_told, without
from ..core.model import Account, Address, Binding
from ..core.own import OwnNames
from ..core.uri import SipUri
from ..errors import StoreUnavailable
from ..ports import Clock
from ..signaling.contract import Signaling
from ..signaling.facts import RequestAnswered, RequestReceived
from ..tasks import spawn
from .changes import AccountChanged, BindingChanged, Change, DeviceChanged
from .directory import Directory
from .index import Place
from .nodes import Alone, News
from .voicemail_pushes import VoicemailPushes
from .write_behind import WriteBehind

_log = structlog.get_logger(__name__)
_FIRST_REQUEST = 1 << 52
"""Our requests' numbers are beyond all others'."""


class MailboxStore(Protocol):
    """The part of `ports.Store` that mailboxes need."""

    async def put_mailbox(self, mailbox: Mailbox) -> None:
        """Keep it."""

    async def get_mailbox(self, key: AccountKey) -> Mailbox | None:
        """As kept, or None."""


@dataclass(frozen=True, slots=True)
class _Sent:
    request: int
    binding: Binding
    said: Mailbox

    @property
    def place(self) -> Place:
        return self.binding.account, self.binding.device


class Mailboxes:
    """All that PBXs have said of mailboxes; read from the store when an account is first met."""

    def __init__(
        self,
        *,
        signaling: Signaling,
        directory: Directory,
        store: MailboxStore,
        clock: Clock,
        own: OwnNames,
        pushes: VoicemailPushes,
        news: News | None = None,
    ) -> None:
        """``news`` tells other nodes what was kept here."""
        self._news: News = news or Alone()
        self._signaling = signaling
        self._directory = directory
        self._store = store
        self._clock = clock
        self._own = own
        self._pushes = pushes
        self._kept: dict[AccountKey, Mailbox | None] = {}
        self._waiting: dict[AccountKey, list[Callable[[], None]]] = {}
        self._numbers = count(_FIRST_REQUEST)
        self._sent: dict[int, _Sent] = {}
        self._on_its_way: dict[Place, _Sent] = {}
        self._writes = WriteBehind("mailboxes")

    def start(self) -> None:
        """Follow who registers and who goes."""
        self._directory.subscribe(self._on_change)

    async def aclose(self) -> None:
        """Finish the writes that wait, as far as the time reaches."""
        await self._writes.aclose()

    def notify(self, fact: RequestReceived, message: Message, account: Account) -> None:
        """A NOTIFY about the account's mailbox: answered at once, whatever sleeps."""
        self._signaling.reply(fact.txn, 200, "OK")
        said = mailbox(message, account.key, self._clock.now())
        self._when_known(account.key, partial(self._keep, said))

    def on_answer(self, fact: RequestAnswered) -> bool:
        """A device answered our NOTIFY, or none came; False when it is no request of ours."""
        sent = self._sent.pop(fact.request, None)
        if sent is None:
            return False
        if self._on_its_way.get(sent.place) is sent:
            del self._on_its_way[sent.place]
        if fact.local:
            self._pushes.not_reached(*sent.place)
        else:
            self._pushes.reached(*sent.place)
        kept = self._kept.get(sent.said.account)
        if kept is None:
            return True
        if not fact.local and newest(kept, sent.said) is kept:
            # Also a refusal: a phone that knows no voice mail will know none tomorrow.
            self._put(with_told(kept, sent.binding.device))
        elif not fact.local:
            self._tell(sent.binding)
        return True

    def changed_elsewhere(self, key: AccountKey) -> None:
        """Another node has kept something of this mailbox: what is known here is old."""
        if not self._writes.waits(key):
            self._kept.pop(key, None)

    async def of(self, key: AccountKey) -> Mailbox | None:
        """The newest that was said, also before a restart; None: nothing, or the store is away."""
        if key not in self._kept:
            known = asyncio.Event()
            self._when_known(key, known.set)
            await known.wait()
        return self._kept.get(key)

    def _when_known(self, key: AccountKey, then: Callable[[], None]) -> None:
        """Go on as soon as what the store has is here, in the order of asking."""
        if key in self._kept:
            then()
        elif key in self._waiting:
            self._waiting[key].append(then)
        else:
            self._waiting[key] = [then]
            spawn(self._load(key), name=f"mailbox of {key}")

    async def _load(self, key: AccountKey) -> None:
        try:
            self._kept[key] = await self._store.get_mailbox(key)
        except StoreUnavailable as error:
            # Asked again next time; what the PBX says meanwhile is taken as news.
            _log.info("mailbox unknown: the store is away", account=key, error=str(error))
        finally:
            for then in self._waiting.pop(key):
                then()

    def _keep(self, said: Mailbox) -> None:
        if self._directory.account(said.account) is None:
            return
        # What the store could not say may have been pushed before a restart.
        known, kept = said.account in self._kept, self._kept.get(said.account)
        if newest(kept, said) is kept:
            return
        self._put(said)
        bindings = self._directory.bindings(said.account)
        for binding in bindings:
            self._tell(binding)
        if known and rose(kept, said):
            notified = (each.device for each in bindings if self._directory.has_flow(each))
            self._pushes.rose(said.account, frozenset(notified))

    def _put(self, new: Mailbox) -> None:
        if self._kept.get(new.account) != new:
            self._kept[new.account] = new
            self._writes.submit(new.account, partial(self._write, new.account))

    async def _write(self, key: AccountKey) -> None:
        kept = self._kept.get(key)
        if kept is not None:  # else the account has been deleted meanwhile
            await self._store.put_mailbox(kept)
            self._news.tell(FeedKind.MAILBOX, key)

    def _tell(self, binding: Binding) -> None:
        """NOTIFY a device that has not heard it, unless one is on its way there."""
        kept = self._kept.get(binding.account)
        account = self._directory.account(binding.account)
        if kept is None or account is None or binding.device in kept.told:
            return
        if not self._directory.has_flow(binding):
            return
        before = self._on_its_way.get((binding.account, binding.device))
        if before and before.binding.source == binding.source and newest(kept, before.said) is kept:
            return
        request, way = next(self._numbers), self._directory.way(binding)
        sent = _Sent(request, binding, kept)
        self._sent[request] = self._on_its_way[sent.place] = sent
        content = (("Content-Type", kept.content_type),) if kept.content_type else ()
        self._signaling.request(
            request,
            method="NOTIFY",
            request_uri=binding.contact,
            from_=f"<{account.aor}>;tag={uuid4().hex[:10]}",
            to=f"<{account.aor}>",
            call_id=uuid4().hex,
            cseq=1,
            headers=(
                *route_headers(binding),
                ("Contact", f"<{self._contact(account, way.local)}>"),
                ("Event", kept.event),
                ("Subscription-State", kept.state),
                *content,
            ),
            body=kept.body,
            destination=binding.source,
            local=way.local,
            connect=False,
            through=way.through,
            route_key=binding.route_key if way.through else "",
        )

    def _contact(self, account: Account, local: Address) -> str:
        host = self._own.node_host
        at = f"[{host}]:{local.port}" if ":" in host else f"{host}:{local.port}"
        transport = "" if local.transport == "udp" else f";transport={local.transport}"
        return f"sip:{SipUri.parse(account.aor).user}@{at}{transport}"

    def _on_change(self, change: Change) -> None:
        match change:
            case BindingChanged(new=Binding() as binding, remote=False):
                # Not before the REGISTER's 200, which the registrar gives after this.
                tell = partial(self._tell_bound, binding)
                asyncio.get_running_loop().call_soon(tell)
            case AccountChanged(old=Account() as account, new=None):
                self._kept.pop(account.key, None)
                self._pushes.settled(account.key)
            case DeviceChanged(new=None, old=old, remote=False) if old is not None:
                kept = self._kept.get(old.account)
                if kept is not None:
                    self._put(without(kept, old.device))

    def _tell_bound(self, binding: Binding) -> None:
        self._when_known(binding.account, partial(self._tell_newest, binding))

    def _tell_newest(self, binding: Binding) -> None:
        bound = self._directory.binding(binding.account, binding.device)
        if bound is not None:
            self._tell(bound)
