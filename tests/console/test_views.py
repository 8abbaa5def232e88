"""Every view: what it says, that anybody can use it, that nothing comes from elsewhere."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, Literal

import pytest
from aiohttp import ClientSession
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import ViewportSize

from tests.lab.service import LabService
from tests.scenarios.conftest import Extension, MakeExtension

from .chromium import Console
from .conftest import OpenConsole

SERIOUS = {"serious", "critical"}
NARROW: ViewportSize = {"width": 360, "height": 740}
XIAOMI = {
    "platform": "android",
    "vendor": "xiaomi",
    "model": "13T",
    "permissions": {"battery_unrestricted": False},
}


async def answered_call(ext: Extension, device: str = "mobile") -> str:
    """A call that a woken phone answered, and that is over; its id."""
    call, incoming = await ext.woken(device)
    incoming.ring()
    incoming.accept()
    dialog = await call.answered()
    await incoming.expect_ack()
    dialog.send("BYE")
    await incoming.dialog().expect_bye()
    record = await ext.record(call)
    return str(record["id"])


async def test_a_call_shows_verdict_hops_and_timeline(
    tab: Console, extension: MakeExtension
) -> None:
    """In one page: how it ended, each hop of each device with its time, and every line."""
    ext = await extension(mobile=XIAOMI)
    call = await answered_call(ext)
    await tab.log_in(f"#/calls/{call}")
    await tab.says(".summary .verdict", exactly="Answered")
    names = await tab.texts(".bars tbody th")
    assert names == [
        *("INVITE", "Push sent", "Accepted", "App report"),
        *("REGISTER", "Relayed", "Ringing", "Answer"),
    ]
    states = await tab.page.eval_on_selector_all(
        ".bars [data-hop]", "rows => rows.map(row => row.dataset.state)"
    )
    assert states == ["done", "done", "done", "skipped", "done", "done", "done", "done"]
    lines = await tab.texts(".list tbody tr")
    assert any("Device rings" in line and "180" in line for line in lines)
    assert "Hung up" in lines[-1]
    await tab.leave_by(".facts a")
    await tab.says("h1", exactly=f"Account {ext.account}")


async def test_a_call_that_went_wrong_says_whose_fault_and_what_to_do(
    tab: Console, extension: MakeExtension
) -> None:
    """Fault and advice stand at the top, in words; the hop that failed is marked."""
    ext = await extension()
    await ext.put(register="always")
    await ext.service.expect("DELETE", f"/v1/accounts/{ext.account}/devices/handset", None)
    call = ext.call()
    await call.final()
    record = await ext.record(call)
    await tab.log_in(f"#/calls/{record['id']}")
    await tab.mentions(".summary", "No device to wake", "app configuration", record["advice"])
    assert await tab.page.locator('.bars [data-hop="push_sent"][data-state="failed"]').count() == 1


async def test_a_call_page_moves_while_the_call_goes_on(
    tab: Console, extension: MakeExtension
) -> None:
    """Opened while the phone wakes, it shows the answer by itself."""
    ext = await extension()
    call = ext.call()
    (push,) = await ext.pushed()
    await tab.log_in(f"#/calls/{push.call_id}")
    await tab.page.wait_for_selector('.bars [data-hop="registered"][data-state="waiting"]')
    incoming = await ext.rung(ext.phone())
    incoming.ring()
    incoming.accept()
    await call.answered()
    await incoming.expect_ack()
    await tab.page.wait_for_selector('.bars [data-hop="answered"][data-state="done"]')
    await tab.says(".summary .verdict", exactly="Talking")


async def test_the_sip_of_a_call_is_drawn_and_downloaded(
    tab: Console, extension: MakeExtension
) -> None:
    """A ladder with an arrow per message, its text when opened, and a capture file."""
    ext = await extension(mobile=XIAOMI)
    call = await answered_call(ext)
    await tab.log_in(f"#/calls/{call}")
    await tab.page.wait_for_selector(".ladder li")
    assert await tab.texts(".ladder .parties span") == ["PBX", "push-proxy", "mobile"]
    labels = await tab.texts(".ladder .label")
    assert labels[0] == "INVITE"
    assert {"REGISTER", "180 Ringing", "200 OK", "ACK", "BYE"} <= set(labels)
    await tab.page.click(".ladder summary >> nth=0")
    await tab.mentions(".ladder pre", f"INVITE sip:{ext.user}@")
    assert (await tab.texts(".ladder pre"))[0].startswith("INVITE ")
    async with tab.page.expect_download() as started:
        await tab.page.click("text=Download as pcap")
    download = await started.value
    assert download.suggested_filename == f"{call}.pcap"
    capture = await tab.page.context.request.get(
        f"{tab.service.url}/v1/calls/{call}/sip.pcap",
        headers={"Authorization": f"Bearer {tab.service.api_key}"},
    )
    saved = await asyncio.to_thread(Path(await download.path()).read_bytes)
    assert saved == await capture.body()


async def test_an_apps_log_is_linked_from_its_call_and_its_account(
    tab: Console, extension: MakeExtension
) -> None:
    """Its text is shown as text."""
    ext = await extension(mobile=XIAOMI)
    call = await answered_call(ext)
    async with ClientSession() as session:
        answer = await session.post(
            f"{tab.service.url}/v1/accounts/{ext.account}/devices/mobile/logs?call_id={call}",
            data="woken <b>by push</b>",
            headers={
                "Authorization": f"Bearer {tab.service.api_key}",
                "Content-Type": "text/plain",
            },
        )
        assert answer.status == 201, await answer.text()
    await tab.log_in(f"#/calls/{call}")
    await tab.page.click("section:has-text('App logs of mobile') button")
    await tab.mentions("section:has-text('App logs') pre", "woken <b>by push</b>")
    await tab.go(f"#/accounts/{ext.account}")
    await tab.leave_by("text=about this call")
    await tab.page.wait_for_selector(".bars")


async def test_an_account_shows_registration_devices_and_calls(
    tab: Console, extension: MakeExtension
) -> None:
    """Registration state, other contacts, each device with reach and token, what it missed."""
    ext = await extension(mobile=XIAOMI, spare={})
    await answered_call(ext)
    missed = ext.call(caller="4711")
    await ext.pushed(3)
    await missed.cancel()
    await ext.record(missed)
    await tab.log_in(f"#/accounts/{ext.account}")
    await tab.mentions("main", "Registered", "Only ours.")
    await tab.mentions('[data-device="mobile"]', "xiaomi 13T", "Registered", "battery unrestricted")
    await tab.mentions('[data-device="spare"]', "Asleep, can be woken")
    await tab.page.wait_for_selector("section:has-text('Missed calls') >> text=4711")
    await tab.page.wait_for_selector(".list [data-call]")


async def test_health_shows_node_providers_pbxs_and_wake_latency(
    tab: Console, extension: MakeExtension
) -> None:
    """With a chart that says in words what it shows, and a table with the same numbers."""
    ext = await extension(mobile=XIAOMI)
    await answered_call(ext)
    await tab.log_in("#/health")
    await tab.page.wait_for_selector("figure")
    await tab.mentions("main", "Ready", "proxy-1", "com.example.phone", ext.registrar, "Reachable")
    label = await tab.page.get_attribute("figure svg", "aria-label")
    assert label is not None
    assert "median" in label
    await tab.mentions("section:has(figure) .list tbody", "Xiaomi")


async def test_a_call_that_does_not_exist_is_said_so(tab: Console) -> None:
    """The service's own words, and a way on."""
    await tab.log_in("#/calls/no-such-call")
    await tab.mentions(".notice", "there is no call")


async def seen_by_axe(tab: Console) -> list[str]:
    """What axe finds serious or worse."""
    results = await Axe().run(tab.page)
    found: list[dict[str, Any]] = results.response["violations"]
    return [
        f"{one['id']}: {one['help']}: {[node['html'][:160] for node in one['nodes'][:3]]}"
        for one in found
        if one["impact"] in SERIOUS
    ]


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_axe_finds_no_serious_fault_in_any_view(
    open_tab: OpenConsole, extension: MakeExtension, scheme: Literal["light", "dark"]
) -> None:
    """Contrast, names, roles, structure: of the login and of every view with something in it."""
    ext = await extension(desk={}, mobile=XIAOMI)
    call = await answered_call(ext)
    ext.call(caller="4711")
    await ext.pushed(4)
    faults = {}
    # axe is a script from elsewhere, which the console's policy rightly keeps out.
    async with open_tab(bypass_csp=True, color_scheme=scheme, reduced_motion="reduce") as tab:
        await tab.open()
        await tab.page.wait_for_selector("#key")
        faults["login"] = await seen_by_axe(tab)
        await tab.log_in("#/live")
        ready = {
            "#/live": '.card [data-state="waiting"]',
            "#/calls": ".list tbody tr",
            f"#/calls/{call}": ".bars + .bars",
            "#/accounts": ".list tbody tr",
            f"#/accounts/{ext.account}": ".list [data-call]",
            "#/health": "figure",
        }
        for view, selector in ready.items():
            await tab.go(view)
            await tab.page.wait_for_selector(selector)
            faults[view] = await seen_by_axe(tab)
    assert not any(faults.values()), faults


async def test_everything_is_reached_by_keyboard(tab: Console, extension: MakeExtension) -> None:
    """Tab leads over the skip link and the navigation to the first call; Enter opens it, the focus
    goes to the new page's content; what has the focus shows it.
    """
    ext = await extension()
    ext.call()
    await ext.pushed()
    await tab.log_in("#/live")
    await tab.page.wait_for_selector(f".card:has-text('{ext.user}')")
    await tab.page.evaluate("document.activeElement.blur(); document.body.tabIndex = -1")
    await tab.page.evaluate("document.body.focus(); document.body.removeAttribute('tabindex')")
    reached = []
    for _ in range(12):
        await tab.page.keyboard.press("Tab")
        reached.append(await tab.page.evaluate("document.activeElement.innerText.trim()"))
        if ext.user in reached[-1]:
            break
    assert reached[0] == "Skip to the content"
    assert reached[1:6] == ["push-proxy", "Live", "Calls", "Accounts", "Health"]
    assert ext.user in reached[-1], reached
    outline = await tab.page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"
    await tab.page.keyboard.press("Enter")
    await tab.page.wait_for_selector(".bars")
    assert await tab.page.evaluate("document.activeElement.id") == "content"
    await tab.page.keyboard.press("Shift+Tab")
    await tab.page.focus(".skip")
    await tab.page.keyboard.press("Enter")
    assert await tab.page.evaluate("document.activeElement.id") == "content"


async def test_colours_follow_the_system_until_one_is_chosen(tab: Console) -> None:
    """The choice stays when the page is loaded again."""
    ground = "getComputedStyle(document.body).backgroundColor"
    await tab.scheme("light")
    await tab.log_in()
    light = await tab.page.evaluate(ground)
    await tab.scheme("dark")
    dark = await tab.page.evaluate(ground)
    assert light != dark
    await tab.page.select_option(".theme select", "light")
    assert await tab.page.evaluate(ground) == light
    await tab.page.reload()
    await tab.page.wait_for_selector(".feed")
    assert await tab.page.evaluate(ground) == light


async def test_it_fits_a_phones_screen(open_tab: OpenConsole, extension: MakeExtension) -> None:
    """On 360 pixels nothing but tables in their own frames goes beyond the edge."""
    ext = await extension(mobile=XIAOMI)
    call = await answered_call(ext)
    async with open_tab() as tab:
        await tab.page.set_viewport_size(NARROW)
        await tab.log_in("#/live")
        views = ["#/live", "#/calls", f"#/calls/{call}", f"#/accounts/{ext.account}", "#/health"]
        for view in views:
            await tab.go(view)
            await tab.page.wait_for_selector("main .panel, main .card, main .empty")
            wide = await tab.page.evaluate("document.documentElement.scrollWidth")
            assert wide <= 360, view


async def test_nothing_is_loaded_from_elsewhere(tab: Console, service: LabService) -> None:
    """All that a visit asks for comes from the service itself."""
    elsewhere: list[str] = []
    tab.page.on(
        "request",
        lambda request: (
            elsewhere.append(request.url) if not request.url.startswith(service.url) else None
        ),
    )
    await tab.log_in("#/health")
    await tab.page.wait_for_selector(".panel")
    assert elsewhere == []


async def test_a_callers_name_turns_nothing_around(tab: Console, extension: MakeExtension) -> None:
    """A name with a mark that reverses text leaves the called number behind it as it is."""
    ext = await extension()
    await ext.put_device("mobile")
    binding = await ext.pbx.registered(ext.user)
    call = ext.pbx.as_caller().call(
        ext.aor,
        request_uri=binding.uri,
        next_hop=binding.source,
        from_value='"Eve \u202e" <sip:200@pbx.test>;tag=a6c85cf',
    )
    await ext.pushed()
    await call.cancel()
    record = await ext.record(call)
    await tab.log_in(f"#/calls/{record['id']}")
    await tab.page.wait_for_selector(".heading .arrow")
    arrow, callee = await tab.page.evaluate(
        """() => [".arrow", ".arrow + .phone"].map(
            (part) => document.querySelector(`.heading ${part}`).getBoundingClientRect().left)"""
    )
    assert arrow < callee


async def test_long_words_of_an_app_fit_a_narrow_screen(
    open_tab: OpenConsole, extension: MakeExtension, running_service: LabService
) -> None:
    """What an app says at length widens no page, and numbers in lists stay in one line."""
    ext = await extension()
    await ext.put_device("mobile")
    call = ext.call(caller="+4915112345678")
    push = (await ext.pushed())[0]
    body = {"event": "failed", "device": "mobile", "detail": "the handshake failed " * 8}
    await running_service.expect("POST", f"/v1/calls/{push.call_id}/events", body)
    await call.cancel()
    await ext.record(call)
    async with open_tab() as tab:
        await tab.page.set_viewport_size(NARROW)
        await tab.log_in(f"#/calls/{push.call_id}")
        await tab.page.wait_for_selector(".bars .failed .note")
        wide = "document.documentElement.scrollWidth"
        assert await tab.page.evaluate(wide) <= 360
        await tab.go("#/calls?number=4915112345678")
        height = "document.querySelector('.list .phone').getBoundingClientRect().height"
        await tab.rows()
        assert await tab.page.evaluate(height) < 30
