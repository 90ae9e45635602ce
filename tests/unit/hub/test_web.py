"""The hub's web application: deliveries outlive their connection, faults end as answers."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec

from gateway.decision.assertion import AssertionSigner
from gateway.hub.pace import GivingWay
from gateway.hub.pages import Pages
from gateway.hub.web import HubWeb

FRONT = {
    "X-Gate-Client": "192.0.2.1",
    "X-Gate-Scheme": "https",
    "X-Gate-Host": "app.example",
    "X-Gate-Client-Kind": "api",
}


class Hooks:
    """Takes a delivery in two steps, so that a test can hang up between them."""

    def __init__(self) -> None:
        self.begun, self.go_on, self.enforced = asyncio.Event(), asyncio.Event(), asyncio.Event()

    names = frozenset({"edr"})

    async def handle(self, request: web.Request) -> web.Response:
        self.begun.set()
        await self.go_on.wait()
        self.enforced.set()
        return web.json_response({"enforced": True})


class Handlers:
    """Stands for sign-in and remediation."""

    def routes(self) -> list[web.RouteDef]:
        return []

    async def fail(self, request: web.Request) -> web.StreamResponse:
        raise RuntimeError("a fault of ours")

    def __getattr__(self, name: str):
        return self.fail


@pytest.fixture
async def hub(tmp_path: Path):
    hooks = Hooks()
    application = HubWeb(
        sign_in=Handlers(),
        remediation=Handlers(),
        hooks=hooks,
        signer=AssertionSigner(ec.generate_private_key(ec.SECP256R1())),
        pages=Pages(),
        issuer=lambda: "https://login.example",
        clock=lambda: datetime.now(UTC),
        make_code=lambda: "7F3K-9QXM",
        giving_way=GivingWay(lambda: False),
    ).application()
    runner = web.AppRunner(application, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    await web.UnixSite(runner, str(tmp_path / "hub.sock")).start()
    session = aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(tmp_path / "hub.sock")))
    yield hooks, session, tmp_path / "hub.sock"
    await session.close()
    await runner.cleanup()


async def test_a_delivery_is_enforced_though_its_sender_hung_up(hub) -> None:
    """What is durable must be enforced: hanging up must not cancel the half of it that matters."""
    hooks, _, path = hub
    _, writer = await asyncio.open_unix_connection(str(path))
    writer.write(b"POST /.gate/hooks/edr HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
    await asyncio.wait_for(hooks.begun.wait(), 60)
    writer.transport.abort()
    await asyncio.sleep(0.05)  # the server notices the end of the connection and cancels its handler
    hooks.go_on.set()
    await asyncio.wait_for(hooks.enforced.wait(), 60)


async def test_a_fault_of_ours_is_an_answer_with_a_reference(hub) -> None:
    _, session, _ = hub
    async with session.get("http://hub/.gate/fix", headers=FRONT) as response:
        problem = await response.json()
        assert response.status == 500
        assert problem["code"] == "internal"
        assert problem["reference"] == "7F3K-9QXM"
        assert "fault of ours" not in str(problem)


async def test_nobody_but_a_worker_is_believed(hub) -> None:
    _, session, _ = hub
    async with session.get("http://hub/anything") as response:
        assert response.status == 500
    headers = {**FRONT, "X-Gate-Verdict": '{"kind": "admitted"}'}
    async with session.get("http://hub/anything", headers=headers) as response:
        assert response.status == 500


async def test_what_is_not_there_is_not_found_in_the_form_that_was_asked_for(hub) -> None:
    _, session, _ = hub
    async with session.get("http://hub/.gate/nothing", headers=FRONT) as response:
        assert (response.status, response.content_type) == (404, "application/problem+json")
    browser = {**FRONT, "X-Gate-Client-Kind": "browser"}
    async with session.get("http://hub/.gate/nothing", headers=browser) as response:
        assert (response.status, response.content_type) == (404, "text/html")
    async with session.put("http://hub/.gate/fix", headers=FRONT) as response:
        assert response.status == 404


async def test_keys_and_discovery_are_public_and_cacheable(hub) -> None:
    _, session, _ = hub
    async with session.get("http://hub/.well-known/gate/jwks.json", headers=FRONT) as response:
        keys = (await response.json(content_type=None))["keys"]
        assert [key["kty"] for key in keys] == ["EC"]
        assert "d" not in keys[0]
        assert "public" in response.headers["Cache-Control"]
    async with session.get("http://hub/.well-known/gate", headers=FRONT) as response:
        assert (await response.json())["jwks_uri"] == "https://app.example/.well-known/gate/jwks.json"
