"""The real Chromium of the system, driven by Playwright: `async with chromium() as browser`."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from playwright.async_api import Browser, Page, async_playwright, expect

EXECUTABLE = os.environ.get("CHROMIUM", "/usr/bin/chromium")
ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--no-first-run",
    "--disable-component-update",
    "--disable-sync",
)
expect.set_options(
    timeout=60_000
)  # it waits no longer than it must, and five seconds are too few for a busy machine
ARTIFACTS = Path(__file__).resolve().parents[2] / "test-artifacts"


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    """Give a headless browser that is gone afterwards."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=EXECUTABLE, args=list(ARGUMENTS), timeout=120_000
        )
        try:
            yield browser
        finally:
            await browser.close()


async def sign_in(page: Page, url: str, user: str = "alice") -> None:
    """Open `url`, sign in as `user` at the provider's form, and wait until the app is there."""
    await page.goto(url)
    await page.get_by_role("button", name=user).click()
    await page.wait_for_url(url)


async def shot(page: Page, name: str) -> None:
    """Keep a picture of the whole page as `test-artifacts/NAME.png`; `name` may have a folder before it."""
    path = ARTIFACTS / f"{name}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    await page.screenshot(path=path, full_page=True)
