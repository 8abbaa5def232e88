"""The registrar for apps: digest, decision, answer, and then the wakes that wait for it."""

import asyncio
from collections.abc import Callable, Collection, Iterable
from dataclasses import replace
from typing import Protocol

import structlog

from ..core.announcing import is_withdrawn
from ..core.binding import BindingRules, Decision, decide
from ..core.ids import AccountKey, DeviceId
from ..core.message import MalformedMessage, Message, parse
from ..core.model import Binding, Device
from ..core.own import OwnNames
from ..core.phone_lines import is_line
from ..core.push_params import PushServices
from ..core.register import BadRegister, read_register
from ..core.trust import claimed_account
from ..ports import Clock
from ..signaling.contract import Signaling
from ..signaling.facts import RequestReceived
from ..tasks import spawn
from .challenger import Challenger
from .changes import BindingChanged, Change
from .directory import Directory

_log = structlog.get_logger(__name__)
_AT_ONCE = 500


class RegistrationNotices(Protocol):
    """Who waits for devices to come (`runtime.wakes.Wakes`)."""

    def registered(self, binding: Binding) -> None:
        """A REGISTER was answered 2xx."""

    def unregistered(self, account_key: AccountKey, device: DeviceId) -> None:
        """The device's binding is gone."""


class Registrar:
    """Answers REGISTER requests and keeps the stack's flows in step with the directory."""

    def __init__(
        self,
        *,
        signaling: Signaling,
        directory: Directory,
        wakes: RegistrationNotices,
        clock: Clock,
        challenger: Challenger,
        own: OwnNames,
        services: Callable[[], PushServices] = PushServices,
        rules: BindingRules | None = None,
    ) -> None:
        """``services``: what of RFC 8599 can be served now; a reload may change it."""
        self._signaling = signaling
        self._directory = directory
        self._wakes = wakes
        self._clock = clock
        self._challenger = challenger
        self._own = own
        self._services = services
        self._rules = rules or BindingRules()
        self._moved: set[str] = set()
        self._rebinding: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Tell the stack the flows of all stored bindings, and follow their changes."""
        for account in self._directory.accounts():
            for binding in self._directory.bindings(account.key):
                self._bind(binding)
        self._directory.subscribe(self._on_change)

    def register(self, fact: RequestReceived) -> None:
        """Answer a REGISTER; what it changes has happened when this returns."""
        try:
            message = parse(fact.raw)
        except MalformedMessage as error:
            self._signaling.reply(fact.txn, 400, str(error)[:80])
            return
        account = claimed_account(
            fact.to_uri,
            message.all("authorization"),
            by_aor=self._directory.by_aor,
            by_user=self._directory.by_user,
            is_us=self._own.is_us,
        )
        aor = account.aor if account is not None else fact.to_uri
        if not self._challenger.proved(fact, message, account, aor=aor) or account is None:
            return
        if not account.enabled:
            self._signaling.reply(fact.txn, 403, "Account Disabled")
            return
        self._decide(fact, message, account.key)

    def _decide(self, fact: RequestReceived, message: Message, key: AccountKey) -> None:
        account = self._directory.account(key)
        if account is None:
            return
        try:
            asked = read_register(message)
        except BadRegister as bad:
            self._signaling.reply(fact.txn, bad.status, bad.reason, headers=bad.headers)
            return
        decision = decide(
            asked,
            account=account,
            devices=self._directory.devices(key),
            bindings=self._directory.bindings(key),
            source=fact.source,
            local=fact.local,
            rules=self._rules,
            now=self._clock.now(),
            services=self._services(),
        )
        # Bound before answered: a request in a running dialog may follow the 200 at once.
        put = [self._directory.put_binding(binding) for binding in decision.put]
        self._signaling.reply(fact.txn, decision.status, decision.reason, headers=decision.headers)
        for binding in decision.removed:
            self._directory.delete_binding(key, binding.device)
        self._announce(put)
        self._take_devices(key, decision)

    def _announce(self, bindings: Iterable[Binding]) -> None:
        for binding in bindings:
            self._wakes.registered(binding)

    def _take_devices(self, key: AccountKey, decision: Decision) -> None:
        """Push targets, after the wakes have heard of the REGISTER: it is no reason to push.

        The store follows when it can: neither the answer nor a call waits for it.
        """
        for device in decision.announced:
            self._take_device(device)
        for name in decision.confirmed:
            if (known := self._directory.device(key, name)) is not None:
                self._take_device(known)
        for name in decision.forgotten:
            self._directory.delete_device_behind(key, name)

    def _take_device(self, device: Device) -> None:
        """It is so from now on: stored as a change, or as a sign of life if it is as it was."""
        known, now = self._directory.device(device.account, device.device), self._clock.now()
        device = self._beside_its_lines(device, known.token_at if known else now)
        if device == known:
            self._directory.touch_device(device.account, device.device, token=True)
        else:
            self._directory.put_device_behind(replace(device, token_at=now))

    def _beside_its_lines(self, device: Device, told_at: float) -> Device:
        """The device, which leaves their push target to the other accounts of its app."""
        if not device.by_register:
            return device
        lines = [
            other
            for other in self._directory.sharing_target(device)
            if is_line(device, other, told_at=told_at)
        ]
        for line in lines:
            if line.exclusive:
                self._directory.put_device_behind(replace(line, exclusive=False))
        return replace(device, exclusive=not lines)

    def _on_change(self, change: Change) -> None:
        if not isinstance(change, BindingChanged):
            return
        if change.new is not None:
            self._bind(change.new)
            if change.remote:
                self._wakes.registered(change.new)
        elif change.old is not None:
            self._signaling.unbind(change.old.route_key)
            self._wakes.unregistered(change.old.account, change.old.device)
            device = self._directory.device(change.old.account, change.old.device)
            if change.remote:
                return
            if device is not None and is_withdrawn(device):
                # Nothing is left of it: neither a way to the phone nor a push target.
                self._directory.delete_device_behind(device.account, device.device)

    def rebind(self, nodes: Collection[str]) -> None:
        """These nodes have come, gone or moved: requests in dialogs with their phones follow."""
        self._moved.update(nodes)
        if self._rebinding is None or self._rebinding.done():
            self._rebinding = spawn(self._rebind_moved(), name="flows of nodes that moved")

    async def _rebind_moved(self) -> None:
        """Some hundred accounts at a time: calls go on meanwhile."""
        while self._moved:
            nodes, self._moved = self._moved, set()
            for number, account in enumerate(self._directory.accounts(), 1):
                for binding in self._directory.bindings(account.key):
                    if binding.node in nodes:
                        self._bind(binding)
                if number % _AT_ONCE == 0:
                    await asyncio.sleep(0)

    def _bind(self, binding: Binding) -> None:
        way = self._directory.way(binding)
        if way.through is not None:
            self._signaling.bind_through(binding.route_key, way.through)
        elif self._directory.nodes.is_me(binding.node):
            self._signaling.bind(binding.route_key, binding.source, binding.local)
        else:
            self._signaling.unbind(binding.route_key)
