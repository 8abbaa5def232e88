"""Live calls: there at once, moving by themselves, and honest when the stream is away."""

from datetime import datetime
from typing import Any

from tests.lab.service import LabService
from tests.scenarios.conftest import MakeExtension

from .chromium import Console

# Notes when each hop first looked like this, by the page's clock.
WATCH = """
() => {
  window.seen = {};
  const look = () => {
    for (const card of document.querySelectorAll("[data-call]")) {
      const note = (what) => (window.seen[`${card.dataset.call} ${what}`] ??= Date.now());
      note(card.dataset.state);
      for (const row of card.querySelectorAll("tbody tr")) {
        const device = row.querySelector("th").textContent;
        for (const hop of row.querySelectorAll("[data-hop]")) {
          note(`${device} ${hop.dataset.hop} ${hop.dataset.state}`);
        }
      }
    }
  };
  const everything = {subtree: true, childList: true, attributes: true};
  new MutationObserver(look).observe(document.body, everything);
  look();
}
"""
HOP_OF = {
    "push_sent": "push_sent",
    "push_accepted": "push_accepted",
    "push_received": "app_report",
    "registered": "registered",
    "invite_sent": "relayed",
    "device_ringing": "ringing",
    "answered": "answered",
}


async def test_a_call_appears_and_moves_through_its_states_within_a_second(
    tab: Console, extension: MakeExtension
) -> None:
    """Each hop of each device, and each state, is on the screen less than a second after it
    happened; the call leaves "in progress" when it ends.
    """
    ext = await extension(desk={}, mobile={"platform": "android"})
    await tab.log_in()
    await tab.page.evaluate(WATCH)
    call = ext.call(caller="+41441112233")
    push = (await ext.pushed(2))[0]
    card = f'[data-call="{push.call_id}"]'
    await tab.mentions(f"{card} h3", "+41441112233")
    await tab.page.wait_for_selector(f'{card}[data-state="waking"]')
    await ext.service.expect(
        "POST",
        f"/v1/calls/{push.call_id}/events",
        {"event": "push_received", "device": "mobile"},
    )
    incoming = await ext.rung(ext.phone("mobile"))
    incoming.ring()
    await tab.page.wait_for_selector(f'{card}[data-state="ringing"]')
    incoming.accept()
    dialog = await call.answered()
    await incoming.expect_ack()
    await tab.page.wait_for_selector(f'{card}[data-state="answered"]')
    dialog.send("BYE")
    await incoming.dialog().expect_bye()
    await tab.page.wait_for_selector(f'.ended {card}[data-state="ended"]')

    record = await ext.record(call)
    seen = await tab.page.evaluate("window.seen")
    lags = {what: at - happened for what, happened, at in _pairs(record, seen)}
    assert len(lags) == 2 + 2 + 1 + 4 + 1 + 1, lags
    assert max(lags.values()) < 1000, lags


async def test_hops_of_each_device_stand_in_their_own_row(
    tab: Console, extension: MakeExtension
) -> None:
    """The phone that came has all hops, the other waits for its REGISTER."""
    ext = await extension(desk={}, mobile={})
    await tab.log_in()
    _, incoming = await ext.woken("mobile")
    incoming.ring()
    await tab.page.wait_for_selector('[data-hop="ringing"][data-state="done"]')
    assert await states(tab, "desk") == [
        *("done", "done", "done", "open"),
        *("waiting", "open", "open", "open"),
    ]
    assert await states(tab, "mobile") == [
        *("done", "done", "done", "skipped"),
        *("done", "done", "done", "waiting"),
    ]


async def test_a_callers_name_is_text_and_never_markup(
    tab: Console, extension: MakeExtension
) -> None:
    """Names come from the network: what looks like HTML is shown as it is, everywhere."""
    hostile = "<img src=x onerror=alert(1)><b onclick=alert(2)>"
    ext = await extension()
    await tab.log_in()
    binding = await ext.pbx.registered(ext.user)
    call = ext.pbx.as_caller().call(
        ext.aor,
        request_uri=binding.uri,
        next_hop=binding.source,
        from_value=f'"{hostile}" <sip:200@pbx.test>;tag=a6c85cf',
    )
    await ext.pushed()
    await tab.page.wait_for_selector(f"text={hostile}")
    await call.cancel()
    record = await ext.record(call)
    assert record["caller_name"] == hostile
    for view in (f"#/calls/{record['id']}", "#/calls", f"#/accounts/{ext.account}"):
        await tab.go(view)
        await tab.page.wait_for_selector(f"main >> text={hostile}")
    assert await tab.page.locator("main img, main b").count() == 0


async def test_it_says_that_it_is_not_live_and_comes_back(
    tab: Console, extension: MakeExtension, running_service: LabService
) -> None:
    """With the service away the header says so; as soon as it is back so are the calls."""
    await tab.log_in()
    await running_service.stop()
    await tab.page.wait_for_selector('.feed[data-state="away"]')
    await tab.mentions(".feed", "Not live")
    await running_service.start()
    await tab.page.evaluate("dispatchEvent(new Event('online'))")
    await tab.page.wait_for_selector('.feed[data-state="live"]', timeout=20_000)
    ext = await extension()
    ext.call()
    await ext.pushed()
    await tab.page.wait_for_selector(f'.cards [data-call] h3:has-text("{ext.user}")')


async def test_a_tab_that_nobody_sees_lets_go_of_its_stream(tab: Console) -> None:
    """After a minute, for a browser has six connections in all; seen again it is live at once."""
    hide = """(hidden) => {
      Object.defineProperty(document, "hidden", {value: hidden, configurable: true});
      document.dispatchEvent(new Event("visibilitychange"));
    }"""
    await tab.page.clock.install()
    await tab.log_in()
    await tab.page.evaluate(hide, True)
    await tab.page.clock.fast_forward(61_000)
    await tab.page.wait_for_selector('.feed[data-state="away"]')
    opened = tab.asked.count("/v1/live")
    await tab.page.clock.fast_forward(120_000)
    assert tab.asked.count("/v1/live") == opened
    await tab.page.evaluate(hide, False)
    await tab.page.wait_for_selector('.feed[data-state="live"]')
    assert tab.asked.count("/v1/live") == opened + 1


async def states(tab: Console, device: str) -> list[str]:
    """The states of a device's hops, in order."""
    row = tab.page.locator(".track tbody tr", has=tab.page.locator("th", has_text=device))
    found: list[str] = await row.locator("[data-hop]").evaluate_all(
        "(hops) => hops.map((hop) => hop.dataset.state)"
    )
    return found


def _pairs(record: dict[str, Any], seen: dict[str, float]) -> list[tuple[str, float, float]]:
    """What happened, when, and when it was seen (both in Unix milliseconds)."""
    found = []
    for entry in record["timeline"]:
        hop, device = HOP_OF.get(entry["event"]), entry["device"]
        if hop is not None and device is not None:
            what = f"{device} {hop} done"
            found.append((what, _ms(entry["at"]), seen[f"{record['id']} {what}"]))
    for state, at in (("answered", record["answered_at"]), ("ended", record["ended_at"])):
        found.append((state, _ms(at), seen[f"{record['id']} {state}"]))
    return found


def _ms(at: str) -> float:
    return datetime.fromisoformat(at).timestamp() * 1000
