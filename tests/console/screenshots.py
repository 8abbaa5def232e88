"""Makes the pictures of docs/console.md: ``python -m tests.console.screenshots``."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path
from typing import Literal

from playwright.async_api import Browser

from .chromium import chromium, console
from .stage import Stage, stage

FOLDER = Path(__file__).parents[2] / "docs" / "console"
ONE_SCHEME = {"calls": "light", "account": "dark", "sip": "light"}
"""These are shown in one scheme alone: pictures are large."""
SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
SIZE = {"width": 1200, "height": 720}
TALL = {"width": 1200, "height": 1130}


async def make(folder: Path) -> None:
    """All pictures, in both colour schemes."""
    with tempfile.TemporaryDirectory(prefix="pp-") as directory:
        async with stage(Path(directory)) as scene, chromium() as browser:
            await scene.past()
            ids = await _ids(scene)
            await scene.present()
            for scheme in SCHEMES:
                await _pictures(browser, scene, folder, scheme=scheme, ids=ids)


async def _ids(scene: Stage) -> dict[str, str]:
    found = {}
    for verdict in ("answered", "not_woken"):
        page = await scene.service.expect("GET", f"/v1/calls?verdict={verdict}&limit=1")
        found[verdict] = page["calls"][0]["id"]
    return found


async def _pictures(
    browser: Browser,
    scene: Stage,
    folder: Path,
    *,
    scheme: Literal["light", "dark"],
    ids: dict[str, str],
) -> None:
    views = {
        "live": ("#/live", ".card:nth-child(3)"),
        "call": (f"#/calls/{ids['not_woken']}", ".bars"),
        "calls": ("#/calls", ".list tbody tr"),
        "account": ("#/accounts/ext-101", ".list [data-call]"),
        "health": ("#/health", "figure"),
    }
    options = {"color_scheme": scheme, "reduced_motion": "reduce"}
    async with console(browser, scene.service, **options) as tab:
        await tab.log_in()
        for name, (view, ready) in views.items():
            if ONE_SCHEME.get(name, scheme) != scheme:
                continue
            await tab.page.set_viewport_size(TALL if name == "call" else SIZE)
            await tab.go(view)
            await tab.page.wait_for_selector(ready)
            await asyncio.sleep(0.4)
            await tab.page.screenshot(path=folder / f"{name}-{scheme}.png")
        if ONE_SCHEME["sip"] != scheme:
            return
        await tab.page.set_viewport_size({**TALL, "height": 2600})
        await tab.go(f"#/calls/{ids['answered']}")
        await tab.page.click(".ladder summary >> nth=0")
        panel = tab.page.locator("section:has(.ladder)")
        await panel.screenshot(path=folder / f"sip-{scheme}.png")


if __name__ == "__main__":
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER
    target.mkdir(parents=True, exist_ok=True)
    asyncio.run(make(target))
