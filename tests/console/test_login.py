"""Who gets in: nobody sees anything without a key that opens it."""

from tests.scenarios.conftest import MakeExtension

from .chromium import Console
from .conftest import OpenConsole

STORED = "() => [sessionStorage.length, localStorage.length, document.cookie]"


async def test_without_a_key_there_is_a_login_and_nothing_else(tab: Console) -> None:
    """The page asks for the key; it asks the API for nothing, and loads nothing from elsewhere."""
    await tab.open("#/calls")
    await tab.says("h1", exactly="Log in")
    assert await tab.page.locator("nav").is_hidden()
    assert await tab.page.evaluate("document.activeElement.id") == "key"
    assert tab.asked == []


async def test_a_bad_key_sees_nothing(tab: Console, extension: MakeExtension) -> None:
    """A wrong key is told so in words; no view, no number, nothing is kept of it."""
    ext = await extension()
    ext.call()
    await ext.pushed()
    await tab.open("#/live")
    await tab.enter("not-the-key")
    await tab.mentions('#key-error:has-text("not")', "not valid")
    assert await tab.page.get_attribute("#key", "aria-invalid") == "true"
    assert ext.user not in await tab.page.inner_text("body")
    assert await tab.page.locator("nav").is_hidden()
    assert await tab.page.evaluate(STORED) == [0, 0, ""]
    assert tab.asked == ["/v1/overview"]


async def test_what_is_no_key_is_not_sent(tab: Console) -> None:
    """Nothing, or text with spaces, is refused in the page."""
    await tab.open()
    await tab.enter("")
    await tab.mentions('#key-error:has-text("Enter")', "Enter")
    await tab.enter("two words")
    await tab.mentions('#key-error:has-text("no API key")', "no API key")
    assert tab.asked == []


async def test_a_devices_key_does_not_open_the_console(
    tab: Console, extension: MakeExtension
) -> None:
    """The answer says which kind of key does."""
    ext = await extension()
    made = await ext.service.expect("POST", f"/v1/accounts/{ext.account}/devices/handset/key", None)
    await tab.open()
    await tab.enter(made["device_key"])
    await tab.mentions('#key-error:has-text("API key")', "API key does")


async def test_the_key_stays_in_its_tab_and_goes_with_log_out(
    tab: Console, open_tab: OpenConsole
) -> None:
    """It is in sessionStorage alone; loading the page again needs no login; log out forgets it."""
    await tab.log_in()
    assert await tab.page.evaluate(STORED) == [1, 0, ""]
    await tab.page.reload()
    await tab.page.wait_for_selector('.feed[data-state="live"]')
    await tab.page.click("text=Log out")
    await tab.says("h1", exactly="Log in")
    assert await tab.page.evaluate(STORED) == [0, 0, ""]
    assert await tab.page.locator("nav").is_hidden()
    asked = len(tab.asked)
    await tab.go("#/calls")
    await tab.says("h1", exactly="Log in")
    assert len(tab.asked) == asked
    async with open_tab() as other:
        await other.open()
        await other.says("h1", exactly="Log in")


async def test_a_key_that_is_withdrawn_ends_the_session(tab: Console) -> None:
    """The stored key of a tab that no longer opens anything leads back to the login, with why."""
    await tab.open()
    await tab.page.evaluate("sessionStorage.setItem('push-proxy.key', 'withdrawn')")
    await tab.page.reload()
    await tab.mentions('#key-error:has-text("longer")', "no longer valid")
    assert await tab.page.evaluate(STORED) == [0, 0, ""]
