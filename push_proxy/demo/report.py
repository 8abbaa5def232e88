"""What the demo prints: the timeline with milliseconds, and one JSON object for machines."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from .scene import Call

_SPANS = {
    "invite_to_push": ("invite_received", "push_sent"),
    "register_to_invite": ("registered", "invite_sent"),
    "invite_to_answer": ("invite_received", "answered"),
}


def milliseconds(timeline: Sequence[dict[str, Any]]) -> dict[str, float | None]:
    """The spans that people ask for, from the first event of each kind; None: not seen."""
    at: dict[str, float] = {}
    for entry in timeline:
        at.setdefault(entry["event"], entry["ms"])
    return {
        name: round(at[end] - at[start], 2) if start in at and end in at else None
        for name, (start, end) in _SPANS.items()
    }


def lines(call: Call) -> list[str]:
    """The timeline for people."""
    record = call.record
    out = [f"call {record['id']}  {record['verdict']}"]
    for entry in record["timeline"]:
        clock = datetime.fromisoformat(entry["at"]).strftime("%H:%M:%S.%f")[:-3]
        device = f" [{entry['device']}]" if entry.get("device") else ""
        detail = f"  {entry['detail']}" if entry.get("detail") else ""
        out.append(f"  {clock}  {entry['ms']:9.1f} ms  {entry['event']}{device}{detail}")
    out.append(
        f"  RTP: the caller received {call.caller['rtp']['received_packets']} packets, "
        f"the phone {call.callee['rtp']['received_packets']}"
    )
    return out


def as_json(call: Call, found: Sequence[str], *, provider: str) -> dict[str, Any]:
    """The object of `--json` (docs/contracts.md)."""
    return {
        "ok": not found,
        "provider": provider,
        "faults": list(found),
        "call_id": call.record["id"],
        "verdict": call.record["verdict"],
        "timeline": call.record["timeline"],
        "ms": milliseconds(call.record["timeline"]),
        "rtp": {
            "caller_received": call.caller["rtp"]["received_packets"],
            "phone_received": call.callee["rtp"]["received_packets"],
        },
    }
