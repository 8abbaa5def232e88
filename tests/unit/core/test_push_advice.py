"""Advice: whatever reason a provider's adapter can give, a person is told what to do."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from push_proxy.core.push_advice import known_advice, push_advice
from push_proxy.core.push_reasons import ANY, BY_PROVIDER, BY_STATUS, OAUTH_BY_STATUS
from push_proxy.observability.labels import PROVIDERS

SOURCES = Path(__file__).parents[3] / "push_proxy" / "providers"
SHARED = ("delivery", "http_post", "unanswered", "circuit")
FINE = {"oauth", "80000000"}
"""Of a success."""
_REASON = re.compile(r"[A-Za-z0-9_]+")


def constants(tree: ast.Module) -> dict[str, str]:
    """Names of the module that stand for a text."""
    return {
        target.id: node.value.value
        for node in tree.body
        if isinstance(node, ast.Assign)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
        for target in node.targets
        if isinstance(target, ast.Name)
    }


def texts(node: ast.expr, named: dict[str, str]) -> Iterator[str]:
    """What an expression may come to, as far as the source says."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.Name) and node.id in named:
        yield named[node.id]
    elif isinstance(node, ast.BoolOp):
        for value in node.values:
            yield from texts(value, named)
    elif isinstance(node, ast.IfExp):
        yield from texts(node.body, named)
        yield from texts(node.orelse, named)


MAKERS = {
    "Attempt": 1,
    "NoAnswer": 0,
    "Unsent": 0,
    "NoConnection": 0,
    "Unanswered": 0,
    "_ours": 0,
    "_refused": 0,
    "_again": 0,
    "_dead": 0,
    "_end": 0,
}
"""Calls that are given a reason, and as which argument."""


def reasons(file: Path) -> Iterator[str]:
    """Every reason that a module's source names where reasons are made."""
    tree = ast.parse(file.read_text())
    named = constants(tree)
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = getattr(node.func, "id", getattr(node.func, "attr", ""))
        place = MAKERS.get(name)
        if place is not None and len(node.args) > place:
            yield from texts(node.args[place], named)
        yield from (
            text
            for keyword in node.keywords
            if keyword.arg in {"reason", "fault"}
            for text in texts(keyword.value, named)
        )


def of_provider(provider: str) -> set[str]:
    files = [*SOURCES.glob(f"{provider}*.py"), *(SOURCES / f"{name}.py" for name in SHARED)]
    return {text for file in files for text in reasons(file) if _REASON.fullmatch(text)} - FINE


@pytest.mark.parametrize("provider", sorted(PROVIDERS))
def test_every_reason_of_a_provider_has_advice(provider: str) -> None:
    """Of its verdicts, its connections and its credentials, and of what all have in common."""
    found = of_provider(provider)
    assert {"timeout", "expired", "unknown_app"} <= found
    assert [reason for reason in sorted(found) if not known_advice(provider, reason)] == []


def test_the_search_finds_the_expectedof_the_tables() -> None:
    """A search that finds nothing proves nothing: some that stand in the tables in other ways."""
    assert {"BadDeviceToken", "Unregistered", "BadTopic", "no_http2", "silent"} <= of_provider(
        "apns"
    )
    assert {"UNREGISTERED", "QUOTA_EXCEEDED", "oauth_no_token"} <= of_provider("fcm")
    assert {"80300007", "80300002"} <= of_provider("hms")


@pytest.mark.parametrize("provider", sorted(PROVIDERS))
def test_every_status_has_advice(provider: str) -> None:
    """Also those that nobody has thought of, of the provider and of its OAuth server."""
    for status in (200, *range(300, 600)):
        assert known_advice(provider, f"http_{status}")
        assert known_advice(provider, f"oauth_http_{status}")


def test_advice_is_whole_sentences() -> None:
    """They stand alone on a screen; an unknown reason points to the guide."""
    for table in (ANY, *BY_PROVIDER.values()):
        for reason, text in table.items():
            assert re.fullmatch(r"[A-Za-z].*[.?]", text), reason
    assert "operator-guide" in push_advice("apns", "NeverHeardOf")


def test_the_page_for_operators_is_complete() -> None:
    """docs/push-reasons.md has each reason in these words, and no others."""
    page = (Path(__file__).parents[3] / "docs" / "push-reasons.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \| (.+) \|$", page, re.MULTILINE)
    tables = (ANY, *BY_PROVIDER.values())
    expected = {row for table in tables for row in table.items()}
    by_status = {text for table in (BY_STATUS, OAUTH_BY_STATUS) for text in table.values()}
    assert expected <= set(rows)
    assert [row for row in rows if row not in expected and row[1] not in by_status] == []
