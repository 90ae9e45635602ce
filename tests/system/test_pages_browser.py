"""The pages in a real Chromium: how they look, whether everybody can use them, how they bring people back.

Screenshots of every page go to `test-artifacts/pages/`.
"""

import asyncio
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
from aiohttp import web
from browser import ARTIFACTS, chromium

from gateway.hub import wording
from gateway.hub.pages import Pages, status_payload
from tests.unit.hub import page_samples
from tests.unit.hub.page_samples import NOW, SAMPLES, WANTED

pytestmark = pytest.mark.browser

AUDIT = (Path(__file__).parent / "page_audit.js").read_text("utf-8")
FOCUS = """() => {
  const el = document.activeElement, name = el === document.body ? "" : el.innerText.split("\\n")[0].trim();
  return [name, getComputedStyle(el).outlineStyle];
}"""


class Gate:
    """A stand-in for the hub: serves every sample, and one remediation page whose state a test changes."""

    def __init__(self) -> None:
        self.pages = Pages()
        self.view = page_samples.fix_risk()
        self.is_live = True
        self.has_stream = True
        self.rechecks = 0
        self.changed = asyncio.Event()
        self.watched = asyncio.Event()
        self.origin = ""
        self.asked: list[str] = []

    def show(self, view) -> None:
        """Change what the page says, and tell the streams."""
        self.view = view
        self.changed.set()
        self.changed = asyncio.Event()

    async def sample(self, request: web.Request) -> web.Response:
        self.is_live = False  # a sample has no status of its own
        return SAMPLES[request.match_info["name"]](self.pages)

    async def fix(self, _: web.Request) -> web.Response:
        return self.pages.remediation(self.view, status=200 if self.view.can_continue else 403)

    async def status(self, _: web.Request) -> web.Response:
        return web.json_response(status_payload(self.view), status=200 if self.is_live else 404)

    async def stream(self, request: web.Request) -> web.StreamResponse:
        if not (self.is_live and self.has_stream):
            return web.Response(status=503)
        response = web.StreamResponse(
            headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"}
        )
        await response.prepare(request)
        self.watched.set()
        try:
            while True:
                changed = self.changed
                await response.write(
                    b"event: status\ndata: " + web.json_response(status_payload(self.view)).body + b"\n\n"
                )
                await changed.wait()
        except (ConnectionError, asyncio.CancelledError):
            return response

    async def recheck(self, request: web.Request) -> web.Response:
        assert request.headers["Origin"] == self.origin
        assert (await request.post())["csrf"] == "secret"
        self.rechecks += 1
        raise web.HTTPSeeOther("/.gate/fix")

    async def app(self, _: web.Request) -> web.Response:
        return web.Response(
            text="<!doctype html><title>Payroll</title><h1>Payslip</h1>", content_type="text/html"
        )


@asynccontextmanager
async def serve():
    """Give a `Gate` that listens on loopback; its streams end with it."""
    gate = Gate()
    app = web.Application()
    app.router.add_get("/s/{name}", gate.sample)
    app.router.add_get("/.gate/fix", gate.fix)
    app.router.add_get("/.gate/status", gate.status)
    app.router.add_get("/.gate/status/stream", gate.stream)
    app.router.add_post("/.gate/recheck", gate.recheck)
    app.router.add_get("/payslips/2026-10", gate.app)
    runner = web.AppRunner(app, shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        gate.origin = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield gate
    finally:
        await runner.cleanup()


@asynccontextmanager
async def opened(gate, **options):
    """Give a browser page; fail on script errors, refusals by the content policy, requests elsewhere."""
    wrong: list[str] = []
    options = {
        "viewport": {"width": 1280, "height": 800},
        "timezone_id": "Europe/Zagreb",
        "locale": "en-GB",
    } | options
    async with chromium() as browser:
        page = await (await browser.new_context(**options)).new_page()
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("dialog", lambda dialog: wrong.append(f"dialog: {dialog.message}"))
        page.on(
            "console",
            lambda message: wrong.append(message.text) if "Security Policy" in message.text else None,
        )
        page.on("request", lambda request: gate.asked.append(request.url))
        yield page
        assert wrong == []
        assert [url for url in gate.asked if not url.startswith((gate.origin, "data:"))] == []


def with_form(view, **changes):
    """Return the sample view with the form field that the stand-in expects."""
    return msgspec.structs.replace(view, csrf="secret", **changes)


@pytest.mark.parametrize(
    ("scheme", "width"),
    [("light", 1280), ("dark", 1280), ("light", 360), ("dark", 360), ("light", 320)],
)
async def test_every_page_is_sound_and_fits(scheme, width):
    """Contrast, outline, names, target sizes, no sideways scrolling; 320 px is a 1280 px window at 400 %."""
    folder = ARTIFACTS / "pages"
    folder.mkdir(parents=True, exist_ok=True)
    found = {}
    viewport = {"width": width, "height": 800}
    async with serve() as gate, opened(gate, viewport=viewport, color_scheme=scheme) as page:
        await page.clock.set_fixed_time(NOW)
        for name in SAMPLES:
            await page.goto(f"{gate.origin}/s/{name}")
            wrong = await page.evaluate(AUDIT)
            await page.evaluate("document.querySelectorAll('details').forEach(el => { el.open = true; })")
            wrong += await page.evaluate(AUDIT)
            if wrong:
                found[name] = sorted(set(wrong))
            await page.evaluate("document.querySelectorAll('details').forEach(el => { el.open = false; })")
            if width != 320:
                await page.screenshot(path=folder / f"{name}-{width}-{scheme}.png", full_page=True)
    assert found == {}


async def test_the_audit_finds_what_is_wrong():
    """Without this the test above could pass by looking at nothing."""
    async with serve() as gate, opened(gate, bypass_csp=True) as page:
        await page.goto(f"{gate.origin}/s/fix-rules")
        await page.add_style_tag(
            content="p { color: #999 !important } .button { border-color: #ddd !important; }"
            "summary { height: 10px; overflow: hidden } .brand { width: 3000px; flex: none }"
        )
        await page.evaluate("document.querySelector('#todo').outerHTML = '<h5>x</h5><h1>y</h1>'")
        wrong = " ".join(await page.evaluate(AUDIT))
    kinds = ("contrast", "edge contrast", "small target", "scrolls sideways", "not one h1", "label missing")
    assert [kind for kind in kinds if kind not in wrong] == []


async def test_text_at_twice_the_size_still_fits():
    """WCAG 1.4.4: 200 % text size in a window of 640 px."""
    found = {}
    async with serve() as gate, opened(gate, viewport={"width": 640, "height": 800}) as page:
        for name in SAMPLES:
            await page.goto(f"{gate.origin}/s/{name}")
            width = await page.evaluate(
                "document.documentElement.style.fontSize = '200%', document.documentElement.scrollWidth"
            )
            if width > 640:
                found[name] = width
    assert found == {}


async def test_the_keyboard_reaches_everything_in_order_and_shows_where_it_is():
    async with serve() as gate, opened(gate) as page:
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
        "Check again",
        "Not you?",
        "Not this device?",
        "What we hold about this device",
        "it-help@corp.example",
        "Copy",
    ]


async def test_the_skip_link_leads_past_the_header():
    async with serve() as gate, opened(gate) as page:
        await page.goto(f"{gate.origin}/s/fix-rules")
        await page.keyboard.press("Tab")
        await page.keyboard.press("Enter")
        assert await page.evaluate("document.activeElement.id") == "main"


async def test_without_javascript_everything_works():
    """Instructions, Check again, and the way back by refresh; what needs a script is not shown."""
    async with serve() as gate, opened(gate, java_script_enabled=False) as page:
        gate.show(with_form(page_samples.fix_risk()))
        await page.goto(f"{gate.origin}/.gate/fix")
        assert await page.locator("h1").inner_text() == "ANA-MBP needs attention before you can open Payroll"
        assert await page.locator("meta[http-equiv=refresh]").get_attribute("content") == "15"
        assert await page.get_by_text("This page looks again every 15 seconds.").is_visible()
        for hidden in ("#back", "button[data-copy]", ".pulse"):
            assert not await page.locator(hidden).first.is_visible()
        await page.get_by_text("What we hold about this device").click()
        assert await page.get_by_text("C02XK1ZGJGH5").is_visible()
        gate.show(with_form(gate.view, notice="Checked just now. It is still open."))
        await page.get_by_role("button", name="Check again").click()
        assert gate.rechecks == 1
        assert await page.get_by_role("status").first.inner_text() == "Checked just now. It is still open."
        gate.show(with_form(page_samples.fix_clear(), returns_by_itself=True))
        await page.goto(f"{gate.origin}/.gate/fix")
        assert await page.locator("meta[http-equiv=refresh]").get_attribute("content") == f"5;url={WANTED}"
        await page.get_by_role("link", name="Continue to Payroll").click()
        assert page.url == gate.origin + WANTED


async def test_the_person_is_brought_back_when_access_is_restored():
    """The stream says so: the page announces it, puts the focus there, and goes to just the page wanted."""
    async with serve() as gate, opened(gate) as page:
        await page.goto(f"{gate.origin}/.gate/fix")
        await page.wait_for_function("document.querySelector('#live').checkVisibility()")
        await gate.watched.wait()
        gate.show(page_samples.fix_clear())
        await page.get_by_role("heading", name="Access is back").wait_for()
        assert await page.evaluate("document.activeElement.id") == "back"
        await page.locator(
            "#say", has_text="Access is back. We take you back to Payroll in a moment."
        ).wait_for(state="attached")
        await page.screenshot(path=ARTIFACTS / "pages" / "restored.png")
        await page.wait_for_url(gate.origin + WANTED, timeout=10_000)
        assert await page.locator("h1").inner_text() == "Payslip"


@pytest.mark.parametrize("how", ["button", "Escape"])
async def test_the_person_may_stay(how):
    async with serve() as gate, opened(gate) as page:
        await page.clock.install()
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


async def test_progress_is_shown_in_place():
    """One of two problems is fixed: the page changes without a navigation, open folds and the focus stay."""
    async with serve() as gate, opened(gate) as page:
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


async def test_check_again_stays_on_the_page_and_says_what_it_waits_for():
    async with serve() as gate, opened(gate) as page:
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
        assert await page.evaluate("document.activeElement.id") == "again"
        await page.locator("#say", has_text="Checked just now.").wait_for(state="attached")


async def test_without_a_stream_the_page_asks_and_still_brings_the_person_back():
    async with serve() as gate, opened(gate) as page:
        gate.has_stream = False
        await page.goto(f"{gate.origin}/.gate/fix")
        gate.show(page_samples.fix_clear())
        await page.wait_for_url(gate.origin + WANTED, timeout=15_000)


async def test_times_are_shown_in_the_readers_zone():
    async with serve() as gate, opened(gate) as page:
        await page.clock.set_fixed_time(NOW)
        await page.goto(f"{gate.origin}/s/fix-risk")
        assert await page.locator(".facts time").first.inner_text() == "Fri 20 Nov, 14:58 CET"
        assert await page.locator(".facts time").last.inner_text() == "4 minutes ago"


async def test_the_code_can_be_copied():
    async with serve() as gate, opened(gate, permissions=["clipboard-read", "clipboard-write"]) as page:
        await page.goto(f"{gate.origin}/s/blocked")
        await page.get_by_role("button", name="Copy").click()
        await page.get_by_role("button", name="Copied").wait_for()
        assert await page.evaluate("navigator.clipboard.readText()") == page_samples.REFERENCE


async def test_nothing_moves_for_those_who_ask_for_that():
    async with serve() as gate, opened(gate, reduced_motion="reduce") as page:
        await page.goto(f"{gate.origin}/s/fix-risk")
        assert await page.evaluate("document.getAnimations().length") == 0


async def test_hostile_texts_do_nothing():
    """A device name, a finding and a link that attack the page are shown as harmless text."""
    async with serve() as gate, opened(gate) as page:
        gate.view = page_samples.fix_hostile()
        await page.goto(f"{gate.origin}/.gate/fix")
        assert await page.locator("script").count() == 2
        assert await page.locator("img").count() == 0
        assert await page.locator("#back a").get_attribute("href") == "/"
        await gate.watched.wait()
        gate.show(msgspec.structs.replace(gate.view, can_continue=True))
        await asyncio.sleep(0.5)
        assert page.url == f"{gate.origin}/.gate/fix"
