"""A whole world for the demo: configuration, secrets, and everything that the gateway needs around it.

The gateway itself is the real one, started by its own command with the configuration that is written here.
"""

import asyncio
import base64
import os
import secrets
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import aiohttp
import msgspec

from gateway.demo.app import Assertions, DemoApp
from gateway.demo.loopback import LOOPBACK, free_port, loopback_client, serving
from gateway.demo.openid import Client
from gateway.demo.provider import Provider
from gateway.demo.simulator import Sensor, SimulatorPage
from gateway.supervisor import die_with_parent

CLIENT_ID = "posturegate-demo"
SENSOR = "demo-edr"
READY_WITHIN_S = 60.0
STOP_WITHIN_S = 30.0

CONFIG = """\
# The demo's configuration. It was generated, and is gone when the demo ends: copy what you like.
version: 1
public_url: {login_url}

server:
  listen: {loopback}:{port}
  ops: {loopback}:{ops_port}
  workers: 2
  run_dir: {folder}/run
  drain: 1s

store:
  url: sqlite://{folder}/state.db

providers:
  - name: demo
    label: Demo provider
    issuer: {issuer}
    client_id: {client_id}
    client_secret: {{file: {folder}/client-secret}}

apps:
  - name: atlas
    title: Atlas
    host: app.localhost
    upstream: http://{loopback}:{app_port}
    owner: the demo team
  - name: wiki
    title: Wiki
    host: wiki.localhost
    upstream: http://{loopback}:{app_port}
    owner: the demo team

# Which device a request comes from: the provider says so at sign-in.
devices:
  - from: claim
    claim: device_id
    kind: serial

sensors:
  - name: {sensor}
    kind: generic
    max_silence: 2m
    auth:
      scheme: standard-webhooks
      secrets: [{{file: {folder}/sensor-secret}}]
    options:
{options}

risk: {{join_hostnames: true}}

compliance:
  policies:
    - name: healthy laptop
      rules:
        - type: risk
          name: no-active-threat
          max: low
          title: No active threat on this laptop
          why: Somebody who controls your laptop can use everything that you are signed in to.
          fix: |
            1. Leave the laptop on and connected.
            2. Tell the security team; they clean it remotely.
            3. Wait on this page: you are brought back by itself.
        - type: fact
          name: disk-encrypted
          fact: disk_encrypted
          equals: true
          title: Disk encryption
          why: Whoever finds or steals an unencrypted laptop can read everything on it.
          fix: Turn on disk encryption in your system settings, and wait for the next report.

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
      reason: Your laptop needs attention before you can go on.
    - name: contractors look, but do not touch
      decision: restrict
      include: {{groups: [contractors]}}
      controls: [read-only, no-downloads]
      reason: You work on a computer that we do not manage, so your access is limited.
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

SENSOR_OPTIONS = """\
items: data.events
device:
  - {kind: serial, path: device.serial}
  - {kind: hostname, path: device.hostname}
type: {path: kind, table: {report: heartbeat, detection: detection}}
event_id: event_id
external_id: {path: detection.id, value: report}
observed_at: observed_at
level: {path: detection.severity}
title: detection.title
description: detection.description
why: detection.why
actions: ["detection.actions[*]"]
resolves: {path: detection.status, equals: [resolved]}
facts:
  disk_encrypted: facts.disk_encrypted
  os: facts.os
"""


class WorldError(Exception):
    """The demo could not be set up; the text says why."""


class Addresses(msgspec.Struct, frozen=True, kw_only=True):
    """Where everything listens."""

    port: int
    ops_port: int
    provider_port: int
    simulator_port: int
    app_port: int

    @property
    def login_url(self) -> str:
        """Return the gateway's public URL."""
        return f"http://login.localhost:{self.port}"

    @property
    def app_url(self) -> str:
        """Return the first app as browsers reach it."""
        return f"http://app.localhost:{self.port}"

    @property
    def wiki_url(self) -> str:
        """Return the second app as browsers reach it."""
        return f"http://wiki.localhost:{self.port}"

    @property
    def issuer(self) -> str:
        """Return the provider's issuer: the same URL for browsers and for the gateway."""
        return f"http://{LOOPBACK}:{self.provider_port}"

    @property
    def simulator_url(self) -> str:
        """Return the simulator's page."""
        return f"http://{LOOPBACK}:{self.simulator_port}"

    @property
    def ops_url(self) -> str:
        """Return the gateway's operations listener."""
        return f"http://{LOOPBACK}:{self.ops_port}"


def free_addresses(port: int | None = None) -> Addresses:
    """Return addresses that nobody uses now; `port` is the public one if given."""
    ports: set[int] = set()
    while len(ports) < 5:  # noqa: PLR2004 - as many as there are fields
        ports.add(free_port())
    first, *others = ports
    names = ("ops_port", "provider_port", "simulator_port", "app_port")
    return Addresses(port=port or first, **dict(zip(names, others, strict=True)))


class World(msgspec.Struct, frozen=True, kw_only=True):
    """The running demo."""

    addresses: Addresses
    config: Path
    sensor: Sensor
    sensor_secret: str
    log: Path
    gateway: asyncio.subprocess.Process


@asynccontextmanager
async def running_world(addresses: Addresses) -> AsyncIterator[World]:
    """Run provider, app, sensor and the real gateway while the context is open. Raises `WorldError`."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="posturegate-demo-")))
        client_secret = secrets.token_urlsafe(32)
        sensor_secret = "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()
        _write_secret(folder / "client-secret", client_secret)
        _write_secret(folder / "sensor-secret", sensor_secret)
        config = folder / "posturegate.yaml"
        config.write_text(config_text(addresses, folder))

        client = await stack.enter_async_context(loopback_client())
        provider = Provider(
            issuer=addresses.issuer,
            client=Client(CLIENT_ID, client_secret, f"{addresses.login_url}/.gate/callback"),
            client_name="the demo apps",
            post_logout_redirect_uris=(f"{addresses.login_url}/.gate/signed-out",),
        )
        links = {"app": f"{addresses.app_url}/", "wiki": f"{addresses.wiki_url}/"}
        app = DemoApp(Assertions(issuer=addresses.login_url, client=client), links)
        sensor = Sensor(
            hook_url=f"{addresses.login_url}/.gate/hooks/{SENSOR}", secret=sensor_secret, client=client
        )
        page = SimulatorPage(sensor, app_url=f"{addresses.app_url}/")
        for web_app, port in (
            (provider.app(), addresses.provider_port),
            (app.app(), addresses.app_port),
            (page.app(), addresses.simulator_port),
        ):
            await stack.enter_async_context(serving(web_app, port))

        log = folder / "gateway.log"
        gateway = await stack.enter_async_context(_gateway(config, log, addresses, client))
        first = await sensor.report_all()
        if not first.is_enforced:
            raise WorldError(
                f"the gateway did not take the sensor's first report: {first.status} {first.answer}"
            )
        await stack.enter_async_context(sensor.beating())
        yield World(
            addresses=addresses,
            config=config,
            sensor=sensor,
            sensor_secret=sensor_secret,
            log=log,
            gateway=gateway,
        )


def config_text(addresses: Addresses, folder: Path) -> str:
    """Return the gateway's configuration, as YAML."""
    return CONFIG.format(
        login_url=addresses.login_url,
        loopback=LOOPBACK,
        port=addresses.port,
        ops_port=addresses.ops_port,
        app_port=addresses.app_port,
        issuer=addresses.issuer,
        client_id=CLIENT_ID,
        folder=folder,
        sensor=SENSOR,
        options="".join(f"      {line}\n" for line in SENSOR_OPTIONS.splitlines()).rstrip(),
    )


@asynccontextmanager
async def _gateway(
    config: Path, log: Path, addresses: Addresses, client: aiohttp.ClientSession
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run `posturegate serve` until the context is left, with its log in a file."""
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "gateway", "serve", "--config", str(config),
            stdin=asyncio.subprocess.DEVNULL, stdout=output, stderr=output,
            start_new_session=True,  # Ctrl-C is ours: we end it in order
            preexec_fn=die_with_parent,  # one system call, and no other thread holds a lock
        )  # fmt: skip
    try:
        # Ready means that hub and workers know of each other; a worker opens the public port a moment later.
        for url in (f"{addresses.ops_url}/readyz", f"{addresses.login_url}/.well-known/gate"):
            await _until_ready(process, log, url, client)
        yield process
    finally:
        await _end(process)


async def _until_ready(
    process: asyncio.subprocess.Process, log: Path, url: str, client: aiohttp.ClientSession
) -> None:
    deadline = time.monotonic() + READY_WITHIN_S
    seen = "nothing listens there yet"
    while time.monotonic() < deadline:
        if process.returncode is not None:
            raise WorldError(f"the gateway ended with {process.returncode}:\n{log_tail(log)}")
        try:
            async with client.get(url) as answer:
                if answer.status == 200:  # noqa: PLR2004 - HTTP
                    return
                seen = f"{answer.status} {await answer.text()}"
        except aiohttp.ClientError as error:
            seen = str(error)
        await asyncio.sleep(0.05)
    raise WorldError(f"the gateway was not ready within {READY_WITHIN_S:.0f} s: {seen}\n{log_tail(log)}")


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        return
    process.terminate()
    try:
        async with asyncio.timeout(STOP_WITHIN_S):
            await process.wait()
    except TimeoutError:
        os.killpg(process.pid, 9)
        await process.wait()


def log_tail(log: Path, lines: int = 30) -> str:
    """Return the last lines of the gateway's log."""
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])


def _write_secret(path: Path, secret: str) -> None:
    path.touch(mode=0o600)
    path.write_text(secret)
