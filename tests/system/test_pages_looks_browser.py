"""How the pages look and whether everybody can use them: each in a real Chromium, in every language, width and scheme.

Screenshots of every page go to `test-artifacts/pages/`.
"""

from pathlib import Path
from typing import NamedTuple

import pytest
from playwright.async_api import Page

from tests.system.browser import ARTIFACTS
from tests.system.page_gate import opened, serve
from tests.unit.hub.page_samples import NOW, SAMPLES

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module")]

AXE = (Path(__file__).parents[1] / "op" / "node_modules" / "axe-core" / "axe.min.js").read_text("utf-8")
AUDIT = (Path(__file__).parent / "page_audit.js").read_text("utf-8")
AXE_RUN = """async tags => (await axe.run(document, {runOnly: tags, resultTypes: ["violations"]})).violations
  .flatMap(each => each.nodes.map(node => each.id + ": " + node.html.slice(0, 120)))"""
FOLD = "open => document.querySelectorAll('details').forEach(el => { el.open = open; })"
TWICE = "document.documentElement.style.fontSize = '200%', document.documentElement.scrollWidth"

# WCAG 2.2 AA and the best practices of axe-core.
ALL = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
# Of these, the rules whose outcome hangs on colours and sizes. The others have the same answer in every look of a page.
VISUAL = ["color-contrast", "link-in-text-block", "scrollable-region-focusable", "target-size"]


class Look(NamedTuple):
    """How somebody sees a page, by which rules of axe-core it is judged, and whether a picture is kept."""

    scheme: str
    width: int
    rules: list[str]
    is_shot: bool = False


# 320 px are a window of 1280 px at 400 %.
LOOKS = {
    "en": [
        Look("light", 1280, ALL, is_shot=True),
        Look("dark", 1280, []),
        Look("light", 360, []),
        Look("dark", 360, [], is_shot=True),
        Look("light", 320, []),
        Look("dark", 320, VISUAL),
    ],
    "ar": [Look("light", 320, ALL, is_shot=True), Look("dark", 1280, VISUAL)],
    "de": [Look("light", 320, ALL)],
}


async def dress(page: Page, look: Look) -> None:
    """Show the page in one look, as it comes."""
    await page.emulate_media(color_scheme=look.scheme)
    await page.set_viewport_size({"width": look.width, "height": 800})
    await page.evaluate(FOLD, False)  # noqa: FBT003 - what the script takes


async def judged(page: Page, look: Look) -> list[str]:
    """Return what is wrong with the page in one look: as it comes, and with all that folds open."""
    await dress(page, look)
    wrong = await page.evaluate(AUDIT)
    await page.evaluate(FOLD, True)  # noqa: FBT003 - what the script takes
    wrong += await page.evaluate(AUDIT)
    if look.rules:
        wrong += await page.evaluate(AXE_RUN, look.rules)
    return [f"{look.scheme} {look.width}: {each}" for each in sorted(set(wrong))]


@pytest.mark.timeout(600)  # every page, and a machine that may be busy
@pytest.mark.parametrize("language", LOOKS)
async def test_every_page_is_sound_and_fits_in_every_look(browser, language):
    """Contrast, outline, names, target sizes, no sideways scrolling; no violation that axe-core knows."""
    folder = ARTIFACTS / "pages"
    folder.mkdir(parents=True, exist_ok=True)
    found = {}
    async with serve() as gate, opened(browser, gate) as page:
        await page.clock.set_fixed_time(NOW)
        for name in SAMPLES:
            await page.goto(f"{gate.origin}/s/{name}?lang={language}")
            await page.evaluate(AXE)
            wrong = [each for look in LOOKS[language] for each in await judged(page, look)]
            if wrong:
                found[name] = wrong
            for look in filter(lambda each: each.is_shot, LOOKS[language]):  # last: pictures leave their mark
                await dress(page, look)
                path = folder / f"{name}-{look.width}-{look.scheme}-{language}.png"
                await page.screenshot(path=path, full_page=True)
    assert found == {}


async def test_text_at_twice_the_size_still_fits(browser):
    """WCAG 1.4.4: 200 % text size in a window of 640 px."""
    found = {}
    async with serve() as gate, opened(browser, gate, viewport={"width": 640, "height": 800}) as page:
        for name in SAMPLES:
            await page.goto(f"{gate.origin}/s/{name}")
            width = await page.evaluate(TWICE)
            if width > 640:
                found[name] = width
    assert found == {}


async def test_axe_would_find_something(browser):
    async with serve() as gate, opened(browser, gate, bypass_csp=True) as page:
        await page.goto(f"{gate.origin}/s/fix-rules")
        await page.evaluate("document.documentElement.lang = ''; document.querySelector('h1').remove()")
        await page.evaluate(AXE)
        wrong = " ".join(await page.evaluate(AXE_RUN, ALL))
    assert "html-has-lang" in wrong
    assert "page-has-heading-one" in wrong


async def test_the_audit_finds_what_is_wrong(browser):
    """Without this the test above could pass by looking at nothing."""
    async with serve() as gate, opened(browser, gate, bypass_csp=True) as page:
        await page.goto(f"{gate.origin}/s/fix-rules")
        await page.add_style_tag(
            content="p { color: #999 !important } .button { border-color: #ddd !important; }"
            "summary { height: 10px; overflow: hidden } .brand { width: 3000px; flex: none }"
        )
        await page.evaluate("document.querySelector('#todo').outerHTML = '<h5>x</h5><h1>y</h1>'")
        wrong = " ".join(await page.evaluate(AUDIT))
    kinds = ("contrast", "edge contrast", "small target", "scrolls sideways", "not one h1", "label missing")
    assert [kind for kind in kinds if kind not in wrong] == []
