"""Pushes for the FCM double, and the provider under test."""

from __future__ import annotations

from typing import Any

from push_proxy.core.actions import PushType
from push_proxy.core.ids import AccountKey, CallId, DeviceId, Instant, PushId
from push_proxy.core.model import Device
from push_proxy.core.payload import Push
from push_proxy.ports import PushResult
from push_proxy.providers.fcm import FcmProvider
from push_proxy.providers.fcm_account import read_service_account
from push_proxy.providers.fcm_project import FcmApp
from push_proxy.runtime.clock import SystemClock
from tests.doubles.fcm import FcmDevice, FcmDouble, ServiceAccount

APP = "com.example.phone"
CLOCK = SystemClock()


def an_app(
    fcm: FcmDouble, account: ServiceAccount | None = None, *, app_id: str = APP, **fields: Any
) -> FcmApp:
    """An app of the double's first project, or of that account's."""
    file = (account or fcm.first_account).file
    return FcmApp(
        app_id=app_id,
        account=read_service_account("providers.fcm[0].service_account_file", file),
        base_url=fcm.base_url,
        ca_file=fcm.ca_file,
        **fields,
    )


def a_provider(fcm: FcmDouble, *apps: FcmApp, **options: Any) -> FcmProvider:
    """For these apps, or for one of the double's first project."""
    return FcmProvider(apps or [an_app(fcm)], CLOCK, **options)


def a_push(
    phone: FcmDevice,
    push_type: PushType = PushType.CALL,
    *,
    app_id: str = APP,
    left_s: float = 12.0,
    **fields: Any,
) -> Push:
    """About a call of Jörg's, for that phone."""
    now = CLOCK.now()
    about_call = push_type not in {PushType.REFRESH, PushType.VOICEMAIL, PushType.MESSAGE}
    said: dict[str, Any] = {
        "id": PushId("5f1c2a52-7d0e-4cbe-9a43-cf2f3b4b6f01"),
        "type": push_type,
        "call": CallId("c-1") if about_call else None,
        "sip_call_id": "sip-1" if about_call else "",
        "device": Device(
            account=AccountKey("acme/alice"),
            device=DeviceId("handset"),
            provider="fcm",
            app_id=app_id,
            token=phone.token,
            token_kind=phone.kind,
        ),
        "caller_number": "100" if about_call else "",
        "caller_name": "Jörg" if about_call else "",
        "sent_at": now,
        "expires_at": Instant(now + left_s),
    }
    return Push(**{**said, **fields})


def brief(result: PushResult) -> tuple[str, str, int]:
    """Outcome, reason, requests on the wire."""
    return result.outcome.value, result.reason, result.attempts
