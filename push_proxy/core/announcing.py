"""What a REGISTER's push parameters make of a device: the same as a PUT of it would."""

import hashlib
from dataclasses import replace

from .ids import AccountKey, DeviceId, Instant
from .model import Device, TokenFault, TokenState
from .push_params import PushParams, PushTarget
from .token_fate import is_dead

NAME = "pn-"
_WITHDRAWN = "withdrawn"
_PLATFORMS = {"apns": "ios", "fcm": "android", "hms": "android", "rustore": "android"}


def device_name(target: PushTarget, instance: str | None) -> DeviceId:
    """``pn-`` and 12 hex digits: the same for ever for an installation, or else for its token."""
    text = f"{target.provider}\0{target.app_id}\0{target.token}"
    if instance:
        text = instance.lower()
    return DeviceId(NAME + hashlib.sha256(text.encode()).hexdigest()[:12])


def announced(
    device: Device | None,
    target: PushTarget,
    *,
    account: AccountKey,
    name: DeviceId,
    instance: str | None,
    said_before: PushParams | None,
    now: Instant,
) -> Device | None:
    """The device with this push target, or None when there is none to be had.

    ``said_before``: this REGISTER refreshes a binding that was made with these parameters. What
    it only repeats does not bring a dead token back. An iPhone's alert token may come alone: it
    joins the token that wakes for calls, if that is known.
    """
    if device is None:
        return _new(target, account=account, name=name, instance=instance, now=now)
    if not target.token:
        known = _same_app(device, target)
        return replace(device, alert_token=target.alert_token) if known else None
    if said_before is not None and is_dead(device, target.token):
        return None
    same_app = _same_app(device, target)
    same = same_app and device.token == target.token
    alert_token = target.alert_token
    repeated = said_before is not None and said_before.alert_token == alert_token
    if same_app and (alert_token is None or repeated):
        # One token alone says nothing of the other one; a repeated one is as it is known.
        alert_token = device.alert_token
    return replace(
        device,
        provider=target.provider,
        app_id=target.app_id,
        token=target.token,
        token_kind=device.token_kind if same else "token",
        alert_token=alert_token,
        environment=target.environment or (device.environment if same else None),
        token_fault=device.token_fault if same else None,
        platform=device.platform or _PLATFORMS.get(target.provider),
        instance_id=instance if device.by_register and instance else device.instance_id,
        purr=True,
    )


def withdrawn(device: Device, now: Instant) -> Device:
    """The device of a phone that wants no pushes any more (RFC 8599 §4.1.2)."""
    fault = TokenFault(state=TokenState.DEAD, reason=_WITHDRAWN, at=now)
    return replace(device, token="", alert_token=None, token_fault=fault, purr=False)


def is_withdrawn(device: Device) -> bool:
    """Whether its phone has taken back its push target, and may still be registered."""
    fault = device.token_fault
    return device.by_register and fault is not None and fault.reason == _WITHDRAWN


def _new(
    target: PushTarget,
    *,
    account: AccountKey,
    name: DeviceId,
    instance: str | None,
    now: Instant,
) -> Device | None:
    if not target.token:
        return None
    return Device(
        account=account,
        device=name,
        provider=target.provider,
        app_id=target.app_id,
        token=target.token,
        alert_token=target.alert_token,
        environment=target.environment,
        token_at=now,
        seen_at=now,
        by_register=True,
        purr=True,
        platform=_PLATFORMS.get(target.provider),
        instance_id=instance,
        created_at=now,
        updated_at=now,
    )


def _same_app(device: Device, target: PushTarget) -> bool:
    same = (device.provider, device.app_id) == (target.provider, target.app_id)
    return same and device.has_target
