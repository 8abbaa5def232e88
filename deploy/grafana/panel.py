"""Panels of the Grafana dashboard, the PromQL in them, and their JSON."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

_WIDTH = 24
_SOURCE = {"type": "prometheus", "uid": "${datasource}"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """One picture. ``queries``: legend -> PromQL."""

    title: str
    queries: dict[str, str]
    about: str = ""
    unit: str = "short"
    kind: str = "timeseries"
    width: int = 8
    height: int = 8
    stacked: bool = False
    red_above: float | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """Panels under one heading."""

    title: str
    panels: tuple[Panel, ...]


def selected(metric: str, *conditions: str) -> str:
    """The metric on the nodes that were chosen, under these conditions."""
    inside = ",".join([*conditions, 'instance=~"$instance"'])
    return f"{metric}{{{inside}}}"


def rate(metric: str, by: str, *conditions: str) -> str:
    """Per second, summed by these labels."""
    return f"sum by ({by}) (rate({selected(metric, *conditions)}[$__rate_interval]))"


def quantile(share: float, metric: str, by: str, *conditions: str) -> str:
    """Of a histogram, by these labels."""
    buckets = rate(f"{metric}_bucket", f"le, {by}" if by else "le", *conditions)
    return f"histogram_quantile({share}, {buckets})"


def level(metric: str, by: str, *conditions: str) -> str:
    """Of a gauge, summed by these labels."""
    return f"sum by ({by}) ({selected(metric, *conditions)})"


def total(metric: str, *conditions: str) -> str:
    """Of a gauge, all in all."""
    return f"sum({selected(metric, *conditions)})"


def known(metric: str, *labels: str) -> str:
    """Of a gauge that every node shows for all of them."""
    by = f" by ({', '.join(labels)})" if labels else ""
    return f"max{by} ({selected(metric)})"


def grown(metric: str, *conditions: str) -> str:
    """Of a counter, in the time shown."""
    return f"sum(increase({selected(metric, *conditions)}[$__range]))"


def soonest(metric: str, by: str) -> str:
    """Seconds until the first of these moments."""
    return f"min by ({by}) ({selected(metric)}) - time()"


def stat(title: str, query: str, about: str, **fields: Any) -> Panel:
    """One number."""
    return Panel(
        title=title, queries={"": query}, about=about, kind="stat", width=4, height=4, **fields
    )


def variables() -> Iterator[dict[str, Any]]:
    """What a reader chooses: the Prometheus, and the nodes."""
    yield {"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus"}
    yield {
        "name": "instance",
        "label": "Node",
        "type": "query",
        "datasource": _SOURCE,
        "query": "label_values(push_proxy_build_info, instance)",
        "refresh": 2,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {"text": "All", "value": "$__all"},
    }


def panels(rows: Iterable[Row]) -> Iterator[dict[str, Any]]:
    """Side by side, as many as fit."""
    number, top = 1, 0
    for row in rows:
        yield {
            "id": number,
            "type": "row",
            "title": row.title,
            "collapsed": False,
            "panels": [],
            "gridPos": {"x": 0, "y": top, "w": _WIDTH, "h": 1},
        }
        number, top = number + 1, top + 1
        left = height = 0
        for panel in row.panels:
            if left + panel.width > _WIDTH:
                left, top, height = 0, top + height, 0
            yield _panel(panel, number, {"x": left, "y": top, "w": panel.width, "h": panel.height})
            number, left, height = number + 1, left + panel.width, max(height, panel.height)
        top += height


def _panel(panel: Panel, number: int, place: dict[str, int]) -> dict[str, Any]:
    steps: list[dict[str, Any]] = [{"color": "green", "value": None}]
    if panel.red_above is not None:
        steps.append({"color": "red", "value": panel.red_above})
    defaults: dict[str, Any] = {
        "unit": panel.unit,
        "min": 0,
        "thresholds": {"mode": "absolute", "steps": steps},
    }
    if panel.kind == "timeseries":
        mode = "normal" if panel.stacked else "none"
        defaults["custom"] = {
            "fillOpacity": 25 if panel.stacked else 8,
            "showPoints": "never",
            "stacking": {"mode": mode},
        }
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.about,
        "datasource": _SOURCE,
        "gridPos": place,
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "targets": [
            {"refId": chr(65 + n), "expr": query, "legendFormat": legend, "datasource": _SOURCE}
            for n, (legend, query) in enumerate(panel.queries.items())
        ],
    }
