"""Writes push-proxy.json, the Grafana dashboard: `python -m deploy.grafana.dashboard`.

Read from left to right and from top to bottom it follows a call: does it ring, did the phone
wake, was the push taken, are we registered at the PBX, does SIP flow, does the service live.
"""

import json
from pathlib import Path
from typing import Any

from .panel import (
    Panel,
    Row,
    grown,
    known,
    level,
    panels,
    quantile,
    rate,
    selected,
    soonest,
    stat,
    total,
    variables,
)

TARGET = Path(__file__).with_name("push-proxy.json")
RANG = selected("push_proxy_ring_seconds_bucket", 'result="rang"', 'le="5.0"')
COUNTED = selected("push_proxy_ring_seconds_count", 'result!="gave_up"')
RANG_LATE = f"1 - sum(rate({RANG}[$__range])) / sum(rate({COUNTED}[$__range]))"

ROWS = (
    Row(
        "Do phones ring?",
        (
            stat(
                "Rang late or never",
                RANG_LATE,
                "Share of calls to sleeping phones that do not ring within 5 s.",
                unit="percentunit",
                red_above=0.1,
            ),
            stat("Calls waiting", total("push_proxy_waiting_calls"), "Held right now."),
            stat(
                "Nodes taking calls",
                total("push_proxy_ready", 'state=~"ready|degraded"'),
                "Ready or degraded.",
            ),
            stat(
                "Registrations lost",
                grown("push_proxy_registrations_lost_total"),
                "Accounts that lost their PBX in the time shown.",
                red_above=1,
            ),
            stat(
                "Devices that stopped waking",
                total("push_proxy_devices_not_waking"),
                "They used to wake, and failed three times in a row.",
                red_above=1,
            ),
            stat(
                "Calls shed",
                grown("push_proxy_calls_total", 'verdict="overloaded"'),
                "Refused because more came than the service can take.",
                red_above=1,
            ),
            Panel(
                title="Calls by verdict",
                queries={"{{verdict}}": rate("push_proxy_calls_total", "verdict")},
                unit="reqps",
                width=12,
                stacked=True,
            ),
            Panel(
                title="Calls that failed, by whose fault",
                queries={"{{fault}}": rate("push_proxy_calls_total", "fault", 'fault!="nobody"')},
                unit="reqps",
                width=12,
                stacked=True,
            ),
        ),
    ),
    Row(
        "Waking",
        (
            Panel(
                title="INVITE to ringing",
                about="Calls to sleeping phones that rang.",
                queries={
                    "p50 {{platform}}": quantile(
                        0.5, "push_proxy_ring_seconds", "platform", 'result="rang"'
                    ),
                    "p95 {{platform}}": quantile(
                        0.95, "push_proxy_ring_seconds", "platform", 'result="rang"'
                    ),
                },
                unit="s",
            ),
            Panel(
                title="INVITE to the phone's REGISTER",
                queries={
                    "p50 {{provider}}": quantile(
                        0.5, "push_proxy_wake_seconds", "provider", 'result="registered"'
                    ),
                    "p95 {{provider}}": quantile(
                        0.95, "push_proxy_wake_seconds", "provider", 'result="registered"'
                    ),
                },
                unit="s",
            ),
            Panel(
                title="What came of wakes",
                queries={"{{result}}": rate("push_proxy_wake_seconds_count", "result")},
                unit="reqps",
                stacked=True,
            ),
        ),
    ),
    Row(
        "Pushes",
        (
            Panel(
                title="By provider and result",
                queries={
                    "{{provider}} {{result}}": rate("push_proxy_pushes_total", "provider, result")
                },
                unit="reqps",
                stacked=True,
            ),
            Panel(
                title="Until the provider took them",
                queries={
                    "p50 {{provider}}": quantile(0.5, "push_proxy_push_seconds", "provider"),
                    "p95 {{provider}}": quantile(0.95, "push_proxy_push_seconds", "provider"),
                },
                unit="s",
            ),
            Panel(
                title="Tokens dropped",
                queries={
                    "{{provider}} {{reason}}": rate(
                        "push_proxy_tokens_dropped_total", "provider, reason"
                    )
                },
                unit="reqps",
            ),
            Panel(
                title="Apps whose pushes are held back",
                about="throttled ends by itself, blocked needs a person.",
                queries={
                    "{{provider}} {{app_id}} {{state}}": level(
                        "push_proxy_provider_state",
                        "provider, app_id, state",
                        'state=~"throttled|blocked"',
                    )
                },
                width=12,
            ),
            Panel(
                title="Credentials and certificates end in",
                queries={
                    "{{provider}} {{app_id}}": soonest(
                        "push_proxy_provider_credential_expiry_timestamp_seconds",
                        "provider, app_id",
                    ),
                    "{{section}}": soonest(
                        "push_proxy_certificate_expiry_timestamp_seconds", "section"
                    ),
                },
                unit="s",
                width=12,
            ),
        ),
    ),
    Row(
        "PBXs",
        (
            Panel(
                title="Registrations",
                queries={"{{state}}": level("push_proxy_registrations", "state")},
                stacked=True,
            ),
            Panel(
                title="REGISTERs by what PBXs answered",
                queries={"{{result}}": rate("push_proxy_registration_attempts_total", "result")},
                unit="reqps",
            ),
            Panel(title="PBXs", queries={"{{state}}": level("push_proxy_pbxs", "state")}),
        ),
    ),
    Row(
        "SIP",
        (
            Panel(
                title="Messages",
                queries={
                    "{{direction}} {{method}}": rate(
                        "push_proxy_sip_messages_total", "direction, method"
                    )
                },
                unit="mps",
            ),
            Panel(
                title="Requests refused",
                queries={"{{reason}}": rate("push_proxy_sip_rejected_total", "reason")},
                unit="reqps",
            ),
            Panel(
                title="REGISTER to INVITE",
                about="Our own share of the delay.",
                queries={
                    "p50": quantile(0.5, "push_proxy_relay_seconds", ""),
                    "p99": quantile(0.99, "push_proxy_relay_seconds", ""),
                },
                unit="s",
            ),
            Panel(
                title="Messages (MESSAGE) by what became of them",
                queries={"{{result}}": rate("push_proxy_messages_total", "result")},
                unit="reqps",
                width=12,
            ),
            Panel(
                title="Events to webhooks",
                queries={
                    "{{type}} {{result}}": rate("push_proxy_events_total", "type, result"),
                    "waiting": total("push_proxy_events_waiting"),
                    "dead letters": total("push_proxy_event_dead_letters"),
                },
                width=12,
            ),
        ),
    ),
    Row(
        "Service",
        (
            Panel(
                title="Phones",
                queries={
                    "registered": known("push_proxy_bindings"),
                    "devices {{platform}}": known("push_proxy_devices", "platform"),
                },
            ),
            Panel(
                title="In memory",
                about="Back where it was once calls are over; what grows is a leak.",
                queries={"{{kind}}": level("push_proxy_live", "kind", 'kind!="python_blocks"')},
            ),
            Panel(
                title="State",
                queries={
                    "{{instance}} {{state}}": selected("push_proxy_ready") + " == 1",
                },
            ),
        ),
    ),
)


def dashboard() -> dict[str, Any]:
    """As Grafana imports it (schema 39: Grafana 10 and newer)."""
    return {
        "uid": "push-proxy",
        "title": "push-proxy",
        "description": "From the INVITE to the ringing phone.",
        "tags": ["sip", "push-proxy"],
        "schemaVersion": 39,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "timezone": "browser",
        "templating": {"list": [*variables()]},
        "panels": [*panels(ROWS)],
    }


if __name__ == "__main__":
    TARGET.write_text(json.dumps(dashboard(), indent=2) + "\n")
