"""The registrar's decision (RFC 3261 §10.3): pure, all or nothing."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from .feature_caps import Header, feature_caps
from .ids import DeviceId, Instant
from .matching import is_anonymous, match_device, own_device, route_key, same_instance
from .model import Account, Address, Binding, Device
from .push_params import PushServices, PushTarget
from .push_privacy import without_push_params
from .pushability import Pushability
from .register import BadRegister, Contact, Register, contact_identity

_NO_SERVICES = PushServices()


@dataclass(frozen=True, slots=True, kw_only=True)
class BindingRules:
    """Bounds on what phones may ask for."""

    min_s: int = 60
    default_s: int = 600
    max_s: int = 3600
    flow_timer_s: int = 120
    """How often at least a phone keeps its TCP or TLS connection alive, if it asks for that."""
    max_anonymous: int = 5
    """Phones of one account that nobody announced; the one heard longest ago gives way."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """The answer, and what changes with it."""

    status: int
    reason: str
    headers: tuple[Header, ...] = ()
    put: tuple[Binding, ...] = ()
    removed: tuple[Binding, ...] = ()
    """Gone for good: their devices have no binding after this."""
    announced: tuple[Device, ...] = ()
    """Devices as they are to be from now on: new, with another push target, or without one."""
    confirmed: tuple[DeviceId, ...] = ()
    """The app has said again that its push target is the one that is known."""
    forgotten: tuple[DeviceId, ...] = ()
    """Had announced themselves by REGISTER, and have taken that back."""


def decide(  # noqa: PLR0913 - a REGISTER meets that much
    register: Register,
    *,
    account: Account,
    devices: Sequence[Device],
    bindings: Sequence[Binding],
    source: Address,
    local: Address,
    rules: BindingRules,
    now: Instant,
    services: PushServices = _NO_SERVICES,
) -> Decision:
    """Answer an authenticated REGISTER. ``bindings`` are the account's unexpired ones."""
    current = {binding.device: binding for binding in bindings}
    pushes = Pushability(services=services, account=account.key, devices=devices, now=now)
    try:
        if register.star:
            after = _without_all(register, current)
        else:
            asked = _Asked(register, account, source, local, rules, now, pushes)
            after = _updated(asked, devices, current)
    except BadRegister as refusal:
        return Decision(status=refusal.status, reason=refusal.reason, headers=refusal.headers)
    put = tuple(b for device, b in after.items() if b is not current.get(device))
    removed = tuple(b for device, b in current.items() if device not in after)
    return Decision(
        status=200,
        reason="OK",
        headers=(
            *contact_headers(after.values(), own=put, now=now),
            *_path_headers(register),
            *_keep_alive(register, source, rules),
            *feature_caps(pushes.caps),
        ),
        put=put,
        removed=removed,
        announced=tuple(pushes.announced.values()),
        confirmed=tuple(pushes.confirmed),
        forgotten=tuple(
            device.device
            for device in devices
            if device.by_register
            and device.device not in after
            and ((register.star and device.device in current) or device.device in pushes.left)
        ),
    )


def contact_headers(
    bindings: Iterable[Binding], *, own: Sequence[Binding], now: Instant
) -> tuple[Header, ...]:
    """A Contact for each binding with the seconds that it has left (RFC 3261 §10.3 step 8).

    The asker's own come first and verbatim: phones often read one Contact only.
    """
    others = [binding for binding in bindings if binding not in own]
    return tuple(("Contact", _contact_value(b, b.contact, now)) for b in own) + tuple(
        ("Contact", _contact_value(b, without_push_params(b.contact), now)) for b in others
    )


def route_headers(binding: Binding) -> tuple[Header, ...]:
    """The Route of every request to a phone that registered through proxies (RFC 3327 §5.3)."""
    return (("Route", ", ".join(binding.path)),) if binding.path else ()


def _path_headers(register: Register) -> tuple[Header, ...]:
    """Proxies and phone are told that the Path is kept (RFC 3327 §5.3)."""
    return tuple(("Path", value) for value in register.path)


def _keep_alive(register: Register, source: Address, rules: BindingRules) -> tuple[Header, ...]:
    """Flow-Timer (RFC 5626 §4.4) for phones that would keep their connection alive by it."""
    wanted = register.supports_outbound and any(
        contact.reg_id is not None for contact in register.contacts
    )
    if not wanted or source.transport == "udp":
        return ()
    return (("Flow-Timer", str(rules.flow_timer_s)),)


@dataclass(frozen=True, slots=True)
class _Asked:
    register: Register
    account: Account
    source: Address
    local: Address
    rules: BindingRules
    now: Instant
    pushes: Pushability


def _updated(
    asked: _Asked, devices: Sequence[Device], current: dict[DeviceId, Binding]
) -> dict[DeviceId, Binding]:
    register = asked.register
    after = dict(current)
    granted = [(contact, _granted(contact, asked)) for contact in register.contacts]
    for contact, seconds in granted:
        if seconds == 0:
            for binding in _bound_to(contact, after.values()):
                _check_order(register, binding)
                del after[binding.device]
                asked.pushes.left.add(binding.device)
            if (gone := own_device(contact, devices)) is not None and gone not in current:
                asked.pushes.left.add(gone)
    taken: set[DeviceId] = set()
    for contact, target, seconds in _wanted(granted, asked.pushes):
        device = match_device(
            contact,
            call_id=register.call_id,
            devices=devices,
            bindings=current.values(),
            target=target,
            taken=frozenset(taken),
        )
        if device in taken:
            continue  # two Contacts that cannot be told apart
        if (old := current.get(device)) is not None:
            _check_order(register, old)
        pushed = asked.pushes.settle(
            contact,
            target,
            device,
            seconds=seconds,
            refreshed=old if old is not None and old.call_id == register.call_id else None,
        )
        for binding in tuple(after.values()):
            # An installation known by another name until now has one binding all the same.
            if binding.device != device and _is_same_phone(binding, contact, asked.source):
                _check_order(register, binding)
                del after[binding.device]
        taken.add(device)
        after.pop(device, None)
        after[device] = _binding(asked, contact, device, seconds=seconds, pushed=pushed)
    return _fewer_anonymous(after, asked.rules, keep=taken)


def _wanted(
    granted: Iterable[tuple[Contact, int]], pushes: Pushability
) -> Iterator[tuple[Contact, PushTarget | None, int]]:
    """The Contacts to bind: those with a push target first, then by q.

    One for each address and each installation: its best.
    """
    wanted = [(each, pushes.target(each), seconds) for each, seconds in granted if seconds > 0]
    seen: set[object] = set()
    for contact, target, seconds in sorted(wanted, key=lambda w: (w[1] is None, -w[0].q)):
        names = {contact.identity, contact.instance and contact.instance.lower()} - {None}
        if not names & seen:
            yield contact, target, seconds
        seen |= names


def _binding(
    asked: _Asked, contact: Contact, device: DeviceId, *, seconds: int, pushed: bool
) -> Binding:
    return Binding(
        account=asked.account.key,
        device=device,
        contact=contact.uri,
        source=asked.source,
        local=asked.local,
        call_id=asked.register.call_id,
        cseq=asked.register.cseq,
        expires_at=Instant(asked.now + seconds),
        instance=contact.instance,
        user_agent=asked.register.user_agent,
        path=asked.register.path,
        route_key=route_key(asked.account.key, device),
        heard_at=asked.now,
        wants_refresh=pushed,
        purr=pushed and bool(asked.pushes.services.purr_key),
    )


def _granted(contact: Contact, asked: _Asked) -> int:
    """Seconds granted: 0 removes. Raises `BadRegister` with 423 when too short."""
    seconds = contact.expires_s
    if seconds is None:
        seconds = asked.register.expires_s
    if seconds is None:
        seconds = asked.rules.default_s
    if 0 < seconds < asked.rules.min_s:
        raise BadRegister(423, "Interval Too Brief", ("Min-Expires", str(asked.rules.min_s)))
    return min(seconds, asked.rules.max_s)


def _without_all(register: Register, current: dict[DeviceId, Binding]) -> dict[DeviceId, Binding]:
    for binding in current.values():
        _check_order(register, binding)
    return {}


def _check_order(register: Register, binding: Binding) -> None:
    """RFC 3261 §10.3 step 7: within one Call-ID only a higher CSeq changes a binding."""
    if binding.call_id == register.call_id and register.cseq <= binding.cseq:
        raise BadRegister(500, "CSeq Out Of Order")


def _is_same_phone(binding: Binding, contact: Contact, source: Address) -> bool:
    """By instance; else by Contact, unless two phones in two private networks share an address."""
    if contact.instance is not None and same_instance(binding.instance, contact.instance):
        return True
    if contact_identity(binding.contact) != contact.identity:
        return False
    return binding.source == source or not _are_two(binding, contact)


def _bound_to(contact: Contact, bindings: Iterable[Binding]) -> list[Binding]:
    # By URI: a late removal of a phone's old address must not take its new one away.
    return [
        b
        for b in bindings
        if contact_identity(b.contact) == contact.identity and not _are_two(b, contact)
    ]


def _are_two(binding: Binding, contact: Contact) -> bool:
    """Whether binding and Contact name two installations (RFC 5626 §4.1)."""
    if binding.instance is None or contact.instance is None:
        return False
    return not same_instance(binding.instance, contact.instance)


def _fewer_anonymous(
    after: dict[DeviceId, Binding], rules: BindingRules, *, keep: set[DeviceId]
) -> dict[DeviceId, Binding]:
    anonymous = sorted(
        (b for b in after.values() if is_anonymous(b.device)),
        key=lambda b: (b.device in keep, b.heard_at),
    )
    for binding in anonymous[: max(0, len(anonymous) - rules.max_anonymous)]:
        del after[binding.device]
    return after


def _contact_value(binding: Binding, uri: str, now: Instant) -> str:
    left = max(0, round(binding.expires_at - now))
    instance = f';+sip.instance="<{binding.instance}>"' if binding.instance else ""
    return f"<{uri}>;expires={left}{instance}"
