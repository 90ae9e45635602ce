"""Programs with service tokens, at a real gateway with two workers: curl, git, streams, revocation, explanation."""

import asyncio
import base64
import json
import os
import re
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import jwt
import pytest
import pytest_asyncio
from aiohttp import web

from tests.ports import free_ports
from tests.system.stack import LoopbackResolver, Stack, running_stack

pytestmark = [pytest.mark.op, pytest.mark.asyncio(loop_scope="module")]

POLICIES = """\
    - {name: builds, decision: allow, include: {services: [ci, "git.push"]}}
    - name: builds-only-read
      decision: restrict
      include: {services: [reader]}
      controls: [read-only]
    - name: builds-stay-out
      decision: block
      include: {services: [ci]}
      when: {paths: [/admin]}
      reason: Not for builds.
    - {name: stronger, decision: step-up, include: {services: [weak]}, step_up: {acr_values: [mfa]}}
"""
GIT_APP = """\
  - name: git
    host: git.localhost
    upstream: http://127.0.0.1:{port}
devices:
"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    (port,) = free_ports(1)
    runner = await git_server(tmp_path_factory.mktemp("git"), port)
    async with running_stack(starts=False, extra=POLICIES) as made:
        made.write_config(POLICIES, **{"devices:\n": GIT_APP.format(port=port)})
        await made.start()
        yield made
    await runner.cleanup()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    connector = aiohttp.TCPConnector(resolver=LoopbackResolver())
    async with aiohttp.ClientSession(connector=connector, headers={"User-Agent": "curl/8"}) as made:
        yield made


async def token(stack: Stack, *apps: str, service: str = "ci", life_s: float = 3600) -> tuple[str, str]:
    """Make a token at the administration socket; return its id and its secret."""
    wanted = {"service": service, "apps": apps or ("notes",), "life_s": life_s, "reason": "test"}
    connector = aiohttp.UnixConnector(str(stack.folder / "run" / "admin.sock"))
    async with (
        aiohttp.ClientSession(connector=connector) as http,
        http.post("http://gateway/service-tokens", json=wanted) as response,
    ):
        assert response.status == 201, await response.text()
        answer = await response.json()
    return answer["token"]["id"], answer["secret"]


async def secret_of(stack: Stack, *arguments: str) -> tuple[str, str]:
    command = ("service-token", *arguments, "--reason", "test", "--json", "--config", str(stack.config_path))
    code, output = await stack.cli(*command)
    assert code == 0, output
    answer = json.loads(output)
    return answer["token"]["id"], answer["secret"]


async def revoke(stack: Stack, named: str) -> dict[str, Any]:
    command = (
        "service-token",
        "revoke",
        named,
        "--reason",
        "leaked",
        "--json",
        "--config",
        str(stack.config_path),
    )
    code, output = await stack.cli(*command)
    assert code == 0, output
    return json.loads(output)


async def listed(stack: Stack, token_id: str) -> str:
    """Return the line of a token that `list` prints."""
    code, output = await stack.cli("service-token", "list", "--config", str(stack.config_path))
    assert code == 0
    return next(line for line in output.splitlines() if token_id in line)


def bearer(held: tuple[str, str]) -> dict[str, str]:
    return {"Authorization": f"Bearer {held[0]}.{held[1]}"}


async def get(
    http: aiohttp.ClientSession, url: str, headers: dict[str, str], method: str = "GET"
) -> tuple[int, dict[str, Any], Any]:
    async with http.request(method, url, headers=headers) as response:
        return response.status, await response.json(content_type=None), response.headers


async def test_every_spelling_lets_in_and_none_of_it_reaches_the_app(
    stack: Stack, http: aiohttp.ClientSession
) -> None:
    held = await token(stack)
    basic = base64.b64encode(":".join(held).encode()).decode()
    pair = {"X-Gate-Service-Id": held[0], "X-Gate-Service-Secret": held[1]}
    for headers in (
        bearer(held),
        {"Authorization": f"Basic {basic}"},
        {**pair, "Authorization": "Token of-the-app"},
    ):
        status, told, _ = await get(http, stack.url("/api"), headers)
        assert status == 200
        seen = {name.lower(): value for name, value in told["headers"]}
        assert (seen["x-gate-user"], seen["x-gate-name"], seen["x-gate-email"]) == ("service:ci", "ci", "")
        claims = jwt.decode(seen["x-gate-jwt"], options={"verify_signature": False})
        assert (claims["sub"], claims["gate"]["service"], claims["sid"]) == ("service:ci", "ci", held[0])
        assert seen.get("authorization") == ("Token of-the-app" if "X-Gate-Service-Id" in headers else None)
        assert held[1] not in json.dumps(told)
        assert basic not in json.dumps(told)
    # On a public path nobody looks at who asks, and the app may not read it all the same.
    _, told, _ = await get(http, stack.url("/public"), bearer(held))
    assert held[1] not in json.dumps(told)


async def test_access_policy_decides_as_about_anybody_and_explains_it(
    stack: Stack, http: aiohttp.ClientSession
) -> None:
    held = await token(stack)
    status, told, headers = await get(http, stack.url("/admin"), bearer(held))
    assert (status, told["code"], told["detail"]) == (403, "access-blocked", "Not for builds.")
    assert "remediation_url" not in told
    assert "WWW-Authenticate" not in headers
    code, text = await stack.cli("explain", told["reference"], "--config", str(stack.config_path))
    assert code == 0
    assert "policy builds-stay-out" in text
    assert "  service    ci\n" in text
    assert f"  token      {held[0]}\n" in text


async def test_a_token_is_for_the_apps_that_it_names(stack: Stack, http: aiohttp.ClientSession) -> None:
    held = await token(stack, "wiki")
    assert (await get(http, stack.url("/", "wiki"), bearer(held)))[0] == 200
    status, told, _ = await get(http, stack.url("/api"), bearer(held))
    assert (status, told["code"]) == (403, "access-blocked")
    assert told["detail"] == "This service token is not for this app."
    _, text = await stack.cli("explain", told["reference"], "--config", str(stack.config_path))
    assert "policy service-token-apps" in text


async def test_session_controls_hold_for_programs_too(stack: Stack, http: aiohttp.ClientSession) -> None:
    held = await token(stack, service="reader")
    status, told, _ = await get(http, stack.url("/api"), bearer(held))
    assert status == 200
    assert ["X-Gate-Restrictions", "read-only"] in told["headers"]
    status, told, _ = await get(http, stack.url("/api"), bearer(held), "DELETE")
    assert (status, told["code"], told["control"]) == (403, "session-restricted", "read-only")
    assert "remediation_url" not in told


async def test_a_stronger_sign_in_is_nothing_that_a_program_is_sent_to(
    stack: Stack, http: aiohttp.ClientSession
) -> None:
    held = await token(stack, service="weak")
    status, told, _ = await get(http, stack.url("/api"), bearer(held))
    assert (status, told["code"]) == (403, "access-blocked")
    assert told["detail"] == "A stronger sign-in is needed, and a service token cannot give one."


async def test_revoking_cuts_what_is_open_and_is_in_force_when_the_command_returns(
    stack: Stack, http: aiohttp.ClientSession
) -> None:
    held = await token(stack, service="git.push")
    stream = await http.get(stack.url("/events"), headers=bearer(held))
    assert await stream.content.readline() == b"data: tick\n"
    socket = await http.ws_connect(stack.url("/ws").replace("http", "ws"), headers=bearer(held))
    assert (await socket.receive()).data == "tick"

    done = await revoke(stack, "git.push")
    assert [each["state"] for each in done["tokens"]] == ["revoked"]
    assert done["cut"] == 2
    for _ in range(8):  # on every worker
        status, told, headers = await get(http, stack.url("/api"), bearer(held))
        assert (status, told["code"]) == (401, "service-token-revoked")
        assert 'Bearer error="invalid_token"' in headers.getall("WWW-Authenticate")
    with pytest.raises(aiohttp.ClientPayloadError):
        await asyncio.wait_for(stream.content.read(), 5)
    stream.close()
    while (last := await asyncio.wait_for(socket.receive(), 5)).type is aiohttp.WSMsgType.TEXT:
        pass
    assert (last.type, last.data) == (aiohttp.WSMsgType.CLOSE, 4403)
    (line,) = stack.events("service-token-revoked")
    assert (line["token_id"], line["reason"]) == (held[0], "leaked")
    assert line["by"].startswith("uid ")
    code, output = await stack.cli(
        "service-token", "revoke", held[0], "--reason", "again", "--config", str(stack.config_path)
    )
    assert (code, "no live service token" in output) == (2, True)


async def test_rotating_gives_another_and_ends_the_old_one(stack: Stack, http: aiohttp.ClientSession) -> None:
    old = await token(stack)
    assert (await get(http, stack.url("/api"), bearer(old)))[0] == 200
    later = await secret_of(stack, "rotate", old[0])
    for held in (old, later):
        assert (await get(http, stack.url("/api"), bearer(held)))[0] == 200
    last = await secret_of(stack, "rotate", later[0], "--overlap", "0s")
    assert (await get(http, stack.url("/api"), bearer(last)))[0] == 200
    status, told, _ = await get(http, stack.url("/api"), bearer(later))
    assert (status, told["code"]) == (401, "service-token-expired")


async def test_what_is_open_ends_when_its_token_expires(stack: Stack, http: aiohttp.ClientSession) -> None:
    held = await token(stack, life_s=2)
    stream = await http.get(stack.url("/events"), headers=bearer(held))
    assert await stream.content.readline() == b"data: tick\n"
    with pytest.raises(aiohttp.ClientPayloadError):
        await asyncio.wait_for(stream.content.read(), 15)
    stream.close()
    status, told, _ = await get(http, stack.url("/api"), bearer(held))
    assert (status, told["code"]) == (401, "service-token-expired")


async def test_a_wrong_token_is_told_so_and_a_sign_in_does_not_stand_in_for_it(
    stack: Stack, http: aiohttp.ClientSession
) -> None:
    held = await token(stack)
    for wrong in (bearer((held[0], held[1][:-1])), {"X-Gate-Service-Id": held[0]}):
        status, told, _ = await get(http, stack.url("/api"), wrong)
        assert (status, told["code"]) == (401, "service-token-unknown")
    # What the browser adds by itself to what another site sends is nobody's word.
    basic = base64.b64encode(":".join(held).encode()).decode()
    crossed = {"Authorization": f"Basic {basic}", "Sec-Fetch-Site": "cross-site"}
    status, told, _ = await get(http, stack.url("/api"), crossed)
    assert (status, told["code"]) == (401, "sign-in-required")


async def test_programs_are_asked_for_name_and_password_and_browsers_never(
    stack: Stack, http: aiohttp.ClientSession
) -> None:
    _, _, headers = await get(http, stack.url("/api"), {})
    assert 'Basic realm="service token", charset="UTF-8"' in headers.getall("WWW-Authenticate")
    for browser in (
        {"Sec-Fetch-Mode": "cors"},
        {"User-Agent": "Mozilla/5.0 (X11)"},
        {"X-Requested-With": "XMLHttpRequest"},
    ):
        status, _, headers = await get(http, stack.url("/api"), browser)
        assert status == 401
        assert headers.getall("WWW-Authenticate") == ['Gate realm="sign-in"']


async def test_what_cannot_be_is_refused_with_its_reason(stack: Stack) -> None:
    for arguments, said in (
        (("create", "ci", "--app", "nowhere"), "no app is called `nowhere`"),
        (("create", "CI Bot", "--app", "notes"), "no name of a service"),
        (("create", "ci", "--app", "notes", "--expires-in", "4000d"), "at most 732 days"),
        (("create", "ci", "--app", "notes", "--expires-in", "soon"), "refused"),
        (("rotate", "gst_aaaaaaaaaaaa"), "no live service token has the id"),
    ):
        code, output = await stack.cli(
            "service-token", *arguments, "--reason", "test", "--config", str(stack.config_path)
        )
        assert code == 2
        assert said in output


async def test_git_clones_and_pushes(stack: Stack, tmp_path: Path) -> None:
    held = await token(stack, "git")
    address = f"http://{held[0]}:{held[1]}@git.localhost:{stack.port}/repo.git"
    work = tmp_path / "work"
    await git(tmp_path, "clone", address, "work")
    (work / "file").write_text("hello")
    await git(work, "add", "file")
    await git(work, "-c", "user.name=ci", "-c", "user.email=ci@corp.example", "commit", "-m", "one")
    await git(work, "push", "origin", "HEAD:main")
    assert "refs/heads/main" in await git(tmp_path, "ls-remote", address)
    await revoke(stack, held[0])
    refused = await git(work, "fetch", succeeds=False)
    assert "Authentication failed" in refused


async def test_a_restart_forgets_no_token_and_the_file_knows_no_secret(
    stack: Stack, http: aiohttp.ClientSession
) -> None:
    held = await secret_of(stack, "create", "ci", "--app", "notes", "--expires-in", "30d")
    gone = await token(stack)
    assert (await get(http, stack.url("/api"), bearer(held)))[0] == 200
    await revoke(stack, gone[0])
    await stack.stop()
    content = b"".join(path.read_bytes() for path in stack.folder.glob("state.db*"))
    assert held[0].encode() in content
    assert held[1].encode() not in content
    assert held[1] not in stack.log()
    await stack.start()
    assert (await get(http, stack.url("/api"), bearer(held)))[0] == 200
    assert (await get(http, stack.url("/api"), bearer(gone)))[1]["code"] == "service-token-revoked"
    async with asyncio.timeout(30):  # workers tell every few seconds what was used
        while "  used 20" not in (line := await listed(stack, held[0])):
            assert re.search(r"live    until .* \(29 d left\)  ci at notes  never used  \(test\)", line)


async def git(folder: Path, *arguments: str, succeeds: bool = True) -> str:
    """Run git, which asks nobody for a password; return what it prints."""
    environment = {**os.environ, "GIT_TERMINAL_PROMPT": "0", "HOME": str(folder), "GIT_CONFIG_NOSYSTEM": "1"}
    done = await asyncio.to_thread(
        subprocess.run,
        ["git", *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode == 0) is succeeds, done.stderr
    return done.stdout + done.stderr


async def git_server(folder: Path, port: int) -> web.AppRunner:
    """Serve an empty repository by `git http-backend`, which asks nobody who is there."""
    await git(folder, "init", "--bare", "-b", "main", "repo.git")
    await git(folder / "repo.git", "config", "http.receivepack", "true")

    async def backend(request: web.Request) -> web.Response:
        environment = {
            **os.environ,
            "GIT_PROJECT_ROOT": str(folder),
            "GIT_HTTP_EXPORT_ALL": "1",
            "PATH_INFO": request.path,
            "QUERY_STRING": request.query_string,
            "REQUEST_METHOD": request.method,
            "CONTENT_TYPE": request.headers.get("Content-Type", ""),
            "HTTP_CONTENT_ENCODING": "",
        }
        process = await asyncio.create_subprocess_exec(
            "git",
            "http-backend",
            env=environment,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        output, _ = await process.communicate(await request.read())
        head, _, body = output.partition(b"\r\n\r\n")
        fields = dict(line.split(": ", 1) for line in head.decode().split("\r\n"))
        return web.Response(status=int(fields.pop("Status", "200").split()[0]), headers=fields, body=body)

    runner = web.AppRunner(application := web.Application(client_max_size=1 << 28))
    application.router.add_route("*", "/{path:.*}", backend)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    return runner
