"""The body of PUT /v1/accounts/{account}/devices/{device}, and the device it makes."""

from dataclasses import replace
from typing import Annotated, Literal

from pydantic import ConfigDict, Field
from pydantic.config import JsonDict

from ..core.ids import AccountKey, DeviceId
from ..core.model import Device, TokenState
from ..core.push_targets import target_fault
from ..errors import InvalidInput
from .fields import Body, Text

_EXAMPLE: JsonDict = {
    "provider": "webhook",
    "app_id": "com.example.phone",
    "token": "opaque-to-us",
    "platform": "android",
    "permissions": {"notifications": True},
}


Token = Annotated[str, Field(min_length=1, max_length=4096)]


class PermissionsBody(Body):
    """What the person and the system allow the app; null or omitted: unknown."""

    notifications: bool | None = None
    lock_screen: bool | None = None
    overlay: bool | None = None
    full_screen: bool | None = None
    sound: bool | None = None
    media: bool | None = None
    background_data: bool | None = None
    cellular_data: bool | None = None
    battery_unrestricted: bool | None = None
    battery_saver: bool | None = None
    data_saver: bool | None = None
    phone_account: bool | None = None


class DeviceBody(Body):
    """A push target. Omitted fields take their defaults; an omitted token is kept."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    provider: Literal["apns", "fcm", "webhook", "webpush", "hms", "rustore"]
    app_id: Text
    token: Token | None = Field(
        None,
        repr=False,
        description="What the provider knows the app installation by: `apns` the PushKit token in "
        "hexadecimal, `fcm` the registration token or Firebase installation id, `webpush` the "
        "subscription as JSON. Write-only: omitted keeps it, so it is needed the first time, and "
        "after its end.",
    )
    token_kind: Literal["token", "fid"] = Field(
        "token",
        description="`fid`: a Firebase installation id (`fcm` alone).",
    )
    alert_token: Token | None = Field(
        None,
        repr=False,
        description="`apns`: the token of remote notifications, for all that is no call. "
        "Write-only: omitted keeps it, null removes it.",
    )
    environment: Literal["production", "sandbox"] | None = Field(
        None,
        description="`apns`: which of Apple's environments the tokens are of. Omitted: as "
        "configured, or as was found out.",
    )
    exclusive: bool = Field(
        True,  # noqa: FBT003
        description="The same app and token leave other accounts and devices.",
    )
    platform: Text | None = Field(None, examples=["android", "ios"])
    vendor: Text | None = None
    model: Text | None = None
    os_version: Text | None = None
    app_version: Text | None = None
    install_source: Text | None = None
    instance_id: Text | None = Field(
        None, description="`+sip.instance` of the app's REGISTER (RFC 5626 §4.1)."
    )
    permissions: PermissionsBody = PermissionsBody()


def changed(
    body: DeviceBody,
    *,
    account: AccountKey,
    device: DeviceId,
    stored: Device | None,
    now: float,
) -> Device:
    """The device after this PUT; ``stored`` itself when nothing changes. Its key stays.

    A token that is given has been named now, and is good again whatever was said of it before.

    Raises `errors.InvalidInput` that names the field.
    """
    _check_target(body)
    same_app = stored is not None and (stored.provider, stored.app_id) == (
        body.provider,
        body.app_id,
    )
    known = stored if same_app else None
    token = body.token or _kept_token(body, stored, known)
    base = stored or Device(
        account=account,
        device=device,
        provider=body.provider,
        app_id=body.app_id,
        token=token,
        created_at=now,
        updated_at=now,
    )
    same_token = known is not None and known.token == token
    new = replace(
        base,
        provider=body.provider,
        app_id=body.app_id,
        token=token,
        token_kind=body.token_kind,
        token_fault=base.token_fault if same_token else None,
        alert_token=_alert_token(body, known),
        environment=_environment(body, known if same_token else None),
        exclusive=body.exclusive,
        by_register=False,
        platform=body.platform,
        vendor=body.vendor,
        model=body.model,
        os_version=body.os_version,
        app_version=body.app_version,
        install_source=body.install_source,
        instance_id=_bare_instance(body.instance_id),
        permissions={
            name: value
            for name in PermissionsBody.model_fields
            if (value := getattr(body.permissions, name)) is not None
        },
    )
    if new == stored:
        return stored
    return replace(
        new,
        token_at=new.token_at if body.token is None else now,
        seen_at=now,
        updated_at=now,
        version=stored.version + 1 if stored else 1,
    )


def _check_target(body: DeviceBody) -> None:
    if body.environment is not None and body.provider != "apns":
        raise InvalidInput(
            f"environment is for apns alone: {body.provider} has one", field="environment"
        )
    fault = target_fault(
        body.provider,
        body.token,
        alert_token=body.alert_token,
        token_kind=body.token_kind,
    )
    if fault is not None:
        raise InvalidInput(fault, field=fault.partition(" ")[0])


def _kept_token(body: DeviceBody, stored: Device | None, known: Device | None) -> str:
    """The token of before; ``known`` is the device if it stays with its provider and app."""
    if "token" in body.model_fields_set:
        raise InvalidInput("token cannot be null; DELETE the device to end pushes", field="token")
    fault = stored.token_fault if stored is not None else None
    if fault is not None and fault.state is TokenState.DEAD:
        raise InvalidInput(
            f"token is needed: the former one has ended ({fault.reason})", field="token"
        )
    if stored is None or not stored.token:
        raise InvalidInput("token is needed: none is kept for this device", field="token")
    if known is None:
        raise InvalidInput(
            "the kept token belongs to another provider or app_id; give the new one", field="token"
        )
    if known.token_kind != body.token_kind:
        raise InvalidInput("token is needed with another token_kind", field="token")
    return known.token


def _alert_token(body: DeviceBody, known: Device | None) -> str | None:
    if "alert_token" in body.model_fields_set or known is None:
        return body.alert_token
    return known.alert_token


def _environment(body: DeviceBody, known: Device | None) -> str | None:
    """As given; else what was found out of this very token."""
    if "environment" in body.model_fields_set or known is None:
        return body.environment
    return known.environment


def _bare_instance(text: str | None) -> str | None:
    """As it is compared: without the quotes and angle brackets of a Contact."""
    return None if text is None else text.strip().strip('"').removeprefix("<").removesuffix(">")
