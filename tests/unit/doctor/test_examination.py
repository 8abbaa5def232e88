"""The doctor's frame: time limits, and faults that keep one hop from being examined."""

import asyncio
import time
from pathlib import Path

import pytest

from push_proxy.doctor import examination
from push_proxy.doctor.examination import Hop, examine
from push_proxy.doctor.finding import Chart, Finding
from push_proxy.errors import StoreUnavailable


@pytest.fixture(autouse=True)
def configured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PUSH_PROXY_NODE__DATA_DIR", str(tmp_path))
    monkeypatch.setenv("PUSH_PROXY_SIP__LISTEN", "udp:127.0.0.1:0")


async def hanging(chart: Chart) -> None:
    chart.ok("before", "it hangs")
    await asyncio.Event().wait()


async def away(_: Chart) -> None:
    raise StoreUnavailable("nobody answers: start it")


async def fine(chart: Chart) -> None:
    chart.ok("all", "good")


async def hinting(chart: Chart) -> None:
    chart.hint("odd", "may be meant like that")


async def told(
    monkeypatch: pytest.MonkeyPatch, *hops: tuple[str, Hop], **limits: float
) -> tuple[bool, list[str], list[str]]:
    """The verdict, the findings of these hops as ``hop state text``, and what was begun."""
    monkeypatch.setattr(examination, "HOPS", hops)
    findings: list[Finding] = []
    begun: list[str] = []
    good = await examine(findings.append, begin=begun.append, **limits)
    lines = [f"{each.hop} {each.state} {each.text}" for each in findings]
    return good, [line for line in lines if not line.startswith("configuration")], begun


async def test_a_hop_that_hangs_ends_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """It fails, what it found is kept, and the next ones are examined."""
    began = time.monotonic()
    good, lines, begun = await told(monkeypatch, ("a", hanging), ("b", fine), hop_s=0.1)
    assert time.monotonic() - began < 10
    assert not good
    assert lines[0] == "a ok it hangs"
    assert lines[1].startswith("a FAIL not finished within")
    assert lines[2:] == ["b ok good"]
    assert begun == ["configuration", "a", "b"]


async def test_all_together_end_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """What no time is left for is said, not left out."""
    hops = [(name, hanging) for name in "abcd"]
    good, lines, _ = await told(monkeypatch, *hops, total_s=0.25, hop_s=0.1)
    assert not good
    assert [line[0] for line in lines if "FAIL" in line] == ["a", "b", "c", "d"]
    assert "not examined" in lines[-1]


async def test_what_a_hop_cannot_use_is_its_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    """An error raised on purpose says what to do already."""
    good, lines, _ = await told(monkeypatch, ("a", away), ("b", fine))
    assert not good
    assert lines == ["a FAIL nobody answers: start it", "b ok good"]


async def test_hints_are_no_failures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Private addresses and certificates that end soon do not make a set-up wrong."""
    good, lines, _ = await told(monkeypatch, ("a", hinting))
    assert (good, lines) == (True, ["a hint may be meant like that"])
