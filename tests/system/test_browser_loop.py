"""The loop in real Chromium, at the certified provider: sign in, get cut, read what to do, be brought back."""

import asyncio
import re

import pytest
from playwright.async_api import Browser, Page, expect

from tests.system.browser import ARTIFACTS, chromium
from tests.system.stack import Stack, running_stack

pytestmark = [pytest.mark.op, pytest.mark.browser]

HEALTHY = {"kind": "heartbeat", "condition": "hb", "title": ""}
FOLDER = ARTIFACTS / "loop"


@pytest.fixture
async def stack():
    async with running_stack() as made:
        await made.signal_risk("open", event="e-start", **HEALTHY)
        yield made


@pytest.fixture
async def browser():
    async with chromium() as made:
        yield made


async def sign_in(page: Page, url: str) -> None:
    """Open `url` and sign in as Alice at the provider's form."""
    await page.goto(url)
    await page.get_by_role("button", name="alice").click()
    await page.wait_for_url(url)


async def shot(page: Page, name: str) -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    await page.screenshot(path=FOLDER / f"{name}.png", full_page=True)


async def test_cut_remediated_and_brought_back(stack: Stack, browser: Browser) -> None:
    """Nobody clicks anything but the sign-in: the tab is cut, shows what to do, and returns by itself."""
    page = await browser.new_page(viewport={"width": 1280, "height": 800})
    wanted = stack.url("/reports/q3?view=all#top")
    await sign_in(page, wanted)
    await expect(page.locator("#live")).to_have_text("live")

    assert (await stack.signal_risk("open", event="b1"))["status"] == 200
    await page.wait_for_url(re.compile(r"/\.gate/fix"))
    await expect(page.get_by_role("heading", level=1)).to_be_visible()
    for text in ("alice-mbp", "Credential stealer found", "Call the security team", "Somebody may be using"):
        await expect(page.get_by_text(text).first).to_be_visible()
    await expect(page.get_by_text(re.compile(r"[2-9A-Z]{4}-[2-9A-Z]{4}")).first).to_be_visible()
    await shot(page, "remediation-1280")

    assert (await stack.signal_risk("closed", event="b2"))["status"] == 200
    await page.wait_for_url(re.compile(r"/reports/q3\?view=all"), timeout=20_000)
    await expect(page.locator("#live")).to_have_text("live")
    await page.close()


async def test_without_javascript_the_page_says_it_and_leads_back(stack: Stack, browser: Browser) -> None:
    context = await browser.new_context(java_script_enabled=False, viewport={"width": 360, "height": 740})
    page = await context.new_page()
    await sign_in(page, stack.url("/plain"))
    await stack.signal_risk("open", event="n1")
    await page.goto(stack.url("/plain"))
    await expect(page.get_by_text("Credential stealer found").first).to_be_visible()
    await shot(page, "remediation-no-script-360")
    await stack.signal_risk("closed", event="n2")
    await page.get_by_role("button", name=re.compile("check again", re.IGNORECASE)).click()
    await page.get_by_role("link", name=re.compile("continue|open|go", re.IGNORECASE)).first.click()
    await page.wait_for_url(stack.url("/plain"))
    await context.close()


async def test_check_again_with_script_is_no_refusal(stack: Stack, browser: Browser) -> None:
    page = await browser.new_page()
    await sign_in(page, stack.url("/"))
    await stack.signal_risk("open", event="c1")
    await page.wait_for_url(re.compile(r"/\.gate/fix"))
    await page.get_by_role("button", name=re.compile("check again", re.IGNORECASE)).click()
    await expect(page.get_by_role("status").first).to_be_visible()
    await expect(page.get_by_text("Credential stealer found").first).to_be_visible()
    await page.close()


async def test_two_tabs_sign_in_and_signing_out_ends_both(stack: Stack, browser: Browser) -> None:
    context = await browser.new_context()
    first, second = await context.new_page(), await context.new_page()
    await asyncio.gather(first.goto(stack.url("/one")), second.goto(stack.url("/two")))
    await first.get_by_role("button", name="alice").click()
    await first.wait_for_url(stack.url("/one"))
    await second.get_by_role("button", name="alice").click()
    await second.wait_for_url(stack.url("/two"))
    # A page that is left open comes back by itself when its socket is cut: the provider still knows the person.
    await second.goto("about:blank")
    await first.goto(stack.url("/.gate/logout"))
    await shot(first, "sign-out")
    await first.get_by_role("button", name=re.compile("sign out", re.IGNORECASE)).click()
    await expect(first.get_by_role("heading", level=1)).to_contain_text(
        re.compile("signed out", re.IGNORECASE)
    )
    await shot(first, "signed-out")
    await first.get_by_role("link", name=re.compile("Corp sign-in")).click()
    await first.wait_for_url(re.compile(re.escape(stack.provider.issuer)))
    await first.get_by_role("button", name=re.compile("yes", re.IGNORECASE)).click()
    await first.wait_for_url(re.compile(r"login\.localhost"))
    await second.goto(stack.url("/two"))
    await expect(second.get_by_text("Sign in:")).to_be_visible()
    await context.close()
