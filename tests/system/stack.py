"""The whole of it as an operator runs it: `posturegate serve`, the certified provider, an app with streams."""

import asyncio
import json
import os
import signal
import socket
import ssl
import sys
import tempfile
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web
from aiohttp.abc import AbstractResolver

from tests.evidence import FAULTHANDLER, shown_on_failure, stacks_dumped
from tests.op.provider import RunningProvider, client, running_provider
from tests.ports import free_ports

SENSOR_SECRET = "sensor-secret-of-the-system-tests"
READY_S = 150.0
STOP_S = 60.0
HEALTHY = {"kind": "heartbeat", "condition": "hb", "title": ""}
"""What `Stack.signal_risk` adds for a sensor that only says that all is well."""

CONFIG = """\
version: 1
public_url: {scheme}://login.localhost:{port}
server:
  listen: 127.0.0.1:{port}
  ops: 127.0.0.1:{ops_port}
  workers: {workers}
  run_dir: {folder}/run
  drain: 1s
{server}
store: {{url: "sqlite://{folder}/state.db"}}
providers:
  - name: corp
    issuer: {issuer}
    client_id: gate
    client_secret: {{env: GATE_CLIENT_SECRET}}
    label: Corp sign-in
    acr_values: []
apps:
  - name: notes
    title: Notes
    host: notes.localhost
    upstream: http://127.0.0.1:{app_port}
    owner: it@corp.example
    public_paths: [/public]
  - name: wiki
    host: wiki.localhost
    upstream: http://127.0.0.1:{app_port}
devices:
{devices}
sensors:
  - name: edr
    kind: generic
    max_silence: 1h
    auth: {{scheme: bearer, secrets: [{{env: GATE_SENSOR_SECRET}}]}}
    options:
      device: [{{kind: serial, path: serial}}, {{kind: hostname, path: host}}]
      type: {{path: kind}}
      level: {{path: severity}}
      event_id: event
      external_id: condition
      title: title
      why: why
      actions: ["actions[*]"]
      resolves: {{path: state, equals: [closed]}}
      facts: {{disk_encrypted: disk}}
compliance:
  policies:
    - name: laptop
      rules:
        - {{type: risk, name: threat, max: low, title: No active threat}}
access:
  policies:
    - {{name: staff, decision: allow, include: {{groups: [staff]}}, when: {{compliance: [compliant]}}}}
    - name: repair
      decision: remediate
      include: {{groups: [staff]}}
      when: {{compliance: [noncompliant, unknown]}}
      reason: Your laptop needs attention.
{extra}
"""


class LoopbackResolver(AbstractResolver):
    """Every name is this machine: `*.localhost` is not resolved everywhere."""

    async def resolve(self, host: str, port: int = 0, family: int = socket.AF_INET) -> list[Any]:
        return [
            {
                "hostname": host,
                "host": "127.0.0.1",
                "port": port,
                "family": socket.AF_INET,
                "proto": 0,
                "flags": 0,
            },
        ]

    async def close(self) -> None:
        return


class DemoUpstream:
    """An app: echoes headers, ticks on a WebSocket and an event stream, serves a download, takes uploads."""

    def __init__(self) -> None:
        self.requests: list[dict[str, str]] = []
        self.ticks = 0
        self.forms: list[tuple[str, bytes]] = []

    def application(self) -> web.Application:
        app = web.Application(client_max_size=1 << 30)
        app.router.add_get("/ws", self.websocket)
        app.router.add_get("/events", self.events)
        app.router.add_get("/file", self.file)
        app.router.add_get("/slow", self.slow)
        app.router.add_get("/write", self.write)
        app.router.add_post("/save", self.save)
        app.router.add_route("*", "/{path:.*}", self.echo)
        return app

    async def echo(self, request: web.Request) -> web.StreamResponse:
        self.requests.append({"path": request.raw_path, **dict(request.headers)})
        body = await request.read()
        if "text/html" in request.headers.get("Accept", ""):
            return web.Response(text=PAGE, content_type="text/html")
        return web.json_response(
            {
                "path": request.raw_path,
                "method": request.method,
                "headers": [[name, value] for name, value in request.headers.items()],
                "body": len(body),
            },
        )

    async def websocket(self, request: web.Request) -> web.StreamResponse:
        socket_ = web.WebSocketResponse()
        await socket_.prepare(request)
        while not socket_.closed:
            await socket_.send_str("tick")
            self.ticks += 1
            await asyncio.sleep(0.02)
        return socket_

    async def events(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        while True:
            await response.write(b"data: tick\n\n")
            await asyncio.sleep(0.02)

    async def file(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Disposition": "attachment; filename=x.bin"})
        await response.prepare(request)
        while True:
            await response.write(b"x" * 65536)
            await asyncio.sleep(0.01)

    async def write(self, request: web.Request) -> web.StreamResponse:
        """A page with a form, of type `multipart/form-data` with `?files`."""
        kind = ' enctype="multipart/form-data"' if "files" in request.query else ""
        return web.Response(text=FORM.replace("KIND", kind), content_type="text/html")

    async def save(self, request: web.Request) -> web.StreamResponse:
        """Take a form: what arrives is kept byte for byte."""
        self.forms.append((request.headers["Content-Type"], await request.read()))
        raise web.HTTPSeeOther("/saved")

    async def slow(self, request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(60)
        return web.Response(text="late")


PAGE = """<!doctype html><title>Notes</title><h1>Notes</h1><p id=live>waiting</p>
<script>
const socket = new WebSocket(`ws://${location.host}/ws`);
socket.onmessage = () => { document.getElementById("live").textContent = "live"; };
socket.onclose = (event) => {
  document.getElementById("live").textContent = `closed ${event.code}`;
  if (event.code === 4403) location.reload();
};
</script>"""


FORM = """<!doctype html><title>Write</title><h1>Write</h1>
<form method=post action="/save?draft=7"KIND>
<label>Title <input name=title></label><label>Text <textarea name=text></textarea></label>
<input type=hidden name=csrf_token value="a'b&quot;<c>&amp;d"><label>File <input type=file name=file></label>
<button name=action value=save>Save</button></form>"""


class Stack:
    """A running gateway with what surrounds it."""

    def __init__(
        self,
        folder: Path,
        provider: RunningProvider,
        ports: list[int],
        *,
        workers: int,
        extra: str,
        scheme: str,
    ) -> None:
        self.folder = folder
        self.provider = provider
        self.port, self.ops_port, self.app_port = ports
        self.workers = workers
        self.scheme = scheme
        self.tls: ssl.SSLContext | bool = True
        self.config_path = folder / "gate.yaml"
        self.upstream = DemoUpstream()
        self.process: asyncio.subprocess.Process | None = None
        self.log_path = folder / "gate.log"
        self.environment = {
            **os.environ,
            **FAULTHANDLER,
            "GATE_CLIENT_SECRET": "a secret: with %+ signs",
            "GATE_SENSOR_SECRET": SENSOR_SECRET,
        }
        self.write_config(extra)

    def write_config(
        self,
        extra: str = "",
        *,
        server: str = "",
        devices: str = "  - {from: claim, claim: device_id, kind: serial}",
        **changes: str,
    ) -> None:
        """Write the configuration, with `extra` access policies and textual `changes`."""
        text = CONFIG.format(
            port=self.port,
            ops_port=self.ops_port,
            app_port=self.app_port,
            workers=self.workers,
            folder=self.folder,
            issuer=self.provider.issuer,
            extra=extra,
            scheme=self.scheme,
            server=server,
            devices=devices,
        )
        for before, after in changes.items():
            text = text.replace(before, after)
        self.config_path.write_text(text)

    def url(self, path: str = "/", app: str = "notes") -> str:
        return f"{self.scheme}://{app}.localhost:{self.port}{path}"

    async def start(self) -> None:
        with self.log_path.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "gateway",
                "serve",
                "--config",
                str(self.config_path),
                env=self.environment,
                stdout=log,
                stderr=log,
            )
        await self.ready()

    async def ready(self) -> dict[str, Any]:
        """Wait until the gateway says that it is ready; return what it says."""
        status: dict[str, Any] = {}
        try:
            async with asyncio.timeout(READY_S), aiohttp.ClientSession() as http:
                while True:
                    status = await self.readiness(http)
                    if status.get("status") == "ready" and self._all_linked(status):
                        return status
                    if self.process is not None and self.process.returncode is not None:
                        raise AssertionError(f"the gateway ended with {self.process.returncode}")
                    await asyncio.sleep(0.05)
        except TimeoutError:
            if self.process is not None:
                await stacks_dumped(self.process.pid)
            raise AssertionError(f"not ready after {READY_S} s: {status}") from None

    async def readiness(self, http: aiohttp.ClientSession) -> dict[str, Any]:
        try:
            async with http.get(f"http://127.0.0.1:{self.ops_port}/readyz") as response:
                return await response.json()
        except aiohttp.ClientError:
            return {}

    def _all_linked(self, status: dict[str, Any]) -> bool:
        count = max(1, self.workers)
        return any(part["detail"] == f"{count} of {count} serving" for part in status["components"])

    async def stop(self, number: int = signal.SIGTERM) -> int:
        assert self.process is not None
        if self.process.returncode is None:
            self.process.send_signal(number)
        try:
            async with asyncio.timeout(STOP_S):
                return await self.process.wait()
        except TimeoutError:
            await stacks_dumped(self.process.pid)
            self.process.kill()
            await self.process.wait()
            raise AssertionError(f"not ended after {STOP_S} s") from None

    def log(self) -> str:
        return self.log_path.read_text() if self.log_path.exists() else ""

    def events(self, name: str) -> list[dict[str, Any]]:
        """Return the log lines of one event. The last line may still be being written."""
        whole, _, _ = self.log().rpartition("\n")
        lines = [json.loads(line) for line in whole.splitlines() if line.startswith("{")]
        return [line for line in lines if line.get("event") == name]

    async def logged(self, name: str, *, after: int = 0) -> list[dict[str, Any]]:
        """Return the log lines of one event behind the first `after`, once there are any: they may come late."""
        async with asyncio.timeout(READY_S):
            while len(found := self.events(name)) <= after:  # noqa: ASYNC110 - a file, which tells of nothing
                await asyncio.sleep(0.05)
        return found[after:]

    async def cli(self, *arguments: str) -> tuple[int, str]:
        """Run a `posturegate` command; return its exit code and output."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "gateway",
            *arguments,
            env=self.environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output, _ = await process.communicate()
        return process.returncode or 0, output.decode()

    async def signal_risk(
        self, state: str, *, event: str, serial: str = "SER-ALICE-1", **extra: Any
    ) -> dict[str, Any]:
        """Send what the sensor says through the real webhook; return its answer."""
        body = {
            "serial": serial,
            "host": "alice-mbp",
            "kind": "detection",
            "severity": "high",
            "event": event,
            "condition": "mal-1",
            "title": "Credential stealer found",
            "why": "Somebody may be using your accounts.",
            "actions": ["Call the security team"],
            "state": state,
            "disk": True,
            **extra,
        }
        headers = {"Authorization": f"Bearer {SENSOR_SECRET}"}
        connector = aiohttp.TCPConnector(resolver=LoopbackResolver(), ssl=self.tls)
        async with (
            aiohttp.ClientSession(connector=connector) as http,
            http.post(self.url("/.gate/hooks/edr", "login"), json=body, headers=headers) as response,
        ):
            return {"status": response.status, **await response.json()}


class Person:
    """A browser without a screen: keeps cookies per host, follows redirects, fills in the provider's form."""

    def __init__(self, tls: ssl.SSLContext | bool = True) -> None:
        self.http = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(resolver=LoopbackResolver(), ssl=tls),
            cookie_jar=aiohttp.CookieJar(unsafe=True),
        )

    async def close(self) -> None:
        await self.http.close()

    async def get(self, url: str, *, navigate: bool = True, **options: Any) -> tuple[int, str, str]:
        """Return status, final URL and text; a navigation follows redirects."""
        headers = {"Accept": "text/html", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
        options.setdefault("headers", headers if navigate else {"Accept": "application/json"})
        async with self.http.get(url, allow_redirects=navigate, **options) as response:
            return response.status, str(response.url), await response.text()

    async def sign_in(self, url: str, user: str = "alice") -> tuple[int, str, str]:
        """Open `url`, sign in at the provider when asked, and return where that ended."""
        status, at, text = await self.get(url)
        while "Sign in:" in text and "127.0.0.1" in at:
            data = {"login": user, "password": "any"}
            async with self.http.post(at, data=data, headers={"Accept": "text/html"}) as response:
                status, at, text = response.status, str(response.url), await response.text()
        return status, at, text


@asynccontextmanager
async def running_stack(
    *,
    workers: int = 2,
    extra: str = "",
    starts: bool = True,
    scheme: str = "http",
    login: str = "login.localhost",
) -> AsyncIterator[Stack]:
    """Run everything until the block ends. `login` is the login host that the provider knows."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="gate-")))
        stack.enter_context(shown_on_failure(f"log of the gateway in {folder}", folder / "gate.log"))
        ports = free_ports(3)
        redirect = f"{scheme}://{login}:{ports[0]}/.gate/callback"
        signed_out = f"{scheme}://{login}:{ports[0]}/.gate/signed-out"
        registration = client(redirect, post_logout_redirect_uri=signed_out)
        provider = await stack.enter_async_context(running_provider([registration]))
        made = Stack(folder, provider, ports, workers=workers, extra=extra, scheme=scheme)
        runner = web.AppRunner(made.upstream.application(), handler_cancellation=True, shutdown_timeout=0.1)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        await web.TCPSite(runner, "127.0.0.1", made.app_port).start()
        try:
            if starts:
                await made.start()
            yield made
        finally:
            if made.process is not None:
                await made.stop()


@asynccontextmanager
async def lent(stack: Stack, *conditions: str) -> AsyncIterator[Stack]:
    """Lend a gateway that several tests use to one: what the app got is forgotten before, `conditions` closed after.

    Nobody's sign-in outlives a test, for each has cookies of its own.
    """
    stack.upstream.requests.clear()
    stack.upstream.forms.clear()
    yield stack
    for condition in conditions or ("mal-1",):
        await stack.signal_risk("closed", event=f"over-{uuid.uuid4()}", condition=condition)
