"""What the data path refuses by itself is a page of the same family to a person, a problem document to a program."""

from pathlib import Path

import pytest
from playwright.async_api import expect

from tests.system.browser import ARTIFACTS, chromium
from tests.system.stack import HEALTHY, running_stack

pytestmark = [pytest.mark.op, pytest.mark.browser]

FETCH = """async () => {
  const answer = await fetch("/save", {method: "POST", body: new Blob(["x".repeat(3 << 20)])});
  return [answer.status, answer.headers.get("Content-Type"), (await answer.json()).code];
}"""


async def test_too_large_and_too_long_are_pages_in_the_readers_language(tmp_path: Path) -> None:
    large = tmp_path / "film.mov"
    large.write_bytes(bytes(24 * 1024 * 1024))
    folder = ARTIFACTS / "refusals"
    folder.mkdir(parents=True, exist_ok=True)
    async with running_stack(starts=False) as stack, chromium() as browser:
        stack.write_config(**{"    title: Notes\n": "    title: Notes\n    body_bytes: 1MiB\n"})
        stack.config_path.write_text(
            stack.config_path.read_text() + "pages: {style: {brand: Example Corp}}\n"
        )
        await stack.start()
        await stack.signal_risk("open", event="e-start", **HEALTHY)
        page = await browser.new_page(locale="de-DE")
        await page.goto(stack.url("/write?files"))
        await page.get_by_role("button", name="alice").click()
        await page.wait_for_url(stack.url("/write?files"))

        assert await page.evaluate(FETCH) == [413, "application/problem+json", "body-too-large"]

        await page.get_by_label("File").set_input_files(large)
        await page.get_by_role("button", name="Save").click()
        await expect(page.get_by_role("heading", level=1)).to_have_text("Das ist zu groß zum Senden")
        await expect(page.get_by_text("Example Corp")).to_be_visible()
        await expect(page.locator("html")).to_have_attribute("lang", "de")
        await page.screenshot(path=folder / "too-large-de.png")
        assert stack.upstream.forms == []

        answer = await page.goto(stack.url("/x?" + "a" * 100_000))
        assert answer is not None
        assert answer.status == 414
        await expect(page.get_by_role("heading", level=1)).to_be_visible()
        assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
