"""Signing in and out through the handlers, against a provider that does what a test wants."""

import json
import random
import string
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import pytest
import structlog
from aiohttp import web

from compliance.model import StepUp
from gateway.config.schema import App, Sessions
from gateway.sessions.model import cookie_hash
from tests.op.gate import Browser, Clock, Gate, running_gate
from tests.op.stub import DROP, Stub, running_stub

LOGIN = "https://login.corp.example"
APP = "https://app.corp.example"
WIKI = "https://wiki.other.example"
WANTED = f"{APP}/a/b?x=%2F&y=1"


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


async def to_provider(browser: Browser, url: str) -> str:
    """Go until the provider's authorization URL."""
    answer = await browser.send(url)
    answer = await browser.send(answer.location)
    return answer.location


async def sign_in(gate: Gate, stub: Stub, browser: Browser, url: str = WANTED, **who: Any) -> Any:
    return await gate.visit(browser, url, lambda there: stub.authorize(there, **who))


def nowhere(there: str) -> str:
    """Fail: this visit must not go to the provider."""
    pytest.fail(there)


def code_of(answer: Any) -> str:
    return answer.text.split("\n")[0].removeprefix("error ")


# --- the way in -------------------------------------------------------------------------------------------


async def test_step_by_step(gate: Gate, stub: Stub) -> None:
    """Each hop is as designed: start cookie, sealed `t`, pending cookie, one-time code, host cookie."""
    browser = gate.browser()
    first = await browser.send(WANTED)
    assert first.status == 302
    assert first.location.startswith(f"{LOGIN}/.gate/login?t=")
    assert set(browser.cookies["app.corp.example"]) == {"__Host-gate-start"}

    second = await browser.send(first.location)
    assert second.status == 302
    assert second.location.startswith(f"{stub.issuer}/authorize?")
    state = parse_qs(urlsplit(second.location).query)["state"][0]
    assert f"__Host-gate-login-{state[:8]}" in browser.cookies["login.corp.example"]
    assert WANTED.partition("?")[0] not in second.location
    assert len(gate.sessions) == 0

    third = await browser.send(stub.authorize(second.location))
    assert third.status == 303
    assert third.location.startswith(f"{APP}/.gate/session?code=")
    assert third.headers["Cache-Control"] == "no-store"
    assert third.headers["Referrer-Policy"] == "no-referrer"
    assert not any("gate-login" in name for name in browser.cookies["login.corp.example"])

    fourth = await browser.send(third.location)
    assert (fourth.status, fourth.location) == (303, WANTED)
    value = browser.cookies["app.corp.example"]["__Host-gate"]
    assert len("__Host-gate=" + value) < 200
    assert value != browser.cookies["login.corp.example"]["__Host-gate"]
    last = await browser.send(WANTED)
    assert json.loads(last.text) == {
        "subject": "u-1",
        "session": gate.sessions.by_subject(stub.issuer, "u-1")[0].id,
        "path": "/a/b?x=%2F&y=1",
    }


@pytest.mark.parametrize("kind", ["api", "websocket", ""])
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
async def test_who_does_not_navigate_is_told_and_not_redirected(gate: Gate, kind: str, method: str) -> None:
    """A6: 401 with the sign-in URL, no cookie, no state."""
    browser = gate.browser()
    answer = await browser.send(WANTED, kind=kind, method=method, headers={"Referer": f"{APP}/page?q=1"})
    assert answer.status == 401
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert "WWW-Authenticate" in answer.headers
    assert answer.set_cookies == []
    problem = json.loads(answer.text)
    assert problem["code"] == "sign-in-required"
    assert problem["type"] == "urn:posturegate:problem:sign-in-required"
    assert problem["sign_in_url"] == f"{APP}/.gate/login?rd=/page%3Fq%3D1"
    assert browser.cookies["app.corp.example"] == {}


async def test_the_sign_in_url_of_a_problem_works(gate: Gate, stub: Stub) -> None:
    """Opened in a browser it signs in and returns to the page that made the request."""
    browser = gate.browser()
    problem = json.loads(
        (await browser.send(WANTED, kind="api", headers={"Referer": f"{APP}/page?q=1"})).text
    )
    answer = await sign_in(gate, stub, browser, problem["sign_in_url"])
    assert (answer.status, answer.url) == (200, f"{APP}/page?q=1")


async def test_a_sent_form_is_not_redirected(gate: Gate) -> None:
    """A POST navigation gets a page with a link: its body would be lost on the way."""
    answer = await gate.browser().send(WANTED, method="POST", data=b"a=1")
    assert answer.status == 401
    assert answer.text == f"sign-in-needed\nlink /.gate/login?rd=/a/b{quote('?x=%2F&y=1')}"
    assert answer.set_cookies == []


async def test_head_navigation_is_redirected(gate: Gate) -> None:
    assert (await gate.browser().send(WANTED, method="HEAD")).status == 302


async def test_two_hosts_have_cookies_of_their_own(gate: Gate, stub: Stub) -> None:
    """One sign-in; the second host, of another domain, gets its cookie without the provider."""
    browser = gate.browser()
    await sign_in(gate, stub, browser)
    answer = await gate.visit(browser, f"{WIKI}/x", nowhere)
    assert (answer.status, answer.url) == (200, f"{WIKI}/x")
    values = [
        browser.cookies[host]["__Host-gate"]
        for host in ("app.corp.example", "wiki.other.example", "login.corp.example")
    ]
    assert len(set(values)) == 3
    assert len(gate.sessions) == 1
    stolen = gate.browser()
    stolen.cookies["wiki.other.example"] = {"__Host-gate": values[0]}
    assert (await stolen.send(f"{WIKI}/x")).status == 302, "a cookie counts on its own host only"


async def test_wildcard_hosts(gate: Gate, stub: Stub) -> None:
    answer = await sign_in(gate, stub, gate.browser(), "https://one.many.example/x")
    assert (answer.status, answer.url) == (200, "https://one.many.example/x")
    for foreign in ("https://many.example/", "https://a.b.many.example/", "https://evil.example/"):
        assert (await gate.browser().send(foreign)).status == 400


async def test_login_host_that_is_an_app_too(stub: Stub, clock: Clock) -> None:
    """One host for everything: no one-time code is needed."""
    apps = (App(name="app", host="app.corp.example", upstream="http://127.0.0.1:1"),)
    async with running_gate({"corp": stub.issuer}, clock=clock, public_url=APP, apps=apps) as gate:
        browser = gate.browser()
        answer = await sign_in(gate, stub, browser)
        assert (answer.status, answer.url) == (200, WANTED)


async def test_plain_http_on_loopback_only(stub: Stub, clock: Clock) -> None:
    """The demo's names are plain; off this machine http is refused."""
    apps = (App(name="app", host="app.localhost", upstream="http://127.0.0.1:1"),
            App(name="far", host="app.corp.example", upstream="http://127.0.0.1:1"))  # fmt: skip
    public = "http://login.localhost:8080"
    async with running_gate({"corp": stub.issuer}, clock=clock, public_url=public, apps=apps) as gate:
        browser = gate.browser()
        answer = await sign_in(gate, stub, browser, "http://app.localhost:8080/x")
        assert (answer.status, answer.url) == (200, "http://app.localhost:8080/x")
        assert set(browser.cookies["app.localhost"]) == {"gate", "gate-start"}
        assert (await browser.send("http://app.corp.example/x")).status == 400


@pytest.mark.parametrize("asked", ["http://app.corp.example/x", "https://evil.example/x"])
async def test_the_log_says_how_somebody_came_to_the_wrong_address(gate: Gate, asked: str) -> None:
    """A proxy in front that does not say that it ends TLS is what most often is forgotten."""
    with structlog.testing.capture_logs() as lines:
        assert (await gate.browser().send(asked)).status == 400
    [line] = [each for each in lines if each["event"] == "sign-in-refused"]
    assert line["reason"] == "address-not-served"
    assert line["detail"].startswith(f"came as {asked.removesuffix('/x')}, `public_url` is {LOGIN}")
    assert ("X-Forwarded-Proto" in line["detail"]) == asked.startswith("http:")


async def test_only_the_workers_word_counts(gate: Gate) -> None:
    """Scheme and host come from the trusted headers: a `Host` from the client changes nothing."""
    browser = gate.browser()
    answer = await browser.send(WANTED, headers={"Host": "evil.example"})
    assert answer.location.startswith(LOGIN)
    for headers in (
        {"X-Gate-Host": ""},
        {"X-Gate-Host": "a@b"},
        {"X-Gate-Host": "a/b"},
        {"X-Gate-Scheme": "ftp"},
        {"X-Gate-Host": "x" * 300},
        {"X-Gate-Scheme": ""},
    ):
        assert (await browser.send(WANTED, headers=headers)).status == 400


# --- return addresses -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "rd",
    [
        "//evil.example",
        "/\\evil.example",
        "https:evil.example",
        "https://evil.example/",
        "\t//evil.example",
        "/%09//evil".replace("%09", "\t"),
        "javascript:alert(1)",
        "",
        "evil",
        "/a\r\nSet-Cookie: x=1",
        "/a b",
        "/#frag",
        "/.gate/logout",
        "/.gate/backchannel-logout",
        "/.gate/callback?x",
        "/.gate/session",
        "/é",
    ],
)
async def test_open_redirects(gate: Gate, stub: Stub, rd: str) -> None:
    """A5: whatever is not a plain path of this host becomes its root."""
    answer = await sign_in(gate, stub, gate.browser(), f"{APP}/.gate/login?rd={quote(rd, safe='')}")
    assert (answer.status, answer.url) == (200, f"{APP}/")


@pytest.mark.parametrize("path", ["//evil.example/x", "/\\evil"])
async def test_strange_request_targets(gate: Gate, stub: Stub, path: str) -> None:
    answer = await sign_in(gate, stub, gate.browser(), f"{APP}{path}")
    assert answer.url == f"{APP}/"


async def test_exact_addresses_come_back(gate: Gate, stub: Stub) -> None:
    """Encodings, empty parameters, semicolons and addresses of any length survive unchanged."""
    for path in (
        "/a%2Fb;c=1/?q=%E2%82%AC&empty=&q=2",
        "/x?u=https://other.example//y",
        "/" + "p" * 900 + "?" + "q" * 900,
        "/" + "p" * 1999,
        "/" + "p" * 2000,
        "/" + "p%22" * 3000 + "?" + "q=1;" * 1000,
        "/" + '"' * 1900,
    ):
        answer = await sign_in(gate, stub, gate.browser(), APP + path)
        assert (answer.status, answer.url) == (200, APP + path)


async def test_sealed_parameters_cannot_be_made_or_changed(gate: Gate) -> None:
    """`t` and `step_up` of somebody else's making are refused; so is a changed bit."""
    browser = gate.browser()
    good = (await browser.send(WANTED)).location.split("t=")[1]
    for bad in (
        "",
        "x",
        good[:-2],
        good + "A",
        good[:20] + ("A" if good[20] != "A" else "B") + good[21:],
        "=" * 50,
    ):
        answer = await browser.send(f"{LOGIN}/.gate/login?t={bad}")
        assert (answer.status, code_of(answer)) == (400, "login-link-broken")
    assert (await browser.send(f"{APP}/.gate/login?step_up={good}")).status == 400
    assert (await browser.send(f"{APP}/.gate/login?t={good}")).status == 400, "only the login host takes it"


async def test_an_old_link_leads_back_to_the_app(gate: Gate, clock: Clock) -> None:
    browser = gate.browser()
    location = (await browser.send(WANTED)).location
    clock.advance(3601)
    answer = await browser.send(location)
    assert (answer.status, code_of(answer)) == (400, "login-link-expired")
    assert f"link {WANTED}" in answer.text


# --- state, binding, tabs ---------------------------------------------------------------------------------


async def test_three_tabs_all_end_where_they_wanted(gate: Gate, stub: Stub) -> None:
    """A4: sign-ins under way at once, finished in another order."""
    browser = gate.browser()
    wanted = [f"{APP}/tab/{n}" for n in range(3)]
    callbacks = [stub.authorize(await to_provider(browser, url)) for url in wanted]
    for n in (2, 0, 1):
        answer = await gate.visit(browser, callbacks[n], nowhere)
        assert (answer.status, answer.url) == (200, wanted[n])
    assert len(gate.sessions) == 1, "the same person's later sign-ins join the session"


async def test_tabs_that_began_before_any_cookie_was_kept(gate: Gate, stub: Stub) -> None:
    """Two first requests at once get two start cookies, of which the browser keeps one; both tabs arrive."""
    browser = gate.browser()
    one = await browser.send(f"{APP}/one")
    browser.cookies["app.corp.example"].clear()
    two = await browser.send(f"{APP}/two")
    callbacks = [stub.authorize((await browser.send(each.location)).location) for each in (one, two)]
    for callback, url in zip(callbacks, (f"{APP}/one", f"{APP}/two"), strict=True):
        answer = await gate.visit(browser, callback, nowhere)
        assert (answer.status, answer.url) == (200, url)


async def test_most_pending_sign_ins_are_five(gate: Gate, stub: Stub, clock: Clock) -> None:
    """A4: the sixth puts out the first, whose return is then a page."""
    browser = gate.browser()
    callbacks = []
    for n in range(6):
        callbacks.append(stub.authorize(await to_provider(browser, f"{APP}/tab/{n}")))
        clock.advance(1)
    pending = [name for name in browser.cookies["login.corp.example"] if "gate-login" in name]
    assert len(pending) == 5
    first = await browser.send(callbacks[0])
    assert (first.status, code_of(first)) == (400, "callback-state-unknown")
    for n in range(1, 6):
        answer = await gate.visit(browser, callbacks[n], nowhere)
        assert answer.url == f"{APP}/tab/{n}"


async def test_a_callback_counts_in_its_own_browser_only(gate: Gate, stub: Stub) -> None:
    """A3: replayed elsewhere it is a 400 and nobody is signed in."""
    ours, theirs = gate.browser(), gate.browser()
    callback = stub.authorize(await to_provider(ours, WANTED))
    await to_provider(theirs, WANTED)
    answer = await theirs.send(callback)
    assert (answer.status, code_of(answer)) == (400, "callback-state-unknown")
    assert len(gate.sessions) == 0
    assert "token" not in stub.calls


async def test_a_callback_counts_once(gate: Gate, stub: Stub) -> None:
    """C1: whatever came of it. Whoever is signed in meanwhile continues instead."""
    browser, other = gate.browser(), gate.browser()
    callback = stub.authorize(await to_provider(browser, WANTED))
    kept = dict(browser.cookies["login.corp.example"])
    assert (await browser.send(callback)).status == 303
    other.cookies["login.corp.example"] = kept
    answer = await other.send(callback)
    assert (answer.status, code_of(answer)) == (400, "callback-state-used")
    again = await browser.send(callback)
    assert (again.status, again.location) == (303, WANTED)
    assert stub.calls["token"] == 1


async def test_a_refused_callback_is_used_up_too(gate: Gate, stub: Stub) -> None:
    browser = gate.browser()
    url = await to_provider(browser, WANTED)
    kept = dict(browser.cookies["login.corp.example"])
    assert (await browser.send(stub.authorize(url, iss="https://evil.example"))).status == 400
    browser.cookies["login.corp.example"] = kept
    answer = await browser.send(stub.authorize(url))
    assert (answer.status, code_of(answer)) == (400, "callback-state-used")


async def test_a_sign_in_may_take_ten_minutes(gate: Gate, stub: Stub, clock: Clock) -> None:
    """A3: after that the way back to the app is offered, and nothing is redeemed."""
    browser = gate.browser()
    callback = stub.authorize(await to_provider(browser, WANTED))
    clock.advance(601)
    answer = await browser.send(callback)
    assert (answer.status, code_of(answer)) == (400, "callback-state-expired")
    assert f"link {WANTED}" in answer.text
    assert "token" not in stub.calls


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"iss": "https://evil.example"}, "callback-issuer-mismatch"),
        ({"iss": DROP}, "callback-issuer-missing"),
        ({"state": DROP}, "callback-state-missing"),
        ({"state": "x" * 43}, "callback-state-unknown"),
        ({"error": "x"}, "callback-code-and-error"),
        ({"code": DROP}, "callback-without-code"),
    ],
)
async def test_callbacks_that_break_a_rule(
    gate: Gate, stub: Stub, changes: dict[str, Any], code: str
) -> None:
    """C1 to C3, end to end: a page with a reference, no session, no token request."""
    browser = gate.browser()
    answer = await browser.send(stub.authorize(await to_provider(browser, WANTED), **changes))
    assert (answer.status, code_of(answer)) == (400, code)
    assert "reference " in answer.text
    assert len(gate.sessions) == 0
    assert "token" not in stub.calls


async def test_callback_elsewhere_than_on_the_login_host(gate: Gate, stub: Stub) -> None:
    browser = gate.browser()
    callback = stub.authorize(await to_provider(browser, WANTED))
    answer = await browser.send(callback.replace(LOGIN, APP))
    assert answer.status == 400


# --- fixation and other people ----------------------------------------------------------------------------


async def test_no_cookie_from_before_is_kept(gate: Gate, stub: Stub) -> None:
    """C6: a cookie that an attacker planted is replaced; the attacker's session ends rather than grows."""
    attacker, victim = gate.browser(), gate.browser()
    await sign_in(gate, stub, attacker, subject="mallory")
    planted = attacker.cookies["login.corp.example"]["__Host-gate"]
    url = await to_provider(victim, WANTED)
    victim.cookies["login.corp.example"]["__Host-gate"] = planted
    await gate.visit(victim, stub.authorize(url, subject="alice"), nowhere)
    assert victim.cookies["login.corp.example"]["__Host-gate"] != planted
    assert gate.sessions.by_subject(stub.issuer, "mallory") == ()
    assert [each.user.subject for each in gate.changed] == ["mallory"]
    assert (await attacker.send(WANTED)).status == 302


async def test_the_same_person_again_keeps_the_session_with_a_fresh_cookie(gate: Gate, stub: Stub) -> None:
    browser = gate.browser()
    url = await to_provider(browser, f"{APP}/two")
    await sign_in(gate, stub, browser)
    (before,) = gate.sessions.by_subject(stub.issuer, "u-1")
    value = browser.cookies["login.corp.example"]["__Host-gate"]
    stub.claims = {"groups": ["new"]}
    await gate.visit(browser, stub.authorize(url), nowhere)
    (after,) = gate.sessions.by_subject(stub.issuer, "u-1")
    assert after.id == before.id
    assert after.user.groups == {"new"}
    assert browser.cookies["login.corp.example"]["__Host-gate"] != value
    assert gate.changed == [after]


async def test_a_one_time_code_is_bound_to_the_browser_that_began(gate: Gate, stub: Stub) -> None:
    """A stolen hand-over address gives no cookie: not without a start cookie, not with another one."""
    ours = gate.browser()
    callback = stub.authorize(await to_provider(ours, WANTED))
    handover = (await ours.send(callback)).location
    bare = gate.browser()
    answer = await bare.send(handover)
    assert (answer.status, code_of(answer)) == (400, "start-cookie-missing")
    assert "__Host-gate" not in bare.cookies["app.corp.example"]

    handover = (await ours.send((await ours.send(WANTED)).location)).location
    theirs = gate.browser()
    await theirs.send(WANTED)
    answer = await theirs.send(handover)
    assert (answer.status, answer.location) == (303, WANTED)
    assert answer.set_cookies == []
    answer = await ours.send(handover)
    assert (answer.status, code_of(answer)) == (400, "session-code-used"), (
        "the code was used up by the attempt"
    )


async def test_one_time_codes_end(gate: Gate, stub: Stub, clock: Clock) -> None:
    """60 seconds, once, on its own host."""
    browser = gate.browser()
    handover = (await browser.send(stub.authorize(await to_provider(browser, WANTED)))).location
    await browser.send(f"{WIKI}/")
    answer = await browser.send(handover.replace(APP, WIKI))
    assert (answer.status, code_of(answer)) == (400, "session-code-unknown")
    assert (await browser.send(handover)).status == 400
    handover = (await browser.send((await browser.send(WANTED)).location)).location
    clock.advance(61)
    assert (await browser.send(handover)).status == 400
    for bad in ("", "x", "é", "a" * 5000):
        assert (await browser.send(f"{APP}/.gate/session?code={quote(bad)}")).status == 400


async def test_reloading_the_hand_over_continues(gate: Gate, stub: Stub) -> None:
    browser = gate.browser()
    handover = (await browser.send(stub.authorize(await to_provider(browser, WANTED)))).location
    assert (await browser.send(handover)).location == WANTED
    value = browser.cookies["app.corp.example"]["__Host-gate"]
    assert (await browser.send(handover)).location == WANTED
    assert browser.cookies["app.corp.example"]["__Host-gate"] == value


async def test_a_session_that_ended_during_the_hand_over(gate: Gate, stub: Stub) -> None:
    """The end wins: no cookie is set."""
    browser = gate.browser()
    handover = (await browser.send(stub.authorize(await to_provider(browser, WANTED)))).location
    (session,) = gate.sessions.by_subject(stub.issuer, "u-1")
    await gate.sessions.end(session.id)
    answer = await browser.send(handover)
    assert (answer.status, answer.set_cookies) == (303, [])


async def test_going_round_in_circles_ends_in_a_page(gate: Gate, stub: Stub, clock: Clock) -> None:
    """A7: the same address again and again within seconds; many addresses are no loop."""
    browser = gate.browser()
    await sign_in(gate, stub, browser)
    for n in range(20):
        browser.cookies["app.corp.example"].pop("__Host-gate", None)
        assert (await sign_in(gate, stub, browser, f"{APP}/{n}")).status == 200
    clock.advance(60)
    statuses = []
    for _ in range(7):
        browser.cookies["app.corp.example"].pop("__Host-gate", None)
        statuses.append((await browser.send((await browser.send(WANTED)).location)).status)
    assert statuses == [303] * 5 + [429] * 2
    clock.advance(60)
    assert (await sign_in(gate, stub, browser)).status == 200


# --- providers that fail ----------------------------------------------------------------------------------


async def test_provider_down(gate: Gate, stub: Stub, clock: Clock) -> None:
    """503 with Retry-After and the way back; nothing is pending; when it is up the link works."""
    stub.is_down = True
    browser = gate.browser()
    location = (await browser.send(WANTED)).location
    answer = await browser.send(location)
    assert (answer.status, answer.headers.get("Retry-After")) == (503, "10"), answer
    assert f"link {WANTED}" in answer.text
    assert not any("gate-login" in name for name in browser.cookies["login.corp.example"])
    stub.is_down = False
    clock.advance(2)
    answer = await gate.visit(browser, location, stub.authorize)
    assert (answer.status, answer.url) == (200, WANTED)


@pytest.mark.parametrize(
    ("response", "status", "code"),
    [
        (lambda _: web.json_response({"error": "invalid_client"}, status=401), 500, "client-refused"),
        (lambda _: web.json_response({"error": "invalid_request"}, status=400), 500, "token-request-refused"),
        (lambda _: web.Response(status=503), 503, "provider-bad-status"),
        (lambda m: web.json_response({**m, "id_token": 1}), 502, "token-response-malformed"),
        (lambda m: web.json_response({**m, "id_token": "a.b.c"}), 502, "id-token-malformed"),
    ],
)
async def test_token_requests_that_fail(
    gate: Gate, stub: Stub, response: Any, status: int, code: str
) -> None:
    """T5, V18: each with its own page and code."""
    stub.token_response = response
    answer = await sign_in(gate, stub, gate.browser())
    assert (answer.status, code_of(answer)) == (status, code)
    assert len(gate.sessions) == 0


async def test_a_lost_code_begins_once_more(gate: Gate, stub: Stub) -> None:
    """T5: `invalid_grant` restarts the sign-in by itself, once."""
    browser = gate.browser()
    url = await to_provider(browser, WANTED)
    callback = stub.authorize(url)
    stub.codes.clear()
    answer = await browser.send(callback)
    assert answer.status == 303
    again = await gate.visit(browser, stub.authorize(answer.location), nowhere)
    assert (again.status, again.url) == (200, WANTED)

    other = gate.browser()
    stub.token_response = lambda _: web.json_response({"error": "invalid_grant"}, status=400)
    answer = await sign_in(gate, stub, other)
    assert (answer.status, code_of(answer)) == (502, "code-refused")


async def test_the_providers_words_are_shown_and_its_links_are_not_followed(gate: Gate, stub: Stub) -> None:
    """C4: `error_description` reaches the page as text without control characters; `error_uri` nowhere."""
    browser = gate.browser()
    callback = stub.authorize(
        await to_provider(browser, WANTED), code=DROP, error="access_denied",
        error_description="<script>alert(1)</script>\r\nnot today", error_uri="https://evil.example/",
    )  # fmt: skip
    answer = await browser.send(callback)
    assert (answer.status, code_of(answer)) == (403, "provider-said-no")
    assert "corp says: <script>alert(1)</script>not today" in answer.text, "escaping is the template's work"
    assert "evil.example" not in answer.text


# --- step-up ----------------------------------------------------------------------------------------------


async def test_step_up(gate: Gate, stub: Stub) -> None:
    """S1, S2: asked for by parameters, verified on return, the same session raised, its cookies replaced."""
    gate.step_up["/vault"] = StepUp(acr_values=("mfa",), max_age=300.0)
    browser = gate.browser()
    stub.claims = {"acr": "pwd"}
    await sign_in(gate, stub, browser)
    old = dict(browser.cookies["app.corp.example"])
    url = await to_provider(browser, f"{APP}/vault")
    asked = parse_qs(urlsplit(url).query)
    assert (asked["acr_values"], asked["max_age"]) == (["mfa"], ["300"])
    assert "prompt" not in asked
    stub.claims = {"acr": "mfa"}
    answer = await gate.visit(browser, stub.authorize(url), nowhere)
    assert (answer.status, answer.url) == (200, f"{APP}/vault")
    (session,) = gate.sessions.by_subject(stub.issuer, "u-1")
    assert session.user.acr == "mfa"
    assert gate.sessions.lookup_cookie(old["__Host-gate"], "app.corp.example", gate.clock.now()) is None


async def test_step_up_that_the_provider_ignores(gate: Gate, stub: Stub) -> None:
    """S4, V15: twice, the second time with the credentials again, then 403; the session stays as it was."""
    gate.step_up["/vault"] = StepUp(acr_values=("mfa",))
    browser = gate.browser()
    stub.claims = {"acr": "pwd"}
    await sign_in(gate, stub, browser)
    visited: list[str] = []

    def authorize(url: str) -> str:
        visited.append(url)
        return stub.authorize(url)

    answer = await gate.visit(browser, f"{APP}/vault", authorize)
    assert (answer.status, code_of(answer)) == (403, "step-up-not-met")
    assert ["prompt=login" in url for url in visited] == [False, True]
    # The page ends the round: who comes again, with the key in hand by then, is asked again.
    answer = await gate.visit(browser, f"{APP}/vault", authorize)
    assert (answer.status, code_of(answer)) == (403, "step-up-not-met")
    assert ["prompt=login" in url for url in visited] == [False, True, False, True]
    assert (await browser.send(WANTED)).status == 200


async def test_step_up_finished_by_somebody_else(gate: Gate, stub: Stub) -> None:
    """S2: the first person's session ends; the second gets one of their own, with nothing of the first."""
    gate.step_up["/vault"] = StepUp(acr_values=("mfa",))
    browser = gate.browser()
    await sign_in(gate, stub, browser, subject="alice")
    url = await to_provider(browser, f"{APP}/vault")
    stub.claims = {"acr": "mfa"}
    answer = await gate.visit(browser, stub.authorize(url, subject="bob"), nowhere)
    assert json.loads(answer.text)["subject"] == "bob"
    assert gate.sessions.by_subject(stub.issuer, "alice") == ()
    assert [each.user.subject for each in gate.changed] == ["alice"]


async def test_step_up_that_is_already_met_needs_no_provider(gate: Gate, stub: Stub, clock: Clock) -> None:
    """Another tab has done it: the hand-over is enough. With `max_age` only while that is recent."""
    browser = gate.browser()
    stub.claims = {"acr": "mfa"}
    await sign_in(gate, stub, browser)
    link = gate.signin.sign_in_path("/x", StepUp(acr_values=("mfa",), max_age=60.0))
    answer = await gate.visit(browser, APP + link, nowhere)
    assert answer.url == f"{APP}/x"
    clock.advance(60)
    assert "max_age=60" in await to_provider(browser, APP + link)


# --- signing out ------------------------------------------------------------------------------------------


async def test_sign_out_ends_the_session_on_all_hosts(gate: Gate, stub: Stub) -> None:
    """L1: the local session first, the provider's on request, with hint and state; the return is checked."""
    browser = gate.browser()
    await sign_in(gate, stub, browser)
    await gate.visit(browser, f"{WIKI}/", nowhere)
    page = await browser.send(f"{APP}/.gate/logout?rd=/here")
    assert page.text == f"confirm u-1 back /here targets {APP} {LOGIN}"
    assert page.headers["Referrer-Policy"] == "same-origin"
    answer = await browser.send(
        f"{APP}/.gate/logout", method="POST", headers={"Sec-Fetch-Site": "same-origin", "Origin": "null"}
    )
    assert answer.status == 303
    assert "__Host-gate" not in browser.cookies["app.corp.example"]
    assert len(gate.sessions) == 0
    assert [each.user.subject for each in gate.changed] == ["u-1"]
    for url in (WANTED, f"{WIKI}/"):
        assert (await browser.send(url)).status == 302
    page = await browser.send(answer.location)
    _, label, go, *_ = page.text.split(" ")
    assert label == "corp"
    assert "__Host-gate" not in browser.cookies["login.corp.example"]
    end = (await browser.send(LOGIN + go)).location
    asked = parse_qs(urlsplit(end).query)
    assert asked["post_logout_redirect_uri"] == [f"{LOGIN}/.gate/signed-out"]
    assert asked["id_token_hint"][0].count(".") == 2
    back = await browser.send(f"{LOGIN}/.gate/signed-out?state={asked['state'][0]}")
    assert (back.status, back.text.split(" ")[0]) == (200, "signed-out")
    assert "__Host-gate-out" not in browser.cookies["login.corp.example"]
    assert (await browser.send(LOGIN + go)).status == 200, "the link is used up"


@pytest.mark.parametrize("state", ["?state=other", ""])
async def test_a_return_with_another_state(gate: Gate, stub: Stub, state: str) -> None:
    """L2: an error, not "signed out"; no state is fine only when none was sent."""
    browser = gate.browser()
    await sign_in(gate, stub, browser)
    answer = await browser.send(f"{APP}/.gate/logout", method="POST", headers={"Origin": APP})
    page = await browser.send(answer.location)
    await browser.send(LOGIN + page.text.split(" ")[2])
    back = await browser.send(f"{LOGIN}/.gate/signed-out{state}")
    assert (back.status, code_of(back)) == (400, "sign-out-state-mismatch")
    assert (await browser.send(f"{LOGIN}/.gate/signed-out")).status == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site", "Origin": WIKI},
        {"Sec-Fetch-Site": "same-origin", "Origin": "https://evil.example"},
        {"Sec-Fetch-Site": "cross-site", "Origin": APP},
        {"Sec-Fetch-Site": "none"},
        {"Origin": LOGIN},
    ],
)
async def test_nobody_else_signs_a_person_out(gate: Gate, stub: Stub, headers: dict[str, str]) -> None:
    """G3: without proof of the same origin the session stays."""
    browser = gate.browser()
    await sign_in(gate, stub, browser)
    answer = await browser.send(f"{APP}/.gate/logout", method="POST", headers=headers)
    assert (answer.status, code_of(answer)) == (403, "cross-site-sign-out")
    assert (await browser.send(WANTED)).status == 200


async def test_a_get_signs_nobody_out(gate: Gate, stub: Stub) -> None:
    browser = gate.browser()
    await sign_in(gate, stub, browser)
    await browser.send(f"{APP}/.gate/logout")
    assert (await browser.send(WANTED)).status == 200
    stranger = gate.browser()
    assert (await stranger.send(f"{APP}/.gate/logout")).location == f"{LOGIN}/.gate/signed-out"


async def test_sign_out_without_end_session_endpoint(gate: Gate, stub: Stub) -> None:
    """L4."""
    stub.metadata = {"end_session_endpoint": DROP}
    browser = gate.browser()
    await sign_in(gate, stub, browser)
    answer = await browser.send(f"{APP}/.gate/logout", method="POST", headers={"Origin": APP})
    page = await browser.send(answer.location)
    assert page.text.startswith(f"signed-out   {APP}/.gate/login?again=")


async def test_somebody_elses_sign_out_link_ends_nothing(gate: Gate, stub: Stub) -> None:
    """The code of one person's sign-out, opened by another, must not end the other's session."""
    mallory, alice = gate.browser(), gate.browser()
    await sign_in(gate, stub, mallory, subject="mallory")
    await sign_in(gate, stub, alice, subject="alice")
    link = (await mallory.send(f"{APP}/.gate/logout", method="POST", headers={"Origin": APP})).location
    assert (await alice.send(link)).status == 200
    assert (await alice.send(WANTED)).status == 200
    assert "__Host-gate" in alice.cookies["login.corp.example"]


# --- keeping ----------------------------------------------------------------------------------------------


async def test_signed_in_state_survives_a_restart(stub: Stub, clock: Clock, tmp_path: Any) -> None:
    """The same cookie works after everything was stopped and started; a signed-out one does not come back."""
    path = tmp_path / "state.db"
    async with running_gate({"corp": stub.issuer}, clock=clock, path=path) as gate:
        stays, leaves = gate.browser(), gate.browser()
        await sign_in(gate, stub, stays, subject="alice")
        await sign_in(gate, stub, leaves, subject="bob")
        kept = [dict(each.cookies["app.corp.example"]) for each in (stays, leaves)]
        await leaves.send(f"{APP}/.gate/logout", method="POST", headers={"Origin": APP})
    async with running_gate({"corp": stub.issuer}, clock=clock, path=path, seed=9) as gate:
        stays, leaves = gate.browser(), gate.browser()
        stays.cookies["app.corp.example"], leaves.cookies["app.corp.example"] = kept
        assert json.loads((await stays.send(WANTED)).text)["subject"] == "alice"
        assert (await leaves.send(WANTED)).status == 302
        (session,) = gate.sessions.by_subject(stub.issuer, "alice")
        assert gate.sessions.id_token(session) is not None


async def test_nothing_secret_is_stored_or_logged(stub: Stub, clock: Clock, tmp_path: Any) -> None:
    """No cookie value, code, state, verifier or token text is in the file or in the log (C5, R1)."""
    path = tmp_path / "state.db"
    stub.token_members = {"refresh_token": "refresh-token-text"}
    with structlog.testing.capture_logs() as lines:
        async with running_gate({"corp": stub.issuer}, clock=clock, path=path) as gate:
            browser = gate.browser()
            url = await to_provider(browser, WANTED)
            callback = stub.authorize(url)
            pending = set(browser.cookies["login.corp.example"].values())
            handover = (await browser.send(callback)).location
            await browser.send(handover)
            await browser.send(callback)
            (session,) = gate.sessions.by_subject(stub.issuer, "u-1")
            id_token = gate.sessions.id_token(session) or ""
            assert gate.sessions.refresh_token(session) == "refresh-token-text"
            values = {value for jar in browser.cookies.values() for value in jar.values()}
            asked = parse_qs(urlsplit(url).query)
            secrets = (
                values
                | pending
                | {
                    asked["state"][0],
                    asked["nonce"][0],
                    handover.split("code=")[1],
                    id_token,
                    id_token.split(".")[1],
                    "refresh-token-text",
                    "a secret: with",
                    stub.token_requests[0][0]["code_verifier"],
                    "at-code-1",
                }
            )
            bad = gate.browser()
            await bad.send(callback)
    stored = b"".join(each.read_bytes() for each in tmp_path.iterdir())
    logged = repr(lines)
    for secret in secrets:
        assert len(secret) > 6
        assert secret.encode() not in stored
        assert secret not in logged
    assert (cookie_hash(browser.cookies["app.corp.example"]["__Host-gate"]) or "?").encode() in stored


async def test_lifetimes(stub: Stub, clock: Clock) -> None:
    """G4: idle and absolute ends are enforced by our clock, whatever the browser keeps."""
    async with running_gate(
        {"corp": stub.issuer}, clock=clock, sessions=Sessions(idle=600, absolute=3600)
    ) as gate:
        browser = gate.browser()
        await sign_in(gate, stub, browser)
        (session,) = gate.sessions.by_subject(stub.issuer, "u-1")
        clock.advance(599)
        assert (await browser.send(WANTED)).status == 200
        gate.sessions.touch(session.id, clock.now())
        clock.advance(599)
        assert (await browser.send(WANTED)).status == 200
        clock.advance(2)
        assert (await browser.send(WANTED)).status == 302


async def test_a_store_that_fails_is_a_page(gate: Gate, stub: Stub) -> None:
    browser = gate.browser()
    callback = stub.authorize(await to_provider(browser, WANTED))
    await gate.database.write(lambda connection: connection.execute("DROP TABLE session_cookie"))
    await gate.database.write(lambda connection: connection.execute("DROP TABLE session_session"))
    answer = await browser.send(callback)
    assert (answer.status, code_of(answer)) == (503, "store-unavailable")
    assert "__Host-gate" not in browser.cookies["login.corp.example"]


async def test_whatever_is_sent_gets_an_answer(gate: Gate) -> None:
    """Random queries, cookies and methods on every address: never a 5xx, never a session."""
    chance = random.Random(7)  # noqa: S311 - repeatable on purpose
    signs = string.ascii_letters + string.digits + "-_.~%&=+/?:@!$'()*,;[]{}|<>"
    names = ["t", "rd", "step_up", "code", "state", "error", "iss", "c", "go", "to", "again"]

    def some(most: int) -> str:
        return "".join(chance.choice(signs) for _ in range(chance.randrange(most)))

    for _ in range(400):
        path = chance.choice(["login", "callback", "session", "logout", "signed-out", "backchannel-logout"])
        query = "&".join(f"{chance.choice(names)}={some(60)}" for _ in range(chance.randrange(5)))
        cookie = "; ".join(
            f"__Host-gate{chance.choice(['', '-start', '-loop', '-out', '-out-mark', '-login-' + some(9)])}={some(50)}"
            for _ in range(chance.randrange(4))
        )
        url = f"{chance.choice([LOGIN, APP])}/.gate/{path}" + (f"?{query.replace('#', '')}" if query else "")
        answer = await gate.browser().send(url, headers={"Cookie": cookie} if cookie else {})
        assert answer.status < 500, (url, cookie, answer.text)
    assert len(gate.sessions) == 0
