"""Which device a Contact belongs to: an app's REGISTER seldom says so outright."""

import hashlib
from collections.abc import Iterable, Sequence

from .ids import AccountKey, DeviceId
from .model import Binding, Device
from .register import Contact, contact_identity
from .uri import MalformedUri

ANONYMOUS = "~"


def route_key(account: AccountKey, device: DeviceId) -> str:
    """16 hex digits, the same for ever, that name the device in route tokens."""
    return hashlib.sha256(f"{account}\0{device}".encode()).hexdigest()[:16]


def is_anonymous(device: DeviceId) -> bool:
    """Whether the device is a phone that nobody announced: it has a binding, but no push target."""
    return device.startswith(ANONYMOUS)


def match_device(
    contact: Contact,
    *,
    call_id: str,
    devices: Sequence[Device],
    bindings: Iterable[Binding],
    taken: frozenset[DeviceId] = frozenset(),
) -> DeviceId:
    """The device that this Contact is. ``taken`` are those of the same REGISTER's other Contacts.

    In this order: the announced instance; an instance seen on a live binding; the push token;
    the only device that this can be; else an anonymous one of its own.
    """
    bindings = tuple(bindings)
    known = {device.device for device in devices} - taken
    if contact.instance is not None:
        for device in devices:
            if device.device in known and same_instance(device.instance_id, contact.instance):
                return device.device
        for binding in bindings:
            if binding.device in known and same_instance(binding.instance, contact.instance):
                return binding.device
    if contact.prid is not None:
        for device in devices:
            if device.device in known and device.token == contact.prid:
                return device.device
    possible = [
        device.device
        for device in devices
        if device.device in known
        and device.instance_id is None
        and not any(
            binding.device == device.device and _is_other(binding, contact, call_id)
            for binding in bindings
        )
    ]
    if len(possible) == 1:
        return possible[0]
    for binding in bindings:
        if (
            is_anonymous(binding.device)
            and binding.device not in taken
            and contact.instance is None is binding.instance
            and binding.call_id == call_id
        ):
            return binding.device
    return _anonymous(contact)


def _anonymous(contact: Contact) -> DeviceId:
    # Host and port, not the user: some phones make up a new user at each start.
    _, host, port, transport = contact.identity
    text = contact.instance or f"{host}:{port}:{transport}"
    return DeviceId(ANONYMOUS + hashlib.sha256(text.encode()).hexdigest()[:12])


def _is_other(binding: Binding, contact: Contact, call_id: str) -> bool:
    """Whether a live binding is another installation's: then its device is not this one.

    Neither with an instance: taken for the same one, since a phone that wakes on another
    network has a new address and often a new Call-ID.
    """
    if same_instance(binding.instance, contact.instance) or binding.call_id == call_id:
        return False
    if binding.instance is not None and contact.instance is not None:
        return True
    try:
        return contact_identity(binding.contact)[1:] != contact.identity[1:]
    except MalformedUri:
        return True


def same_instance(one: str | None, other: str | None) -> bool:
    """Whether two instances are one: URNs, whose case does not count (RFC 4122 §3)."""
    if one is None or other is None:
        return one is other
    return one.strip("<>").lower() == other.strip("<>").lower()
