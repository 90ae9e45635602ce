"""The canary of a real gateway: it passes, it enters by every kind of listener, and it catches a broken gateway."""

import asyncio
import re

import aiohttp
import pytest
import trustme

from gateway import app
from tests.system.stack import Stack, running_stack

pytestmark = pytest.mark.op

CANARY = "canary: {every: 200ms, timeout: 30s}\n"


async def figures(stack: Stack) -> dict[str, float]:
    """Return the canary's metrics by name with labels."""
    async with (
        aiohttp.ClientSession() as http,
        http.get(f"http://127.0.0.1:{stack.ops_port}/metrics") as response,
    ):
        text = await response.text()
    return {
        name: float(value)
        for name, value in re.findall(r"^(posturegate_canary\S+) (\S+)$", text, re.MULTILINE)
    }


async def until_round(stack: Stack, verdict: str, at_least: int = 1) -> dict[str, float]:
    name = f'posturegate_canary_rounds_total{{verdict="{verdict}"}}'
    async with asyncio.timeout(60):
        while (found := await figures(stack)).get(name, 0) < at_least:  # noqa: ASYNC110 - another process counts
            await asyncio.sleep(0.1)
    return found


async def component(stack: Stack) -> dict[str, object]:
    async with aiohttp.ClientSession() as http:
        status = await stack.readiness(http)
    return next((part for part in status["components"] if part["name"] == "canary"), {})


async def test_rounds_pass_and_are_told_and_make_no_incident() -> None:
    async with running_stack(workers=2, extra=CANARY) as stack:
        found = await until_round(stack, "passed", 3)
        assert found["posturegate_canary_last_success"] == 1
        assert found["posturegate_canary_last_window_seconds"] > 0
        assert found["posturegate_canary_window_seconds_count"] >= 3
        part = await component(stack)
        assert part["is_ready"]
        assert re.fullmatch(r"access gone after \d+\.\d ms in 8 streams", str(part["detail"]))
        code, text = await stack.cli("incidents", "--config", str(stack.config_path))
        assert code == 0
        assert "canary" not in text.lower()


async def test_a_reload_ends_it_and_begins_it_again() -> None:
    async with running_stack(workers=0) as stack:
        assert await component(stack) == {}
        stack.write_config(CANARY)
        assert (await stack.cli("reload", "--config", str(stack.config_path)))[0] == 0
        await until_round(stack, "passed", 2)
        stack.write_config()
        assert (await stack.cli("reload", "--config", str(stack.config_path)))[0] == 0
        assert await component(stack) == {}


@pytest.mark.parametrize("door", ["tls", "proxy", "unix"])
async def test_it_enters_where_everybody_enters(door: str) -> None:
    async with running_stack(workers=0, starts=False, scheme="https" if door == "tls" else "http") as stack:
        server = ""
        if door == "tls":
            authority = trustme.CA()
            leaf = authority.issue_cert("*.localhost")
            leaf.private_key_and_cert_chain_pem.write_to_path(stack.folder / "leaf.pem")
            pem = stack.folder / "leaf.pem"
            server = f"  tls: {{certificates: [{{cert: {pem}, key: {pem}}}]}}"
        elif door == "proxy":
            server = "  proxy_protocol: [127.0.0.0/8]"
        stack.write_config(CANARY, server=server)
        if door == "unix":
            text = stack.config_path.read_text()
            path = stack.folder / "public.sock"
            stack.config_path.write_text(
                text.replace(f"listen: 127.0.0.1:{stack.port}", f"listen: unix:{path}")
            )
        await stack.start()
        assert (await until_round(stack, "passed"))["posturegate_canary_last_success"] == 1


async def test_it_catches_a_gateway_that_acknowledges_before_it_enforces() -> None:
    async with running_stack(workers=2, extra=CANARY, starts=False) as stack:
        stack.environment |= {"POSTUREGATE_TESTING": "1", app.ACK_EARLY: "1"}
        await stack.start()
        await until_round(stack, "failed")
        assert stack.events("canary-failed")
