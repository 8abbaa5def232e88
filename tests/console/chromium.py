"""Debian's Chromium without a window, driven by Playwright; and a tab with the console in it."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Literal, Self

from playwright.async_api import (
    Browser,
    ConsoleMessage,
    Error,
    Page,
    async_playwright,
    expect,
)

from push_proxy.demo.process import ProcessError
from tests.lab.service import LabService

EXECUTABLE = "/usr/bin/chromium"
# As root there is no sandbox; /dev/shm of a container is small.
ARGUMENTS = ["--no-sandbox", "--disable-dev-shm-usage"]
WINDOW = {"width": 1280, "height": 860}
WAIT_MS = 10_000
# Answers that are no success show in the log of every browser, also those that are expected.
EXPECTED = re.compile(r"Failed to load resource: (the server responded with a status of|net::ERR_)")

# The console's own listener is older, and has shown the view when these are told.
GO = """
(to) => location.hash === to || new Promise((moved) => {
  addEventListener("hashchange", () => moved(true), { once: true });
  location.hash = to;
})
"""
AWAIT_MOVE = """
() => {
  window.moved = new Promise((moved) => {
    addEventListener("hashchange", () => moved(true), { once: true });
  });
}
"""


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    """A browser."""
    async with async_playwright() as playwright:
        try:
            browser = await playwright.chromium.launch(executable_path=EXECUTABLE, args=ARGUMENTS)
        except Error as error:
            raise ProcessError(
                f"Chromium does not start; apt-get install chromium: {error}"
            ) from error
        try:
            yield browser
        finally:
            await browser.close()


class Console:
    """One tab with the console of a service."""

    def __init__(self, page: Page, service: LabService) -> None:
        self.page = page
        self.service = service
        self.faults: list[str] = []
        self.asked: list[str] = []
        """Paths of the API that were asked for."""
        page.on("pageerror", lambda error: self.faults.append(f"uncaught: {error}"))
        page.on("console", self._on_console)
        page.on("request", self._on_request)
        page.on("dialog", lambda dialog: self.faults.append(f"dialog: {dialog.message}"))

    async def open(self, view: str = "") -> Self:
        """Load the page anew."""
        await self.page.goto(f"{self.service.url}/{view}")
        return self

    async def enter(self, key: str) -> None:
        """Type a key and submit it."""
        await self.page.fill("#key", key)
        await self.page.keyboard.press("Enter")

    async def log_in(self, view: str = "") -> Self:
        """Open a view with the operator's key, and wait until the stream is live."""
        await self.open(view)
        await self.enter(self.service.api_key)
        await self.page.wait_for_selector('.feed[data-state="live"]')
        return self

    async def go(self, view: str) -> None:
        """Follow a link to another view, without loading the page anew; it is shown by then."""
        await self.page.evaluate(GO, view)

    async def leave_by(self, selector: str) -> None:
        """Click what leads to another view; it is shown by then."""
        await self.page.evaluate(AWAIT_MOVE)
        await self.page.click(selector)
        await self.page.evaluate("window.moved")

    async def says(self, selector: str, *, exactly: str) -> None:
        """What a person reads there is this, or becomes it."""
        there = expect(self.page.locator(selector).first)
        await there.to_have_text(exactly, use_inner_text=True, timeout=WAIT_MS)

    async def mentions(self, selector: str, *parts: str) -> None:
        """Each of these is among what a person reads there, or comes to be."""
        there = expect(self.page.locator(selector).first)
        for part in parts:
            await there.to_contain_text(part, use_inner_text=True, timeout=WAIT_MS)

    async def texts(self, selector: str) -> list[str]:
        """What a person reads in each of them at this moment."""
        found = await self.page.locator(selector).all_inner_texts()
        return [" ".join(each.split()) for each in found]

    async def rows(self, count: int | None = None) -> list[str]:
        """The rows of the list of calls, once there are some (or exactly ``count``)."""
        await self.page.wait_for_selector(".results .list tbody tr")
        if count is not None:
            await self.page.wait_for_function(
                "(n) => document.querySelectorAll('.results .list tbody tr').length === n",
                arg=count,
            )
        return await self.texts(".results .list tbody tr")

    async def scheme(self, scheme: Literal["light", "dark"]) -> None:
        """As the system would say it."""
        await self.page.emulate_media(color_scheme=scheme)

    def _on_console(self, message: ConsoleMessage) -> None:
        if message.type == "error" and not EXPECTED.match(message.text):
            self.faults.append(message.text)

    def _on_request(self, request: Any) -> None:
        path = request.url.removeprefix(self.service.url)
        if path.startswith("/v1/") or not request.url.startswith(
            (self.service.url, "blob:", "data:")
        ):
            self.asked.append(path)


@asynccontextmanager
async def console(browser: Browser, service: LabService, **options: Any) -> AsyncIterator[Console]:
    """A fresh tab that shares nothing with others. Nothing may have gone wrong in it at its end."""
    context = await browser.new_context(viewport=WINDOW, **options)
    context.set_default_timeout(WAIT_MS)
    try:
        tab = Console(await context.new_page(), service)
        yield tab
        assert tab.faults == []
    finally:
        await context.close()
