"""A stand-in for the hub that serves the pages, and a browser page that looks at them."""

import asyncio
from contextlib import asynccontextmanager
from pathlib import Path

from aiohttp import web
from playwright.async_api import Browser

from gateway.config.remediation import PageSettings
from gateway.hub.ambience import load_ambience
from gateway.hub.pages import Pages, status_payload
from tests.unit.hub import page_samples
from tests.unit.hub.page_samples import SAMPLES

AMBIENCE = load_ambience(PageSettings(), Path())


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
        with AMBIENCE.entered(request.query.get("lang", "en"), "", "/payslips"):
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
async def opened(browser: Browser, gate: Gate, **options):
    """Give a page of its own; fail on script errors, refusals by the content policy, requests elsewhere."""
    wrong: list[str] = []
    options = {
        "viewport": {"width": 1280, "height": 800},
        "timezone_id": "Europe/Zagreb",
        "locale": "en-GB",
    } | options
    async with await browser.new_context(**options) as context:
        page = await context.new_page()
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
