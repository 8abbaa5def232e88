"""Metrics: the names that dashboards rely on, and labels that stay bounded."""

from push_proxy.core.events import PushOutcome
from push_proxy.core.model import CallState, Fault, Outcome, Verdict
from push_proxy.observability.metrics import Metrics
from push_proxy.ports import AppHealth, AppState

NAMES = {
    "push_proxy_wake_seconds",
    "push_proxy_push_seconds",
    "push_proxy_relay_seconds",
    "push_proxy_calls_total",
    "push_proxy_pushes_total",
    "push_proxy_waiting_calls",
    "push_proxy_registrations",
    "push_proxy_registration_attempts_total",
    "push_proxy_pbxs",
    "push_proxy_bindings",
    "push_proxy_devices",
    "push_proxy_tokens_dropped_total",
    "push_proxy_provider_credential_expiry_timestamp_seconds",
    "push_proxy_provider_state",
    "push_proxy_sip_messages_total",
    "push_proxy_sip_rejected_total",
    "push_proxy_live",
    "push_proxy_build_info",
}


def test_every_contract_name_is_there() -> None:
    """Each name of the contract is exposed, even before anything happened."""
    text = Metrics().render().decode()
    for name in NAMES:
        assert f"# TYPE {name} " in text, name


def test_how_providers_do_is_asked_at_each_scrape() -> None:
    """One of four states is 1 for each app, and a credential's end shows where there is one."""
    metrics, apps = Metrics(), [("fcm", AppHealth(app_id="a", state=AppState.BLOCKED, reason="x"))]
    metrics.watch_providers(lambda: apps)
    text = metrics.render().decode()
    assert 'push_proxy_provider_state{app_id="a",provider="fcm",state="blocked"} 1.0' in text
    assert 'push_proxy_provider_state{app_id="a",provider="fcm",state="ok"} 0.0' in text
    assert "expiry_timestamp_seconds{" not in text
    apps[:] = [("apns", AppHealth(app_id="b", state=AppState.OK, credential_ends_at=1.5e9))]
    text = metrics.render().decode()
    assert 'push_proxy_provider_state{app_id="b",provider="apns",state="ok"} 1.0' in text
    assert 'expiry_timestamp_seconds{app_id="b",provider="apns"} 1.5e+09' in text
    assert 'app_id="a"' not in text


def test_values_arrive_under_their_labels() -> None:
    """What is reported shows with the contract's labels."""
    metrics = Metrics()
    metrics.wake_ended(0.8, provider="webhook", device_platform="iOS", result="registered")
    metrics.push_answered(0.02, provider="webhook", push_type="call", outcome=PushOutcome.ACCEPTED)
    metrics.relayed(0.0003)
    metrics.call_ended(
        Outcome(
            verdict=Verdict.ANSWERED,
            fault=Fault.NOBODY,
            phase=CallState.ANSWERED,
            ended_by="caller",
            status=200,
        )
    )
    for platform in ("android", "android", None, "Toaster"):
        metrics.device_counted(platform, 1)
    metrics.device_counted("android", -1)
    metrics.set_registrations({"registered": 3})
    metrics.set_registrations({"failed": 1})
    text = metrics.render().decode()
    for line in (
        'push_proxy_wake_seconds_count{platform="ios",provider="webhook",result="registered"} 1.0',
        'push_proxy_push_seconds_count{provider="webhook",result="accepted"} 1.0',
        'push_proxy_pushes_total{provider="webhook",result="accepted",type="call"} 1.0',
        'push_proxy_relay_seconds_bucket{le="0.0005"} 1.0',
        'push_proxy_calls_total{fault="nobody",verdict="answered"} 1.0',
        'push_proxy_devices{platform="android"} 1.0',
        'push_proxy_devices{platform="unknown"} 1.0',
        'push_proxy_devices{platform="other"} 1.0',
        'push_proxy_registrations{state="failed"} 1.0',
    ):
        assert line in text
    assert 'state="registered"' not in text


def test_stack_counters_are_read_at_scrape() -> None:
    """The stack's counts appear by direction and method, strange methods folded into one."""
    counts = {"received.INVITE": 3, "sent.2xx": 2, "received.HACK": 1, "received.HICK": 1,
              "rejected.malformed": 4}  # fmt: skip
    metrics = Metrics()
    metrics.watch_sip(lambda: counts)
    metrics.sip_refused("stranger")
    metrics.sip_refused("malformed")
    text = metrics.render().decode()
    assert 'push_proxy_sip_messages_total{direction="received",method="INVITE"} 3.0' in text
    assert 'push_proxy_sip_messages_total{direction="received",method="other"} 2.0' in text
    assert 'push_proxy_sip_rejected_total{reason="malformed"} 5.0' in text
    assert 'push_proxy_sip_rejected_total{reason="stranger"} 1.0' in text


def test_pbxs_are_counted_at_scrape() -> None:
    """A PBX that no longer answers can be alerted on, whatever its registrations still say."""
    metrics = Metrics()
    answers: list[bool | None] = [True, True, None]
    metrics.watch_pbxs(lambda: answers)
    assert 'push_proxy_pbxs{state="reachable"} 2.0' in metrics.render().decode()

    answers[0] = False

    text = metrics.render().decode()
    assert 'push_proxy_pbxs{state="reachable"} 1.0' in text
    assert 'push_proxy_pbxs{state="unreachable"} 1.0' in text
    assert 'push_proxy_pbxs{state="unknown"} 1.0' in text


def test_labels_stay_bounded() -> None:
    """A thousand different reasons make no thousand time series."""
    metrics = Metrics()
    for number in range(1000):
        metrics.sip_refused(f"reason-{number}")
        metrics.token_dropped(f"provider-{number}", f"reason-{number}")
    assert metrics.render().decode().count("\n") < 600


def test_two_registries_do_not_meet() -> None:
    """Each service has its own registry: two in one process count apart."""
    one, two = Metrics(), Metrics()
    one.waiting_calls.set(5)
    assert "push_proxy_waiting_calls 0.0" in two.render().decode()


def test_what_lives_is_asked_at_each_scrape() -> None:
    """Of the stack's counters those of living things show as levels, beside our own."""
    metrics, tasks = Metrics(), [1]
    metrics.watch_sip(lambda: {"live.transactions": 7, "received.INVITE": 3})
    metrics.watch_live("tasks", lambda: len(tasks))
    text = metrics.render().decode()
    assert 'push_proxy_live{kind="sip_transactions"} 7.0' in text
    assert 'push_proxy_live{kind="tasks"} 1.0' in text
    tasks.append(2)
    assert 'push_proxy_live{kind="tasks"} 2.0' in metrics.render().decode()
    assert 'kind="sip_received' not in text
