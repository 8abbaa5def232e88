"""Calls that the native stack refused are counted as calls that have ended."""

from push_proxy.observability.metrics import Metrics

LINE = 'push_proxy_calls_total{fault="proxy",verdict="overloaded"}'


def test_shed_calls_are_counted_once() -> None:
    """Each scrape adds those that have come since the last one."""
    metrics, counters = Metrics(), {"shed.INVITE": 3}
    metrics.watch_sip(lambda: counters)
    assert f"{LINE} 3.0" in metrics.render().decode()
    assert f"{LINE} 3.0" in metrics.render().decode()
    counters["shed.INVITE"] = 5
    assert f"{LINE} 5.0" in metrics.render().decode()
