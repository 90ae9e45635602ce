"""`posturegate sensor list|add|send|rotate|status` against a running gateway: every scheme is really accepted."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from gateway.cli.adding import SCHEMES
from tests.system.stack import LoopbackResolver, Stack, running_stack

pytestmark = [pytest.mark.op, pytest.mark.asyncio(loop_scope="module")]

BODY = {
    "serial": "SER-SENT",
    "kind": "heartbeat",
    "condition": "hb",
    "event": "sent-1",
    "state": "open",
    "disk": True,
}


async def shell(script: str, folder: Path) -> str:
    """Return what a shell script prints; `curl` only prints its arguments there, one a line."""
    made = "set -eu\ncurl() { printf '%s\\n' \"$@\"; }\n" + script
    process = await asyncio.create_subprocess_exec(
        "bash", "-c", made, cwd=folder, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    output, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()
    return output.decode()


async def delivered(arguments: list[str], body: bytes) -> tuple[int, Any]:
    """Deliver a body with the headers that `curl` was given."""
    headers = dict(
        arguments[at + 1].split(": ", 1) for at, argument in enumerate(arguments) if argument == "-H"
    )
    url = next(argument for argument in arguments if argument.startswith("http"))
    auth = next((arguments[at + 1] for at, argument in enumerate(arguments) if argument == "-u"), None)
    if auth is not None:
        headers["Authorization"] = aiohttp.encode_basic_auth(*auth.split(":", 1))
    async with (
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(resolver=LoopbackResolver())) as http,
        http.post(url, data=body, headers=headers) as response,
    ):
        return response.status, await response.json()


def section_of(said: str) -> str:
    return said[said.index("  - name:") : said.index("\n\n# 3.")]


async def test_what_add_prints_works_as_it_stands() -> None:
    """The secret file, the section, the curl line and `sensor send`, for every scheme."""
    async with running_stack(workers=1, starts=False) as stack:
        printed = await asyncio.gather(*(added(stack, scheme) for scheme in SCHEMES))
        told = dict(zip(SCHEMES, printed, strict=True))
        text = stack.config_path.read_text()
        sections = "".join(f"{section_of(said)}\n" for said in told.values())
        stack.config_path.write_text(text.replace("sensors:\n", f"sensors:\n{sections}", 1))
        await stack.start()
        for scheme, said in told.items():
            await as_told(stack, scheme, said)


async def added(stack: Stack, scheme: str) -> str:
    """Return what `sensor add` prints, after doing the first of it: making the secret file."""
    code, said = await stack.cli(
        *("sensor", "add", "generic", f"new-{scheme}", "--scheme", scheme, "--config", str(stack.config_path))
    )
    assert code == 0, said
    await shell(said.splitlines()[1], stack.folder)
    return said


async def as_told(stack: Stack, scheme: str, said: str) -> None:
    """Make the body and deliver it with the lines that were printed, then with `sensor send`."""
    config = ["--config", str(stack.config_path)]
    tried, script = said[said.index("# 3.") :].split("\n\n")
    await shell("posturegate() { :; }\n" + tried, stack.folder)
    file = str(stack.folder / "body.json")
    url = f"http://127.0.0.1:{stack.port}/.gate/hooks/new-{scheme}"
    _, tested = await stack.cli("sensor", "test-event", f"new-{scheme}", file, "--url", url, *config)
    assert re.match(r"(200|404|421)\n", tested), tested
    arguments = (await shell(script, stack.folder)).splitlines()
    body = (stack.folder / "body.json").read_bytes()
    status, answer = await delivered(arguments, body)
    assert (status, answer["enforced"]) == (200, True), (scheme, answer)
    await send_and_status(stack, f"new-{scheme}", ["--config", str(stack.config_path)])


async def send_and_status(stack: Stack, name: str, config: list[str]) -> None:
    url = f"http://127.0.0.1:{stack.port}/.gate/hooks/{name}"
    file = str(stack.folder / "body.json")
    code, said = await stack.cli("sensor", "send", name, file, "--dry-run", *config)
    assert code == 0, said
    assert f"POST {stack.url(f'/.gate/hooks/{name}', 'login')}" in said
    secret = next(
        path.read_text() for path in (stack.folder / "secrets").iterdir() if path.name == f"sensor-{name}"
    )
    assert secret not in said
    code, said = await stack.cli("sensor", "send", name, file, "--url", url, *config)
    assert re.match(r"(200|404|421)\n", said), said


async def test_sending_to_a_running_gateway_and_its_counts() -> None:
    async with running_stack(workers=1) as stack:
        config = ["--config", str(stack.config_path)]
        file = stack.folder / "body.json"
        file.write_text(json.dumps(BODY))
        code, said = await stack.cli("sensor", "send", "edr", str(file), *config)
        assert code == 0, said
        assert said.startswith("200\n")
        assert '"enforced": true' in said
        code, said = await stack.cli("sensor", "status", *config)
        assert code == 0, said
        assert re.search(r"edr \(generic\): last heard .*\n.*\n  deliveries accepted 1", said), said
        assert (await stack.cli("sensor", "status", "edr", *config))[1].count("quota") == 1
        assert (await stack.cli("sensor", "status", "other", *config))[0] == 1
        code, said = await stack.cli("sensor", "list", *config)
        assert code == 0, said
        assert re.search(
            rf"edr +generic +bearer +1h +{re.escape(stack.url('/.gate/hooks/edr', 'login'))}", said
        )
        code, said = await stack.cli("sensor", "rotate", "edr", *config)
        assert code == 0, said
        assert f"{stack.config_path}:" in said
        file.write_text("{")
        code, said = await stack.cli("sensor", "send", "edr", str(file), *config)
        assert (code, said[:3]) == (1, "400")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stopped() -> AsyncIterator[Stack]:
    """A configuration whose gateway does not run."""
    async with running_stack(workers=1, starts=False) as stack:
        yield stack


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["send", "edrr", "-"], "did you mean `edr`"),
        (["send", "edr", "/no/such/file"], "No such file"),
        (["rotate", "nobody"], "no sensor is named"),
        (["add", "genric", "x"], "did you mean `generic`"),
        (["add", "generic", "Not A Name"], "a name has"),
        (["add", "generic", "edr"], "already"),
        (["add", "cloudflare", "warp"], "its product asks"),
        (["add", "ssf", "idp"], "docs/shared-signals.md"),
        (["status"], "no running gateway answers"),
    ],
)
async def test_what_cannot_be_done_is_said(stopped: Stack, arguments: list[str], said: str) -> None:
    code, output = await stopped.cli("sensor", *arguments, "--config", str(stopped.config_path))
    assert code == 1, output
    assert said in output
