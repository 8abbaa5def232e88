"""Every verdict, and every kind of evidence, by a call on the wire: verdict, fault and advice."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from push_proxy.advice.texts import load_texts
from push_proxy.core.causes import Cause
from push_proxy.core.model import Fault, Verdict
from push_proxy.core.outcome import FAULTS
from tests.lab.pbx import Pbx
from tests.lab.service import Record

from . import verdict_scripts as play
from .verdict_scripts import IMPATIENT, NO_ANSWER, Script, app_account
from .verdict_stage import AWAY_APP, OLD_APP, PATIENCE_S, Act, Stage, stage_of

AT_ONCE = 16
"""Calls that go on beside each other: most of them wait for seconds to pass."""
TEXTS = load_texts(None)
QUICK = {"wake": IMPATIENT}


@dataclass(frozen=True, kw_only=True)
class Row:
    """One call: what the account and its handset are like, what happens, and what is said of it."""

    verdict: str
    cause: str = ""
    script: Script
    account: dict[str, Any] = field(default_factory=dict)
    handset: dict[str, Any] = field(default_factory=dict)
    fault: str = ""
    """Where it is not the verdict's own."""
    step: str = ""
    """Part of one of the steps."""
    not_pushed: str = ""
    """Why no push was sent, where none was."""
    before: Callable[[Act], None] = lambda _: None
    own_pbx: bool = False
    """The account's PBX is its own, over TCP."""


def may(**permissions: bool) -> dict[str, Any]:
    return {"permissions": permissions, "platform": "android"}


def asleep(cause: str, **more: Any) -> Row:
    return Row(
        verdict="not_woken", cause=cause, account=QUICK, **{"script": play.nobody_comes, **more}
    )


def awake(cause: str, script: Script, **more: Any) -> Row:
    """The app is awake, and does not register in time."""
    wake = {"wake": {"deadline_s": 5}}
    return Row(verdict="woke_not_registered", cause=cause, script=script, account=wake, **more)


def reject(status: int) -> dict[str, Any]:
    return {"policy": {"rules": [{"when": "always", "reject": {"status": status}}]}}


def send_on(when: str) -> dict[str, Any]:
    rule = {"when": when, "redirect": "sip:800@pbx.test"}
    return {"policy": {"rules": [rule], "targets": ["sip:*@pbx.test"]}}


ROWS: dict[str, Row] = {
    # each verdict
    "answered": Row(verdict="answered", script=play.talks),
    "answered awake": Row(verdict="answered", script=play.talks_awake, not_pushed="awake"),
    "declined": Row(verdict="declined", script=play.refuses(603)),
    "busy": Row(verdict="busy", script=play.refuses(486)),
    "no answer": Row(verdict="no_answer", script=play.rings_until(NO_ANSWER)),
    "elsewhere": Row(verdict="answered_elsewhere", script=play.cancelled(play.ELSEWHERE)),
    "given up": Row(verdict="caller_cancelled", script=play.cancelled()),
    "given up while it rang": Row(verdict="caller_cancelled", script=play.rings_until()),
    "asleep": asleep(""),
    "not registered": awake("", play.only_reports("push_received", "ui_shown")),
    "not ringing": Row(verdict="registered_not_ringing", script=play.keeps_silent),
    "error": Row(verdict="device_error", script=play.refuses(500)),
    "no device": Row(
        verdict="no_device",
        script=play.without_device,
        account={"register": "always"},
        not_pushed="no_device",
    ),
    "refused": Row(verdict="refused", script=play.answered_by(603), account=reject(603)),
    "disabled": Row(verdict="refused", script=play.disabled, not_pushed="disabled"),
    "replaces nothing": Row(
        verdict="refused", script=play.replaces_nothing, not_pushed="replaces_nothing"
    ),
    "sent elsewhere": Row(
        verdict="forwarded", script=play.answered_by(302), account=send_on("always")
    ),
    "sent on": Row(
        verdict="forwarded",
        fault="phone_or_network",
        cause="battery_saver",
        script=play.answered_by(302),
        account={**QUICK, **send_on("not_woken")},
        handset=may(battery_saver=True),
    ),
    "sent on by the phone": Row(verdict="forwarded", script=play.refuses(302)),
    "PBX gone": Row(verdict="pbx_lost", script=play.pbx_goes_away, own_pbx=True),
    "outgoing": Row(verdict="outbound_failed", script=play.calls_out(500)),
    # what the app says of the push, in time or late
    "late push": asleep(
        "late_push", script=play.late(priority="high", network="wifi", at=play.clock())
    ),
    "late push, given up": Row(
        verdict="caller_cancelled", cause="late_push", script=play.gives_up_and_push_comes_late
    ),
    "in time, but cut off": asleep("no_internet", script=play.had_it_in_time),
    "no network": asleep("no_internet", script=play.late(after_s=0, network="none")),
    "no network for SIP": awake(
        "no_internet",
        play.only_reports("push_received", "failed", reason="no_network"),
    ),
    "lowered": asleep(
        "priority_lowered",
        script=play.late(after_s=0, priority="normal", original_priority="high"),
    ),
    "lowered by Google": asleep("priority_lowered", script=play.google_delivers("normal")),
    "not lowered": asleep("", script=play.google_delivers("high")),
    "force-stopped": asleep(
        "force_stopped",
        script=play.late("failed", after_s=0, reason="force_stopped"),
        handset={"vendor": "Xiaomi", "platform": "android"},
        step="Autostart",
    ),
    "late wake": asleep("late_wake", script=play.registers_late),
    "slow app": awake("late_wake", play.reports_then_registers_late),
    "SIP blocked": awake(
        "sip_blocked",
        play.only_reports("failed", reason="sip_failed", detail="timeout 408"),
    ),
    "registers elsewhere": awake(
        "registers_elsewhere",
        play.only_reports("push_received", "registered"),
    ),
    "app failed": awake(
        "app_failed",
        play.only_reports("failed", detail="no account"),
    ),
    "no microphone": awake(
        "no_media",
        play.only_reports("failed", reason="no_media"),
    ),
    # what the phone forbids, by its own report
    "battery saver": asleep("battery_saver", handset=may(battery_saver=True)),
    "background": asleep(
        "background_restricted",
        handset={**may(battery_unrestricted=False), "vendor": "samsung"},
        step="Sleeping",
    ),
    "background data": asleep("background_data_off", handset=may(background_data=False)),
    "data saver": asleep("data_saver", handset=may(data_saver=True)),
    "mobile data": asleep("cellular_data_off", handset=may(cellular_data=False)),
    "no notifications": asleep("notifications_off", handset=may(notifications=False)),
    "sideloaded": asleep("not_from_store", handset={"install_source": "com.android.shell"}),
    "vendor": asleep(
        "vendor_limits", handset={"vendor": "HUAWEI", "platform": "android"}, step="App launch"
    ),
    "stopped waking": Row(verdict="not_woken", cause="stopped_waking", script=play.stops_waking),
    "unseen": Row(
        verdict="no_answer",
        cause="notifications_off",
        script=play.rings_until(NO_ANSWER),
        handset={"permissions": {"notifications": False}, "platform": "ios", "vendor": "Apple"},
        step="Allow Notifications",
    ),
    "lock screen": Row(
        verdict="no_answer",
        cause="lock_screen",
        script=play.rings_until(NO_ANSWER),
        handset={**may(lock_screen=False), "vendor": "Redmi"},
        step="Show on Lock screen",
    ),
    "full screen": Row(
        verdict="no_answer",
        cause="full_screen_off",
        script=play.rings_until(NO_ANSWER),
        handset=may(full_screen=False),
    ),
    "overlay": Row(
        verdict="caller_cancelled",
        cause="overlay_off",
        script=play.rings_until(),
        handset=may(overlay=False),
    ),
    "silent": Row(
        verdict="no_answer",
        cause="no_sound",
        script=play.rings_until(NO_ANSWER),
        handset=may(sound=False),
    ),
    "media denied": Row(
        verdict="device_error",
        cause="no_media",
        script=play.refuses(500),
        handset=may(media=False),
    ),
    "phone account": Row(
        verdict="registered_not_ringing",
        cause="no_phone_account",
        script=play.keeps_silent,
        handset=may(phone_account=False),
    ),
    "codecs": Row(verdict="device_error", cause="codec_mismatch", script=play.refuses(488)),
    # what the provider says
    "token dead": Row(verdict="push_rejected", cause="dead_token", script=play.webhook_says(410)),
    "token dead at Google": Row(
        verdict="push_rejected", cause="dead_token", script=play.google_says("UNREGISTERED")
    ),
    "token died before": Row(
        verdict="no_device",
        cause="dead_token",
        script=play.token_has_died,
        account={"register": "always"},
    ),
    "wrong app": Row(
        verdict="push_rejected", cause="wrong_app", script=play.google_says("SENDER_ID_MISMATCH")
    ),
    "credentials": Row(
        verdict="push_rejected", cause="provider_misconfigured", script=play.webhook_says(403)
    ),
    "throttled": Row(
        verdict="provider_unavailable", cause="provider_throttled", script=play.webhook_says(429)
    ),
    "backend down": Row(
        verdict="provider_unavailable", cause="backend_down", script=play.webhook_says(500)
    ),
    "provider down": Row(
        verdict="provider_unavailable", cause="provider_down", script=play.google_says("INTERNAL")
    ),
    "provider away": Row(
        verdict="provider_unavailable",
        cause="provider_unreachable",
        script=play.nobody_comes,
        handset={"app_id": AWAY_APP},
    ),
    "only enrolled": Row(
        verdict="no_device",
        cause="no_token",
        script=play.only_enrolled,
        account={"register": "always"},
        not_pushed="no_token",
    ),
    # what the PBX says
    "the desk took it": Row(
        verdict="answered_elsewhere",
        cause="blocked_by_other_registration",
        script=play.the_desk_takes_it,
        before=play.beside_a_desk_phone,
    ),
    "not registered at the PBX": Row(
        verdict="outbound_failed",
        cause="pbx_registration_down",
        script=play.calls_out(403),
        account={"password": "not the right one"},
    ),
}
ON_OTHER_STAGES = {
    Verdict.OVERLOADED: "test_overload_and_stop",
    Verdict.PROXY_ERROR: "test_overload_and_stop",
}
ELSEWHERE = {Cause.UNKNOWN_APP: "test_a_provider_that_is_taken_away"}


async def played(stage: Stage, row: Row, turn: asyncio.Semaphore) -> Record:
    """The record of the row's call."""
    async with turn:
        if not row.own_pbx:
            return await _played(stage, row, stage.pbx)
        async with Pbx(transport="tcp") as pbx:
            return await _played(stage, row, pbx)


async def _played(stage: Stage, row: Row, pbx: Pbx) -> Record:
    act = Act(stage=stage, ext=stage.extension(pbx))
    row.before(act)
    outgoing = row.verdict == "outbound_failed"
    account = {**(app_account(act.ext.user) if outgoing else {}), **row.account}
    await act.ext.put(**account)
    await act.ext.put_device(**row.handset)
    await act.registration("rejected" if "password" in row.account else "registered")
    await row.script(act)
    return await act.ended(row.cause)


def differences(row: Row, record: Record) -> list[str]:
    """What the record says otherwise than the row."""
    verdict = Verdict(row.verdict)
    wanted = {
        "verdict": row.verdict,
        "fault": row.fault or FAULTS[verdict].value,
        "cause": row.cause,
    }
    found = [f"{key} {record[key]}" for key, value in wanted.items() if record[key] != value]
    if re.fullmatch(advice(row), record["advice"]) is None:
        found.append(f"advice {record['advice']!r}")
    steps = record["advice_steps"]
    if bool(steps) != bool(row.cause) or not any(row.step in step for step in steps or [""]):
        found.append(f"steps {steps}")
    events = [entry["event"] for entry in record["timeline"]]
    unpushed = [e["detail"] for e in record["timeline"] if e["event"] == "not_pushed"]
    says_why = {"push_sent", "not_pushed", "token_dead", "policy"} & set(events)
    if record["direction"] == "incoming" and not says_why:
        found.append(f"neither a push nor a reason: {events}")
    if row.not_pushed and unpushed != [row.not_pushed]:
        found.append(f"not pushed because of {unpushed}")
    return found


def advice(row: Row) -> str:
    """The English text as a pattern: particulars in braces may be anything that is known."""
    text = TEXTS.verdict(row.verdict, "en")
    if row.cause:
        text = TEXTS.causes[row.cause].text["en"]
    return re.sub(r"\\{[a-z]+\\}", r"(?!\\?)[^{}]+", re.escape(text))


async def test_every_verdict_and_every_kind_of_evidence(workdir: Path) -> None:
    """Each scripted call ends with exactly this verdict, fault, cause and advice; every call led
    to a push or says why it did not.
    """
    async with stage_of(workdir) as stage:
        turn = asyncio.Semaphore(AT_ONCE)
        plays = [played(stage, row, turn) for row in ROWS.values()]
        done = await asyncio.gather(*plays, return_exceptions=True)
        text = await stage.service.expect("GET", "/metrics")
    wrong = []
    for (name, row), record in zip(ROWS.items(), done, strict=True):
        if isinstance(record, BaseException):
            wrong.append(f"{name}: {type(record).__name__}: {str(record)[:300]}")
        else:
            wrong += [f"{name}: {each}" for each in differences(row, record)]
    assert not wrong, "\n".join(wrong)
    for verdict in {row.verdict for row in ROWS.values()}:
        assert f'verdict="{verdict}"' in text


async def test_overload_and_stop(workdir: Path) -> None:
    """More calls than may wait are refused with 503, and on record as `overloaded`; one that waits
    while the service stops is on record as `proxy_error` when it runs again.
    """
    async with stage_of(workdir, max_waiting=1) as stage:
        waiting, shed = (Act(stage=stage, ext=stage.extension()) for _ in range(2))
        for act in (waiting, shed):
            await act.ext.put()
            await act.ext.put_device()
            await act.registration("registered")
        held = waiting.ext.call()
        await waiting.ext.pushed()
        final = await shed.ext.call().final(within=PATIENCE_S)
        assert (final.status, final.get("Retry-After")) == (503, "5")
        assert final.get("X-Push-Reason") == "overloaded"
        assert shed.ext.pushes("call") == []
        record = await shed.ended()
        row = Row(verdict="overloaded", script=play.talks, not_pushed="overloaded")
        assert differences(row, record) == []
        await stage.service.stop()
        assert (await held.final(within=PATIENCE_S)).get("X-Push-Reason") == "proxy_error"
        await stage.service.start()
        record = await waiting.ended()
        assert differences(Row(verdict="proxy_error", script=play.talks), record) == []


async def test_a_provider_that_is_taken_away(workdir: Path) -> None:
    """An app without a provider is `unknown_app`, and the caller need not wait. With the same
    SIGHUP the operator's own texts are taken over, for calls from before, too.
    """
    own = yaml.safe_load((resources.files("push_proxy") / "advice" / "advice.yaml").read_text())
    own["causes"]["unknown_app"]["text"] |= {"en": "Ask Ann.", "de": "Frag Anna."}
    file = workdir / "own.yaml"
    file.write_text(yaml.safe_dump(own, allow_unicode=True))
    async with stage_of(workdir) as stage:
        act = Act(stage=stage, ext=stage.extension())
        await act.ext.put()
        await act.ext.put_device(app_id=OLD_APP)
        await act.registration("registered")
        providers = yaml.safe_load(stage.service.config.read_text())["providers"]
        left = [each for each in providers["webhook"] if each["app_id"] != OLD_APP]
        await stage.reconfigure({"providers": {**providers, "webhook": left}})
        final = await act.ext.call().final(within=PATIENCE_S)
        assert final.get("X-Push-Reason") == "no_device"
        record = await act.ended()
        row = Row(
            verdict="no_device", cause="unknown_app", script=play.talks, not_pushed="unknown_app"
        )
        assert differences(row, record) == []
        await stage.reconfigure({"advice": {"file": str(file)}})
        where = f"/v1/calls/{record['id']}"
        assert (await stage.service.expect("GET", where))["advice"] == "Ask Ann."
        said = await stage.service.expect("GET", f"{where}?language=de-CH")
        assert said["advice"] == "Frag Anna."
        said = await stage.service.expect("GET", f"{where}?language=it")
        assert said["advice"].startswith("Qui non è configurato")
        assert said["advice_steps"][0].startswith("Operatore")


def test_the_table_is_whole() -> None:
    """No verdict, fault or cause is without its call."""
    assert {Verdict(row.verdict) for row in ROWS.values()} | set(ON_OTHER_STAGES) == set(Verdict)
    assert {row.cause for row in ROWS.values()} - {""} | set(ELSEWHERE) == set(Cause)
    faults = {row.fault or FAULTS[Verdict(row.verdict)].value for row in ROWS.values()}
    faults |= {FAULTS[verdict].value for verdict in ON_OTHER_STAGES}
    assert faults == set(Fault)
    here = globals()
    assert all(name in here for name in (*ON_OTHER_STAGES.values(), *ELSEWHERE.values()))
