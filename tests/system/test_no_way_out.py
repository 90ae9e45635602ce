"""No file leaves a limited session: every way is tried in real Chromium, first unlimited, where it works, then limited.

The first half keeps the second honest: a way that saves nothing while all is allowed would prove nothing.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import aiohttp
import pytest
import pytest_asyncio
from aiohttp import web
from playwright.async_api import Browser, BrowserContext, Download, Page

from tests.ports import free_ports
from tests.system import leaky_app
from tests.system.stack import HEALTHY, LoopbackResolver, Stack, lent, running_stack

pytestmark = [pytest.mark.op, pytest.mark.browser, pytest.mark.asyncio(loop_scope="module")]

PROFILE = """
session_profiles:
  - name: looking
    no_downloads: {}
    no_uploads: {max_bytes: 100B}
    banner: gateway
"""
SOON_S = 60.0
"""What comes at once on a quiet machine comes within this on any."""
SILENT_S = 3.0
SILENT = frozenset({"a frame made by a script", "a window made by a script"})
"""Of what these may not save, some browsers say nothing: there is only so long to wait for."""
LIMITED = "decision: restrict\n      profiles: [looking]"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running() -> AsyncIterator[Stack]:
    async with AsyncExitStack() as around:
        made = await around.enter_async_context(running_stack(starts=False, workers=1))
        (port,) = free_ports(1)
        runner = web.AppRunner(leaky_app.application(f"http://files.localhost:{port}"), shutdown_timeout=0.1)
        await runner.setup()
        around.push_async_callback(runner.cleanup)
        await web.TCPSite(runner, "127.0.0.1", port).start()
        changes = {
            f"http://127.0.0.1:{made.app_port}": f"http://127.0.0.1:{port}",
            "decision: remediate": LIMITED,
        }
        made.write_config(PROFILE, **changes)
        await made.start()
        await made.signal_risk("open", event="start", **HEALTHY)
        yield made


@pytest_asyncio.fixture(loop_scope="module")
async def stack(running: Stack) -> AsyncIterator[Stack]:
    async with lent(running) as made:
        yield made


class Watch:
    """Tells how an attempt ended: with a file, with a refusal of the gateway, or in the browser's sandbox."""

    def __init__(self, context: BrowserContext) -> None:
        self.ends: asyncio.Queue[str] = asyncio.Queue()
        self._tasks: set[asyncio.Task[None]] = set()
        context.on("page", lambda page: page.on("download", self._download))
        context.on("console", lambda message: self._said(message.text))
        context.on("response", lambda response: self._answered(response.status))
        context.on("requestfailed", lambda request: self._failed(request.failure or ""))
        self.saved = 0

    def _download(self, download: Download) -> None:
        task = asyncio.ensure_future(self._saved(download))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _saved(self, download: Download) -> None:
        failure = await download.failure()
        self.saved += failure is None
        self.ends.put_nowait("refused" if failure else "saved")

    def _said(self, text: str) -> None:
        if "Download is disallowed" in text:
            self.ends.put_nowait("sandboxed")
        elif "socket refused" in text:
            self.ends.put_nowait("refused")

    def _failed(self, why: str) -> None:
        if why == "net::ERR_BLOCKED_BY_RESPONSE":
            self.ends.put_nowait("refused")

    def _answered(self, status: int) -> None:
        if status in {403, 429}:
            self.ends.put_nowait("refused")

    async def end(self, within_s: float = SOON_S) -> str:
        """Return how the attempt ended."""
        try:
            return await asyncio.wait_for(self.ends.get(), within_s)
        except TimeoutError:
            return "nothing"

    def forget(self) -> None:
        """Begin anew."""
        while not self.ends.empty():
            self.ends.get_nowait()


async def signed_in(browser: Browser, stack: Stack) -> tuple[BrowserContext, Page, Watch]:
    context = await browser.new_context(accept_downloads=True)
    watch = Watch(context)
    page = await context.new_page()
    await page.goto(stack.url("/"))
    await page.get_by_role("button", name="alice").click()
    await page.wait_for_url(stack.url("/"))
    watch.forget()
    return context, page, watch


async def every_way(
    context: BrowserContext, watch: Watch, stack: Stack, *, is_limited: bool
) -> dict[str, str]:
    """Try all of them, each in a page of its own. Pages stay open: closing one that is about to change may hang."""
    found = {}
    for name, script in leaky_app.WAYS.items():
        page = await context.new_page()
        await page.goto(stack.url("/page"))
        watch.forget()
        await page.evaluate(f"() => {{ {script}; }}")
        found[name] = await watch.end(SILENT_S if is_limited and name in SILENT else SOON_S)
    return found


async def test_no_way_to_save_a_file_in_a_browser(stack: Stack, browser: Browser) -> None:
    context, page, watch = await signed_in(browser, stack)
    unlimited = await every_way(context, watch, stack, is_limited=False)
    assert unlimited == dict.fromkeys(leaky_app.WAYS, "saved")

    assert (await stack.signal_risk("open", event="b1"))["status"] == 200
    watch.saved = 0
    limited = await every_way(context, watch, stack, is_limited=True)
    silent = {name for name, end in limited.items() if end == "nothing"}
    assert silent <= SILENT, limited
    assert set(limited.values()) <= {"refused", "sandboxed", "nothing"}
    # Whatever came late has come by now.
    assert watch.saved == 0
    await page.goto(stack.url("/page"))
    assert await page.locator("gate-notice").is_visible()

    assert (await stack.signal_risk("closed", event="b2"))["status"] == 200
    page = await context.new_page()
    await page.goto(stack.url("/page"))
    watch.forget()
    await page.evaluate("() => save('/file')")
    assert await watch.end() == "saved"
    await context.close()


PATHS = (
    "file", "zip", "table", "untyped", "pdf", "lie", "lie-gzip", "lie-deflate", "lie-br", "lie-zstd", "lie-json",
    "lie-png", "inline", "office", "bytes", "attached-page", "away",
)  # fmt: skip
FIELDS = (
    {},
    {"Range": "bytes=4-99"},
    {"Range": "bytes=0-3, 5-9"},
    {"Accept-Encoding": "gzip, br, zstd"},
    {"If-None-Match": "*"},
    {"Sec-Fetch-Dest": "image", "Sec-Fetch-Mode": "no-cors"},
    {"X-Requested-With": "XMLHttpRequest"},
)


async def test_no_way_with_a_program_either(stack: Stack, browser: Browser) -> None:
    """With the cookie of the limited session, and whatever header may help."""
    context, _, _ = await signed_in(browser, stack)
    cookies = await context.cookies(stack.url("/"))
    cookie = "; ".join(f"{each['name']}={each['value']}" for each in cookies)
    connector = aiohttp.TCPConnector(resolver=LoopbackResolver())
    async with aiohttp.ClientSession(connector=connector, auto_decompress=False) as http:
        for restricted in (False, True):
            if restricted:
                await stack.signal_risk("open", event="p1")
            for path in PATHS:
                for fields in FIELDS:
                    headers = {"Cookie": cookie, "Accept": "*/*"} | fields
                    async with http.get(
                        stack.url(f"/{path}"), headers=headers, allow_redirects=False
                    ) as response:
                        body = await response.read()
                        if not restricted:
                            assert response.status in {200, 206, 302, 304}, (path, fields)
                            continue
                        assert response.status == 403, (path, fields)
                        assert b"secret" not in body
                        told = await response.json(content_type=None)
                        assert told["control"] == "no-downloads"
                        assert told["reference"]
                        assert told["remediation_url"].endswith(told["reference"])
            async with http.head(stack.url("/file"), headers={"Cookie": cookie}) as response:
                assert response.status == (403 if restricted else 200)
            async with http.get(
                stack.url("/empty"), headers={"Cookie": cookie}, allow_redirects=False
            ) as response:
                assert response.status == 302
    await context.close()


async def test_no_way_in_for_a_file(stack: Stack, browser: Browser) -> None:
    """Uploads, in a page: multipart, raw, long, and by a form with a chosen file."""
    context, page, _ = await signed_in(browser, stack)
    script = """async () => {
      const form = new FormData(); form.append("file", new Blob(["x"]), "a.bin");
      const tries = [
        {method: "POST", body: form}, {method: "PUT", body: "x"}, {method: "POST", body: new Blob(["x"])},
        {method: "POST", body: "x".repeat(200), headers: {"Content-Type": "application/json"}},
        {method: "PATCH", body: new Uint8Array(10)},
        {method: "POST", body: "{}", headers: {"Content-Type": "application/json"}},
      ];
      const found = [];
      for (const each of tries) found.push((await fetch("/upload", each)).status);
      return found;
    }"""
    await page.goto(stack.url("/page"))
    assert await page.evaluate(script) == [200] * 6
    await stack.signal_risk("open", event="u1")
    await page.goto(stack.url("/page"))
    assert await page.evaluate(script) == [403] * 5 + [200]
    await page.set_content(
        f"<form method=post enctype=multipart/form-data action='{stack.url('/upload')}'><input type=file name=f>"
        "<button>Send</button></form>"
    )
    await page.set_input_files("input", {"name": "a.txt", "mimeType": "text/plain", "buffer": b"secret"})
    async with page.expect_navigation() as navigation:
        await page.get_by_role("button", name="Send").click()
    response = await navigation.value
    assert response is not None
    assert response.status == 403
    assert "upload" in (await page.get_by_role("heading", level=1).inner_text()).lower()
    await context.close()
