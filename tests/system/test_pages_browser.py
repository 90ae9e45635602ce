"""The pages in a real Chromium: whether everybody can use them, how they bring people back."""

import asyncio
from datetime import timedelta

import msgspec
import pytest
from playwright.async_api import Page, expect

from gateway.hub import wording
from tests.system.browser import ARTIFACTS
from tests.system.page_gate import opened, serve
from tests.unit.hub import page_samples
from tests.unit.hub.page_samples import NOW, WANTED

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module")]

FOCUS = """() => {
  const el = document.activeElement, text = el.labels?.length ? el.labels[0].innerText : el.innerText;
  const name = el === document.body ? "" : text.split("\\n")[0].trim();
  return [name, getComputedStyle(el).outlineStyle];
}"""


async def stand_still(page: Page) -> None:
    """Let no time pass in the page but what `clock.run_for` gives it: nobody is led away before we have looked."""
    await page.clock.install(time=NOW)
    await page.clock.pause_at(NOW + timedelta(seconds=1))


def with_form(view, **changes):
    """Return the sample view with the form field that the stand-in expects."""
    return msgspec.structs.replace(view, csrf="secret", **changes)


async def test_the_keyboard_reaches_everything_in_order_and_shows_where_it_is(browser):
    async with serve() as gate, opened(browser, gate) as page:
        gate.show(with_form(page_samples.fix_rules()))
        await page.goto(f"{gate.origin}/.gate/fix")
        stops = []
        for _ in range(30):
            await page.keyboard.press("Tab")
            stop, outline = await page.evaluate(FOCUS)
            if not stop:
                break
            assert outline == "solid", stop
            stops.append(stop)
    assert stops == [
        "Skip to the content",
        "Sign out",
        "Copy",
        "More about FileVault",
        "How to fix it on Windows",
        "Take me back by itself",
        "Check again",
        "Not you?",
        "Not this device?",
        "What we hold about this device",
        "it-help@corp.example",
        "Copy",
    ]


async def test_the_skip_link_leads_past_the_header(browser):
    async with serve() as gate, opened(browser, gate) as page:
        await page.goto(f"{gate.origin}/s/fix-rules")
        await page.keyboard.press("Tab")
        await page.keyboard.press("Enter")
        await page.wait_for_function("document.activeElement.id === 'main'")


async def test_without_javascript_everything_works(browser):
    """Instructions, Check again, and the way back by refresh; what needs a script is not shown."""
    async with serve() as gate, opened(browser, gate, java_script_enabled=False) as page:
        gate.show(with_form(page_samples.fix_risk()))
        await page.goto(f"{gate.origin}/.gate/fix")
        assert await page.locator("h1").inner_text() == "ANA-MBP needs attention before you can open Payroll"
        assert await page.locator("meta[http-equiv=refresh]").get_attribute("content") == "15;url=/.gate/fix"
        assert await page.get_by_text("This page looks again every 15 seconds.").is_visible()
        for hidden in ("#back", "button[data-copy]", ".pulse"):
            assert not await page.locator(hidden).first.is_visible()
        await page.get_by_text("What we hold about this device").click()
        await expect(page.get_by_text("C02XK1ZGJGH5")).to_be_visible()
        gate.show(with_form(gate.view, notice="Checked just now. It is still open."))
        await page.get_by_role("button", name="Check again").click()
        said = page.get_by_role("status").first
        await expect(said).to_have_text("Checked just now. It is still open.")
        assert gate.rechecks == 1
        gate.show(with_form(page_samples.fix_clear(), returns_by_itself=True))
        await page.goto(f"{gate.origin}/.gate/fix")
        assert await page.locator("meta[http-equiv=refresh]").get_attribute("content") == f"5;url={WANTED}"
        await page.get_by_role("link", name="Continue to Payroll").click()
        await page.wait_for_url(gate.origin + WANTED)


async def test_the_person_is_brought_back_when_access_is_restored(browser):
    """The stream says so: the page announces it, puts the focus there, and goes to just the page wanted."""
    async with serve() as gate, opened(browser, gate) as page:
        await stand_still(page)
        await page.goto(f"{gate.origin}/.gate/fix")
        await page.wait_for_function("document.querySelector('#live').checkVisibility()")
        await gate.watched.wait()
        gate.show(page_samples.fix_clear())
        await page.get_by_role("heading", name="Access is back").wait_for()
        await page.wait_for_function("document.activeElement.id === 'back'")
        await page.clock.run_for(1_000)
        await page.locator(
            "#say", has_text="Access is back. We take you back to Payroll in a moment."
        ).wait_for(state="attached")
        await page.screenshot(path=ARTIFACTS / "pages" / "restored.png")
        await page.clock.run_for(10_000)
        await page.wait_for_url(gate.origin + WANTED, timeout=60_000)
        assert await page.locator("h1").inner_text() == "Payslip"


@pytest.mark.parametrize("how", ["button", "Escape"])
async def test_the_person_may_stay(browser, how):
    async with serve() as gate, opened(browser, gate) as page:
        await stand_still(page)
        await page.goto(f"{gate.origin}/.gate/fix")
        await gate.watched.wait()
        gate.show(page_samples.fix_clear())
        await page.get_by_role("heading", name="Access is back").wait_for()
        if how == "button":
            await page.get_by_role("button", name="Stay here").click()
        else:
            await page.keyboard.press("Escape")
        await page.get_by_text("You stay on this page.").first.wait_for()
        await page.clock.run_for(10_000)
        assert page.url == f"{gate.origin}/.gate/fix"
        assert await page.evaluate("document.activeElement.textContent") == "Go now"
        await page.keyboard.press("Enter")
        await page.wait_for_url(gate.origin + WANTED)


async def test_who_does_not_want_to_be_taken_back_is_not(browser):
    """WCAG 2.2.1: the time limit can be turned off before it begins; the choice outlives a change of the page."""
    async with serve() as gate, opened(browser, gate) as page:
        await stand_still(page)
        gate.show(with_form(page_samples.fix_rules()))
        await page.goto(f"{gate.origin}/.gate/fix")
        await gate.watched.wait()
        await page.get_by_label("Take me back by itself").uncheck()
        gate.show(with_form(page_samples.fix_risk()))
        await page.get_by_role("heading", name="A program that steals passwords was found").wait_for()
        gate.show(page_samples.fix_clear())
        await page.get_by_role("heading", name="Access is back").wait_for()
        await page.get_by_text("You stay on this page.").first.wait_for()
        await page.clock.run_for(60_000)
        assert page.url == f"{gate.origin}/.gate/fix"
        assert not await page.get_by_role("button", name="Stay here").is_visible()
        await page.get_by_role("link", name="Go now").click()
        await page.wait_for_url(gate.origin + WANTED)


async def test_progress_is_shown_in_place(browser):
    """One of two problems is fixed: the page changes without a navigation, open folds and the focus stay."""
    async with serve() as gate, opened(browser, gate) as page:
        gate.show(with_form(page_samples.fix_rules()))
        await page.goto(f"{gate.origin}/.gate/fix")
        await page.get_by_text("What we hold about this device").click()
        await page.locator("#again").focus()
        await page.evaluate("window.stayed = true")
        await gate.watched.wait()
        gate.show(with_form(page_samples.fix_risk()))
        await page.get_by_role("heading", name="A program that steals passwords was found").wait_for()
        assert await page.evaluate("window.stayed")
        assert await page.evaluate("document.activeElement.id") == "again"
        assert await page.get_by_text("C02XK1ZGJGH5").is_visible()
        await page.locator("#say", has_text="This page has changed.").wait_for(state="attached")


async def test_check_again_stays_on_the_page_and_says_what_it_waits_for(browser):
    async with serve() as gate, opened(browser, gate) as page:
        gate.show(with_form(page_samples.fix_risk()))
        await page.goto(f"{gate.origin}/.gate/fix")
        await page.evaluate("window.stayed = true")
        notice = wording.checked_notice(gate.view)
        gate.view = with_form(gate.view, notice=notice)
        await page.get_by_role("button", name="Check again").click()
        await page.locator("#notice").wait_for()
        assert gate.rechecks == 1
        assert await page.locator("#notice").inner_text() == (
            "Checked just now. It is still open. Wazuh last reported 4 minutes ago."
        )
        assert await page.evaluate("window.stayed")
        await page.wait_for_function("document.activeElement.id === 'again'")
        await page.locator("#say", has_text="Checked just now.").wait_for(state="attached")


async def test_without_a_stream_the_page_asks_and_still_brings_the_person_back(browser):
    async with serve() as gate, opened(browser, gate) as page:
        gate.has_stream = False
        await page.goto(f"{gate.origin}/.gate/fix")
        gate.show(page_samples.fix_clear())
        await page.wait_for_url(gate.origin + WANTED, timeout=60_000)


async def test_times_are_shown_in_the_readers_zone(browser):
    async with serve() as gate, opened(browser, gate) as page:
        await page.clock.set_fixed_time(NOW)
        await page.goto(f"{gate.origin}/s/fix-risk")
        assert await page.locator(".facts time").first.inner_text() == "Fri 20 Nov, 14:58 CET"
        assert await page.locator(".facts time").last.inner_text() == "4 minutes ago"


async def test_the_code_can_be_copied(browser):
    async with (
        serve() as gate,
        opened(browser, gate, permissions=["clipboard-read", "clipboard-write"]) as page,
    ):
        await page.goto(f"{gate.origin}/s/blocked")
        await page.get_by_role("button", name="Copy").click()
        await page.get_by_role("button", name="Copied").wait_for()
        assert await page.evaluate("navigator.clipboard.readText()") == page_samples.REFERENCE


async def test_nothing_moves_for_those_who_ask_for_that(browser):
    async with serve() as gate, opened(browser, gate, reduced_motion="reduce") as page:
        await page.goto(f"{gate.origin}/s/fix-risk")
        assert await page.evaluate("document.getAnimations().length") == 0


async def test_hostile_texts_do_nothing(browser):
    """A device name, a finding and a link that attack the page are shown as harmless text."""
    async with serve() as gate, opened(browser, gate) as page:
        gate.view = page_samples.fix_hostile()
        await page.goto(f"{gate.origin}/.gate/fix")
        assert await page.locator("script").count() == 2
        assert await page.locator("img").count() == 0
        assert await page.locator("#back a").get_attribute("href") == "/"
        await gate.watched.wait()
        gate.show(msgspec.structs.replace(gate.view, can_continue=True))
        await asyncio.sleep(0.5)
        assert page.url == f"{gate.origin}/.gate/fix"
