"""The demo app believes the signed assertion and nothing else, and what it streams keeps coming."""

import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec

from gateway.decision.assertion import AssertionSigner
from gateway.demo.app import Assertions, DemoApp
from gateway.demo.browser import Answer, Browser
from gateway.demo.loopback import loopback_client, serving
from tests.ports import free_ports

GATE = {"device": "ana-laptop", "risk": "none", "outcome": "allow", "restrictions": []}


@dataclass
class World:
    """A running app, and a gateway of which there is nothing but its key set."""

    url: str
    issuer: str
    signer: AssertionSigner
    browser: Browser

    def assertion(self, signer: AssertionSigner | None = None, **changes: Any) -> dict[str, str]:
        claims = {
            "iss": self.issuer,
            "aud": self.url.removeprefix("http://"),
            "sub": "ana",
            "name": "Ana Torres",
            "email": "ana@demo.example",
            "groups": ["staff"],
            "gate": GATE,
        } | changes
        return {"X-Gate-Jwt": (signer or self.signer).sign(claims, datetime.now(UTC))}

    async def whoami(self, headers: dict[str, str]) -> dict[str, Any]:
        return (await self.browser.fetch(f"{self.url}/api/whoami", headers=headers)).json()


def new_signer() -> AssertionSigner:
    return AssertionSigner(ec.generate_private_key(ec.SECP256R1()))


@pytest.fixture
async def world() -> AsyncIterator[World]:
    signer, (port, gateway_port) = new_signer(), free_ports(2)
    issuer = f"http://login.localhost:{gateway_port}"

    async def jwks(_request: web.Request) -> web.Response:
        return web.json_response(signer.jwks(), content_type="application/jwk-set+json")

    gateway = web.Application()
    gateway.router.add_get("/.well-known/gate/jwks.json", jwks)
    async with loopback_client() as client, Browser() as browser:
        app = DemoApp(Assertions(issuer=issuer, client=client), {"app": "http://a/", "wiki": "http://w/"})
        async with serving(app.app(), port), serving(gateway, gateway_port):
            yield World(f"http://app.localhost:{port}", issuer, signer, browser)


async def test_assertion_is_verified_by_the_published_key(world: World) -> None:
    seen = await world.whoami(world.assertion())
    assert seen["assertion"]["is_verified"]
    assert seen["assertion"]["claims"]["sub"] == "ana"


async def test_audience_may_leave_the_port_out(world: World) -> None:
    assert (await world.whoami(world.assertion(aud="app.localhost")))["assertion"]["is_verified"]


@pytest.mark.parametrize(
    "changes", [{"aud": "wiki.localhost"}, {"iss": "http://evil.localhost"}, {"sub": None}]
)
async def test_assertion_for_others_is_not_believed(world: World, changes: dict[str, Any]) -> None:
    seen = await world.whoami(world.assertion(**changes))
    assert not seen["assertion"]["is_verified"]
    assert seen["assertion"]["claims"] == {}


async def test_forged_assertion_is_not_believed(world: World) -> None:
    """A key that the gateway does not publish signs nothing, and a broken token is no crash."""
    assert not (await world.whoami(world.assertion(new_signer())))["assertion"]["is_verified"]
    for token in ("e30.e30.e30", "nonsense", ""):
        assert not (await world.whoami({"X-Gate-Jwt": token}))["assertion"]["is_verified"]


async def test_headers_alone_make_nobody(world: World) -> None:
    """The page shows the header, and still greets nobody."""
    page = await world.browser.fetch(f"{world.url}/", headers={"X-Gate-User": "dana"})
    assert "X-Gate-User" in page.text
    assert "Nobody" in page.text


async def test_page_tells_who_and_what(world: World) -> None:
    gate = GATE | {"outcome": "restrict", "restrictions": ["read-only"]}
    page: Answer = await world.browser.fetch(f"{world.url}/any/page?x=1", headers=world.assertion(gate=gate))
    assert page.status == 200
    for text in ("Ana Torres", "ana-laptop", "read-only", "verified"):
        assert text in page.text


async def test_page_escapes_what_it_is_told(world: World) -> None:
    page = await world.browser.fetch(f"{world.url}/", headers=world.assertion(name="<script>x</script>"))
    assert "<script>x" not in page.text


async def test_form_and_download(world: World) -> None:
    posted = await world.browser.fetch(f"{world.url}/notes", method="POST", form={"note": "<b>hello"})
    assert posted.status == 303
    assert "&lt;b&gt;hello" in (await world.browser.fetch(f"{world.url}/")).text
    download = await world.browser.fetch(f"{world.url}/download/salaries.csv")
    assert download.header("content-disposition").startswith("attachment")


async def test_both_clocks_tick(world: World) -> None:
    socket_url = world.url.replace("http", "ws", 1) + "/live"
    async with (
        world.browser.socket(socket_url) as socket,
        world.browser.events(f"{world.url}/events") as events,
    ):
        assert await socket.until_messages(2)
        assert await events.until_messages(2)
    assert time.strptime(socket.messages[0], "%H:%M:%S")
