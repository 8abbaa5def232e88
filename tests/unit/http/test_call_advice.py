"""Advice of a call by HTTP: in the language of whoever reads it, from the evidence kept."""

import dataclasses
from typing import Any

import pytest

from push_proxy.core.evidence import AppReason, AppWords, Evidence, Network, Priority
from push_proxy.core.ids import DeviceId, Instant
from push_proxy.core.model import CallState, Outcome, Verdict
from push_proxy.core.outcome import outcome
from push_proxy.http.languages import chosen

from .conftest import Api

NOT_WOKEN = outcome(Verdict.NOT_WOKEN, phase=CallState.WAKING, ended_by="deadline", status=480)
SAVER = dataclasses.replace(NOT_WOKEN, cause="battery_saver", device=DeviceId("d1"))
XIAOMI = Evidence(
    device=DeviceId("d1"),
    vendor="Xiaomi",
    platform="android",
    permissions={"battery_saver": True},
)


async def shown(
    api: Api, query: str = "", *, accept: str | None = None, **record: Any
) -> dict[str, Any]:
    await api.call_record(state=CallState.ENDED, ended_at=Instant(api.clock.now() + 15), **record)
    headers = {} if accept is None else {"Accept-Language": accept}
    answer = await api.call("GET", f"/v1/calls/call-1{query}", headers=headers)
    assert answer.status_code == 200, answer.text
    call: dict[str, Any] = answer.json()
    return call


async def test_cause_sentence_and_steps(api: Api) -> None:
    """The cause as a word, a sentence, and steps for that very vendor; lists have no steps."""
    await api.account()
    call = await shown(api, outcome=SAVER, evidence=XIAOMI)
    assert (call["cause"], call["decided_by"]) == ("battery_saver", "d1")
    assert call["advice"].startswith("Battery saver is on")
    assert any("Autostart" in step for step in call["advice_steps"])
    (listed,) = (await api.call("GET", "/v1/calls")).json()["calls"]
    assert (listed["cause"], listed["advice"]) == (call["cause"], call["advice"])
    assert "advice_steps" not in listed


async def test_without_a_cause_the_verdict_speaks(api: Api) -> None:
    """As ever in English; in other languages, too; what the record itself says in English stays."""
    await api.account()
    call = await shown(api, outcome=NOT_WOKEN)
    assert (call["cause"], call["advice_steps"]) == ("", [])
    assert call["advice"] == NOT_WOKEN.advice
    assert (await shown(api, "?language=ru", outcome=NOT_WOKEN))["advice"].startswith("Служба")
    special = dataclasses.replace(NOT_WOKEN, advice="Ask Ann.")
    assert (await shown(api, outcome=special))["advice"] == "Ask Ann."
    assert (await shown(api, outcome=dataclasses.replace(special, verdict=Verdict.BUSY)))[
        "advice"
    ] == "Ask Ann."


async def test_a_cause_of_a_newer_version(api: Api) -> None:
    """A word that this version does not know is shown, and the verdict gives the advice."""
    await api.account()
    newer = dataclasses.replace(SAVER, cause="solar_flare")
    call = await shown(api, outcome=newer, evidence=XIAOMI)
    assert (call["cause"], call["advice"]) == ("solar_flare", NOT_WOKEN.advice)


@pytest.mark.parametrize(
    ("query", "accept", "account", "begins"),
    [
        ("", None, None, "Battery saver"),
        ("", None, "it", "Il risparmio"),
        ("", "fr", "it", "L'économiseur"),
        ("?language=ru", "fr", "it", "Включён"),
        ("?language=ru-RU", None, None, "Включён"),
        ("?language=de", "fr;q=0.3, it;q=0.8, ru;q=0", None, "Il risparmio"),
        ("", "de-CH, *;q=0.1", "ru", "Включён"),
        ("", "de", None, "Battery saver"),
        ("", ";;q=,,", None, "Battery saver"),
    ],
)
async def test_in_the_readers_language(
    api: Api, query: str, accept: str | None, account: str | None, begins: str
) -> None:
    """`language`, else Accept-Language, else the account's, else English; of those there are."""
    await api.account(**({"language": account} if account else {}))
    call = await shown(api, query, accept=accept, outcome=SAVER, evidence=XIAOMI)
    assert call["advice"].startswith(begins)
    listed = await api.call(
        "GET", f"/v1/calls{query}", headers={"Accept-Language": accept} if accept else {}
    )
    assert listed.json()["calls"][0]["advice"] == call["advice"]


@pytest.mark.parametrize(
    "query", ["?language=", "?language=e", "?language=en&language=it", "?l=en"]
)
async def test_a_wrong_language_is_refused(api: Api, query: str) -> None:
    """422, so that a typing error is seen."""
    await api.account()
    await api.call_record()
    assert (await api.call("GET", f"/v1/calls/call-1{query}")).status_code == 422


def test_equal_wishes_keep_their_order() -> None:
    """Of two languages of one quality the first counts."""
    offered = ("en", "fr", "it")
    assert chosen(offered, asked=None, accepted="it, fr", account=None) == "it"
    assert chosen(offered, asked=None, accepted="fr, it", account=None) == "fr"


async def test_what_a_report_may_say(api: Api) -> None:
    """Priority, network and reason reach the wake as values, and the timeline as words."""
    await api.account()
    await api.device()
    key = await api.device_key()
    await api.call_record()
    body = {
        "event": "failed",
        "at": "2027-01-15T06:00:00Z",
        "sent_at": "2027-01-15T06:00:30Z",
        "priority": "normal",
        "original_priority": "high",
        "network": "none",
        "reason": "no_network",
        "detail": "socket: 101",
    }
    told = await api.call("POST", "/v1/calls/call-1/events", body, key=key)
    assert told.status_code == 202, told.text
    ((_, _, _, detail),) = api.wakes.told
    assert detail == (
        "socket: 101; priority normal (sent high); network none; no_network; "
        "app clock 2027-01-15T06:00:00.000Z"
    )
    assert api.wakes.words == AppWords(
        at=Instant(api.clock.now() - 30),
        priority=Priority.NORMAL,
        original_priority=Priority.HIGH,
        network=Network.NONE,
        reason=AppReason.NO_NETWORK,
        detail="socket: 101",
    )
    for at, sent_at in ((body["at"], None), (body["sent_at"], body["at"])):
        said = {"event": "failed", "at": at, **({"sent_at": sent_at} if sent_at else {})}
        assert (await api.call("POST", "/v1/calls/call-1/events", said, key=key)).status_code == 202
        assert api.wakes.words.at is None, "nobody knows how late that report is"
    for name in ("priority", "original_priority", "network", "reason"):
        wrong = {"event": "failed", name: "purple"}
        answer = await api.call("POST", "/v1/calls/call-1/events", wrong, key=key)
        assert answer.status_code == 422
        assert name in answer.text


def test_outcomes_of_older_records() -> None:
    """A record from before there were causes has none."""
    old = Outcome(
        verdict=Verdict.NOT_WOKEN,
        fault=NOT_WOKEN.fault,
        phase=CallState.WAKING,
        ended_by="deadline",
        status=480,
    )
    assert (old.cause, old.device, old.led_by) == ("", None, None)
