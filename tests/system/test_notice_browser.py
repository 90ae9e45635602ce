"""The notice in real pages, and what an app hears of limits, live: in Chromium, through two workers."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import aiohttp
import pytest
import pytest_asyncio
from aiohttp import web
from playwright.async_api import Browser, BrowserContext, Page, expect

from tests.ports import free_ports
from tests.system.browser import ARTIFACTS
from tests.system.stack import HEALTHY, LoopbackResolver, Stack, lent, running_stack

pytestmark = [pytest.mark.op, pytest.mark.browser, pytest.mark.asyncio(loop_scope="module")]

FOLDER = ARTIFACTS / "notice"
PROFILE = """
session_profiles:
  - name: slow
    no_downloads: {}
    no_store: true
    requests_per_minute: 40
    banner: gateway
    watermark: true
    headers: {csp: "img-src 'self'", deny_frames: true, referrer: no-referrer}
"""
REASONS = {"en": "Your laptop needs attention.", "ar": "حاسوبك المحمول يحتاج إلى عناية."}
LIMITED = "decision: restrict\n      profiles: [slow]"

TEXT = "".join(
    f"<p>Paragraph {at} of a long text that fills the page from edge to edge.</p>" for at in range(30)
)
BODIES = {
    "flow": f"<body><h1>Handbook</h1>{TEXT}</body>",
    "fixed": "<body style='margin:0;padding-top:4rem'><header style='position:fixed;top:0;left:0;right:0;height:3.5rem;"
    f"background:#234;color:#fff'>Menu</header><main>{TEXT}</main></body>",
    "flex": "<body style='display:flex;margin:0'><nav style='width:8rem;background:#dde'>Menu</nav>"
    f"<main style='flex:1'>{TEXT}</main></body>",
    "grid": "<body style='display:grid;grid-template:\"a b\" auto/8rem 1fr;margin:0'><nav style='background:#dde'>Menu"
    f"</nav><main>{TEXT}</main></body>",
    "relative": f"<body style='position:relative;margin:2rem;overflow-x:hidden'><h1>Handbook</h1>{TEXT}</body>",
    "tens": f"<style>html {{ font-size: 62.5% }}</style><body style='font-size:1.6rem'><h1>Handbook</h1>{TEXT}</body>",
    "nonce": "<body><h1>Strict</h1><input autofocus></body>",
    "closed": "<body><h1>Closed</h1></body>",
    "kept": "<body><h1>Kept</h1></body>",
}
POLICIES = {
    "nonce": "default-src 'none'; script-src 'nonce-abc' 'strict-dynamic'; style-src 'nonce-abc'; "
    "require-trusted-types-for 'script'",
    "closed": "default-src 'none'",
}


KEPT = web.AppKey("kept", list[str])


async def page(request: web.Request) -> web.StreamResponse:
    name = request.match_info["name"]
    html = f"<!doctype html><html lang=en><head><meta charset=utf-8><title>{name}</title></head>{BODIES[name]}</html>"
    headers = {"Content-Security-Policy": POLICIES[name]} if name in POLICIES else {}
    if name == "kept":
        headers["Cache-Control"] = "public, max-age=600"
        request.app[KEPT].append(request.path)
    return web.Response(text=html, content_type="text/html", headers=headers)


async def echo(request: web.Request) -> web.StreamResponse:
    return web.json_response(dict(request.headers))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running() -> AsyncIterator[Stack]:
    async with AsyncExitStack() as around:
        made = await around.enter_async_context(running_stack(starts=False, workers=2))
        app = web.Application()
        app[KEPT] = made.kept = []
        app.router.add_get("/page/{name}", page)
        app.router.add_get("/{path:.*}", echo)
        (port,) = free_ports(1)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        around.push_async_callback(runner.cleanup)
        await web.TCPSite(runner, "127.0.0.1", port).start()
        changes = {
            f"http://127.0.0.1:{made.app_port}": f"http://127.0.0.1:{port}",
            "decision: remediate": LIMITED,
            "reason: Your laptop needs attention.": f"reason: {{en: {REASONS['en']}, ar: {REASONS['ar']}}}",
        }
        made.write_config(PROFILE, **changes)
        await made.start()
        await made.signal_risk("open", event="start", **HEALTHY)
        yield made


@pytest_asyncio.fixture(loop_scope="module")
async def stack(running: Stack) -> AsyncIterator[Stack]:
    running.kept.clear()
    async with lent(running) as made:
        yield made


async def signed_in(browser: Browser, stack: Stack, **options: object) -> tuple[BrowserContext, Page]:
    context = await browser.new_context(**options)
    tab = await context.new_page()
    await tab.goto(stack.url("/page/flow"))
    await tab.get_by_role("button", name="alice").click()
    await tab.wait_for_url(stack.url("/page/flow"))
    return context, tab


LAYOUT = """() => [...document.querySelectorAll("nav, main, header, h1")]
  .map((each) => JSON.stringify(each.getBoundingClientRect()))"""
COVERED = """() => {
  const notice = document.querySelector("gate-notice").getBoundingClientRect();
  const wide = document.documentElement.scrollWidth > document.documentElement.clientWidth;
  window.scrollTo(0, document.documentElement.scrollHeight);
  const last = [...document.querySelectorAll("p, h1")].at(-1).getBoundingClientRect();
  return {wide, overlaps: last.bottom > document.querySelector("gate-notice").getBoundingClientRect().top + 1,
          letters: getComputedStyle(document.querySelector("gate-notice gate-text")).fontSize,
          height: notice.height, inside: notice.left >= 0 && notice.right <= innerWidth};
}"""


@pytest.mark.parametrize(("width", "scheme", "language"), [(320, "light", "en"), (1280, "dark", "ar")])
async def test_the_notice_covers_nothing_and_breaks_no_layout(
    stack: Stack, browser: Browser, width: int, scheme: str, language: str
) -> None:
    context, tab = await signed_in(
        browser, stack, viewport={"width": width, "height": 720}, color_scheme=scheme, locale=language
    )
    FOLDER.mkdir(parents=True, exist_ok=True)
    before = {}
    for name in ("flow", "fixed", "flex", "grid", "relative", "tens"):
        await tab.goto(stack.url(f"/page/{name}"))
        before[name] = await tab.evaluate(LAYOUT)
    await stack.signal_risk("open", event=f"notice-{width}-1")
    for name, boxes in before.items():
        await tab.goto(stack.url(f"/page/{name}"))
        region = tab.get_by_role("region")
        await expect(region).to_be_visible()
        await tab.screenshot(path=FOLDER / f"{name}-{width}-{scheme}.png")
        assert await tab.evaluate(LAYOUT) == boxes, name
        found = await tab.evaluate(COVERED)
        assert found["inside"], name
        assert not found["overlaps"], name
        assert found["height"] <= 130
        assert found["letters"] == "15px", name
    await expect(tab.get_by_role("region").locator("bdi")).to_have_text(REASONS[language])
    assert (
        await tab.evaluate("fetch('/.gate/user').then((answer) => answer.json()).then((told) => told.reason)")
        == (REASONS[language])
    )
    assert await tab.get_by_role("region").get_attribute("dir") == ("rtl" if language == "ar" else "ltr")
    await context.close()


async def test_policies_of_pages_hold_and_the_notice_can_be_hidden(stack: Stack, browser: Browser) -> None:
    context, tab = await signed_in(browser, stack)
    broken: list[str] = []
    tab.on(
        "console",
        lambda message: broken.append(message.text) if "Content Security Policy" in message.text else None,
    )
    await stack.signal_risk("open", event="policies-1")
    response = await tab.goto(stack.url("/page/nonce"))
    assert response is not None
    sent = await response.all_headers()
    assert "style-src 'nonce-abc'" in sent["content-security-policy"]
    assert "img-src 'self'" in sent["content-security-policy"]
    assert "frame-ancestors 'none'" in sent["content-security-policy"]
    assert "sandbox" in sent["content-security-policy"]
    assert sent["x-frame-options"] == "DENY"
    assert sent["x-content-type-options"] == "nosniff"
    assert sent["cache-control"] == "no-store"
    assert sent["referrer-policy"] == "no-referrer"
    notice = tab.locator("gate-notice")
    await expect(notice).to_be_visible()
    assert await notice.evaluate("(e) => getComputedStyle(e).position") == "fixed"
    await tab.goto(stack.url("/page/closed"))
    await expect(notice).to_have_count(0)
    assert not broken

    await tab.goto(stack.url("/page/flow?a=1"))
    await tab.get_by_role("link", name="Hide").click()
    await tab.wait_for_url(stack.url("/page/flow?a=1"))
    await expect(notice).to_have_count(0)
    await expect(tab.locator("gate-watermark")).to_contain_text("alice")
    await context.close()


async def test_what_a_browser_kept_from_before_is_forgotten(stack: Stack, browser: Browser) -> None:
    context, tab = await signed_in(browser, stack)
    for _ in range(2):
        await tab.goto(stack.url("/page/kept"))
        await tab.goto(stack.url("/page/flow"))
    assert len(stack.kept) == 1
    await stack.signal_risk("open", event="forgotten-1")
    for _ in range(2):
        await tab.goto(stack.url("/page/flow"))
        await tab.goto(stack.url("/page/kept"))
        await expect(tab.locator("gate-notice")).to_be_visible()
    assert len(stack.kept) == 3
    await context.close()


async def test_the_app_hears_of_limits_at_once_and_they_come_and_go(stack: Stack, browser: Browser) -> None:
    """Header, claim, `/.gate/user`, and `/.gate/events` without a reload."""
    context, tab = await signed_in(browser, stack)
    await tab.evaluate("""() => {
      window.heard = [];
      const source = new EventSource("/.gate/events");
      source.addEventListener("user", (event) => window.heard.push(JSON.parse(event.data)));
    }""")
    await tab.wait_for_function("heard.length === 1")
    await stack.signal_risk("open", event="heard-1")
    await tab.wait_for_function("heard.length === 2")
    told = await tab.evaluate("heard[1]")
    assert told["outcome"] == "restrict"
    assert told["restrictions"] == ["no-downloads", "no-store", "rate"]
    assert told["profiles"] == ["slow"]
    assert told["banner"] == "gateway"
    assert told["reason"] == "Your laptop needs attention."
    assert told["fix_url"] == "/.gate/fix"
    assert await tab.evaluate("fetch('/.gate/user').then((r) => r.json())") == told
    headers = await tab.evaluate("fetch('/echo').then((r) => r.json())")
    assert headers["X-Gate-Restrictions"] == "no-downloads,no-store,rate"
    assert headers["X-Gate-Jwt"]
    await stack.signal_risk("closed", event="heard-2")
    await tab.wait_for_function("heard.length === 3")
    assert (await tab.evaluate("heard[2]"))["restrictions"] == []
    assert "X-Gate-Restrictions" not in await tab.evaluate("fetch('/echo?b').then((r) => r.json())")
    await context.close()


async def test_requests_are_counted_over_all_workers_and_connections(stack: Stack, browser: Browser) -> None:
    """Forty a minute are forty, not eighty and not twenty, however many connections they come on."""
    context, tab = await signed_in(browser, stack)
    cookies = await context.cookies(stack.url("/"))
    cookie = "; ".join(f"{each['name']}={each['value']}" for each in cookies)
    await tab.close()
    await stack.signal_risk("open", event="rate-1")

    async def ask() -> tuple[int, dict[str, str], dict[str, object]]:
        connector = aiohttp.TCPConnector(resolver=LoopbackResolver(), force_close=True)
        async with (
            aiohttp.ClientSession(connector=connector) as http,
            http.get(stack.url("/echo"), headers={"Cookie": cookie}) as response,
        ):
            return response.status, dict(response.headers), await response.json(content_type=None)

    answers = await asyncio.gather(*(ask() for _ in range(60)))
    assert sorted(status for status, _, _ in answers) == [200] * 40 + [429] * 20
    _, headers, problem = next(each for each in answers if each[0] == 429)
    assert problem["control"] == "rate"
    assert problem["retry_after"] == int(headers["Retry-After"])
    assert 0 < int(headers["Retry-After"]) <= 62
    await context.close()
