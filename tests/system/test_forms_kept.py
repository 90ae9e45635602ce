"""Nothing typed is lost, in real Chromium: typed, refused, back again, sent by a click, the same bytes at the app."""

import re
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, expect

from tests.system.browser import shot, sign_in
from tests.system.stack import HEALTHY, Stack, lent, running_stack

pytestmark = [pytest.mark.op, pytest.mark.browser, pytest.mark.asyncio(loop_scope="module")]

TEXT = 'First line\nsecond — with “quotes”, + & = %20 and "double"\n\n  indented\ttab, العربية, 日本語, 🎉'


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running():
    async with running_stack() as made:
        await made.signal_risk("open", event="e-start", **HEALTHY)
        yield made


@pytest_asyncio.fixture(loop_scope="module")
async def stack(running: Stack):
    async with lent(running) as made:
        yield made


async def type_and_save(page: Page, *, file: bool = False) -> None:
    await page.get_by_label("Title").fill("Q3 report")
    await page.get_by_label("Text").fill(TEXT)
    if file:
        upload = {"name": "figures 100%.csv", "mimeType": "text/csv", "buffer": b"a,b\n1,2\n"}
        await page.get_by_label("File").set_input_files(upload)
    await page.get_by_role("button", name="Save").click()


@pytest.mark.parametrize("script", [True, False])
async def test_a_form_outlives_the_session_and_arrives_byte_for_byte(
    stack: Stack, browser: Browser, script: bool
) -> None:
    """The session ends while Alice writes. She signs in again, clicks once, and the app gets what it would have got."""
    context = await browser.new_context(java_script_enabled=script)
    page = await context.new_page()
    await sign_in(page, stack.url("/write"))
    await type_and_save(page)
    await page.wait_for_url(stack.url("/saved"))
    (expected,) = stack.upstream.forms

    await page.goto(stack.url("/write"))
    code, said = await stack.cli(
        "revoke", "user", "alice", "--reason", "test", "--config", str(stack.config_path)
    )
    assert code == 0, said
    await type_and_save(page)
    await expect(page.get_by_role("heading", level=1)).to_have_text("Sign in to carry on")
    await expect(page.get_by_text("What you typed is safe")).to_be_visible()
    await shot(page, f"forms/sign-in-needed-{script}")
    assert len(stack.upstream.forms) == 1

    await page.get_by_role("link", name="Sign in").click()  # the provider still knows her
    await page.wait_for_url(re.compile(r"/\.gate/resume\?f="))
    assert len(stack.upstream.forms) == 1, "nothing is sent without a click"
    await shot(page, f"forms/resume-{script}")
    async with page.expect_download() as download:
        await page.get_by_role("link", name="Download what you typed").click()
    typed = (await (await download.value).path()).read_text("utf-8")
    assert TEXT in typed
    assert "csrf_token" not in typed
    await page.get_by_role("button", name="Send it now").click()
    await page.wait_for_url(stack.url("/saved"))
    assert stack.upstream.forms[1] == expected
    sent = next(each for each in reversed(stack.upstream.requests) if each["path"] == "/saved")
    assert "/.gate/resume" not in sent.get("Referer", "")
    # Whoever goes back to it is told that it went; without a script the page asks not to send it twice.
    await page.go_back()
    await page.wait_for_url(re.compile(r"/\.gate/resume"))
    if script:
        await expect(page.get_by_text("You have sent this already.")).to_be_visible()
        await shot(page, "forms/resume-again")
    else:
        await expect(page.get_by_text("do not send it twice")).to_be_visible()
    await context.close()


async def test_remediation_keeps_a_form_and_files_are_chosen_again(stack: Stack, browser: Browser) -> None:
    context = await browser.new_context()
    page = await context.new_page()
    await sign_in(page, stack.url("/write?files"))
    await stack.signal_risk("open", event="f1")
    await type_and_save(page, file=True)
    await page.wait_for_url(re.compile(r"/\.gate/fix"))
    await expect(page.get_by_text("What you typed is safe")).to_be_visible()
    await expect(page.get_by_text("figures 100%.csv")).to_be_visible()
    await shot(page, "forms/fix-with-form")
    await stack.signal_risk("closed", event="f2")
    await page.wait_for_url(re.compile(r"/\.gate/resume\?f="), timeout=60_000)
    upload = {"name": "figures 100%.csv", "mimeType": "text/csv", "buffer": b"a,b\n1,2\n"}
    await page.get_by_label("Choose again").set_input_files(upload)
    await shot(page, "forms/resume-files")
    await page.get_by_role("button", name="Send it now").click()
    await page.wait_for_url(stack.url("/saved"))
    ((kind, body),) = stack.upstream.forms
    assert kind.startswith("multipart/form-data")
    assert TEXT.replace("\n", "\r\n").encode() in body
    assert b'filename="figures 100%.csv"' in body
    assert b"a,b\n1,2\n" in body
    await context.close()


async def test_somebody_else_gets_nothing(stack: Stack, browser: Browser) -> None:
    """Bob signs in in the same browser, follows the very link, and sees neither form nor text."""
    context = await browser.new_context()
    page = await context.new_page()
    await sign_in(page, stack.url("/write"))
    await stack.cli("revoke", "user", "alice", "--reason", "test", "--config", str(stack.config_path))
    await type_and_save(page)
    link = await page.get_by_role("link", name="Sign in").get_attribute("href")
    assert link is not None
    await context.clear_cookies(domain="127.0.0.1")  # the provider's
    await page.goto(stack.url(link))
    await page.get_by_role("button", name="bob").click()
    await page.wait_for_url(re.compile(r"/\.gate/resume\?f="))
    await expect(page.get_by_role("heading", level=1)).to_have_text("It is not here any more")
    assert "Q3 report" not in await page.content()
    await context.close()


async def come_from_shop(page: Page, stack: Stack, fields: str, *, policy: str = "") -> None:
    """Send a form from a page of another site, as a provider or a shop does, with an own policy for referrers."""
    body = f'<form method=post action="{stack.url("/save?draft=7")}">{fields}<button>Go</button></form>'
    headers = {"Content-Type": "text/html", "Referrer-Policy": policy or "strict-origin-when-cross-origin"}
    await page.route("**/paid", lambda route: route.fulfill(body=body, headers=headers))
    await page.goto(f"http://shop.localhost:{stack.port}/paid")
    await page.get_by_role("button", name="Go").click()


@pytest.mark.parametrize("script", [True, False])
async def test_what_another_site_sends_arrives_by_a_click_that_names_the_site(
    stack: Stack, browser: Browser, script: bool
) -> None:
    """Alice is signed in, and her browser holds the cookie back. Nothing is sent or kept before she says so."""
    context = await browser.new_context(java_script_enabled=script)
    page = await context.new_page()
    await sign_in(page, stack.url("/write"))
    await come_from_shop(
        page, stack, f'<input name=order value="{TEXT[:10]}"><input type=hidden name=token value="a\'b&lt;">'
    )
    await expect(page.get_by_role("heading", level=1)).to_have_text("Send this to Notes?")
    await expect(
        page.get_by_text(f"A page of shop.localhost:{stack.port} sent this to Notes.")
    ).to_be_visible()
    await shot(page, f"forms/carried-{script}")
    assert stack.upstream.forms == []
    assert "form-kept" not in stack.log().split("form-carried")[-1]
    await page.get_by_role("button", name="Send it now").click()
    await page.wait_for_url(stack.url("/saved"))
    ((kind, body),) = stack.upstream.forms
    assert kind == "application/x-www-form-urlencoded"
    assert body == b"order=First+line&token=a%27b%3C"
    await context.close()


async def test_a_site_that_hides_itself_is_not_named(stack: Stack, browser: Browser) -> None:
    context = await browser.new_context()
    page = await context.new_page()
    await sign_in(page, stack.url("/write"))
    await come_from_shop(page, stack, "<input name=order value=7>", policy="no-referrer")
    await expect(page.get_by_text("another site, which your browser does not name")).to_be_visible()
    assert stack.upstream.forms == []
    await context.close()


async def test_who_is_not_signed_in_signs_in_beside_the_page_that_holds_the_form(
    stack: Stack, browser: Browser
) -> None:
    context = await browser.new_context()
    page = await context.new_page()
    await come_from_shop(page, stack, "<input name=order value=7>")
    async with context.expect_page() as opening:
        await page.get_by_role("link", name="Sign in in a new tab").click()
    beside = await opening.value
    await beside.get_by_role("button", name="alice").click()
    await beside.wait_for_url(stack.url("/.gate/me"))
    await page.get_by_role("button", name="Send it now").click()
    await page.wait_for_url(stack.url("/saved"))
    assert [body for _, body in stack.upstream.forms] == [b"order=7"]
    await context.close()


async def test_a_form_of_somebody_whom_we_do_not_know_any_more_stays_in_the_page(
    stack: Stack, browser: Browser
) -> None:
    """Alice's cookie is gone. Whatever she typed is still in the page that asks her to sign in."""
    context = await browser.new_context()
    page = await context.new_page()
    await sign_in(page, stack.url("/write"))
    await context.clear_cookies(domain="notes.localhost")
    await type_and_save(page)
    await expect(page.get_by_role("heading", level=1)).to_have_text("Sign in, then send what you typed")
    await shot(page, "forms/carried-own")
    async with context.expect_page() as opening:
        await page.get_by_role("link", name="Sign in in a new tab").click()
    await (await opening.value).wait_for_url(stack.url("/.gate/me"))
    await page.get_by_role("button", name="Send it now").click()
    await page.wait_for_url(stack.url("/saved"))
    ((_, body),) = stack.upstream.forms
    assert b"title=Q3+report" in body
    await context.close()


async def test_what_no_page_can_hold_is_to_be_begun_again(stack: Stack, browser: Browser) -> None:
    context = await browser.new_context()
    page = await context.new_page()
    await sign_in(page, stack.url("/write"))
    await come_from_shop(page, stack, f"<input name=order value={'x' * 300_000}>")
    await expect(page.get_by_text("is too long, or cannot be read")).to_be_visible()
    await shot(page, "forms/carried-lost")
    await expect(page.get_by_role("button", name="Send it now")).to_have_count(0)
    assert stack.upstream.forms == []
    await context.close()


async def test_a_large_upload_loses_its_file_and_nothing_else(
    stack: Stack, browser: Browser, tmp_path: Path
) -> None:
    """20 MiB: a browser shows an answer only when it has sent everything; the fields are kept, the file is named."""
    context = await browser.new_context()
    page = await context.new_page()
    await sign_in(page, stack.url("/write?files"))
    await stack.signal_risk("open", event="u1")
    large = tmp_path / "holiday.mov"
    large.write_bytes(bytes(20 * 1024 * 1024))
    await page.get_by_label("Title").fill("Q3 report")
    await page.get_by_label("File").set_input_files(large)
    await page.get_by_role("button", name="Save").click()
    await page.wait_for_url(re.compile(r"/\.gate/fix"))
    await expect(page.get_by_text("What you typed is safe")).to_be_visible()
    await expect(page.get_by_text("holiday.mov")).to_be_visible()
    await context.close()


async def test_what_no_gateway_reads_is_answered_with_a_page_too(
    stack: Stack, browser: Browser, tmp_path: Path
) -> None:
    """100 MiB: longer than what is looked at for fields. The person reads why, not of a broken connection."""
    context = await browser.new_context()
    page = await context.new_page()
    await sign_in(page, stack.url("/write?files"))
    await stack.signal_risk("open", event="v1")
    large = tmp_path / "archive.zip"
    with large.open("wb") as file:
        file.truncate(100 * 1024 * 1024)
    await page.get_by_label("File").set_input_files(large)
    await page.get_by_role("button", name="Save").click()
    await page.wait_for_url(re.compile(r"/\.gate/fix"), timeout=60_000)
    await expect(page.get_by_text("too large for us to keep")).to_be_visible()
    await context.close()


async def test_what_is_too_large_is_said_to_be_lost(stack: Stack, browser: Browser) -> None:
    context = await browser.new_context()
    page = await context.new_page()
    await sign_in(page, stack.url("/write"))
    await stack.signal_risk("open", event="l1")
    await page.get_by_label("Text").evaluate("el => { el.value = 'x'.repeat(9 * 1024 * 1024) }")
    await page.get_by_role("button", name="Save").click()
    await page.wait_for_url(re.compile(r"/\.gate/fix"))
    await expect(page.get_by_text("too large for us to keep")).to_be_visible()
    assert stack.upstream.forms == []
    await context.close()
