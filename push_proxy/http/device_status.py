"""How a device does, as the account's status shows it."""

from collections.abc import Iterable, Mapping
from enum import StrEnum

from pydantic import Field

from ..core.ids import AccountKey, DeviceId
from ..core.model import Account, Binding, CallRecord, Device, Direction, Topology, Verdict
from ..core.registration_status import RegistrationState, RegistrationStatus
from ..core.wake_health import WakeSummary
from .backend import Accounts
from .device_view import TokenView, token_view
from .fields import Timestamp, View, maybe_rfc3339
from .wake_view import HealthView, health_view

_REPORTS = frozenset({"push_received", "ui_shown", "app_registered", "app_failed"})
"""What a timeline calls an app's own reports: it was awake."""


class Reachability(StrEnum):
    """Whether a call can reach the device."""

    REGISTERED = "registered"
    """It is registered with us: SIP reaches it."""
    ASLEEP = "asleep"
    """It is not registered, or its connection is gone, and it can be woken: this is fine."""
    UNREACHABLE = "unreachable"
    """SIP does not reach it, and there is nothing to push to."""


class DeviceStatus(View):
    """One device of an account."""

    device: str
    provider: str | None = Field(description="Null: no push target yet.")
    app_id: str | None
    platform: str | None
    token: TokenView | None = Field(
        description="What is known of its push token: says why calls end `push_rejected` or "
        "`no_device`. Null: there never was one."
    )
    reachability: Reachability
    app_error: int = Field(
        ge=0,
        le=2,
        description="0 fine (asleep is fine); 1 the app cannot exchange SIP with us; 2 SIP works, "
        "but the registration at the PBX is down.",
    )
    registered_until: Timestamp | None
    last_heard_at: Timestamp | None = Field(description="SIP was last received from it.")
    user_agent: str | None
    transport: str | None = Field(description="Of its registration: `udp`, `tcp` or `tls`.")
    connected: bool | None = Field(
        description="Whether its TCP or TLS connection stands; null over UDP, where nobody knows."
    )
    health: HealthView | None = Field(
        description="How calls have woken it lately. Null: it is known by its REGISTER only, or "
        "the store is away."
    )


def statuses(
    accounts: Accounts,
    account: Account,
    registration: RegistrationStatus,
    *,
    recent: Iterable[CallRecord],
    health: Mapping[DeviceId, WakeSummary],
    only: DeviceId | None = None,
) -> list[DeviceStatus]:
    """All devices of an account (or ``only`` one), with those known by their REGISTER alone.

    ``recent`` are the account's last calls, newest first; ``health`` is by device.
    """
    key: AccountKey = account.key
    devices = {device.device: device for device in accounts.devices(key)}
    bindings = {binding.device: binding for binding in accounts.bindings(key)}
    down = account.topology is Topology.HOLD and registration.state in {
        RegistrationState.RETRYING,
        RegistrationState.REJECTED,
    }
    records = tuple(recent)
    return [
        _status(
            name,
            devices.get(name),
            bindings.get(name),
            flow=name in bindings and accounts.has_flow(bindings[name]),
            pbx_down=down,
            recent=records,
            health=health.get(name),
        )
        for name in sorted({*devices, *bindings})
        if only is None or name == only
    ]


def _status(
    name: DeviceId,
    device: Device | None,
    binding: Binding | None,
    *,
    flow: bool,
    pbx_down: bool,
    recent: tuple[CallRecord, ...],
    health: WakeSummary | None,
) -> DeviceStatus:
    pushable = device is not None and device.has_target
    if flow:
        reachability = Reachability.REGISTERED
    else:
        reachability = Reachability.ASLEEP if pushable else Reachability.UNREACHABLE
    if _sip_failed(name, binding, recent):
        app_error = 1
    else:
        app_error = 2 if binding is not None and pbx_down else 0
    transport = binding.source.transport if binding else None
    return DeviceStatus(
        device=name,
        provider=device.provider or None if device else None,
        app_id=device.app_id or None if device else None,
        platform=device.platform if device else None,
        token=None if device is None else token_view(device),
        reachability=reachability,
        app_error=app_error,
        registered_until=maybe_rfc3339(binding.expires_at if binding else None),
        last_heard_at=maybe_rfc3339(binding.heard_at or None if binding else None),
        user_agent=binding.user_agent if binding else None,
        transport=transport,
        connected=None if transport in {None, "udp"} else flow,
        health=None if health is None else health_view(health),
    )


def _sip_failed(device: DeviceId, binding: Binding | None, recent: tuple[CallRecord, ...]) -> bool:
    """Whether the last call that this device was part of found it awake, but without SIP."""
    for call in recent:
        events = {entry.event for entry in call.timeline if entry.device == device}
        if call.direction is not Direction.INCOMING or call.outcome is None or not events:
            continue
        if binding is not None and binding.heard_at > (call.ended_at or call.started_at):
            return False
        if "registered" in events:
            return call.outcome.verdict is Verdict.REGISTERED_NOT_RINGING
        return bool(events & _REPORTS)
    return False
