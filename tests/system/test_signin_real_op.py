"""Signing in at the real, certified OpenID provider (npm `oidc-provider`): the whole flow, by hand."""

import asyncio
import json
import re

import aiohttp
import pytest

from compliance.model import StepUp
from tests.op.gate import RealClock, running_gate
from tests.op.provider import client, running_provider, sign_in_at_provider
from tests.ports import free_ports
from tests.system.stack import Person, running_stack

pytestmark = pytest.mark.op

LOGIN = "https://login.corp.example"
APP = "https://app.corp.example"
WIKI = "https://wiki.other.example"
WANTED = f"{APP}/reports/q3?view=all&sort=%2Fname"


def registration(**extra):
    return client(f"{LOGIN}/.gate/callback", post_logout_redirect_uri=f"{LOGIN}/.gate/signed-out", **extra)


@pytest.fixture
async def agent():
    """Keep the provider's cookies, as the person's browser does."""
    async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as session:
        yield session


async def test_sign_in_visit_a_second_app_and_sign_out_everywhere(agent):
    """One sign-in serves two hosts, at exact URLs; signing out ends all, the provider's session when asked."""
    async with (
        running_provider([registration()]) as op,
        running_gate({"corp": op.issuer}, clock=RealClock()) as gate,
    ):
        browser = gate.browser()

        async def authorize(url):
            return await sign_in_at_provider(agent, url, op.issuer)

        answer = await gate.visit(browser, WANTED, authorize)
        assert answer.status == 200
        assert answer.url == WANTED
        assert json.loads(answer.text)["subject"] == "alice"
        (session,) = gate.sessions.by_subject(op.issuer, "alice")
        assert session.user.groups == {"staff", "engineering"}
        assert session.user.names == {"alice", "alice@corp.example"}
        assert session.user.acr == "urn:example:pwd"
        assert session.user.amr == ("pwd",)
        assert session.user.auth_at is not None
        assert [each.identifier.value for each in session.devices] == ["SER-ALICE-1"]

        def nobody(url):
            raise AssertionError(f"the second app went to the provider: {url}")

        answer = await gate.visit(browser, f"{WIKI}/start", nobody)
        assert (answer.status, answer.url) == (200, f"{WIKI}/start")

        answer = await browser.send(f"{WIKI}/.gate/logout")
        assert answer.text.startswith("confirm alice")
        answer = await browser.send(f"{WIKI}/.gate/logout", method="POST", headers={"Origin": WIKI})
        answer = await browser.send(answer.location)
        assert answer.text.startswith("signed-out corp /.gate/signed-out?go=")
        assert len(gate.sessions) == 0
        assert (await browser.send(WANTED)).status == 302
        go = answer.text.split()[2]
        end = (await browser.send(LOGIN + go)).location
        assert end.startswith(f"{op.issuer}/session/end?")
        returned = await end_at_provider(agent, end, op.issuer)
        answer = await browser.send(returned)
        assert (answer.status, answer.text.split()[0]) == (200, "signed-out")


async def test_the_second_provider_visit_needs_no_form_and_public_clients_work(agent):
    """A public client uses PKCE alone; the provider's own session signs in silently."""
    public = registration(client_secret=None)
    async with (
        running_provider([public]) as op,
        running_gate({"corp": op.issuer}, clock=RealClock(), client_secret=None) as gate,
    ):
        first, second = gate.browser(), gate.browser()

        async def authorize(url):
            return await sign_in_at_provider(agent, url, op.issuer)

        assert (await gate.visit(first, WANTED, authorize)).status == 200
        assert (await gate.visit(second, WANTED, authorize)).status == 200
        assert len(gate.sessions.by_subject(op.issuer, "alice")) == 2


async def test_claims_that_only_userinfo_has(agent):
    """A strict provider keeps profile claims out of the ID token; then userinfo is asked."""
    async with (
        running_provider([registration()], conform_id_token_claims=True) as op,
        running_gate({"corp": op.issuer}, clock=RealClock()) as gate,
    ):

        async def authorize(url):
            return await sign_in_at_provider(agent, url, op.issuer, login="bob")

        assert (await gate.visit(gate.browser(), WANTED, authorize)).status == 200
        (session,) = gate.sessions.by_subject(op.issuer, "bob")
        assert session.user.name == "Bob Berg"
        assert session.user.email == "bob@corp.example"
        assert session.user.names == {"bob"}, "an unverified address names nobody"


async def test_cancelling_shows_a_page_and_another_try_works(agent):
    """`access_denied` becomes a page with a link back to what was wanted."""
    async with (
        running_provider([registration()]) as op,
        running_gate({"corp": op.issuer}, clock=RealClock()) as gate,
    ):
        browser = gate.browser()

        async def cancel(url):
            return await sign_in_at_provider(agent, url, op.issuer, is_cancelled=True)

        async def authorize(url):
            return await sign_in_at_provider(agent, url, op.issuer)

        answer = await gate.visit(browser, WANTED, cancel)
        assert (answer.status, answer.text.split("\n")[0]) == (403, "error provider-said-no")
        assert f"link {WANTED}" in answer.text
        assert (await gate.visit(browser, WANTED, authorize)).status == 200


async def test_step_up_raises_the_same_session(agent):
    """A stronger sign-in keeps the session and raises its `acr`."""
    async with (
        running_provider([registration()]) as op,
        running_gate({"corp": op.issuer}, clock=RealClock()) as gate,
    ):
        gate.step_up["/vault"] = StepUp(acr_values=("urn:example:mfa",))
        browser = gate.browser()

        async def authorize(url):
            return await sign_in_at_provider(agent, url, op.issuer)

        before = json.loads((await gate.visit(browser, WANTED, authorize)).text)
        after = json.loads((await gate.visit(browser, f"{APP}/vault", authorize)).text)
        assert after["session"] == before["session"]
        (session,) = gate.sessions.by_subject(op.issuer, "alice")
        assert session.user.acr == "urn:example:mfa"
        assert [each.id for each in gate.changed] == [session.id]


async def test_a_provider_that_ignores_acr_values_ends_in_a_page(agent):
    """Two attempts, then 403: never a pass, never a loop (S4)."""
    async with (
        running_provider([registration()], ignore_acr=True) as op,
        running_gate({"corp": op.issuer}, clock=RealClock()) as gate,
    ):
        gate.step_up["/vault"] = StepUp(acr_values=("urn:example:mfa",))
        browser = gate.browser()

        async def authorize(url):
            return await sign_in_at_provider(agent, url, op.issuer)

        assert (await gate.visit(browser, WANTED, authorize)).status == 200
        answer = await gate.visit(browser, f"{APP}/vault", authorize)
        assert (answer.status, answer.text.split("\n")[0]) == (403, "error step-up-not-met")
        assert (await gate.visit(browser, WANTED, authorize)).status == 200, (
            "the session itself is as good as before"
        )


async def test_the_gateway_starts_before_its_provider(agent):
    """Down: 503 with Retry-After and not ready. Up: the next try works, nobody restarted anything."""
    (port,) = free_ports(1)
    issuer = f"http://127.0.0.1:{port}"
    clock = RealClock()
    async with running_gate({"corp": issuer}, clock=clock) as gate:
        browser = gate.browser()
        answer = await browser.send((await browser.send(WANTED)).location)
        assert (answer.status, answer.headers["Retry-After"]) == (503, "10")
        assert f"link {WANTED}" in answer.text
        status = gate.clients["corp"].status()
        assert not status.is_ready
        assert status.reason.startswith("provider-unreachable")
        async with running_provider([registration()], port=port):
            clock.wake()
            await gate.clients["corp"]._refresh()

            async def authorize(url):
                return await sign_in_at_provider(agent, url, issuer)

            assert gate.clients["corp"].status().is_ready
            assert (await gate.visit(browser, WANTED, authorize)).status == 200


async def test_back_channel_logout_by_the_provider_cuts_what_is_open():
    """Every worker, every stream: the provider's own logout token ends it before its 200 is sent."""
    async with running_stack() as stack:
        await stack.signal_risk("open", event="e-0", kind="heartbeat", condition="hb", title="")
        alice, other = Person(), Person()
        try:
            for person in (alice, other):
                status, at, _ = await person.sign_in(stack.url("/one"))
                assert (status, at) == (200, stack.url("/one"))
            # The app of this test reads nothing, so it answers no closing handshake: the sockets just go.
            cut = await alice.http.ws_connect(stack.url("/ws"))
            stays = await other.http.ws_connect(stack.url("/ws"))
            for open_socket in (cut, stays):
                assert (await open_socket.receive()).data == "tick"
            await end_at_provider(alice.http, f"{stack.provider.issuer}/session/end", "")
            (ended,) = stack.events("back-channel-logout")
            assert (ended["issuer"], len(ended["ended"])) == (stack.provider.issuer, 1)
            status, _, _ = await alice.get(stack.url("/one"), navigate=False)
            assert status == 401
            async with asyncio.timeout(60):
                while (message := await cut.receive()).type is aiohttp.WSMsgType.TEXT:
                    continue
            assert (message.type, message.data) == (aiohttp.WSMsgType.CLOSE, 4403)
            assert (await stays.receive()).data == "tick", "another session of the same person stays (B9)"
            _, at, text = await alice.get(stack.url("/one"))
            assert "Sign in:" in text, at
            assert (await other.get(stack.url("/one")))[0] == 200
        finally:
            await alice.close()
            await other.close()


async def end_at_provider(agent, url, issuer):
    """Confirm signing out at the provider and return the URL that it sends the browser to."""
    async with agent.get(url, allow_redirects=False) as response:
        text = await response.text()
        assert response.status == 200, text
    action = re.search(r'action="([^"]+)"', text)[1]
    xsrf = re.search(r'name="xsrf" value="([^"]+)"', text)[1]
    async with agent.post(action, data={"xsrf": xsrf, "logout": "yes"}, allow_redirects=False) as response:
        return response.headers.get("Location", "")
