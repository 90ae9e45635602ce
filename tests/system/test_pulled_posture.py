"""Asking a product, end to end: what Fleet's API says of the laptop withdraws access, and gives it back."""

import asyncio

import aiohttp
import pytest
from aiohttp import web

from tests.ports import free_ports
from tests.system.stack import Person, running_stack
from tests.system.test_loop import HEALTHY

pytestmark = pytest.mark.op

SENSOR = """\
  - name: fleet
    kind: fleet
    auth: {scheme: bearer, secrets: [{env: GATE_SENSOR_SECRET}]}
    pull: {url: "http://127.0.0.1:PORT", interval: 10s, token: {env: GATE_SENSOR_SECRET}}
compliance:
"""


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


def fleet(state: dict[str, str]) -> web.Application:
    async def hosts(_request: web.Request) -> web.Response:
        policy = {"id": 1, "name": "Firewall is on", "critical": True, "response": state["response"]}
        host = {
            "id": 5,
            "hostname": "alice-mbp",
            "hardware_serial": "SER-ALICE-1",
            "seen_time": state["at"],
            "policy_updated_at": state["at"],
            "policies": [policy],
        }
        return web.json_response({"hosts": [host]})

    application = web.Application()
    application.router.add_get("/api/v1/fleet/hosts", hosts)
    return application


async def status_until(person: Person, url: str, wanted: int) -> None:
    async with asyncio.timeout(60):
        while (await person.get(url, navigate=False))[0] != wanted:  # noqa: ASYNC110 - a browser asks again
            await asyncio.sleep(0.1)


async def test_access_follows_what_the_product_answers() -> None:
    state = {"response": "fail", "at": "2026-03-02T10:00:00Z"}
    (port,) = free_ports(1)
    runner = web.AppRunner(fleet(state))
    await runner.setup()
    alice = Person()
    try:
        async with running_stack(starts=False) as stack:
            stack.write_config(**{"compliance:\n": SENSOR.replace("PORT", str(port))})
            await stack.start()
            await stack.signal_risk("open", event="e-start", **HEALTHY)
            assert (await alice.sign_in(stack.url("/")))[0] == 200, (
                "the product is away: nothing is known against it"
            )
            await web.TCPSite(runner, "127.0.0.1", port).start()
            await status_until(alice, stack.url("/api"), 403)
            state.update(response="pass", at="2026-03-02T10:05:00Z")
            await status_until(alice, stack.url("/api"), 200)
            async with (
                aiohttp.ClientSession() as http,
                http.get(f"http://127.0.0.1:{stack.ops_port}/metrics") as answer,
            ):
                assert 'posturegate_pulls_total{outcome="ok",sensor="fleet"}' in await answer.text()
    finally:
        await alice.close()
        await runner.cleanup()
