"""What the directory answers: reads of memory, which never touch the store."""

from dataclasses import dataclass

from ..core.ids import AccountKey, DeviceId
from ..core.model import Account, Address, Binding, Device
from ..ports import Clock
from .connections import Connections
from .index import Index
from .nodes import Alone, Nodes


@dataclass(frozen=True, slots=True)
class Way:
    """How a request leaves for a phone."""

    local: Address
    """Which of our listening addresses it leaves from."""
    through: Address | None = None
    """Another node that has the phone's flow, by its SIP address."""


class Lookup:
    """The reading part of `directory.Directory`."""

    def __init__(self, clock: Clock, nodes: Nodes | None = None) -> None:
        self._clock = clock
        self.nodes: Nodes = nodes or Alone()
        """Who else there is."""
        self.listening: tuple[Address, ...] = ()
        """Our own SIP addresses."""
        self._index = Index()
        self._connections = Connections(clock.now())

    def account(self, key: AccountKey) -> Account | None:
        """The account of this key."""
        return self._index.accounts.get(key)

    def accounts(self) -> tuple[Account, ...]:
        """All accounts."""
        return tuple(self._index.accounts.values())

    def by_aor(self, aor: str) -> Account | None:
        """The account of this canonical AOR."""
        return self._account(self._index.by_aor.get(aor))

    def by_contact_token(self, token: str) -> Account | None:
        """The account whose Contact at the PBX carries this ``pp`` parameter."""
        return self._account(self._index.by_token.get(token))

    def by_user(self, user: str) -> tuple[Account, ...]:
        """The accounts whose AOR has this user part."""
        return tuple(self._index.accounts[key] for key in self._index.by_user.get(user, ()))

    def devices(self, key: AccountKey) -> tuple[Device, ...]:
        """Devices of an account."""
        return tuple(self._index.devices.get(key, {}).values())

    def device(self, key: AccountKey, device: DeviceId) -> Device | None:
        """One device."""
        return self._index.devices.get(key, {}).get(device)

    def sharing_target(self, device: Device) -> tuple[Device, ...]:
        """Other devices, of any account, with the same push target."""
        return self._index.sharing_target(device)

    def bindings(self, key: AccountKey) -> tuple[Binding, ...]:
        """Unexpired bindings of an account."""
        now = self._clock.now()
        kept = self._index.bindings.get(key, {}).values()
        return tuple(binding for binding in kept if binding.expires_at > now)

    def binding(self, key: AccountKey, device: DeviceId) -> Binding | None:
        """The device's unexpired binding."""
        found = self._index.bindings.get(key, {}).get(device)
        return found if found and found.expires_at > self._clock.now() else None

    def binding_count(self) -> int:
        """Bindings of all accounts."""
        return sum(len(kept) for kept in self._index.bindings.values())

    def by_flow(self, source: Address) -> tuple[Binding, ...]:
        """Unexpired bindings whose REGISTER came from this address, over what still stands.

        Whoever opens another TCP connection from the same port has proved nothing.
        """
        if not self._connections.stands(source):
            return ()
        found = (self.binding(*place) for place in self._index.by_flow.get(source, ()))
        return tuple(binding for binding in found if binding)

    def by_route_key(self, route_key: str) -> Binding | None:
        """The unexpired binding that signed route tokens call by this name."""
        place = self._index.by_route_key.get(route_key)
        return self.binding(*place) if place else None

    def has_flow(self, binding: Binding) -> bool:
        """Whether requests can be sent to the phone: always over UDP, as far as we know.

        Over TCP and TLS only while its connection stands: never after a restart of ours. What
        came to another node can be sent while that lives; whether the flow stands is known there.
        """
        if self.nodes.is_me(binding.node):
            return self._connections.stands(binding.source)
        return self.nodes.address(binding.node) is not None

    def way(self, binding: Binding) -> Way:
        """How the phone is reached: on the flow that we have, or through the node that has it.

        A dead node's phone is tried from here: over UDP, without NAT, that may even work.
        """
        if self.nodes.is_me(binding.node):
            return Way(binding.local)
        transport = binding.local.transport
        ours = (address for address in self.listening if address.transport == transport)
        local = next(ours, next(iter(self.listening), binding.local))
        return Way(local, self.nodes.address(binding.node))

    def returns_soon(self, binding: Binding) -> bool:
        """Whether a phone without connection is probably about to make another one."""
        return self._connections.returns_soon(binding, self._clock.now())

    def _account(self, key: AccountKey | None) -> Account | None:
        return None if key is None else self._index.accounts.get(key)
