"""The gateway under load: the real `posturegate serve`, with the demo's provider, and sessions of real sign-ins.

Where a bench needs more people than one can sign in, `seed` writes sessions and devices with the gateway's own stores
before it starts.
"""

import asyncio
import base64
import hashlib
import os
import secrets
import sys
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import aiohttp
import msgspec

from compliance.model import User
from gateway.app import SCHEMAS
from gateway.demo.browser import Browser
from gateway.demo.loopback import loopback_client, serving
from gateway.demo.openid import Client
from gateway.demo.people import LAPTOPS
from gateway.demo.provider import Provider
from gateway.devices.claim import ClaimedDevice
from gateway.sessions.model import HostCookie, Session, new_cookie, new_session_id
from gateway.sessions.sqlite import SqliteSessionStore
from risk.database import Database
from risk.devices import keys_text
from risk.model import DeviceId, Fact, Identifier, Posture
from risk.packing import pack_posture
from risk.sqlite import SqliteRiskStore
from risk.store import Batch, DeviceRow
from tests.bench.machine import command_of, pin
from tests.bench.processes import BenchFault, Processes, Server
from tests.ports import free_ports

APP = "app.localhost"
SENSOR_SECRET = "bench-sensor-secret-of-32-letters"
CLIENT_SECRET = "bench-client-secret"
READY_WITHIN_S = 120.0
_ROWS = 5000

CONFIG = """\
version: 1
public_url: {scheme}://login.localhost:{port}
server:
  listen: 127.0.0.1:{port}
  ops: 127.0.0.1:{ops}
  workers: {workers}
  run_dir: {folder}/run
  drain: 1s
{tls}
  limits: {{connections_per_client: 30000, upstream_connections: 30000}}
store: {{url: "sqlite://{folder}/state.db"}}
providers:
  - {{name: demo, issuer: "{issuer}", client_id: bench, client_secret: {client_secret}}}
apps:
  - {{name: app, host: app.localhost, upstream: "http://127.0.0.1:{upstream}"}}
devices:
  - {{from: claim, claim: device_id, kind: serial}}
sensors:
  - &edr
    name: edr
    kind: generic
    max_silence: 10h
    rate: 10000000
    body_bytes: 16MiB
    auth: {{scheme: bearer, secrets: [{sensor_secret}]}}
    options:
      items: events
      device: [{{kind: serial, path: serial}}]
      type: {{path: kind, table: {{report: heartbeat, detection: detection}}}}
      event_id: id
      external_id: {{path: condition, value: report}}
      level: {{path: severity}}
      title: title
      resolves: {{path: state, equals: [closed]}}
      facts: {{disk_encrypted: disk}}
  - {{<<: *edr, name: mdm}}
compliance:
  policies:
    - name: healthy laptop
      rules:
        - {{type: risk, name: no-active-threat, max: low, title: No active threat}}
        - {{type: fact, name: disk-encrypted, fact: disk_encrypted, equals: true, title: Disk encryption}}
access:
  policies:
    - name: staff on healthy laptops
      decision: allow
      include: {{groups: [staff]}}
      when: {{compliance: [compliant, in-grace-period]}}
    - name: staff have to repair first
      decision: remediate
      include: {{groups: [staff]}}
      when: {{compliance: [noncompliant, unknown]}}
      reason: Your laptop needs attention.
    - name: contractors look, but do not touch
      decision: restrict
      include: {{groups: [contractors]}}
      controls: [read-only, no-downloads]
      reason: Your access is limited.
    - name: admin area for administrators
      decision: block
      exclude: {{groups: [admins]}}
      when: {{paths: [/admin]}}
      reason: The admin area is for administrators.
    - name: admin area with a security key
      decision: step-up
      when: {{paths: [/admin], not_acr: [phr]}}
      step_up: {{acr_values: [phr]}}
      reason: The admin area asks for your security key.
"""


class Setup(msgspec.Struct, frozen=True, kw_only=True):
    """How a gateway is to run. `cores` are the workers', `hub_cores` everybody else's; none: anywhere."""

    upstream: int
    workers: int = 1
    cores: tuple[int, ...] = ()
    hub_cores: tuple[int, ...] = ()
    cert: Path | None = None
    key: Path | None = None


class Gate:
    """A running gateway."""

    def __init__(self, setup: Setup, folder: Path, port: int, ops: int) -> None:
        self.setup = setup
        self.folder = folder
        self.port = port
        self.ops = ops
        self.server: Server | None = None
        self.ready_s = 0.0

    @property
    def scheme(self) -> str:
        """Return `https` with a certificate, else `http`."""
        return "http" if self.setup.cert is None else "https"

    @property
    def cookie_name(self) -> str:
        """Return the name of the session cookie."""
        return "gate" if self.setup.cert is None else "__Host-gate"

    def pids(self) -> list[int]:
        """Return all processes of the gateway: supervisor, hub and workers."""
        return [] if self.server is None else self.server.pids()

    def workers(self) -> list[int]:
        """Return the processes that carry the data path."""
        return [pid for pid in self.pids() if "gateway worker" in command_of(pid)]

    def hub(self) -> list[int]:
        """Return the hub's process."""
        return [pid for pid in self.pids() if "gateway hub" in command_of(pid)]

    def url(self, path: str) -> str:
        """Return a URL of the app for a client that sends `Host` itself."""
        return f"{self.scheme}://127.0.0.1:{self.port}{path}"

    def headers(self, cookie: str, host: str = APP) -> dict[str, str]:
        """Return the headers of a signed-in program."""
        return {"Host": f"{host}:{self.port}", "Cookie": f"{self.cookie_name}={cookie}"}

    @property
    def hook_url(self) -> str:
        """Return the sensor's webhook."""
        return self.hook_of("edr")

    def hook_of(self, sensor: str) -> str:
        """Return the webhook of a sensor; `mdm` is one like `edr`, for benches that need two."""
        return self.url(f"/.gate/hooks/{sensor}")

    def hook_headers(self) -> dict[str, str]:
        """Return the headers of the sensor."""
        return {
            "Host": f"login.localhost:{self.port}",
            "Authorization": f"Bearer {SENSOR_SECRET}",
            "Content-Type": "application/json",
        }

    async def start(self, processes: Processes) -> None:
        """Start the gateway, wait until it serves, and pin its workers. Raises `BenchFault`."""
        began = time.monotonic()
        command: list[str | Path] = [
            sys.executable,
            "-m",
            "gateway",
            "serve",
            "--config",
            self.folder / "gate.yaml",
        ]
        self.server = processes.start("posturegate", command, cores=self.setup.hub_cores)
        await self._ready(began)
        if self.setup.cores:
            pin(self.workers(), self.setup.cores)

    async def _ready(self, began: float) -> None:
        assert self.server is not None
        wanted = f"{self.setup.workers} of {self.setup.workers} serving"
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as http:
            while time.monotonic() - began < READY_WITHIN_S:
                try:
                    async with http.get(f"http://127.0.0.1:{self.ops}/readyz") as answer:
                        if wanted in await answer.text():
                            self.ready_s = time.monotonic() - began
                            return
                except (aiohttp.ClientError, TimeoutError):
                    pass
                if self.server.process.poll() is not None:
                    break
                await asyncio.sleep(0.02)
        raise BenchFault(f"the gateway does not serve:\n{self.server.tail()}")

    async def sign_in(self, person: str = "ana") -> str:
        """Sign a person in at the demo's provider as a browser does; return the app's cookie."""
        async with Browser() as browser:
            await browser.sign_in(f"{self.scheme}://{APP}:{self.port}/1k", person)
            for cookie in browser.jar:
                if cookie.key == self.cookie_name and cookie["domain"] == APP:
                    return cookie.value
        raise BenchFault(f"{person} cannot sign in:\n{self.server.tail() if self.server else ''}")

    async def report(self, events: list[dict[str, object]]) -> None:
        """Send one delivery of the sensor. Raises `BenchFault` unless it is enforced."""
        async with loopback_client() as http:
            url = f"{self.scheme}://login.localhost:{self.port}/.gate/hooks/edr"
            body = msgspec.json.encode({"events": events})
            async with http.post(url, data=body, headers=self.hook_headers()) as answer:
                if answer.status != 200:
                    raise BenchFault(f"the webhook answers {answer.status}: {await answer.text()}")


def report(serial: str) -> dict[str, object]:
    """Return the sensor's word that a laptop is well."""
    return {"kind": "report", "id": secrets.token_hex(8), "serial": serial, "disk": True}


def detection(serial: str, *, is_open: bool) -> dict[str, object]:
    """Return the sensor's word that a laptop is compromised, or clean again."""
    return {
        "kind": "detection",
        "id": secrets.token_hex(8),
        "serial": serial,
        "condition": "malware",
        "severity": "critical",
        "title": "Malware is running",
        "state": "open" if is_open else "closed",
    }


@asynccontextmanager
async def running_gate(
    processes: Processes,
    setup: Setup,
    *,
    seeds: "Seeds | None" = None,
) -> AsyncIterator[Gate]:
    """Run provider and gateway while the context is open; with `seeds`, what they say is there from the start."""
    port, ops, provider_port = free_ports(3)
    folder = processes.folder / f"gate-{port}"
    folder.mkdir(mode=0o700)
    gate = Gate(setup, folder, port, ops)
    issuer = f"http://127.0.0.1:{provider_port}"
    tls = f"  tls: {{certificates: [{{cert: {setup.cert}, key: {setup.key}}}]}}" if setup.cert else ""
    (folder / "gate.yaml").write_text(
        CONFIG.format(
            scheme=gate.scheme, port=port, ops=ops, workers=setup.workers, folder=folder, tls=tls,
            issuer=issuer, client_secret=CLIENT_SECRET, sensor_secret=SENSOR_SECRET,
            upstream=setup.upstream,
        )
    )  # fmt: skip
    if seeds is not None:
        await seeds.plant(folder / "state.db")
    provider = Provider(
        issuer=issuer,
        client=Client("bench", CLIENT_SECRET, f"{gate.scheme}://login.localhost:{port}/.gate/callback"),
        client_name="the bench",
        post_logout_redirect_uris=(),
    )
    async with serving(provider.app(), provider_port):
        await gate.start(processes)
        try:
            if seeds is None:
                await gate.report([report(serial) for serial in LAPTOPS])
            yield gate
        finally:
            if gate.server is not None:
                await asyncio.to_thread(processes.stop, gate.server)


class Seeds:
    """Devices and signed-in people, written by the gateway's own stores before it starts.

    Device `n` has the serial `SER-n`; session `n` is of a person of the staff, on device `n % owners`. `cookies` are
    the sessions' on the app's host.
    """

    def __init__(self, devices: int, sessions: int, *, owners: int | None = None) -> None:
        self.devices = devices
        self.owners = min(owners or devices, devices)
        self.cookies = [new_cookie(os.urandom) for _ in range(sessions)]

    async def plant(self, path: Path) -> None:
        """Write everything to a new database."""
        database = Database(path, SCHEMAS)
        database.start()
        try:
            risk = SqliteRiskStore(database)
            for rows in _batches(self.devices):
                await risk.commit(Batch(devices=[device_row(number) for number in rows]))
            # A gateway in use has filed all but the last of them.
            await risk.file_all()
            sessions = SqliteSessionStore(database)
            for rows in _batches(len(self.cookies)):
                await asyncio.gather(*(self._plant_session(sessions, number) for number in rows))
        finally:
            await asyncio.to_thread(database.close)

    async def _plant_session(self, store: SqliteSessionStore, number: int) -> None:
        now = datetime.now(UTC)
        serial = Identifier("serial", serial_of(number % self.owners))
        user = User(
            provider="demo", issuer="http://127.0.0.1", subject=f"u{number}", name=f"Person {number}",
            email=f"u{number}@demo.example", groups=frozenset({"staff"}), acr="pwd", amr=("pwd",), auth_at=now,
        )  # fmt: skip
        session = Session(
            id=new_session_id(os.urandom), user=user, created_at=now, last_seen_at=now,
            ends_at=now + timedelta(hours=8), devices=(ClaimedDevice("device_id", serial),),
        )  # fmt: skip
        await store.put(session)
        digest = hashlib.sha256(self.cookies[number].encode()).hexdigest()
        await store.put_cookie(HostCookie(hash=digest, session_id=session.id, host=APP, created_at=now))


def serial_of(number: int) -> str:
    """Return the serial number of a seeded device."""
    return f"SER-{number:07}"


def device_row(number: int) -> DeviceRow:
    """Return a healthy device with a serial number, a hostname and two facts."""
    now = datetime.now(UTC)
    identifiers = (Identifier("serial", serial_of(number)), Identifier("hostname", f"lt-{number:07}"))
    device_id = DeviceId("dev_" + base64.b16encode(number.to_bytes(10, "big")).decode().lower())
    facts = {
        ("edr", name): Fact(name=name, sensor="edr", value=value, observed_at=now, received_at=now)
        for name, value in (("disk_encrypted", True), ("os", "Debian 12"))
    }
    posture = Posture(
        device_id=device_id, name=f"lt-{number:07}", identifiers=identifiers, facts=facts, heard={"edr": now}
    )
    return DeviceRow(device_id, keys_text(identifiers), pack_posture(posture))


def _batches(count: int) -> Iterator[Sequence[int]]:
    for start in range(0, count, _ROWS):
        yield range(start, min(start + _ROWS, count))
