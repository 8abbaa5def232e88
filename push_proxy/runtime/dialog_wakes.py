"""A phone that sleeps within a dialog is woken for the requests in it (RFC 8599 §6.2).

The request waits in the stack meanwhile, and follows the phone to its new flow (ADR 0010).
"""

from ..core.ids import CallId, Instant
from ..core.matching import route_key
from ..core.model import Device, TimelineEntry
from ..signaling.facts import DeviceAwaited
from .calls import Calls
from .changes import Change, DeviceChanged
from .clock import TimerClock
from .directory import Directory
from .index import Place
from .refresh_pushes import RefreshPushes

WAITS_S = 10.0
"""So long a request waits for its phone."""


class DialogWakes:
    """Knows the devices that are woken so by the name that route tokens have for them."""

    def __init__(
        self,
        *,
        directory: Directory,
        pushes: RefreshPushes,
        calls: Calls,
        clock: TimerClock,
        fresh_s: float,
    ) -> None:
        """``fresh_s``: a phone heard that recently is awake."""
        self._directory = directory
        self._pushes = pushes
        self._calls = calls
        self._clock = clock
        self._fresh_s = fresh_s
        self._places: dict[str, Place] = {}

    def start(self) -> None:
        """Begin with the stored devices, and follow their changes."""
        for account in self._directory.accounts():
            for device in self._directory.devices(account.key):
                self._know(device)
        self._directory.subscribe(self._on_change)

    def awaited(self, fact: DeviceAwaited) -> None:
        """A request in a dialog goes to a device, or waits for it.

        Without a flow a push is the only thing that helps. With one the phone may be awake, in
        a call of which we see nothing: only one that asked for it in this dialog (``pn-purr``)
        is woken, and not while it has just been heard.
        """
        place = self._places.get(fact.route_key)
        device = self._directory.device(*place) if place else None
        if device is None or not (fact.waiting or fact.purr):
            return
        now = self._clock.now()
        binding = self._directory.binding(device.account, device.device)
        fresh = binding is not None and now - binding.heard_at <= self._fresh_s
        if fresh and not fact.waiting:
            return
        if self._pushes.send(device, within_s=WAITS_S) and fact.call:
            self._note(fact, device, now)

    def _note(self, fact: DeviceAwaited, device: Device, now: Instant) -> None:
        entry = TimelineEntry(now, "refresh_push_sent", device.device, f"for {fact.method}")
        self._calls.note(CallId(fact.call), entry)

    def _on_change(self, change: Change) -> None:
        if not isinstance(change, DeviceChanged):
            return
        if change.new is not None:
            self._know(change.new)
        elif change.old is not None:
            self._places.pop(route_key(change.account, change.old.device), None)

    def _know(self, device: Device) -> None:
        name = route_key(device.account, device.device)
        if device.purr:
            self._places[name] = (device.account, device.device)
        else:
            self._places.pop(name, None)
