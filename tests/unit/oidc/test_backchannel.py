"""Back-channel logout (B1 to B12): what ends sessions, what does not, and races with sign-ins."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
import structlog

from gateway.feed.hub_side import NotEnforced
from gateway.hub import signin_backchannel
from gateway.oidc.backchannel import EVENT, LIFE_S
from gateway.sessions.endings import Ending
from gateway.sessions.model import Session
from risk.database import StoreFault
from tests.op.gate import Answer, Browser, Clock, Gate, running_gate
from tests.op.stub import DROP, EC_1, RSA_2, Stub, jwk, running_stub, sign

LOGIN = "https://login.corp.example"
APP = "https://app.corp.example"
URL = f"{LOGIN}/.gate/backchannel-logout"
WANTED = f"{APP}/a"


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


async def sign_in(gate: Gate, stub: Stub, **who: Any) -> Browser:
    browser = gate.browser()
    answer = await gate.visit(browser, WANTED, lambda there: stub.authorize(there, **who))
    assert answer.status == 200, answer.text
    return browser


async def post(gate: Gate, token: str, *, headers: dict[str, str] | None = None, **options: Any) -> Answer:
    """Send a logout token as a provider would: no cookie, no browser."""
    options.setdefault("data", urlencode({"logout_token": token}))
    sent = {"Content-Type": "application/x-www-form-urlencoded", **(headers or {})}
    return await gate.browser().send(
        options.pop("url", URL), method="POST", kind="api", headers=sent, **options
    )


async def is_in(browser: Browser) -> bool:
    return (await browser.send(WANTED)).status == 200


# --- what ends what ---------------------------------------------------------------------------------------


async def test_a_sid_ends_that_session_only(gate: Gate, stub: Stub) -> None:
    """B9: of two sessions of one person; 200 comes after every worker was told (B10)."""
    stub.claims = {"sid": "s-1"}
    first = await sign_in(gate, stub)
    stub.claims = {"sid": "s-2"}
    second = await sign_in(gate, stub)
    answer = await post(gate, stub.logout_token(sid="s-1"))
    assert (answer.status, answer.text, answer.headers["Cache-Control"]) == (200, "", "no-store")
    assert [session.provider_sid for session in gate.changed] == ["s-1"]
    assert (await is_in(first), await is_in(second)) == (False, True)


async def test_a_subject_ends_all_of_that_person(gate: Gate, stub: Stub) -> None:
    browsers = [await sign_in(gate, stub, subject=name) for name in ("alice", "alice", "bob")]
    assert (await post(gate, stub.logout_token(sub="alice"))).status == 200
    assert [await is_in(each) for each in browsers] == [False, False, True]
    assert [session.user.subject for session in gate.changed] == ["alice", "alice"]


async def test_sid_and_subject_must_belong_together(gate: Gate, stub: Stub) -> None:
    stub.claims = {"sid": "s-1"}
    browser = await sign_in(gate, stub, subject="alice")
    assert (await post(gate, stub.logout_token(sub="bob", sid="s-1"))).status == 200
    assert await is_in(browser)
    assert (await post(gate, stub.logout_token(sub="alice", sid="s-1"))).status == 200
    assert not await is_in(browser)


@pytest.mark.parametrize("who", [{"sid": "unknown"}, {"sub": "nobody"}])
async def test_nobody_to_end_is_success_too(gate: Gate, stub: Stub, who: dict[str, str]) -> None:
    """B8: the provider may repeat itself."""
    browser = await sign_in(gate, stub)
    for _ in range(2):
        assert (await post(gate, stub.logout_token(**who))).status == 200
    assert await is_in(browser)


async def test_signing_in_again_afterwards_works_at_once(gate: Gate, stub: Stub, clock: Clock) -> None:
    """The end concerns what began before it, even where a provider keeps its `sid`."""
    await sign_in(gate, stub)
    await post(gate, stub.logout_token(sub="u-1"))
    await post(gate, stub.logout_token(sid="sid-u-1"))
    clock.advance(1)
    assert await is_in(await sign_in(gate, stub))


@pytest.mark.parametrize("kind", ["logout+jwt", "JWT", "jwt", "application/logout+jwt", DROP])
async def test_types_that_providers_send(gate: Gate, stub: Stub, kind: Any) -> None:
    """B7."""
    browser = await sign_in(gate, stub)
    assert (await post(gate, stub.logout_token({"typ": kind}, sub="u-1"))).status == 200
    assert not await is_in(browser)


async def test_other_algorithms_and_rotated_keys(gate: Gate, stub: Stub) -> None:
    """The token is verified like an ID token, with fresher keys when it must be (B1)."""
    browser = await sign_in(gate, stub)
    stub.keys.append(jwk(EC_1, "ec-1", alg="ES256"))
    token = stub.logout_token({"alg": "ES256", "kid": "ec-1"}, key=EC_1, algorithm="ES256", sub="u-1")
    assert (await post(gate, token)).status == 200
    assert not await is_in(browser)


# --- what ends nothing ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "claims", "said"),
    [
        ({}, {"iss": "https://evil.example"}, "no issuer"),
        ({}, {"iss": DROP}, "no issuer"),
        ({}, {"iss": 1}, "no issuer"),
        ({}, {"aud": "another"}, "audience"),
        ({}, {"aud": ["gate", "another"]}, "audience"),
        ({}, {"aud": DROP}, "audience"),
        ({}, {"iat": DROP}, "issued at"),
        ({}, {"iat": True}, "issued at"),
        ({}, {"exp": DROP}, "expiry"),
        ({}, {"exp": "soon"}, "expiry"),
        ({}, {"events": DROP}, "event"),
        ({}, {"events": {}}, "event"),
        ({}, {"events": [EVENT]}, "event"),
        ({}, {"events": {EVENT: "yes"}}, "event"),
        ({}, {"events": {"http://schemas.openid.net/event/other": {}}}, "event"),
        ({}, {"nonce": "n"}, "nonce"),
        ({}, {"nonce": None}, "nonce"),
        ({}, {"sub": DROP}, "nobody"),
        ({}, {"sub": ""}, "nobody"),
        ({}, {"sub": 7}, "nobody"),
        ({}, {"sid": ["s"]}, "nobody"),
        ({}, {"sub": "x" * 256}, "nobody"),
        ({}, {"jti": DROP}, "jti"),
        ({}, {"jti": ""}, "jti"),
        ({}, {"jti": 5}, "malformed"),
        ({"typ": "at+jwt"}, {}, "type"),
        ({"typ": "secevent+jwt"}, {}, "type"),
        ({"typ": 1}, {}, "type"),
        ({"alg": "none"}, {}, "algorithm"),
        ({"alg": "HS256"}, {}, "algorithm"),
        ({"kid": "other"}, {}, "unknown key"),
        ({"crit": ["b64"]}, {}, "critical"),
    ],
)
async def test_tokens_that_break_a_rule(
    gate: Gate, stub: Stub, header: dict[str, Any], claims: dict[str, Any], said: str
) -> None:
    """B1 to B7: 400 with a reason, and the session stays."""
    browser = await sign_in(gate, stub)
    answer = await post(gate, stub.logout_token(header, **{"sub": "u-1", **claims}))
    body = json.loads(answer.text)
    assert (answer.status, body["error"]) == (400, "invalid_request")
    assert said in body["error_description"]
    assert answer.headers["Cache-Control"] == "no-store"
    assert await is_in(browser)
    assert gate.changed == []


async def test_forged_signatures_and_other_tokens(gate: Gate, stub: Stub) -> None:
    browser = await sign_in(gate, stub)
    (session,) = gate.sessions.by_subject(stub.issuer, "u-1")
    good = stub.logout_token(sub="u-1")
    head, body, signature = good.split(".")
    for forged in (
        stub.logout_token(key=RSA_2, sub="u-1"),
        f"{head}.{body}.",
        f"{head}.{body}.{signature[:-4]}AAAA",
        f"{head}.{stub.logout_token(sub='u-1', sid='x').split('.')[1]}.{signature}",
        gate.sessions.id_token(session) or "",
        sign(RSA_2, "RS256", {"alg": "RS256"}, b"[]"),
        "a.b.c",
        "",
        "x" * 20_000,
    ):
        assert (await post(gate, forged)).status == 400, forged[:80]
    assert await is_in(browser)


async def test_times(gate: Gate, stub: Stub, clock: Clock) -> None:
    """B2: within the skew of a minute; neither old, nor from the future, nor for ever."""
    now = int(clock.timestamp())
    for claims in (
        {"exp": now - 60},
        {"iat": now - 661},
        {"iat": now + 61},
        {"exp": now + 32 * 86400},
    ):
        assert (await post(gate, stub.logout_token(sub="u-1", **claims))).status == 400, claims
    for claims in ({"exp": now - 59, "iat": now - 100}, {"iat": now + 59}, {"iat": now - 659}):
        assert (await post(gate, stub.logout_token(sub="u-1", **claims))).status == 200, claims


async def test_a_token_counts_once(gate: Gate, stub: Stub, clock: Clock) -> None:
    """B6: not even twice at once, and not as long as its time could be good."""
    token = stub.logout_token(sub="u-1", exp=int(clock.timestamp()) + 86400)
    answers = await asyncio.gather(*(post(gate, token) for _ in range(5)))
    assert sorted(answer.status for answer in answers) == [200, 400, 400, 400, 400]
    clock.advance(1)
    browser = await sign_in(gate, stub)
    for seconds in (0, 600, 59, LIFE_S):
        clock.advance(seconds)
        assert (await post(gate, token)).status == 400
    assert await is_in(browser)


async def test_a_token_counts_once_across_a_restart(stub: Stub, clock: Clock, tmp_path: Path) -> None:
    """B6: what was used, and what it ended, is on disk before the 200; a refused one leaves nothing behind."""
    token, forged = stub.logout_token(sub="u-1"), stub.logout_token(key=RSA_2, sub="u-1", jti="later")
    async with running_gate({"corp": stub.issuer}, clock=clock, path=tmp_path / "state.db") as gate:
        assert (await post(gate, token)).status == 200
        assert (await post(gate, forged)).status == 400
    clock.advance(1)
    async with running_gate({"corp": stub.issuer}, clock=clock, path=tmp_path / "state.db", seed=3) as gate:
        browser = await sign_in(gate, stub)
        answer = await post(gate, token)
        assert (answer.status, "seen before" in answer.text) == (400, True)
        assert await is_in(browser)
        assert (await post(gate, stub.logout_token(sub="u-1", jti="later"))).status == 200
        assert not await is_in(browser)


async def test_a_token_whose_end_failed_counts_after_a_restart(
    stub: Stub, clock: Clock, tmp_path: Path
) -> None:
    """The provider was told to send it again: that must work, whoever answers then."""
    token = stub.logout_token(sub="u-1")
    async with running_gate({"corp": stub.issuer}, clock=clock, path=tmp_path / "state.db") as gate:
        browser = await sign_in(gate, stub)

        async def fail(_session: Session) -> None:
            raise NotEnforced("a worker is stuck")

        gate.signin._back_channel._on_session_changed = fail
        assert (await post(gate, token)).status == 400
    async with running_gate({"corp": stub.issuer}, clock=clock, path=tmp_path / "state.db", seed=3) as gate:
        assert (await post(gate, token)).status == 200
        after = gate.browser()
        after.cookies = browser.cookies
        assert not await is_in(after)


async def test_an_id_of_one_issuer_is_not_an_id_of_another(stub: Stub, clock: Clock) -> None:
    """Providers are kept apart: same `jti`, same `sub`, each ends its own."""
    async with (
        running_stub(clock.timestamp) as other,
        running_gate({"corp": stub.issuer, "guests": other.issuer}, clock=clock) as gate,
    ):
        browser = await sign_in(gate, stub)
        assert (await post(gate, other.logout_token(sub="u-1", jti="same"))).status == 200
        assert await is_in(browser)
        claims = {"iss": stub.issuer, "sub": "u-1"}
        assert (await post(gate, other.logout_token(key=RSA_2, **claims))).status == 400
        assert (await post(gate, stub.logout_token(sub="u-1", jti="same"))).status == 200
        assert not await is_in(browser)


# --- the message ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "OPTIONS"])
async def test_only_post(gate: Gate, stub: Stub, method: str) -> None:
    """B11: and a GET never reaches an app either."""
    url = f"{URL}?logout_token={stub.logout_token(sub='u-1')}"
    answer = await gate.browser().send(url, method=method, kind="api")
    assert (answer.status, answer.headers["Allow"]) == (405, "POST")


async def test_bodies(gate: Gate, stub: Stub) -> None:
    token = stub.logout_token(sub="u-1")
    form = urlencode({"logout_token": token})
    for data, headers, status in (
        ("", {}, 400),
        ("other=1", {}, 400),
        (f"{form}&{form}", {}, 400),
        (form, {"Content-Type": "application/json"}, 400),
        (json.dumps({"logout_token": token}), {"Content-Type": "application/json"}, 400),
        (b"\xff\xfe", {}, 400),
        ("&".join("a=1" for _ in range(50)), {}, 400),
        ("logout_token=" + "x" * 65_600, {}, 413),
        (f"{form}&extra=fine", {}, 200),
    ):
        answer = await post(gate, "", data=data, headers=headers)
        assert answer.status == status, (data[:40], answer.text)


async def test_only_on_the_login_host(gate: Gate, stub: Stub) -> None:
    browser = await sign_in(gate, stub)
    url = f"{APP}/.gate/backchannel-logout"
    assert (await post(gate, stub.logout_token(sub="u-1"), url=url)).status == 400
    assert await is_in(browser)


async def test_a_flood_of_forgeries_is_cut_off_and_good_ones_are_not_counted(
    gate: Gate, stub: Stub, clock: Clock
) -> None:
    """B11: per source; the provider's own address keeps working, and a flood costs it no request for keys."""
    for n in range(2 * signin_backchannel.MOST_REFUSALS):
        assert (await post(gate, stub.logout_token(sub=f"u-{n}"))).status == 200
    fetched = stub.calls["jwks"]
    bad, from_afar = "a.b.c", {"X-Gate-Client": "203.0.113.9"}
    statuses = [(await post(gate, bad, headers=from_afar)).status for _ in range(70)]
    assert statuses == [400] * signin_backchannel.MOST_REFUSALS + [429] * 10
    assert (await post(gate, stub.logout_token(sub="u-1"), headers=from_afar)).status == 429
    assert (await post(gate, stub.logout_token(sub="u-1"))).status == 200
    clock.advance(60)
    assert (await post(gate, stub.logout_token(sub="u-1"), headers=from_afar)).status == 200
    assert stub.calls["jwks"] == fetched


async def test_nothing_of_a_token_is_logged(gate: Gate, stub: Stub) -> None:
    await sign_in(gate, stub)
    good, bad = stub.logout_token(sub="u-1"), stub.logout_token(sub="u-1", nonce="n")
    with structlog.testing.capture_logs() as lines:
        await post(gate, good)
        await post(gate, bad)
    assert [line["event"] for line in lines] == ["back-channel-logout", "back-channel-logout-refused"]
    assert not any(part in repr(lines) for token in (good, bad) for part in token.split(".")[1:])


# --- failures and races -----------------------------------------------------------------------------------


async def test_the_issuers_keys_are_away(gate: Gate, stub: Stub) -> None:
    """The token may be good: the sender is told to try again, and the same token then works."""
    await gate.clients["corp"].metadata()
    token = stub.logout_token(sub="u-1")
    stub.is_down = True
    answer = await post(gate, token)
    assert (answer.status, "again" in answer.text) == (400, True)
    stub.is_down = False
    gate.clock.advance(120)
    assert (await post(gate, token)).status == 200


async def test_not_enforced_is_not_acknowledged(gate: Gate, stub: Stub) -> None:
    """B10: a worker that cannot be told makes it a 400, all others are told; the same token may come again."""
    for _ in range(2):
        await sign_in(gate, stub)
    told: list[Session] = []

    async def fail_first(session: Session) -> None:
        told.append(session)
        if len(told) == 1:
            raise RuntimeError("not enforced")

    gate.signin._back_channel._on_session_changed = fail_first
    token = stub.logout_token(sub="u-1")
    answer = await post(gate, token)
    assert (answer.status, json.loads(answer.text)["error"]) == (400, "logout_failed")
    assert len(told) == 2
    assert len(gate.sessions) == 0
    assert (await post(gate, token)).status == 200


async def test_a_store_that_fails_still_ends_access(gate: Gate, stub: Stub) -> None:
    browser = await sign_in(gate, stub)
    remove = gate.sessions._store.remove

    async def fail(_ids: Iterable[str]) -> None:
        raise StoreFault("disk full")

    gate.sessions._store.remove = fail  # type: ignore[method-assign]
    assert (await post(gate, stub.logout_token(sub="u-1"))).status == 400
    assert not await is_in(browser)
    assert len(gate.changed) == 1
    gate.sessions._store.remove = remove  # type: ignore[method-assign]


async def test_a_memory_that_fails_still_ends_access(gate: Gate, stub: Stub) -> None:
    """The end cannot be written, so it is not acknowledged; but it has happened."""
    browser = await sign_in(gate, stub)

    async def fail(*_endings: Ending) -> None:
        raise StoreFault("disk full")

    keep = gate.signin._back_channel._endings.keep
    gate.signin._back_channel._endings.keep = fail  # type: ignore[method-assign]
    token = stub.logout_token(sub="u-1")
    assert (await post(gate, token)).status == 400
    assert not await is_in(browser)
    assert len(gate.changed) == 1
    gate.signin._back_channel._endings.keep = keep  # type: ignore[method-assign]
    assert (await post(gate, token)).status == 200, "it was told to come again"


@pytest.mark.parametrize("who", [{"sid": "sid-u-1"}, {"sub": "u-1"}, {"sub": "u-1", "sid": "sid-u-1"}])
async def test_a_logout_beats_a_sign_in_that_is_at_the_token_endpoint(
    gate: Gate, stub: Stub, who: dict[str, str]
) -> None:
    """B12: the barrier is the token request; whoever is signed out meanwhile is not signed in."""
    browser = gate.browser()
    answer = await browser.send((await browser.send(WANTED)).location)
    stub.token_wait = asyncio.Event()
    finishing = asyncio.ensure_future(browser.send(stub.authorize(answer.location)))
    await stub.token_asked.wait()
    assert (await post(gate, stub.logout_token(**who))).status == 200
    stub.token_wait.set()
    page = await finishing
    assert page.text.startswith("error signed-out-meanwhile")
    assert page.text.endswith(f"link {WANTED}")
    assert len(gate.sessions) == 0
    assert "__Host-gate" not in browser.cookies["login.corp.example"]
    stub.token_wait = None
    gate.clock.advance(1)
    again = await gate.visit(browser, WANTED, stub.authorize)
    assert (again.status, again.url) == (200, WANTED)


async def test_a_tab_that_is_cut_gives_the_provider_time_to_end_its_own_session(
    gate: Gate, stub: Stub
) -> None:
    """Its form would be of that one. Nobody else waits, and nobody later."""
    browser, other = await sign_in(gate, stub), await sign_in(gate, stub, subject="u-2")
    gate.clock.advance(5)
    assert (await post(gate, stub.logout_token(sid="sid-u-1"))).status == 200
    gate.clock.advance(0.25)
    for each in (browser, other, gate.browser()):
        await browser_at_provider(each)
    assert gate.rested == [pytest.approx(0.75)]
    gate.clock.advance(1)
    await browser_at_provider(browser)
    assert len(gate.rested) == 1


async def browser_at_provider(browser: Browser) -> None:
    """Open the app, and follow to the provider where that is where it leads."""
    answer = await browser.send(WANTED)
    if answer.status != 200:
        await browser.send(answer.location)


@pytest.mark.parametrize("stale", [True, False])
async def test_a_provider_that_has_not_ended_its_session_yet_is_asked_for_the_credentials(
    gate: Gate, stub: Stub, *, stale: bool
) -> None:
    """An open tab that is cut is back at the provider at once, which may still answer from what it is ending."""
    at = stub.now()
    stub.claims = {"auth_time": at if stale else DROP}
    browser = await sign_in(gate, stub)
    gate.clock.advance(1)
    assert (await post(gate, stub.logout_token(sid="sid-u-1"))).status == 200
    gate.clock.advance(1)
    there = (await browser.send((await browser.send(WANTED)).location)).location
    assert "prompt" not in parse_qs(urlsplit(there).query)
    again = await browser.send(stub.authorize(there))
    assert parse_qs(urlsplit(again.location).query)["prompt"] == ["login"]
    assert len(gate.sessions) == 0
    answer = await gate.visit(browser, stub.authorize(again.location), stub.authorize)
    assert (answer.status, answer.url) == (200, WANTED)


async def test_a_provider_that_answers_from_an_ended_session_after_our_restart_is_asked_for_the_credentials(
    stub: Stub, clock: Clock, tmp_path: Path
) -> None:
    stub.claims = {"auth_time": stub.now()}
    async with running_gate({"corp": stub.issuer}, clock=clock, path=tmp_path / "state.db") as gate:
        await sign_in(gate, stub)
        clock.advance(1)
        assert (await post(gate, stub.logout_token(sid="sid-u-1"))).status == 200
    clock.advance(1)
    async with running_gate({"corp": stub.issuer}, clock=clock, path=tmp_path / "state.db", seed=3) as gate:
        browser = gate.browser()
        there = (await browser.send((await browser.send(WANTED)).location)).location
        again = await browser.send(stub.authorize(there))
        assert parse_qs(urlsplit(again.location).query)["prompt"] == ["login"]
        assert len(gate.sessions) == 0


async def test_an_end_told_by_other_means_outlives_a_restart(
    stub: Stub, clock: Clock, tmp_path: Path
) -> None:
    """B12, for a sign-in that began before the restart and comes back after it."""
    async with running_gate({"corp": stub.issuer}, clock=clock, path=tmp_path / "state.db") as gate:
        browser = gate.browser()
        back = stub.authorize((await browser.send((await browser.send(WANTED)).location)).location)
        await gate.signin.note_ended(stub.issuer, "u-1", None)
    async with running_gate({"corp": stub.issuer}, clock=clock, path=tmp_path / "state.db", seed=3) as gate:
        after = gate.browser()
        after.cookies = browser.cookies
        assert (await after.send(back)).text.startswith("error signed-out-meanwhile")


async def test_a_logout_beats_a_sign_in_that_is_being_stored(gate: Gate, stub: Stub) -> None:
    """B12: it found no session to end; the session that appears a moment later ends by itself."""
    put = gate.sessions._store.put

    async def put_slowly(session: Session) -> None:
        await put(session)
        assert (await post(gate, stub.logout_token(sid="sid-u-1"))).status == 200

    gate.sessions._store.put = put_slowly  # type: ignore[method-assign]
    browser = gate.browser()
    answer = await gate.visit(browser, WANTED, stub.authorize)
    assert answer.text.startswith("error signed-out-meanwhile")
    assert len(gate.sessions) == 0
    assert [session.provider_sid for session in gate.changed] == ["sid-u-1"]


async def test_a_logout_between_sign_in_and_hand_over_leaves_no_cookie(gate: Gate, stub: Stub) -> None:
    browser = gate.browser()
    answer = await browser.send((await browser.send(WANTED)).location)
    handover = await browser.send(stub.authorize(answer.location))
    assert (await post(gate, stub.logout_token(sub="u-1"))).status == 200
    assert (await browser.send(handover.location)).set_cookies == []
