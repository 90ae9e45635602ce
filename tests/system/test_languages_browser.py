"""The pages in the reader's language, and the whole way by keyboard alone, through the real gateway."""

import re

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, expect

from tests.system.browser import shot, sign_in
from tests.system.stack import HEALTHY, Stack, lent, running_stack

pytestmark = [pytest.mark.op, pytest.mark.browser, pytest.mark.asyncio(loop_scope="module")]

RULE = """\
        - type: fact
          name: disk
          fact: disk_encrypted
          equals: true
          title: {en: Turn on disk encryption, de: Festplatte verschlüsseln}
          why: {en: A lost laptop must give nothing away., de: "Ein verlorener Laptop soll **nichts** preisgeben."}
          fix: {en: Ask the service desk.}
          fixes:
            windows: {en: Open *Device encryption*., de: Öffnen Sie *Geräteverschlüsselung*.}
access:
"""
REASON = "reason: {en: Your laptop needs attention., de: Ihr Laptop braucht Aufmerksamkeit.}"
WINDOWS = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0 Safari/537.36"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running():
    async with running_stack(starts=False) as made:
        made.write_config(
            "pages: {style: {brand: Example Corp}}",
            **{"access:\n": RULE, "reason: Your laptop needs attention.": REASON},
        )
        await made.start()
        await made.signal_risk("open", event="e-start", **HEALTHY)
        yield made


@pytest_asyncio.fixture(loop_scope="module")
async def stack(running: Stack):
    async with lent(running) as made:
        yield made


@pytest.mark.parametrize("script", [True, False])
async def test_the_browsers_language_is_spoken_and_another_can_be_chosen(
    stack: Stack, browser: Browser, script: bool
) -> None:
    context = await browser.new_context(
        locale="ar-EG", viewport={"width": 320, "height": 700}, java_script_enabled=script
    )
    page = await context.new_page()
    await sign_in(page, stack.url("/one"))
    await stack.signal_risk("open", event=f"l-{script}")
    await page.goto(stack.url("/one"))
    await page.wait_for_url(re.compile(r"/\.gate/fix"))
    html = page.locator("html")
    await expect(html).to_have_attribute("dir", "rtl")
    await expect(html).to_have_attribute("lang", "ar")
    await expect(page.get_by_text("Example Corp")).to_be_visible()
    await shot(page, f"languages/ar-320-{script}")
    await page.get_by_role("navigation").get_by_text("العربية").click()
    await page.get_by_role("link", name="Deutsch").click()
    await expect(html).to_have_attribute("lang", "de")
    await expect(page.get_by_role("button", name="Erneut prüfen")).to_be_visible()
    assert re.search(r"/\.gate/fix\?c=", page.url), "the person is where they were"
    await page.goto(stack.url("/.gate/nothing"))
    await expect(page.get_by_role("heading", level=1)).to_have_text("Hier ist nichts")
    await context.close()


async def press_until(page: Page, name: str) -> None:
    """Press Tab until an element of this name has the focus, which has to be visible."""
    for _ in range(40):
        await page.keyboard.press("Tab")
        said, outline = await page.evaluate(
            "[document.activeElement.innerText || '', getComputedStyle(document.activeElement).outlineStyle]"
        )
        if said.strip().startswith(name):
            assert outline != "none"
            return
    raise AssertionError(f"`{name}` is not reached by keyboard")


async def test_the_whole_way_by_keyboard(stack: Stack, browser: Browser) -> None:
    """Sign in, be refused, look at what is held, check again, come back, sign out: no pointer."""
    page = await browser.new_page()
    await page.goto(stack.url("/one"))
    await page.get_by_role("button", name="alice").focus()
    await page.keyboard.press("Enter")
    await page.wait_for_url(stack.url("/one"))
    await expect(page.locator("#live")).to_have_text("live")
    await stack.signal_risk("open", event="k1")
    await page.wait_for_url(re.compile(r"/\.gate/fix"))
    await press_until(page, "Check again")
    await page.keyboard.press("Enter")
    await expect(page.locator("#notice")).to_be_visible()
    await press_until(page, "What we hold about this device")
    await page.keyboard.press("Enter")
    await expect(page.get_by_text("SER-ALICE-1", exact=True).first).to_be_visible()
    await stack.signal_risk("closed", event="k2")
    await page.wait_for_url(stack.url("/one"), timeout=60_000)
    await page.goto(stack.url("/.gate/me"))
    await press_until(page, "Sign out")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading", level=1)).to_have_text("Sign out?")
    await press_until(page, "Sign out")
    await press_until(page, "Sign out")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading", level=1)).to_have_text("You are signed out")
    await page.close()


FETCHED = """async () => {
  const answer = await fetch("/one", {headers: {Accept: "application/json"}});
  return [answer.status, answer.headers.get("Content-Language"), await answer.json()];
}"""


@pytest.mark.parametrize(
    ("locale", "title", "why", "own", "reason"),
    [
        (
            "de-AT",
            "Festplatte verschlüsseln",
            "Ein verlorener Laptop soll nichts preisgeben.",
            "Öffnen Sie Geräteverschlüsselung.",
            "Ihr Laptop braucht Aufmerksamkeit.",
        ),
        (
            "ar-EG",
            "Turn on disk encryption",
            "A lost laptop must give nothing away.",
            "Open Device encryption.",
            "Your laptop needs attention.",
        ),
    ],
)
async def test_a_rule_is_read_in_the_readers_language_or_marked_as_another(
    stack: Stack, browser: Browser, locale: str, title: str, why: str, own: str, reason: str
) -> None:
    """The whole way: refused, told what to do in one's own language, repaired, brought back by the open page."""
    language = locale.partition("-")[0]
    context = await browser.new_context(
        locale=locale, user_agent=WINDOWS, viewport={"width": 1200, "height": 900}
    )
    page = await context.new_page()
    await sign_in(page, stack.url("/one"))
    await expect(page.locator("#live")).to_have_text("live")
    await stack.signal_risk("open", event=f"r1-{language}", **HEALTHY, disk=False)
    await page.wait_for_url(re.compile(r"/\.gate/fix"))
    await expect(page.locator("html")).to_have_attribute("lang", language)
    problem = page.locator("article.problem")
    heading = problem.get_by_role("heading", level=3).locator("bdi")
    await expect(heading).to_have_text(title)
    await expect(problem.get_by_text(why)).to_be_visible()
    await expect(problem.get_by_text(own)).to_be_visible()
    # What falls back to English says so, whatever the page speaks.
    await expect(problem.locator(".md[lang=en]", has_text="Ask the service desk.")).to_be_visible()
    own_lang = await problem.locator(".md", has_text=own).get_attribute("lang")
    assert own_lang == await heading.get_attribute("lang") == (None if language == "de" else "en")
    await shot(page, f"languages/rule-{language}")
    status, spoken, document = await page.evaluate(FETCHED)
    assert (status, spoken, document["code"], document["detail"]) == (
        403,
        language,
        "remediation-required",
        reason,
    )
    assert [each["title"] for each in document["checks"]] == [title]
    await stack.signal_risk("open", event=f"r2-{language}", **HEALTHY)
    await page.wait_for_url(stack.url("/one"), timeout=60_000)
    await context.close()
