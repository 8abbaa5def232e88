"""Who can be rung for an account, and by which rules."""

from dataclasses import replace

from ..core.events import Candidate, WakeSettings
from ..core.ids import DeviceId, Instant
from ..core.model import Account, Binding, Device, TokenState
from .directory import Directory
from .pusher import Pusher

_NO_SECOND_PUSH = frozenset({"apns"})
"""Providers for which a second push would ring twice."""
_SHOWS_THE_CALL = frozenset({"apns"})
"""Providers whose push must show the call before the app has asked anybody (CallKit)."""


def settings_for(account: Account, service: WakeSettings) -> WakeSettings:
    """The account's own wake settings over the service's."""
    own = account.wake
    return replace(
        service,
        deadline_s=service.deadline_s if own.deadline_s is None else own.deadline_s,
        ringing=service.ringing if own.ringing is None else own.ringing,
        repush_after_s=service.repush_after_s if own.repush_after_s is None else own.repush_after_s,
        fresh_s=service.fresh_s if own.fresh_s is None else own.fresh_s,
        ack_s=service.ack_s if own.ack_s is None else own.ack_s,
        late_invite_s=service.late_invite_s if own.late_invite_s is None else own.late_invite_s,
        ring_mode=service.ring_mode if own.ring_mode is None else own.ring_mode,
        together_s=service.together_s if own.together_s is None else own.together_s,
    )


def candidates_for(
    account: Account,
    directory: Directory,
    pusher: Pusher,
    *,
    fresh_s: float,
    now: Instant,
) -> tuple[Candidate, ...]:
    """The account's devices with a push target or a binding, as they stand now."""
    bindings = {binding.device: binding for binding in directory.bindings(account.key)}
    devices = {device.device: device for device in directory.devices(account.key)}
    return tuple(
        _candidate(
            name,
            devices.get(name),
            bindings.get(name),
            directory=directory,
            unpushable=_unpushable(devices.get(name), pusher),
            heard_after=now - fresh_s,
        )
        for name in (*devices, *(name for name in bindings if name not in devices))
    )


def _candidate(
    name: DeviceId,
    device: Device | None,
    binding: Binding | None,
    *,
    directory: Directory,
    unpushable: str,
    heard_after: float,
) -> Candidate:
    flow = binding is None or directory.has_flow(binding)
    return Candidate(
        device=name,
        pushable=not unpushable,
        unpushable=unpushable,
        repush=device is not None and device.provider not in _NO_SECOND_PUSH,
        late_invite=device is not None and device.provider in _SHOWS_THE_CALL,
        binding=binding,
        fresh=binding is not None and flow and binding.heard_at > heard_after,
        flow=flow,
        token_fault=_token_fault(device),
        returns=not flow and binding is not None and directory.returns_soon(binding),
    )


def _token_fault(device: Device | None) -> str:
    fault = None if device is None else device.token_fault
    return fault.reason if fault is not None and fault.state is TokenState.DEAD else ""


def _unpushable(device: Device | None, pusher: Pusher) -> str:
    """Why there is no push for it; empty: there is one."""
    if device is None or not device.has_target:
        return "no_token"
    return "" if pusher.serves(device) else "unknown_app"
