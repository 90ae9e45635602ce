"""The loop in real Chromium, at the certified provider: sign in, get cut, read what to do, be brought back."""

import asyncio
import re

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, expect

from tests.system.browser import shot, sign_in
from tests.system.stack import HEALTHY, Stack, lent, running_stack

pytestmark = [pytest.mark.op, pytest.mark.browser, pytest.mark.asyncio(loop_scope="module")]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running():
    async with running_stack() as made:
        await made.signal_risk("open", event="e-start", **HEALTHY)
        yield made


@pytest_asyncio.fixture(loop_scope="module")
async def stack(running: Stack):
    async with lent(running, "mal-1", "mal-2") as made:
        yield made


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
    await shot(page, "loop/remediation-1280")

    assert (await stack.signal_risk("closed", event="b2"))["status"] == 200
    await page.wait_for_url(re.compile(r"/reports/q3\?view=all"), timeout=60_000)
    await expect(page.locator("#live")).to_have_text("live")
    await page.close()


async def test_without_javascript_the_page_says_it_and_leads_back(stack: Stack, browser: Browser) -> None:
    context = await browser.new_context(java_script_enabled=False, viewport={"width": 360, "height": 740})
    page = await context.new_page()
    await sign_in(page, stack.url("/plain"))
    await stack.signal_risk("open", event="n1")
    await page.goto(stack.url("/plain"))
    await expect(page.get_by_text("Credential stealer found").first).to_be_visible()
    await shot(page, "loop/remediation-no-script-360")
    await page.get_by_role("link", name="Stop that").click()
    await expect(page.locator("meta[http-equiv=refresh]")).to_have_count(0)
    await page.get_by_role("link", name="Look again by itself").click()
    await stack.signal_risk("closed", event="n2")
    await page.wait_for_url(stack.url("/plain"), timeout=40_000)  # nobody clicks
    await stack.signal_risk("open", event="n3")
    await page.goto(stack.url("/plain"))
    await stack.signal_risk("closed", event="n4")
    await page.get_by_role("button", name=re.compile("check again", re.IGNORECASE)).click()
    await shot(page, "loop/restored-no-script-360")
    await page.get_by_role("link", name=re.compile("continue", re.IGNORECASE)).click()
    await page.wait_for_url(stack.url("/plain"))
    # Whoever comes by themselves while all is well stays: nothing was waited for.
    await page.goto(stack.url("/.gate/fix"))
    await expect(page.locator("meta[http-equiv=refresh]")).to_have_count(0)
    await context.close()


async def test_a_program_gets_the_same_facts(stack: Stack, browser: Browser) -> None:
    page = await browser.new_page()
    await sign_in(page, stack.url("/"))
    await expect(page.locator("#live")).to_have_text("live")
    await stack.signal_risk("open", event="p1", condition="mal-2", title="Odd program")
    await page.wait_for_url(re.compile(r"/\.gate/fix"))
    answer = await page.evaluate(
        """async () => {
          const answer = await fetch("/api/items", {method: "POST", body: "{}",
            headers: {Accept: "application/json", "Content-Type": "application/json"}});
          return {status: answer.status, id: answer.headers.get("X-Gate-Decision-Id"), ...await answer.json()};
        }"""
    )
    assert (answer["status"], answer["code"]) == (403, "remediation-required")
    assert answer["id"] == answer["reference"]
    assert answer["remediation_url"].endswith(f"/.gate/fix?c={answer['reference']}")
    (check,) = answer["checks"]
    assert (check["title"], check["status"], check["steps"]) == (
        "Odd program",
        "to-do",
        ["Call the security team"],
    )
    code, said = await stack.cli("explain", answer["reference"], "--config", str(stack.config_path))
    assert code == 0, said
    await page.close()


async def test_check_again_with_script_is_no_refusal(stack: Stack, browser: Browser) -> None:
    page = await browser.new_page()
    await sign_in(page, stack.url("/"))
    await expect(page.locator("#live")).to_have_text("live")
    await stack.signal_risk("open", event="c1")
    await page.wait_for_url(re.compile(r"/\.gate/fix"))
    await page.get_by_role("button", name=re.compile("check again", re.IGNORECASE)).click()
    await expect(page.get_by_role("status").first).to_be_visible()
    await expect(page.get_by_text("Credential stealer found").first).to_be_visible()
    await page.close()


async def press_sign_out(page: Page, stack: Stack) -> None:
    """Sign out with the button of our own page."""
    await page.goto(stack.url("/.gate/logout"))
    await page.get_by_role("button", name=re.compile("sign out", re.IGNORECASE)).click()
    await expect(page.get_by_role("heading", level=1)).to_have_text("You are signed out")


async def test_two_tabs_sign_in_and_signing_out_means_signed_out(stack: Stack, browser: Browser) -> None:
    """The other tab is cut and shows that it is over; one click signs in again, at the exact address."""
    context = await browser.new_context()
    first, second = await context.new_page(), await context.new_page()
    await asyncio.gather(first.goto(stack.url("/one")), second.goto(stack.url("/two?x=%2F&y=1")))
    await first.get_by_role("button", name="alice").click()
    await first.wait_for_url(stack.url("/one"))
    await second.get_by_role("button", name="alice").click()
    await second.wait_for_url(stack.url("/two?x=%2F&y=1"))
    for page in (first, second):
        await expect(page.locator("#live")).to_have_text("live")

    await first.goto(stack.url("/.gate/logout"))
    await shot(first, "loop/sign-out")
    await press_sign_out(first, stack)
    await shot(first, "loop/signed-out")
    # Nobody touches the second tab: its socket is closed with 4403, and its own script reloads it.
    await expect(second.get_by_role("heading", level=1)).to_have_text("You are signed out")
    await shot(second, "loop/signed-out-elsewhere")
    await second.reload()
    await expect(second.get_by_role("heading", level=1)).to_have_text("You are signed out")

    await second.get_by_role("link", name="Sign in again").click()
    await second.wait_for_url(stack.url("/two?x=%2F&y=1"))
    await expect(second.locator("#live")).to_have_text("live")
    await first.goto(stack.url("/one"))
    await expect(first.locator("#live")).to_have_text("live")
    await context.close()


async def test_signing_out_at_the_provider_too(stack: Stack, browser: Browser) -> None:
    """The page offers it; afterwards the click on `sign in again` ends at the provider's own form."""
    context = await browser.new_context()
    page = await context.new_page()
    await sign_in(page, stack.url("/one"))
    await press_sign_out(page, stack)
    await page.get_by_role("link", name=re.compile("Corp sign-in")).click()
    await page.wait_for_url(re.compile(re.escape(stack.provider.issuer)))
    await page.get_by_role("button", name=re.compile("yes", re.IGNORECASE)).click()
    await page.wait_for_url(re.compile(r"login\.localhost.*signed-out"))
    await expect(page.get_by_role("heading", level=1)).to_have_text("You are signed out")
    await page.goto(stack.url("/two"))
    await page.get_by_role("link", name="Sign in again").click()
    await page.get_by_role("button", name="alice").click()
    await page.wait_for_url(stack.url("/two"))
    await context.close()


async def test_a_sign_out_elsewhere_at_the_provider_reaches_an_open_tab(
    stack: Stack, browser: Browser
) -> None:
    """Back-channel logout: the tab is cut without a click in it, and finds itself at the provider's form."""
    context = await browser.new_context()
    page, elsewhere = await context.new_page(), await context.new_page()
    await sign_in(page, stack.url("/one"))
    await expect(page.locator("#live")).to_have_text("live")
    before = len(stack.events("back-channel-logout"))
    await elsewhere.goto(f"{stack.provider.issuer}/session/end")
    await elsewhere.get_by_role("button", name=re.compile("yes", re.IGNORECASE)).click()
    await expect(page.get_by_text("Sign in:")).to_be_visible()
    (ended,) = await stack.logged("back-channel-logout", after=before)
    assert len(ended["ended"]) == 1
    # We are faster than the provider, which ends its own session after having told us: the tab waited for it.
    await page.get_by_role("button", name="alice").click()
    await page.wait_for_url(stack.url("/one"))
    await context.close()


async def test_addresses_of_any_length_come_back(stack: Stack, browser: Browser) -> None:
    """Up to the request line's limit, through the provider's form and back."""
    page = await browser.new_page()
    for length in (2_500, 8_000, 16_000):
        path = "/reports?filter="
        await page.context.clear_cookies()
        url = stack.url(path + "%22long%22," * ((length - len(path)) // 11))
        await sign_in(page, url)
        assert page.url == url
        if length <= 8_000:  # the app of this test takes no longer ones
            await expect(page.locator("#live")).to_have_text("live")
    await page.close()


async def test_opening_the_login_host_itself(stack: Stack, browser: Browser) -> None:
    """It is no app: whoever comes there sees who they are, and nobody a 404."""
    page = await browser.new_page(viewport={"width": 1280, "height": 800})
    await page.goto(stack.url("/", "login"))
    await page.get_by_role("button", name="alice").click()
    await page.wait_for_url(stack.url("/.gate/me", "login"))
    await expect(page.get_by_text("alice@corp.example").first).to_be_visible()
    await shot(page, "loop/login-host")
    await page.close()


async def test_a_sign_in_that_fails_shows_where(stack: Stack, browser: Browser) -> None:
    """The page of a cancelled sign-in has the line from the person to the app, and a way to start again."""
    page = await browser.new_page(viewport={"width": 1280, "height": 800})
    await page.goto(stack.url("/one"))
    await page.get_by_role("button", name="Cancel").click()
    await page.wait_for_url(re.compile(r"/\.gate/callback"))
    await expect(page.get_by_role("list", name="Where things stand")).to_contain_text("Corp sign-in")
    await shot(page, "loop/sign-in-cancelled")
    await page.get_by_role("link", name="Try again").click()
    await page.get_by_role("button", name="alice").click()
    await page.wait_for_url(stack.url("/one"))
    await page.close()
