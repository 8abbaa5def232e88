"""Whether the call really happened: judged by RTP and by the PBX's own log, not by our timeline."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .pbx_log import PbxEvent
from .scene import CALLEE, CALLER, TALK_S, Call

PACKETS_PER_S = 50
"""G.711 in packets of 20 ms."""
ENOUGH = 0.5
"""Share of the packets that must have arrived: start and end of the call are not synchronous."""


def faults(call: Call, pbx_log: Sequence[PbxEvent]) -> list[str]:
    """What is missing from a call that happened; empty when all of it did."""
    found = []
    for name, end in (("caller", call.caller), ("phone", call.callee)):
        rtp = end["rtp"]
        if rtp["received_packets"] < TALK_S * PACKETS_PER_S * ENOUGH:
            found.append(f"the {name} received only {rtp['received_packets']} RTP packets")
        if not rtp["loudest"]:
            found.append(f"the {name} heard nothing but silence")
    ours = [event for event in pbx_log if event.from_user == CALLER and event.to_user == CALLEE]
    steps = (
        ("took no INVITE from the caller", {"event": "request", "method": "INVITE"}),
        ("relayed no INVITE to the service", {"event": "relay", "method": "INVITE"}),
        ("had no 200 to the INVITE", {"event": "response", "method": "INVITE", "status": 200}),
        ("saw no BYE", {"event": "request", "method": "BYE"}),
        ("had no 200 to the BYE", {"event": "response", "method": "BYE", "status": 200}),
    )
    found += [f"the PBX {text}" for text, fields in steps if not _any(ours, fields)]
    answers = [e for e in ours if e.matches(event="response", method="INVITE", status=200)]
    if len(answers) > 1:
        found.append(f"the PBX got the 200 to the INVITE {len(answers)} times")
    return found


def _any(events: Sequence[PbxEvent], fields: dict[str, Any]) -> bool:
    return any(event.matches(**fields) for event in events)
