"""A device as the API shows it: never its token or key."""

from pydantic import Field

from ..core.idle import idle_at
from ..core.ids import Instant
from ..core.model import Device, TokenState
from ..errors import NotFound
from ..runtime.kept_devices import Displaced
from .deps import HttpDeps
from .fields import Timestamp, View, maybe_rfc3339, rfc3339
from .sip_block import SipBlock, sip_block


class TokenView(View):
    """What is known of the push token."""

    state: TokenState = Field(
        description="`good` as far as known; `wrong_app`: the provider says that it belongs to "
        "another app, it goes on being tried; `dead`: forgotten, the app has to give a new one."
    )
    reason: str = Field(
        description="The provider's, or `idle`: no sign of life for too long. Empty when good.",
        examples=["Unregistered"],
    )
    since: Timestamp | None


class DeviceView(View):
    """A device; never its token or key."""

    device: str
    provider: str | None = Field(description="Null: enrolled, no push target yet.")
    app_id: str | None
    token_kind: str
    has_token: bool
    has_alert_token: bool
    environment: str | None = Field(
        description="`apns`: as the app said or as was found out; null: as configured."
    )
    token: TokenView | None = Field(description="Null: there never was one.")
    seen_at: Timestamp | None = Field(
        description="The last sign of life, at most an hour older than it was; null: none yet."
    )
    idle_until: Timestamp | None = Field(
        description="Without a sign of life the push token is dropped then; null: it is not."
    )
    has_key: bool = Field(description="A device key exists.")
    exclusive: bool
    platform: str | None
    vendor: str | None
    model: str | None
    os_version: str | None
    app_version: str | None
    install_source: str | None
    instance_id: str | None
    permissions: dict[str, bool | None]
    created_at: Timestamp
    updated_at: Timestamp
    sip: SipBlock


class DeviceList(View):
    """All devices of an account."""

    devices: list[DeviceView]


class PutDeviceView(DeviceView):
    """A device, and what gave way to it."""

    evicted: list[str] = Field(
        description="Devices of this account that are gone: it had too many, and these gave no "
        "sign of life for longest."
    )
    moved: int = Field(
        description="How many other devices, of any account, lost this exclusive token and are "
        "gone."
    )


def token_view(device: Device) -> TokenView | None:
    """What is known of its token, which is not shown."""
    fault = device.token_fault
    if fault is not None:
        return TokenView(state=fault.state, reason=fault.reason, since=rfc3339(fault.at))
    if not device.has_target:
        return None
    since = maybe_rfc3339(device.token_at or None)
    return TokenView(state=TokenState.GOOD, reason="", since=since)


def put_view(deps: HttpDeps, device: Device, displaced: Displaced) -> PutDeviceView:
    """The answer to a PUT."""
    return PutDeviceView(
        **dict(view(deps, device)),
        evicted=list(displaced.evicted),
        moved=len(displaced.moved),
    )


def view(deps: HttpDeps, device: Device) -> DeviceView:
    """The device as the API shows it."""
    account = deps.accounts.account(device.account)
    if account is None:
        raise NotFound("the account was deleted meanwhile")
    return DeviceView(
        device=device.device,
        provider=device.provider or None,
        app_id=device.app_id or None,
        token_kind=device.token_kind,
        has_token=bool(device.token),
        has_alert_token=device.alert_token is not None,
        environment=device.environment,
        token=token_view(device),
        seen_at=maybe_rfc3339(device.seen_at or None),
        idle_until=maybe_rfc3339(_idle_until(deps, device)),
        has_key=device.key_sha256 is not None,
        exclusive=device.exclusive,
        platform=device.platform,
        vendor=device.vendor,
        model=device.model,
        os_version=device.os_version,
        app_version=device.app_version,
        install_source=device.install_source,
        instance_id=device.instance_id,
        permissions=dict(device.permissions),
        created_at=rfc3339(device.created_at),
        updated_at=rfc3339(device.updated_at),
        sip=sip_block(account, deps.settings, deps.sip_listening()),
    )


def _idle_until(deps: HttpDeps, device: Device) -> Instant | None:
    rules = deps.settings.devices.idle_rules()
    return idle_at(device, deps.accounts.binding(device.account, device.device), rules)
