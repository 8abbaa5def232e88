"""What a receiver of events is sent (docs/contracts.md)."""

import json
from typing import Any

from ..core.ids import split_account_key
from ..core.payload import timestamp
from ..core.queued_event import QueuedEvent
from ..providers.webhook import sign

ID_HEADER = "X-Push-Proxy-Event-Id"


def fields(event: QueuedEvent) -> dict[str, Any]:
    """The event's fields; the same at every attempt."""
    notice = event.notice
    tenant, account = split_account_key(notice.account)
    return {
        **notice.data,
        "id": event.id,
        "type": notice.type.value,
        "at": timestamp(notice.at),
        "tenant": tenant,
        "account": account,
        "device": notice.device,
    }


def body(event: QueuedEvent) -> bytes:
    """The POST's body."""
    text = json.dumps(fields(event), ensure_ascii=False, separators=(",", ":"))
    return text.encode(errors="replace")  # a caller's name may hold anything


def headers(event: QueuedEvent, content: bytes, *, key: bytes | None, unix: int) -> dict[str, str]:
    """The POST's headers; ``unix`` is the time that is signed: that of the attempt."""
    return {
        "Content-Type": "application/json",
        ID_HEADER: event.id,
        **sign(key, content, unix=unix),
    }
