"""The gateway under test: a configuration, seeded sessions, the real processes, and apps that stamp what they produce.

Sessions are put into the store before the gateway starts: what is tested here begins after the sign-in.
"""

import asyncio
import contextlib
import json
import os
import re
import secrets
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
from aiohttp import web

from compliance.model import User
from gateway.app import SCHEMAS
from gateway.devices.claim import ClaimedDevice
from gateway.sessions.model import HostCookie, Session, cookie_hash, new_cookie, new_session_id
from gateway.sessions.sqlite import SqliteSessionStore
from risk.database import Database
from risk.model import Identifier
from tests.evidence import FAULTHANDLER, shown_on_failure, stacks_dumped
from tests.ports import free_ports
from tests.system.stack import LoopbackResolver

SECRET = "sensor-secret-of-the-checker"
SOON_S = 60.0
"""What comes at once on a quiet machine comes within this on any."""
READY_S = 150.0
STOP_S = 60.0
TICK_S = 0.01
APPS = ("notes", "wiki")

CONFIG = """\
version: 1
public_url: http://login.localhost:{port}
server:
  listen: 127.0.0.1:{port}
  ops: 127.0.0.1:{ops_port}
  workers: {workers}
  run_dir: {folder}/run
  drain: 1s
store: {{url: "sqlite://{folder}/state.db"}}
providers:
  - {{name: corp, issuer: "http://127.0.0.1:9", client_id: gate, client_secret: {{env: GATE_CLIENT_SECRET}}}}
apps:
  - {{name: notes, host: notes.localhost, upstream: "http://127.0.0.1:{app_port}"}}
  - {{name: wiki, host: wiki.localhost, upstream: "http://127.0.0.1:{app_port}"}}
devices:
  - {{from: claim, claim: device_id, kind: serial}}
sensors:
{sensors}
compliance:
  policies:
    - name: laptop
      rules:
        - {{type: risk, name: threat, max: low{grace}}}
{rules}access:
  policies:
    - {{name: staff, decision: allow, when: {{compliance: [compliant, in-grace-period]}}}}
    - {{name: repair, decision: remediate, when: {{compliance: [noncompliant, unknown]}}, reason: "{reason}"}}
{extra}
"""
SENSOR = """\
  - name: {name}
    kind: generic
    rate: 100000
    auth: {{scheme: bearer, secrets: [{{env: GATE_SENSOR_SECRET}}]}}
{max_silence}    options:
      device: [{{kind: serial, path: serial}}]
      type: {{path: kind, table: {{detection: detection, heartbeat: heartbeat}}}}
      level: {{path: severity}}
      event_id: event
      external_id: condition
      title: title
      resolves: {{path: state, equals: [closed]}}
      observed_at: observed
      facts: {{disk: disk}}
{expires}
"""


class Seat(NamedTuple):
    """One signed-in person at one device: the cookie of each app's host."""

    device: str
    session: str
    cookies: dict[str, str]


class App:
    """Stamps every piece with the clock at which it produced it."""

    def __init__(self) -> None:
        self.is_waiting = asyncio.Event()
        self.page_may_end = asyncio.Event()

    def application(self) -> web.Application:
        app = web.Application()
        app.router.add_get("/ws", self.websocket)
        app.router.add_get("/events", self.events)
        app.router.add_get("/bulk", self.bulk)
        app.router.add_get("/bulk-ws", self.bulk_websocket)
        app.router.add_get("/file", self.file)
        app.router.add_get("/slow-page", self.slow_page)
        app.router.add_route("*", "/wait", self.wait)
        app.router.add_route("*", "/{path:.*}", self.page)
        return app

    async def page(self, _request: web.Request) -> web.StreamResponse:
        return web.Response(text=f"{time.monotonic():.6f}")

    async def websocket(self, request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse()
        with contextlib.suppress(ConnectionError):
            await socket.prepare(request)
            while not socket.closed:
                await socket.send_str(f"{time.monotonic():.6f}")
                await asyncio.sleep(TICK_S)
        return socket

    async def events(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        with contextlib.suppress(ConnectionError):
            await response.prepare(request)
            while True:
                await response.write(f"data: {time.monotonic():.6f}\n\n".encode())
                await asyncio.sleep(TICK_S)
        return response

    async def bulk(self, request: web.Request) -> web.StreamResponse:
        """A download that never ends: lines of 1 KiB, as fast as they are taken."""
        response = web.StreamResponse(headers={"Content-Type": "text/plain"})
        with contextlib.suppress(ConnectionError):
            await response.prepare(request)
            while True:
                await response.write(_bulk_line())
                await asyncio.sleep(0.001)
        return response

    async def bulk_websocket(self, request: web.Request) -> web.StreamResponse:
        """The same lines, each in a frame."""
        socket = web.WebSocketResponse()
        with contextlib.suppress(ConnectionError):
            await socket.prepare(request)
            while not socket.closed:
                await socket.send_str(_bulk_line().decode())
                await asyncio.sleep(0.001)
        return socket

    async def file(self, request: web.Request) -> web.StreamResponse:
        """A download that never ends, as a browser saves it."""
        headers = {"Content-Type": "application/zip", "Content-Disposition": 'attachment; filename="a.zip"'}
        response = web.StreamResponse(headers=headers)
        with contextlib.suppress(ConnectionError):
            await response.prepare(request)
            while True:
                await response.write(_bulk_line())
                await asyncio.sleep(TICK_S)
        return response

    async def slow_page(self, request: web.Request) -> web.StreamResponse:
        """A page that ends when `page_may_end` is set."""
        response = web.StreamResponse(headers={"Content-Type": "text/html; charset=utf-8"})
        await response.prepare(request)
        await response.write(b"<!doctype html><p>begun" + b"." * 4096)
        await self.page_may_end.wait()
        await response.write(b"</p>ended")
        return response

    async def wait(self, _request: web.Request) -> web.StreamResponse:
        """Say that a request is here, then neither read its body nor answer it."""
        self.is_waiting.set()
        await asyncio.Event().wait()
        return web.Response()


def _bulk_line() -> bytes:
    return f"{time.monotonic():.6f} ".encode().ljust(1023, b".") + b"\n"


class World:
    """A running gateway."""

    def __init__(self, folder: Path, ports: list[int], workers: int, **options: str) -> None:
        self.folder = folder
        self.app = App()
        self.port, self.ops_port, self.app_port = ports
        self.workers = workers
        self.options = options
        self.config_path = folder / "gate.yaml"
        self.log_path = folder / "gate.log"
        self.process: asyncio.subprocess.Process | None = None
        self.environment = {
            **os.environ,
            **FAULTHANDLER,
            "GATE_CLIENT_SECRET": "unused, for nobody signs in",
            "GATE_SENSOR_SECRET": SECRET,
        }
        self.write_config()

    def write_config(self, **changes: str) -> None:
        """Write the configuration."""
        default = {
            "grace": "", "rules": "", "reason": "first", "extra": "", "max_silence": "null", "expires": "",
        }  # fmt: skip
        values = {**default, **self.options, **changes}
        silence = f"    max_silence: {values['max_silence']}\n" if values["max_silence"] else ""
        expires = f"      expires_after: {values['expires']}\n" if values["expires"] else ""
        sensors = "".join(
            SENSOR.format(name=name, max_silence=silence, expires=expires) for name in ("edr", "mdm")
        )
        fresh = self.config_path.with_suffix(".new")
        fresh.write_text(
            CONFIG.format(
                port=self.port, ops_port=self.ops_port, app_port=self.app_port, workers=self.workers,
                folder=self.folder, sensors=sensors, **values,
            )
        )  # fmt: skip
        fresh.replace(self.config_path)

    async def seat(self, devices: list[str], *, lives: timedelta = timedelta(hours=8)) -> list[Seat]:
        """Put one session per device into the store; the gateway must not run yet."""
        database = Database(self.folder / "state.db", SCHEMAS)
        database.start()
        store, now = SqliteSessionStore(database), datetime.now(UTC)
        seats = []
        for device in devices:
            session = Session(
                id=new_session_id(secrets.token_bytes),
                user=User(provider="corp", issuer="http://127.0.0.1:9", subject=f"user-of-{device}", auth_at=now),
                created_at=now, last_seen_at=now, ends_at=now + lives,
                devices=(ClaimedDevice("device_id", Identifier("serial", device)),),
            )  # fmt: skip
            await store.put(session)
            cookies = {}
            for app in APPS:
                value = new_cookie(secrets.token_bytes)
                cookies[app] = f"gate={value}"
                host = HostCookie(
                    hash=cookie_hash(value), session_id=session.id, host=f"{app}.localhost", created_at=now
                )
                await store.put_cookie(host, replaces=[])
            seats.append(Seat(device, session.id, cookies))
        database.close()
        return seats

    def url(self, path: str, app: str) -> str:
        return f"http://{app}.localhost:{self.port}{path}"

    async def start(self) -> None:
        with self.log_path.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "gateway", "serve", "--config", str(self.config_path),
                env=self.environment, stdout=log, stderr=log,
            )  # fmt: skip
        await self.ready()

    async def ready(self) -> None:
        """Wait until every worker serves."""
        wanted = f"{max(1, self.workers)} of {max(1, self.workers)} serving"
        said = ""
        try:
            async with asyncio.timeout(READY_S), aiohttp.ClientSession() as http:
                while True:
                    if self.process is not None and self.process.returncode is not None:
                        raise AssertionError(f"the gateway ended with {self.process.returncode}")
                    with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                        timeout = aiohttp.ClientTimeout(total=2)
                        async with http.get(
                            f"http://127.0.0.1:{self.ops_port}/readyz", timeout=timeout
                        ) as response:
                            said = await response.text()
                            if wanted in said and response.status == 200:
                                return
                    await asyncio.sleep(0.05)
        except TimeoutError:
            if self.process is not None:
                await stacks_dumped(self.process.pid)
            raise AssertionError(f"not ready after {READY_S} s: {said}") from None

    async def stop(self) -> None:
        if self.process is None or self.process.returncode is not None:
            return
        for pid in (*self.children(), self.process.pid):  # nobody may be left standing still
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
        self.process.terminate()
        try:
            async with asyncio.timeout(STOP_S):
                await self.process.wait()
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

    async def logged(
        self, name: str, are_all: Callable[[list[dict[str, Any]]], bool]
    ) -> list[dict[str, Any]]:
        """Return the events once they are all there: the log is written after what it tells of."""
        async with asyncio.timeout(READY_S):
            while not are_all(found := self.events(name)):  # noqa: ASYNC110 - a file, which tells of nothing
                await asyncio.sleep(0.05)
        return found

    def children(self) -> list[int]:
        """Return the pids of hub and workers."""
        if self.process is None or self.process.returncode is not None:
            return []
        path = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(pid) for pid in path.read_text().split()] if path.exists() else []

    def pids(self, role: str) -> list[int]:
        """Return the pids of `hub` or of the `worker`s."""
        found = []
        for pid in self.children():
            with contextlib.suppress(OSError):
                if f"\0{role}\0" in Path(f"/proc/{pid}/cmdline").read_text():
                    found.append(pid)
        return found

    async def cli(self, *arguments: str) -> tuple[int, str]:
        """Run a `posturegate` command; return its exit code and output."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "gateway", *arguments, env=self.environment,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        output, _ = await process.communicate()
        return process.returncode or 0, output.decode()

    async def deliver(
        self,
        http: aiohttp.ClientSession,
        body: dict[str, Any],
        *,
        sensor: str = "edr",
        within_s: float = SOON_S,
    ) -> int:
        """Deliver once; return the status, 0 when the connection failed or no answer came in time."""
        headers = {"Authorization": f"Bearer {SECRET}"}
        url = f"http://login.localhost:{self.port}/.gate/hooks/{sensor}"
        try:
            async with http.post(
                url, json=body, headers=headers, timeout=aiohttp.ClientTimeout(total=within_s)
            ) as response:
                await response.read()
                return response.status
        except (aiohttp.ClientError, TimeoutError, OSError):
            return 0

    async def told(self, http: aiohttp.ClientSession, body: dict[str, Any], *, sensor: str = "edr") -> None:
        """Deliver as a sensor does: again until the answer is 2xx. A worker that stands still answers nothing."""
        async with asyncio.timeout(90):
            while await self.deliver(http, body, sensor=sensor, within_s=6) // 100 != 2:  # noqa: ASYNC110
                await asyncio.sleep(0.05)


async def metric(world: World, name: str) -> float:
    """Return a metric of the gateway by its name with labels, 0 as long as there is none."""
    async with (
        aiohttp.ClientSession() as http,
        http.get(f"http://127.0.0.1:{world.ops_port}/metrics") as response,
    ):
        text = await response.text()
    found = re.search(rf"^{re.escape(name)} (\S+)$", text, re.MULTILINE)
    return float(found[1]) if found else 0.0


def signal_body(
    device: str, event: str, *, state: str = "open", kind: str = "detection", **extra: Any
) -> dict[str, Any]:
    """Return what the sensor says."""
    return {
        "serial": device, "kind": kind, "severity": "high", "event": event, "condition": "malware",
        "title": "Credential stealer found", "state": state, **extra,
    }  # fmt: skip


def new_http(*, fresh: bool = True) -> aiohttp.ClientSession:
    """Return a client without a memory of its own."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(resolver=LoopbackResolver(), force_close=fresh, limit=0),
        cookie_jar=aiohttp.DummyCookieJar(),
    )


@asynccontextmanager
async def running_world(
    folder: Path, *, workers: int = 2, starts: bool = True, make: type[World] = World, **options: str
) -> AsyncIterator[World]:
    """Run apps, and the gateway if `starts`, until the block ends."""
    world = make(folder, free_ports(3), workers, **options)
    runner = web.AppRunner(
        world.app.application(), handler_cancellation=True, shutdown_timeout=0.1, access_log=None
    )
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", world.app_port, backlog=1024).start()
    try:
        with shown_on_failure(f"log of the gateway in {folder}", world.log_path):
            try:
                if starts:
                    await world.start()
                yield world
            finally:
                await world.stop()
    finally:
        await runner.cleanup()
