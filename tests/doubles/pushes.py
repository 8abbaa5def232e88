"""Pushes to try providers with."""

from __future__ import annotations

from typing import Any

from push_proxy.core.actions import PushType
from push_proxy.core.ids import AccountKey, CallId, DeviceId, Instant, PushId
from push_proxy.core.model import Device
from push_proxy.core.payload import Push
from push_proxy.runtime.clock import SystemClock

APP = "com.example.phone"
CLOCK = SystemClock()
ABOUT_NO_CALL = frozenset({PushType.REFRESH, PushType.MESSAGE, PushType.VOICEMAIL})


def a_push(
    provider: str,
    token: str,
    *,
    kind: PushType = PushType.CALL,
    left_s: float = 15.0,
    app_id: str = APP,
    **fields: Any,
) -> Push:
    """A push that makes sense for `left_s` from now."""
    now = CLOCK.now()
    said: dict[str, Any] = {
        "caller_number": "+4930123456",
        "caller_name": "Jörg \udcff",
        **fields,
    }
    if kind in ABOUT_NO_CALL:
        said |= {"caller_number": "", "caller_name": ""}
    else:
        said = {"call": CallId("c-1"), "sip_call_id": "sip-1", **said}
    return Push(
        id=PushId("0c6b6a0e-6c1c-4d0e-9a3e-000000000001"),
        type=kind,
        device=Device(
            account=AccountKey("acme/alice"),
            device=DeviceId("phone"),
            provider=provider,
            app_id=app_id,
            token=token,
        ),
        sent_at=now,
        expires_at=Instant(now + left_s),
        **said,
    )
