"""Which device a Contact belongs to: an app's REGISTER seldom says so outright."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence

from .announcing import device_name
from .ids import AccountKey, DeviceId
from .model import Binding, Device
from .push_params import PushTarget
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
    target: PushTarget | None = None,
    taken: frozenset[DeviceId] = frozenset(),
) -> DeviceId:
    """The device that this Contact is. ``taken`` are those of the same REGISTER's other Contacts.

    In this order: the announced instance; an instance seen on a live binding; the push token;
    the Call-ID, for a device that announces itself by REGISTER; the only device that this can
    be; else one of its own, which is anonymous without a push ``target``.
    """
    bindings = tuple(bindings)
    known = {device.device: device for device in devices if device.device not in taken}
    found = (
        _by_instance(contact, known, bindings)
        or _by_token(contact, known, target)
        or _by_call(contact, known, bindings, call_id=call_id)
        or _only_one(contact, known, bindings, call_id=call_id, target=target)
    )
    if found is not None:
        return found
    if target is not None and target.token:
        return device_name(target, contact.instance)
    for binding in bindings:
        if (
            is_anonymous(binding.device)
            and binding.device not in taken
            and contact.instance is None is binding.instance
            and binding.call_id == call_id
        ):
            return binding.device
    return _anonymous(contact)


def own_device(contact: Contact, devices: Sequence[Device]) -> DeviceId | None:
    """The device that the Contact names outright, by instance or token."""
    known = {device.device: device for device in devices}
    return _by_instance(contact, known, ()) or _by_token(contact, known, None)


def _by_instance(
    contact: Contact, known: Mapping[DeviceId, Device], bindings: Iterable[Binding]
) -> DeviceId | None:
    if contact.instance is None:
        return None
    for device in known.values():
        if same_instance(device.instance_id, contact.instance):
            return device.device
    for binding in bindings:
        if binding.device in known and same_instance(binding.instance, contact.instance):
            return binding.device
    return None


def _by_token(
    contact: Contact, known: Mapping[DeviceId, Device], target: PushTarget | None
) -> DeviceId | None:
    tokens = {contact.prid, contact.push.token if contact.push else None}
    tokens |= {target.token if target else None}
    for device in known.values():
        if device.token and device.token in tokens:
            return device.device
    return None


def _by_call(
    contact: Contact,
    known: Mapping[DeviceId, Device],
    bindings: Iterable[Binding],
    *,
    call_id: str,
) -> DeviceId | None:
    for binding in bindings:
        device = known.get(binding.device)
        if (
            device is not None
            and device.by_register
            and binding.call_id == call_id
            and contact.instance is None is binding.instance
        ):
            return device.device
    return None


def _only_one(
    contact: Contact,
    known: Mapping[DeviceId, Device],
    bindings: Iterable[Binding],
    *,
    call_id: str,
    target: PushTarget | None,
) -> DeviceId | None:
    bindings = tuple(bindings)
    possible = [
        device.device
        for device in known.values()
        if device.instance_id is None
        and _may_announce(device, target)
        and not any(
            binding.device == device.device and _is_other(binding, contact, call_id)
            for binding in bindings
        )
    ]
    return possible[0] if len(possible) == 1 else None


def _may_announce(device: Device, target: PushTarget | None) -> bool:
    """Whether a phone that says this of pushes can be the device at all."""
    if target is None:
        # A phone that announced itself by REGISTER does so each time.
        return not device.by_register
    same_app = (device.provider, device.app_id) == (target.provider, target.app_id)
    return same_app or not device.provider


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
