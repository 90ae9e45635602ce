"""Who signs out stays out until they ask to come back; addresses of any length; a login host that is no app."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from gateway.config.schema import App
from gateway.hub.signin_addresses import ENTRY_BYTES, KeptAddresses
from gateway.hub.signin_out import MARK_S
from gateway.wire.cookies import is_own
from tests.op.gate import Answer, Browser, Clock, Gate, running_gate, seeded
from tests.op.stub import Stub, running_stub

LOGIN = "https://login.corp.example"
APP = "https://app.corp.example"
WIKI = "https://wiki.other.example"
WANTED = f"{APP}/a/b?x=%2F&y=1"
MARK = "__Host-gate-out-mark"
LONG = f"{APP}/reports?q=" + "%22long%22," * 1400


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def stub(clock: Clock) -> AsyncIterator[Stub]:
    async with running_stub(clock.timestamp) as running:
        yield running


@pytest.fixture
async def gate(stub: Stub, clock: Clock) -> AsyncIterator[Gate]:
    async with running_gate({"corp": stub.issuer}, clock=clock) as running:
        yield running


async def sign_in(gate: Gate, stub: Stub, browser: Browser, url: str = WANTED, **who: Any) -> Answer:
    return await gate.visit(browser, url, lambda there: stub.authorize(there, **who))


def nowhere(there: str) -> str:
    """Fail: this visit must not go to the provider."""
    pytest.fail(there)


async def sign_out(browser: Browser, origin: str = APP) -> Answer:
    answer = await browser.send(f"{origin}/.gate/logout", method="POST", headers={"Origin": origin})
    return await browser.send(answer.location)


def code_of(answer: Answer) -> str:
    return answer.text.split("\n")[0].removeprefix("error ")


def link_of(page: Answer) -> str:
    """Return the address of the page's `sign in again`."""
    url = page.text.split(" ")[3]
    return url if "://" in url else LOGIN + url


# --- staying out ------------------------------------------------------------------------------------------


async def test_an_open_tab_does_not_come_back_by_itself(gate: Gate, stub: Stub, clock: Clock) -> None:
    """Any page reloads: the provider is not asked; one click on the page is a sign-in to the exact address."""
    browser = gate.browser()
    await sign_in(gate, stub, browser)
    await sign_out(browser)
    for url in (WANTED, f"{WIKI}/other", f"{APP}/.gate/me"):
        page = await gate.visit(browser, url, nowhere)
        assert (page.status, page.text.split(" ")[0]) == (200, "signed-out")
    clock.advance(100)
    page = await gate.visit(browser, WANTED, nowhere)
    answer = await sign_in(gate, stub, browser, link_of(page))
    assert (answer.status, answer.url) == (200, WANTED)
    assert MARK not in browser.cookies["login.corp.example"]
    assert (await gate.visit(browser, f"{WIKI}/other", nowhere)).status == 200


async def test_the_page_after_signing_out_leads_back_to_its_app(gate: Gate, stub: Stub) -> None:
    browser = gate.browser()
    await sign_in(gate, stub, browser)
    page = await sign_out(browser)
    answer = await sign_in(gate, stub, browser, link_of(page))
    assert (answer.status, answer.url) == (200, f"{APP}/")


async def test_the_mark_is_a_cookie_of_the_login_host_for_half_a_day(gate: Gate, stub: Stub) -> None:
    browser = gate.browser()
    await sign_in(gate, stub, browser)
    page = await sign_out(browser)
    (line,) = [line for line in page.set_cookies if line.startswith(MARK + "=")]
    assert f"Max-Age={MARK_S}" in line
    assert MARK_S == 12 * 3600
    assert MARK not in browser.cookies["app.corp.example"]
    assert is_own(MARK.encode()), "no app sees it, none can set it"


async def test_a_tab_that_is_cut_before_the_sign_out_is_answered_stays_out_too(
    gate: Gate, stub: Stub
) -> None:
    """The cut comes first: the other tab asks again while the first has not yet been told to stay out."""
    browser = gate.browser()
    await sign_in(gate, stub, browser)
    answer = await browser.send(f"{APP}/.gate/logout", method="POST", headers={"Origin": APP})
    tab = await gate.visit(browser, WANTED, nowhere)
    assert tab.text.startswith("signed-out")
    assert MARK in browser.cookies["login.corp.example"]
    assert (await browser.send(answer.location)).text.startswith("signed-out")
    assert (await sign_in(gate, stub, browser, link_of(tab))).url == WANTED
    assert (await gate.visit(browser, f"{WIKI}/", nowhere)).status == 200


async def test_a_tab_that_is_cut_stays_out_across_a_restart(stub: Stub, clock: Clock, tmp_path: Path) -> None:
    browsers = []
    for seed in (1, 3):
        path = tmp_path / "state.db"
        async with running_gate({"corp": stub.issuer}, clock=clock, path=path, seed=seed) as gate:
            browsers.append(gate.browser())
            if seed == 1:
                await sign_in(gate, stub, browsers[0])
                await browsers[0].send(f"{APP}/.gate/logout", method="POST", headers={"Origin": APP})
                continue
            browsers[1].cookies = browsers[0].cookies
            tab = await gate.visit(browsers[1], WANTED, nowhere)
            assert tab.text.startswith("signed-out")
            assert (await sign_in(gate, stub, browsers[1], link_of(tab))).url == WANTED


async def test_both_tabs_get_one_mark_in_any_order(gate: Gate, stub: Stub) -> None:
    """The two answers cross on their way; whichever cookie the browser keeps, both links work."""
    browser = gate.browser()
    await sign_in(gate, stub, browser)
    answer = await browser.send(f"{APP}/.gate/logout", method="POST", headers={"Origin": APP})
    before = dict(browser.cookies["login.corp.example"])
    page = await browser.send(answer.location)
    browser.cookies["login.corp.example"] = before
    tab = await gate.visit(browser, WANTED, nowhere)
    passes = [link_of(each).split("again=")[1].split("&")[0] for each in (page, tab)]
    assert passes[0] == passes[1]


async def test_signing_out_twice_and_without_a_session_marks_too(gate: Gate, stub: Stub) -> None:
    """Whoever presses the button stays out, even if the session was over before."""
    browser = gate.browser()
    await sign_out(browser)
    page = await gate.visit(browser, WANTED, nowhere)
    again = await gate.visit(browser, WANTED, nowhere)
    assert link_of(page).split("&")[0] == link_of(again).split("&")[0], "one mark, however often"
    await sign_out(browser)
    assert (await sign_in(gate, stub, browser, link_of(page))).url == WANTED


@pytest.mark.parametrize("guess", ["", "1", "x" * 22, "%C3%A9", "a&b"])
async def test_no_other_site_can_send_a_browser_back_in(gate: Gate, stub: Stub, guess: str) -> None:
    """`again` is bound to the mark: a made-up one, or one of another browser, shows the page once more."""
    browser, mallory = gate.browser(), gate.browser()
    for each in (browser, mallory):
        await sign_in(gate, stub, each)
        await sign_out(each)
    foreign = link_of(await gate.visit(mallory, WANTED, nowhere)).split("again=")[1].split("&")[0]
    for value in (guess, foreign):
        page = await gate.visit(browser, f"{APP}/.gate/login?rd=/x&again={value}", nowhere)
        assert page.text.startswith("signed-out")
        sealed = link_of(page).split("t=")[1]
        page = await gate.visit(browser, f"{LOGIN}/.gate/login?t={sealed}&again={value}", nowhere)
        assert page.text.startswith("signed-out")
    assert MARK in browser.cookies["login.corp.example"]


@pytest.mark.parametrize("query", ["", "?c=", "?c=forged", "?go=x"])
async def test_a_mere_link_marks_nobody(gate: Gate, stub: Stub, query: str) -> None:
    browser = gate.browser()
    assert (await browser.send(f"{LOGIN}/.gate/signed-out{query}")).status == 200
    assert MARK not in browser.cookies["login.corp.example"]
    assert (await sign_in(gate, stub, browser)).url == WANTED


async def test_an_old_address_of_a_sign_out_touches_nobody_who_came_back(
    gate: Gate, stub: Stub, clock: Clock
) -> None:
    """`back` to the page of an earlier sign-out: the new session stays, and no mark is set."""
    browser = gate.browser()
    await sign_in(gate, stub, browser)
    page = await sign_out(browser)
    clock.advance(5)
    await sign_in(gate, stub, browser, link_of(page))
    assert (await browser.send(page.url)).status == 200
    assert (await browser.send(WANTED)).status == 200
    assert (await gate.visit(browser, f"{WIKI}/", nowhere)).status == 200
    stranger = gate.browser()
    clock.advance(600)
    await stranger.send(page.url)
    assert MARK not in stranger.cookies["login.corp.example"], "and it marks nobody after ten minutes"


async def test_a_tab_left_open_over_night(gate: Gate, stub: Stub, clock: Clock) -> None:
    """The address on the page is older than a sign-in may be; the click still leads to the exact URL."""
    browser = gate.browser()
    await sign_in(gate, stub, browser)
    await sign_out(browser)
    page = await gate.visit(browser, WANTED, nowhere)
    clock.advance(11 * 3600)
    reloaded = await gate.visit(browser, page.url, nowhere)
    assert reloaded.text.startswith("signed-out")
    answer = await sign_in(gate, stub, browser, link_of(reloaded))
    assert (answer.status, answer.url) == (200, WANTED)


async def test_programs_are_told_and_not_shown_a_page(gate: Gate, stub: Stub) -> None:
    browser = gate.browser()
    await sign_in(gate, stub, browser)
    await sign_out(browser)
    answer = await browser.send(WANTED, kind="api")
    assert (answer.status, json.loads(answer.text)["code"]) == (401, "sign-in-required")


async def test_a_session_at_another_provider_stays_useful(stub: Stub, clock: Clock) -> None:
    """Signing out of one provider's app holds back that provider only where the other's session is enough."""
    apps = (
        App(name="app", host="app.corp.example", upstream="http://127.0.0.1:1", provider="corp"),
        App(name="wiki", host="wiki.other.example", upstream="http://127.0.0.1:1", provider="guests"),
        App(name="any", host="any.other.example", upstream="http://127.0.0.1:1", provider="guests"),
    )
    async with (
        running_stub(clock.timestamp) as guests,
        running_gate({"corp": stub.issuer, "guests": guests.issuer}, clock=clock, apps=apps) as gate,
    ):
        browser = gate.browser()
        await gate.visit(browser, WANTED, stub.authorize)
        await gate.visit(browser, f"{WIKI}/", guests.authorize)
        await sign_out(browser)
        assert (await gate.visit(browser, WANTED, nowhere)).text.startswith("signed-out")
        assert (await browser.send(f"{WIKI}/")).status == 200
        assert (await gate.visit(browser, "https://any.other.example/", nowhere)).status == 200
        assert (await gate.visit(browser, WANTED, nowhere)).text.startswith("signed-out")


# --- long addresses ---------------------------------------------------------------------------------------


async def test_a_long_address_comes_back_by_every_way(gate: Gate, stub: Stub, clock: Clock) -> None:
    """Through a hand-over, a `try again` and a sent form too; no cookie and no address of ours grows with it."""
    browser = gate.browser()
    answer = await sign_in(gate, stub, browser, LONG)
    assert (answer.status, answer.url) == (200, LONG)
    browser.cookies["app.corp.example"].pop("__Host-gate")
    assert (await gate.visit(browser, LONG, nowhere)).url == LONG

    stub.is_down = True
    other = gate.browser()
    clock.advance(14401)
    page = await gate.visit(other, LONG, nowhere)
    link = page.text.split("link ")[1]
    assert (page.status, len(link) < 1000) == (503, True)
    stub.is_down = False
    clock.advance(2)
    assert (await sign_in(gate, stub, other, link)).url == LONG

    form = gate.browser()
    page = await form.send(LONG, method="POST", data=b"a=1")
    assert page.text.startswith("sign-in-needed\nlink /.gate/login?to=")
    assert (await sign_in(gate, stub, form, APP + page.text.split("link ")[1])).url == LONG


async def test_a_long_address_survives_the_page_of_signing_out(gate: Gate, stub: Stub) -> None:
    browser = gate.browser()
    await sign_in(gate, stub, browser, LONG)
    await sign_out(browser)
    page = await gate.visit(browser, LONG, nowhere)
    assert (await sign_in(gate, stub, browser, link_of(page))).url == LONG


async def test_going_round_in_circles_is_noticed_at_long_addresses(gate: Gate, stub: Stub) -> None:
    browser = gate.browser()
    await sign_in(gate, stub, browser, LONG)
    statuses = []
    for _ in range(6):
        browser.cookies["app.corp.example"].pop("__Host-gate", None)
        statuses.append((await browser.send((await browser.send(LONG)).location)).status)
    assert statuses[-1] == 429


async def test_an_address_that_is_gone_says_so_and_leads_to_the_app(gate: Gate, stub: Stub) -> None:
    """There was no room, or it was given up: signed in all the same, and the page's link opens the app."""
    gate.signin._addresses = KeptAddresses(
        mono=gate.clock.mono, random_bytes=seeded(), most_bytes=2 * len(LONG), client_bytes=2 * len(LONG)
    )
    browser, flood = gate.browser(), gate.browser()
    waiting = await browser.send((await browser.send(LONG)).location)
    for n in range(5):
        await flood.send(f"{LONG}{n}")
    answer = await gate.visit(browser, stub.authorize(waiting.location), nowhere)
    assert (answer.status, code_of(answer)) == (410, "return-address-forgotten")
    assert answer.text.endswith(f"link {APP}/")
    assert (await browser.send(f"{APP}/")).status == 200

    gate.signin._addresses = KeptAddresses(
        mono=gate.clock.mono, random_bytes=seeded(), most_bytes=ENTRY_BYTES, client_bytes=ENTRY_BYTES
    )
    answer = await sign_in(gate, stub, gate.browser(), LONG)
    assert (answer.status, code_of(answer)) == (410, "return-address-forgotten")


async def test_other_clients_cannot_put_an_address_out(gate: Gate, stub: Stub) -> None:
    """A flood fills its own share; a person of another address still arrives."""
    gate.signin._addresses = KeptAddresses(
        mono=gate.clock.mono, random_bytes=seeded(), most_bytes=6 * len(LONG), client_bytes=3 * len(LONG)
    )
    browser, flood = gate.browser(), gate.browser()
    headers = {"X-Gate-Client": "203.0.113.9"}
    waiting = await browser.send((await browser.send(LONG, headers=headers)).location)
    for n in range(40):
        await flood.send(f"{LONG}{n}", headers={"X-Gate-Client": f"192.0.2.{n % 4}"})
    answer = await gate.visit(browser, stub.authorize(waiting.location), nowhere)
    assert (answer.status, answer.url) == (200, LONG)


async def test_a_kept_address_leads_nowhere_else(gate: Gate) -> None:
    """`to` counts on its own host only, and only as we sealed it."""
    page = await gate.browser().send(LONG, method="POST", data=b"a=1")
    link = page.text.split("link ")[1]
    answer = await gate.browser().send(WIKI + link)
    assert (answer.status, code_of(answer)) == (400, "login-on-wrong-host")
    answer = await gate.browser().send(f"{APP}/.gate/login?to={link.split('to=')[1][:-3]}")
    assert answer.status == 400


async def test_programs_leave_nothing_behind(gate: Gate) -> None:
    """A6: not even an address."""
    browser = gate.browser()
    for kind in ("api", "websocket"):
        answer = await browser.send(LONG, kind=kind, headers={"Referer": LONG})
        assert json.loads(answer.text)["sign_in_url"] == f"{APP}/.gate/login?rd=/"
    assert gate.signin._addresses.held_bytes == 0


# --- a login host that is no app --------------------------------------------------------------------------


async def test_the_login_host_itself_leads_to_the_page_about_oneself(gate: Gate, stub: Stub) -> None:
    browser = gate.browser()
    answer = await sign_in(gate, stub, browser, f"{LOGIN}/")
    assert (answer.status, urlsplit(answer.url).path) == (200, "/.gate/me"), answer.text
    for start in (f"{LOGIN}/.gate/login", f"{LOGIN}/.gate/login?rd=/"):
        assert (await gate.visit(browser, start, nowhere)).url == f"{LOGIN}/.gate/me"
    assert (await gate.visit(browser, f"{APP}/.gate/login", nowhere)).url == f"{APP}/"
    assert (await browser.send(f"{LOGIN}/", kind="api")).status == 200, "no redirect for programs"


async def test_a_login_host_that_is_an_app_is_that_app(stub: Stub, clock: Clock) -> None:
    apps = (App(name="app", host="app.corp.example", upstream="http://127.0.0.1:1"),)
    async with running_gate({"corp": stub.issuer}, clock=clock, public_url=APP, apps=apps) as gate:
        browser = gate.browser()
        assert (await sign_in(gate, stub, browser, f"{APP}/.gate/login")).url == f"{APP}/"
        page = await sign_out(browser)
        assert (await gate.visit(browser, WANTED, nowhere)).text.startswith("signed-out")
        assert (await sign_in(gate, stub, browser, link_of(page))).url == f"{APP}/"
