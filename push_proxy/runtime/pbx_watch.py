"""Watches over PBXs: asks their servers now and then, and acts on what is found.

A server that is gone is avoided, one that came back or broke its connections is asked whether
it still has our Contacts, and a PBX none of whose servers answers is left in peace.
"""

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import Protocol

import structlog

from ..core import canary, pbx_watch
from ..core.canary import Ask, Canary
from ..core.ids import Instant
from ..core.model import Address
from ..core.pbx import Endpoint
from ..core.pbx_watch import Finding, Watch
from ..core.registration_answer import Answer
from ..signaling.contract import Signaling
from ..signaling.facts import FlowLost, RequestAnswered
from .clock import Timer, TimerClock
from .pbx_addresses import PbxAddresses, Server
from .pbx_bindings import Place
from .registration_steps import Checks

_log = structlog.get_logger(__name__)
MOVED_EVERY_S = 600.0
_FIRST_REQUEST = 1 << 48
"""Our requests' numbers are beyond those of registrations."""


class Bindings(Protocol):
    """What is ordered of registrations (`runtime.registrations.Registrations`)."""

    def report_to(self, checks: Checks) -> None:
        """Tell what servers answer when they are asked for our Contacts."""

    def on_answer(self, fact: RequestAnswered) -> None:
        """An answer to a REGISTER."""

    def someone(self, place: Place) -> str | None:
        """The AOR of an account that is bound there."""

    def check(self, place: Place, count: int) -> int:
        """Look accounts up at this server; returns how many."""

    def renew(self, place: Place, *, lost: bool) -> int:
        """Register again what was bound there."""

    def retry(self, lane: str) -> int:
        """What failed at this PBX need not wait for its time."""

    def abandon(self, place: Place) -> None:
        """What this server has not answered goes to another one."""

    def hold(self, lane: str) -> None:
        """This PBX does not answer."""

    def release(self, lane: str) -> None:
        """It does."""


@dataclass(frozen=True, slots=True)
class PbxState:
    """How one PBX is."""

    reachable: bool | None
    """One of its servers answers; None: nothing is known yet, or it is not watched."""
    servers: Mapping[Address, bool | None]
    reason: str = ""
    """Why none of them answers, in our stack's words; empty unless ``reachable`` is False."""


@dataclass(slots=True)
class _Watched:
    server: Server
    watch: Watch
    timer: Timer | None = None
    request: int = 0
    fault: str = ""
    """Why our stack could not ask, if it told."""
    canary: Canary = field(default_factory=Canary)
    canary_timer: Timer | None = None
    ends: set[Endpoint] = field(default_factory=set)
    """What it stands behind."""

    @property
    def why(self) -> str:
        """What is wrong with a server that is gone."""
        return self.fault or "silence"


class PbxWatch:
    """Owner of the machines of `core.pbx_watch` and `core.canary`, one each for every server."""

    def __init__(
        self,
        *,
        signaling: Signaling,
        clock: TimerClock,
        addresses: PbxAddresses,
        registrations: Bindings,
    ) -> None:
        self._signaling = signaling
        self._clock = clock
        self._addresses = addresses
        self._registrations = registrations
        self._by_end: dict[Endpoint, tuple[Place, ...]] = {}
        self._watched: dict[Place, _Watched] = {}
        self._pbxes: dict[str, dict[Place, None]] = {}
        self._servers: dict[Address, dict[Place, None]] = {}
        self._moved_at: dict[str, Instant] = {}
        self._requests: dict[int, Place] = {}
        self._numbers = count(_FIRST_REQUEST)

    def start(self) -> None:
        """Ask every server once, and from now on."""
        self._registrations.report_to(self)
        self._addresses.on_servers(self._on_servers)
        self._addresses.health.on_failed(self._on_failed)
        self._addresses.health.on_returned(self._on_returned)
        for end in self._addresses.ends():
            self._on_servers(end)

    def aclose(self) -> None:
        """Stop asking."""
        for place in tuple(self._watched):
            self._forget(place)

    def states(self) -> dict[str, PbxState]:
        """How each PBX is, by its key."""
        return {key: self._state(key) for key in self._pbxes}

    def state(self, pbx: str) -> PbxState | None:
        """How the PBX of this key is; None: it has no servers that are known."""
        return self._state(pbx) if pbx in self._pbxes else None

    def on_answer(self, fact: RequestAnswered) -> None:
        """An answer to one of our OPTIONS, or to a REGISTER."""
        if fact.request < _FIRST_REQUEST:
            self._registrations.on_answer(fact)
            return
        place = self._requests.pop(fact.request, None)
        watched = None if place is None else self._watched.get(place)
        if place is None or watched is None or watched.request != fact.request:
            return
        now, sent_at = self._clock.now(), watched.watch.asked_at
        if fact.local:
            watched.fault = fact.reason
            self._step(place, pbx_watch.probe_failed(watched.watch, now=now))
            return
        if fact.status == 503 and sent_at is not None:
            wait_s = Answer.read(503, "", local=False, raw=fact.raw).retry_after_s
            self._addresses.health.failed(
                place[1],
                sent_at=sent_at,
                local=False,
                retry_after_s=None if wait_s is None else float(wait_s),
            )
        else:
            self._addresses.health.heard(place[1])
        watched.fault = ""
        self._step(place, pbx_watch.probe_answered(watched.watch, now=now))

    def on_flow_lost(self, fact: FlowLost) -> None:
        """A connection ended. Calls come on the one that registered, so we register again."""
        for place in tuple(self._servers.get(fact.remote, ())):
            if self._watched[place].watch.reachable is False:
                continue  # what was bound there waits for its return already
            self._suspect(place)
            if (count := self._registrations.renew(place, lost=False)) > 0:
                _log.warning(
                    "a PBX's connection is lost: registering again",
                    pbx=place[0],
                    server=str(place[1]),
                    reason=fact.reason,
                    accounts=count,
                )

    def on_checked(self, place: Place, *, present: bool) -> None:
        """A server was asked for an account's Contacts; see `Registrations.report_to`."""
        watched = self._watched.get(place)
        if watched is not None and watched.server.every_s:
            now = self._clock.now()
            self._canary(place, watched, canary.found(watched.canary, present=present, now=now))

    # which servers there are

    def _on_servers(self, end: Endpoint) -> None:
        servers = {(s.pbx, s.hop.destination): s for s in self._addresses.servers(end)}
        before = self._by_end.pop(end, ())
        if servers:
            self._by_end[end] = tuple(servers)
        for place in before:
            watched = self._watched[place]
            watched.ends.discard(end)
            if place in servers:
                continue
            if watched.ends:
                self._look_from(place, watched)
                continue
            self._forget(place)
            if servers:
                self._move_from(place)
        for place, server in servers.items():
            known = self._watched.get(place)
            if known is not None and known.server.every_s != server.every_s:
                self._forget(place)
                known = None
            if known is None:
                self._watch(place, server)
            self._watched[place].server = server
            self._watched[place].ends.add(end)

    def _look_from(self, place: Place, watched: _Watched) -> None:
        """It is asked as the server of an endpoint that it still stands behind."""
        for end in watched.ends:
            for server in self._addresses.servers(end):
                if (server.pbx, server.hop.destination) == place:
                    watched.server = server
                    return

    def _move_from(self, place: Place) -> None:
        """DNS names other servers now: calls will come from those, so we had better be there.

        DNS that names others each time moves us as often as we refresh anyway.
        """
        pbx, now = place[0], self._clock.now()
        if now < self._moved_at.get(pbx, now - MOVED_EVERY_S) + MOVED_EVERY_S:
            return
        if self._registrations.renew(place, lost=False):
            self._moved_at[pbx] = now

    def _watch(self, place: Place, server: Server) -> None:
        now = self._clock.now()
        every_s = server.every_s
        watched = self._watched[place] = _Watched(server, Watch(every_s, now))
        self._pbxes.setdefault(place[0], {})[place] = None
        self._servers.setdefault(place[1], {})[place] = None
        self._registrations.retry(place[0])
        if every_s:
            self._due(place)
            watched.canary_timer = self._later(now + every_s, place, self._look)

    def _forget(self, place: Place) -> None:
        watched = self._watched.pop(place)
        for timer in (watched.timer, watched.canary_timer):
            if timer is not None:
                timer.cancel()
        self._requests.pop(watched.request, None)
        pbx, destination = place
        del self._pbxes[pbx][place], self._servers[destination][place]
        if not self._pbxes[pbx]:
            del self._pbxes[pbx]
        if not self._servers[destination]:
            del self._servers[destination]
            self._addresses.health.set_gone(destination, gone=False)
        self._hold_or_release(pbx)

    # whether they are there

    def _on_failed(self, destination: Address) -> None:
        for place in tuple(self._servers.get(destination, ())):
            self._suspect(place)

    def _on_returned(self, destination: Address) -> None:
        now = self._clock.now()
        for place in tuple(self._servers.get(destination, ())):
            self._step(place, pbx_watch.heard(self._watched[place].watch, now=now))

    def _suspect(self, place: Place) -> None:
        watched = self._watched[place]
        if watched.server.every_s:
            self._step(place, pbx_watch.suspect(watched.watch, now=self._clock.now()))

    def _due(self, place: Place) -> None:
        watched = self._watched[place]
        heard_at = self._addresses.health.of(place[1]).heard_at
        self._step(place, pbx_watch.due(watched.watch, now=self._clock.now(), heard_at=heard_at))

    def _step(self, place: Place, step: pbx_watch.Step) -> None:
        watched = self._watched[place]
        watched.watch, findings = step
        if watched.timer is not None:
            watched.timer.cancel()
        watched.timer = self._later(watched.watch.at, place, self._due)
        for finding in findings:
            match finding:
                case Finding.PROBE:
                    self._probe(place, watched)
                case Finding.GONE:
                    self._gone(place)
                case Finding.FOUND:
                    self._there(place)
                case Finding.BACK:
                    self._there(place)
                    self._canary(place, watched, canary.make_sure(watched.canary))

    def _probe(self, place: Place, watched: _Watched) -> None:
        self._requests.pop(watched.request, None)
        watched.request = request = next(self._numbers)
        self._requests[request] = place
        hop, uri = watched.server.hop, watched.server.uri
        # In the name of one of its users: to Asterisk anybody else is an attacker, logged as such
        # and shut out by fail2ban.
        us = self._registrations.someone(place) or next(iter(watched.server.users))
        self._signaling.request(
            request,
            method="OPTIONS",
            request_uri=uri,
            from_=f"<{us}>;tag={secrets.token_hex(4)}",
            to=f"<{uri}>",
            call_id=secrets.token_hex(12),
            cseq=1,
            headers=(("Accept", "application/sdp"),),
            destination=hop.destination,
            local=hop.local,
            server_name=hop.server_name,
            tls_profile=hop.tls_profile,
        )

    def _gone(self, place: Place) -> None:
        pbx, destination = place
        _log.warning(
            "a PBX's server does not answer",
            pbx=pbx,
            server=str(destination),
            reason=self._watched[place].why,
        )
        self._addresses.health.set_gone(destination, gone=True)
        if self._state(pbx).reachable is not False:
            self._registrations.abandon(place)
            self._registrations.renew(place, lost=False)
            self._registrations.retry(pbx)
        self._hold_or_release(pbx)

    def _there(self, place: Place) -> None:
        pbx, destination = place
        _log.info("a PBX's server answers", pbx=pbx, server=str(destination))
        self._addresses.health.set_gone(destination, gone=False)
        self._hold_or_release(pbx)
        self._registrations.retry(pbx)

    def _hold_or_release(self, pbx: str) -> None:
        if pbx in self._pbxes and self._state(pbx).reachable is False:
            self._registrations.hold(pbx)
        else:
            self._registrations.release(pbx)

    def _state(self, pbx: str) -> PbxState:
        servers = {p[1]: self._watched[p].watch.reachable for p in self._pbxes.get(pbx, ())}
        known = set(servers.values())
        reachable = True if True in known else (None if None in known or not known else False)
        if reachable is not False:
            return PbxState(reachable, servers)
        reasons = dict.fromkeys(self._watched[place].why for place in self._pbxes[pbx])
        return PbxState(reachable, servers, "; ".join(reasons))

    # whether they still have our Contacts

    def _look(self, place: Place) -> None:
        watched = self._watched[place]
        every_s = watched.server.every_s
        watched.canary_timer = self._later(self._clock.now() + every_s, place, self._look)
        if watched.watch.reachable is not False:
            self._canary(place, watched, canary.begin(watched.canary))

    def _canary(self, place: Place, watched: _Watched, step: canary.Step) -> None:
        watched.canary, order = step
        if isinstance(order, Ask):
            # The state stands before anything is asked: answers may come at once.
            asked = self._registrations.check(place, order.count)
            now = self._clock.now()
            self._canary(place, watched, canary.asked(watched.canary, asked, now=now))
        elif order is not None:
            count = self._registrations.renew(place, lost=True)
            _log.warning(
                "a PBX has lost our Contacts: registering all of them again",
                pbx=place[0],
                server=str(place[1]),
                accounts=count,
            )

    def _later(self, at: float, place: Place, what: Callable[[Place], None]) -> Timer:
        return self._clock.call_at(Instant(at), lambda: what(place))
