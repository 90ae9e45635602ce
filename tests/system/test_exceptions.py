"""Putting a rule off, asking an owner, and `/.gate/me`, in real Chromium through the whole gateway."""

import asyncio
import json
import re

import pytest
import pytest_asyncio
from playwright.async_api import Browser, expect

from tests.system.browser import shot, sign_in
from tests.system.stack import Stack, running_stack

pytestmark = [pytest.mark.op, pytest.mark.browser, pytest.mark.asyncio(loop_scope="module")]

RULE = "- {type: risk, name: threat, max: low, title: No active threat}"
DISK = """- {type: risk, name: threat, max: low, title: No active threat}
        - {type: fact, name: disk, fact: disk_encrypted, equals: true, title: Turn on disk encryption}
        - {type: fact, name: firewall, fact: firewall_on, equals: true, title: Turn on the firewall}"""
SETTINGS = """remediation:
  snoozes: [{rule: laptop/disk, lasts: 4h, times: 1, per: 7d}]
  approvals: [{rule: laptop/firewall, owners: [bob], lasts: 2h}]
"""
FINE = {"kind": "heartbeat", "condition": "hb", "title": "", "firewall": True}


@pytest_asyncio.fixture(loop_scope="module")
async def stack():
    async with running_stack(starts=False) as made:
        facts = {"facts: {disk_encrypted: disk}": "facts: {disk_encrypted: disk, firewall_on: firewall}"}
        made.write_config(**{RULE: DISK}, **facts)
        made.config_path.write_text(made.config_path.read_text() + SETTINGS)
        await made.start()
        await made.signal_risk("open", event="e-start", **FINE)
        yield made


async def test_a_rule_is_put_off_once_and_a_threat_ends_that(stack: Stack, browser: Browser) -> None:
    context = await browser.new_context(user_agent="Mozilla/5.0 (Windows NT 10.0; Win64; x64) Chrome/131")
    page = await context.new_page()
    await sign_in(page, stack.url("/one"))
    await expect(page.locator("#live")).to_have_text("live")
    await stack.signal_risk("open", event="d1", **FINE | {"disk": False})
    await page.wait_for_url(re.compile(r"/\.gate/fix"))
    await expect(page.get_by_role("link", name="Open the setting")).to_have_attribute(
        "href", "ms-settings:deviceencryption"
    )
    await expect(page.get_by_role("region", name="Your other apps")).to_contain_text("wiki")
    await page.get_by_text("Need to work now?").click()
    await page.get_by_label("Why").fill("A deadline at noon")
    await stack.signal_risk("open", event="d1-again", **FINE | {"disk": False, "firewall": False})
    await expect(page.get_by_label("Why")).to_have_count(2)
    await stack.signal_risk("open", event="d1-back", **FINE | {"disk": False})
    await expect(page.get_by_label("Why")).to_have_count(1)
    # What changes while the page is on its way is not missed.
    for at in range(8):
        await stack.signal_risk("open", event=f"d1-{at}", **FINE | {"disk": False, "firewall": False})
        await stack.signal_risk("open", event=f"d1-{at}-back", **FINE | {"disk": False})
        await asyncio.sleep(0.02 * at)
        await expect(page.get_by_label("Why")).to_have_count(1)
    # The page has changed while she typed: what she typed and her place in it are still there.
    await expect(page.get_by_label("Why")).to_have_value("A deadline at noon")
    await expect(page.get_by_label("Why")).to_be_focused()
    await shot(page, "exceptions/offer")
    await page.get_by_role("button", name="Fix it later: go on 4 hours").click()
    await page.wait_for_url(re.compile(r"said=snoozed|/one$"))
    await page.goto(stack.url("/one"))
    await expect(page.locator("#live")).to_have_text("live")
    (granted,) = stack.events("exception-granted")
    assert (granted["rule"], granted["reason"]) == ("laptop/disk", "A deadline at noon")

    # It survives a restart, and does not help against a threat.
    await stack.stop()
    await stack.start()
    await page.goto(stack.url("/one"))
    await expect(page.locator("#live")).to_have_text("live")
    await stack.signal_risk("open", event="d2", severity="high", disk=False, firewall=True)
    await page.wait_for_url(re.compile(r"/\.gate/fix"))
    await stack.signal_risk("closed", event="d3", disk=False, firewall=True)
    await page.wait_for_url(stack.url("/one"), timeout=60_000)
    await context.close()


async def test_an_owner_grants_some_hours_and_the_page_opens_by_itself(
    stack: Stack, browser: Browser
) -> None:
    context, other = await browser.new_context(), await browser.new_context()
    page, owner = await context.new_page(), await other.new_page()
    await sign_in(page, stack.url("/one"))
    await expect(page.locator("#live")).to_have_text("live")
    await stack.signal_risk("open", event="f1", **FINE | {"firewall": False})
    await page.wait_for_url(re.compile(r"/\.gate/fix"))
    await page.get_by_text("Need to work now?").click()
    await page.get_by_label("Why").fill("On-call until six")
    await page.get_by_role("button", name="Ask for 2 hours").click()
    await page.wait_for_url(re.compile(r"said=asked"))
    await shot(page, "exceptions/asked")
    link = await page.locator("details.offer code").inner_text()

    # Nobody answers for themselves.
    await page.goto(link)
    await expect(page.get_by_role("heading", level=1)).to_have_text("Somebody else has to answer this")
    await page.go_back()

    await owner.goto(link)
    await owner.get_by_role("button", name="bob").click()
    await owner.wait_for_url(re.compile(r"/\.gate/approve"))
    await expect(owner.get_by_text("On-call until six")).to_be_visible()
    await shot(owner, "exceptions/approve")
    await owner.get_by_label("For how long").select_option("1")
    await owner.get_by_role("button", name="Allow it", exact=True).click()
    await expect(owner.get_by_role("heading", level=1)).to_have_text("Allowed")
    await page.wait_for_url(stack.url("/one"), timeout=60_000)
    await expect(page.locator("#live")).to_have_text("live")

    await owner.goto(link)
    await expect(owner.get_by_role("heading", level=1)).to_have_text("There is nothing to answer any more")
    await context.close()
    await other.close()


async def test_about_me_tells_all_and_ends_it_everywhere(stack: Stack, browser: Browser) -> None:
    context, other = await browser.new_context(), await browser.new_context()
    page, elsewhere = await context.new_page(), await other.new_page()
    await sign_in(page, stack.url("/one"))
    await sign_in(elsewhere, stack.url("/two"))
    await stack.signal_risk("open", event="m1", **FINE | {"disk": False})
    await page.goto(stack.url("/.gate/me"))
    for text in ("Turn on disk encryption", "Edr", "What is stored about you", "Elsewhere"):
        await expect(page.get_by_text(text).first).to_be_visible()
    await shot(page, "exceptions/me")
    async with page.expect_download() as download:
        await page.get_by_role("link", name="Download it all").click()
    data = json.loads((await (await download.value).path()).read_text())
    assert data["account"]["email"] == "alice@corp.example"
    assert len(data["sessions"]) == 2
    assert [task["title"] for task in data["tasks"]] == ["Turn on disk encryption"]
    assert "token" not in json.dumps(data)
    await page.get_by_role("button", name="Sign out everywhere").click()
    await expect(page.get_by_role("heading", level=1)).to_have_text("Sign out?")
    await elsewhere.goto(stack.url("/.gate/status"))
    assert "sign-in-required" in await elsewhere.content()
    await context.close()
    await other.close()
