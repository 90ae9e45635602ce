"""Who takes part in the mixed load: the gateway with a sensor of each kind, senders, a person, a product, a watcher."""

import asyncio
import base64
import json
import random
import re
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
from aiohttp import web
from standardwebhooks import Webhook

from plugins.catalog import Catalog
from plugins.contract import Sample
from tests.faults.world import APPS, SECRET, App, Seat, World, new_http, signal_body
from tests.fuzz.mutate import damaged, words_of
from tests.fuzz.target import OPTIONS

WEBHOOK_SECRET = "whsec_" + base64.b64encode(b"a secret of the mixed load, long").decode()
SIGNED = frozenset({"cloudevents", "generic", "jamf", "okta", "sentinelone"})
"""Kinds whose deliveries are signed by Standard Webhooks; the others carry a bearer secret."""

WRITTEN_ON = datetime(2026, 3, 2, tzinfo=UTC)
"""The day of the samples: they are sent as if they were of yesterday, or they would all have expired."""

PULLED = "fleet-pull"
PULLED_HOSTS = 300
PULL_EVERY = "10s"
PERSON = "PERSON-1"
DEVICES = 40
SENDERS = 6
PAUSE_S = 0.25
CUT_S, BACK_S = 60.0, 60.0
WARM_UP_S = 15.0


class MixedApp(App):
    """The app, and the product that is asked."""

    def __init__(self, product: "Product") -> None:
        super().__init__()
        self._product = product

    def application(self) -> web.Application:
        """Return the app with the product's API."""
        application = web.Application()
        application.router.add_get("/api/v1/fleet/hosts", self._product.hosts)
        application.router.add_get("/ws", self.websocket)
        application.router.add_route("*", "/{path:.*}", self.page)
        return application


class MixedWorld(World):
    """A gateway with a sensor of each kind, one of which asks its product for `hosts` hosts."""

    def __init__(self, folder: Path, ports: list[int], workers: int, *, hosts: str, **options: str) -> None:
        super().__init__(folder, ports, workers, **options)
        self.product = Product(int(hosts))
        self.app: App = MixedApp(self.product)

    def write_config(self, **changes: str) -> None:
        """Write the configuration of the checker, with more sensors."""
        super().write_config(**changes)
        self.environment["GATE_WEBHOOK_SECRET"] = WEBHOOK_SECRET
        text = self.config_path.read_text()
        more = [_sensor(kind) for kind in kinds()]
        more.append(
            {
                **_sensor("fleet"),
                "name": PULLED,
                "pull": {
                    "url": f"http://127.0.0.1:{self.app_port}",
                    "token": {"env": "GATE_SENSOR_SECRET"},
                    "interval": PULL_EVERY,
                },
            }
        )
        lines = "".join(f"  - {json.dumps(each)}\n" for each in more)
        self.config_path.write_text(
            text.replace("compliance:\n", f"{lines}deliveries: {{bodies_bytes: 512MiB}}\ncompliance:\n", 1)
        )


def kinds() -> list[str]:
    """Return the kinds that are delivered to."""
    return [kind for kind in Catalog.discover().kinds if kind != "cloudflare"]


def _sensor(kind: str) -> dict[str, Any]:
    signed = {"scheme": "standard-webhooks", "secrets": [{"env": "GATE_WEBHOOK_SECRET"}]}
    bearer = {"scheme": "bearer", "secrets": [{"env": "GATE_SENSOR_SECRET"}]}
    return {
        "name": f"all-{kind}",
        "kind": kind,
        "max_silence": None,
        "rate": 1000,
        "auth": signed if kind in SIGNED else bearer,
        "options": dict(OPTIONS.get(kind, {})),
    }


# --- what is sent -------------------------------------------------------------------------------------------


class Payloads:
    """Makes payloads out of the samples of all kinds."""

    def __init__(self, dice: random.Random) -> None:
        catalog = Catalog.discover()
        self._dice = dice
        self._samples: dict[str, tuple[Sample, ...]] = {
            kind: catalog.sensor(kind).samples for kind in kinds()
        }
        self._words = words_of([each.payload for kind in kinds() for each in self._samples[kind]])
        self._days = (datetime.now(UTC) - timedelta(days=1) - WRITTEN_ON).days

    def one(self) -> tuple[str, Any, dict[str, str]]:
        """Return a kind, a payload of it about some device, and the headers that belong to it."""
        kind = self._dice.choice(list(self._samples))
        sample = self._dice.choice(self._samples[kind])
        values = {each.value for one in sample.expected for each in (*one.device_ids, *(one.user_ids or ()))}
        number = self._dice.randrange(DEVICES)
        text = json.dumps(sample.payload)
        for value in sorted(values, key=len, reverse=True):
            if len(value) > 3 and not value.isdecimal():
                text = text.replace(json.dumps(value), json.dumps(_of_device(value, number)))
        return kind, json.loads(self._today(text)), dict(sample.headers)

    def damaged(self, payload: Any) -> Any:
        """Return the payload with something missing, enormous or of the wrong type."""
        return damaged(payload, self._dice, self._words)

    def _today(self, text: str) -> str:
        """Move the times of the samples' day to yesterday."""
        day = (WRITTEN_ON + timedelta(days=self._days)).strftime("%Y-%m-%d")
        shift = self._days * 86400
        text = text.replace(WRITTEN_ON.strftime("%Y-%m-%d"), day)
        return re.sub(
            r"(?<![\d\w-])(1772[34]\d{5})(\d{3}|\d{6}|\d{9})?(?![\d\w-])",
            lambda match: f"{int(match[1]) + shift}{match[2] or ''}",
            text,
        )


def _of_device(value: str, number: int) -> str:
    """Return the identifier as one of a device of its own, in the same form."""
    name, at, domain = value.partition("@")
    if value.isdecimal():
        return f"{value}{number:02}"
    if at:
        return f"{name}{number}@{domain}"
    return f"{value[:-2]}{number:02x}" if re.fullmatch(r"[0-9a-fA-F-]{16,}", value) else f"{value}x{number}"


class Sending(NamedTuple):
    """One request to be made, and the answers that its sender deserves."""

    sensor: str
    body: bytes
    headers: dict[str, str]
    deserved: frozenset[int]
    is_slow: bool = False


class Senders:
    """Delivers, and notes what was answered."""

    def __init__(self, world: World, seed: int) -> None:
        self._world = world
        self._dice = random.Random(seed)  # noqa: S311 - a run that can be repeated
        self._payloads = Payloads(random.Random(seed + 1))  # noqa: S311
        self._number = 0
        self.statuses: Counter[tuple[str, int]] = Counter()
        self.accepted: set[str] = set()
        self.wrong: list[str] = []

    async def keep(self, stopping: asyncio.Event) -> None:
        """Send one batch after the other."""
        async with new_http(fresh=False) as http:
            while not stopping.is_set():
                batch = list(self._batch())
                self._dice.shuffle(batch)
                for each in batch:
                    await self.send(http, each)
                    await asyncio.sleep(self._dice.random() * PAUSE_S)

    async def send(self, http: aiohttp.ClientSession, sending: Sending) -> None:
        """Send once and note the answer."""
        url = f"http://login.localhost:{self._world.port}/.gate/hooks/{sending.sensor}"
        data: Any = _slowly(sending.body) if sending.is_slow else sending.body
        try:
            async with http.post(
                url, data=data, headers=sending.headers, timeout=aiohttp.ClientTimeout(total=30)
            ) as response:
                status, answer = response.status, await response.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            self.wrong.append(f"{sending.sensor}: {type(error).__name__}: {error}")
            return
        self.statuses[sending.sensor, status] += 1
        if status not in sending.deserved:
            self.wrong.append(f"{sending.sensor}: {status} {answer[:300]!r} for {sending.body[:200]!r}")
        elif status == 200:
            self.accepted.add(json.loads(answer)["delivery"])

    def _batch(self) -> Iterator[Sending]:
        """Yield a few deliveries of one kind: whole ones, copies of them, and such as are refused."""
        taken = frozenset({200, 422})
        for _ in range(self._dice.randint(1, 4)):
            kind, payload, extra = self._payloads.one()
            fate = self._dice.random()
            if fate < 0.1:
                yield self._signed(kind, json.dumps(payload).encode(), extra, frozenset({401}), is_good=False)
                continue
            if fate < 0.2:
                body = json.dumps(self._payloads.damaged(payload)).encode()
                yield self._signed(kind, body, extra, frozenset({200, 400, 422}))
                continue
            if fate < 0.25:
                cut = json.dumps(payload).encode()
                yield self._signed(kind, cut[: len(cut) // 2], extra, frozenset({400, 422, 200}))
                continue
            sending = self._signed(kind, json.dumps(payload).encode(), extra, taken, is_slow=fate > 0.9)
            yield from [sending] * self._dice.choice((1, 1, 1, 2, 3))

    def _signed(
        self,
        kind: str,
        body: bytes,
        extra: dict[str, str],
        deserved: frozenset[int],
        *,
        is_good: bool = True,
        is_slow: bool = False,
    ) -> Sending:
        self._number += 1
        headers = {"content-type": "application/json", **extra}
        if kind in SIGNED:
            now = datetime.now(UTC)
            message = f"msg_{self._number}"
            signature = Webhook(WEBHOOK_SECRET).sign(message, now, body.decode("latin-1"))
            headers |= {
                "webhook-id": message,
                "webhook-timestamp": str(int(now.timestamp())),
                "webhook-signature": signature if is_good else "v1,AAAA" + signature[7:],
            }
        else:
            headers["authorization"] = f"Bearer {SECRET if is_good else SECRET[::-1]}"
        return Sending(f"all-{kind}", body, headers, deserved, is_slow)


async def _slowly(body: bytes) -> AsyncIterator[bytes]:
    step = max(1, len(body) // 8)
    for at in range(0, len(body), step):
        yield body[at : at + step]
        await asyncio.sleep(0.2)


# --- who is affected ----------------------------------------------------------------------------------------


class Person:
    """Somebody with an open WebSocket whose device becomes bad and good again."""

    def __init__(self, world: World, seat: Seat) -> None:
        self._world = world
        self._seat = seat
        self.cuts: list[float] = []
        self.wrong: list[str] = []

    async def keep(self, stopping: asyncio.Event) -> None:
        """Lose and regain access."""
        number = 0
        async with new_http() as http:
            while not stopping.is_set():
                number += 1
                await self._told(http, number, "closed")
                socket = await self._connected(http)
                if socket is None:
                    self.wrong.append(f"round {number}: no access after the lowering answer")
                    continue
                reading = asyncio.ensure_future(_until_closed(socket))
                await asyncio.sleep(2.0)
                if reading.done():
                    self.wrong.append(f"round {number}: the WebSocket ended by itself")
                answered_at = await self._told(http, number, "open")
                try:
                    async with asyncio.timeout(CUT_S):
                        await asyncio.shield(reading)
                    self.cuts.append(time.monotonic() - answered_at)
                except TimeoutError:
                    self.wrong.append(f"round {number}: the WebSocket was not cut")
                    await socket.close()

    async def _told(self, http: aiohttp.ClientSession, number: int, state: str) -> float:
        await self._world.told(http, signal_body(PERSON, f"{state}-{number}", state=state))
        return time.monotonic()

    async def _connected(self, http: aiohttp.ClientSession) -> aiohttp.ClientWebSocketResponse | None:
        app = APPS[0]
        try:
            async with asyncio.timeout(BACK_S):
                return await http.ws_connect(
                    self._world.url("/ws", app), headers={"Cookie": self._seat.cookies[app]}
                )
        except (aiohttp.ClientError, TimeoutError, OSError):
            return None


async def _until_closed(socket: aiohttp.ClientWebSocketResponse) -> None:
    async for _ in socket:
        pass


class Product:
    """A Fleet server that is asked for its hosts, each of which has two new things to tell every time."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.rounds = 0

    async def hosts(self, request: web.Request) -> web.Response:
        """Answer one page."""
        page, size = int(request.query["page"]), int(request.query["per_page"])
        self.rounds += page == 0
        numbers = range(self.count)[page * size : (page + 1) * size]
        return web.json_response({"hosts": [self._host(number) for number in numbers]})

    def _host(self, number: int) -> dict[str, Any]:
        now = datetime.now(UTC).isoformat()
        response = "fail" if (number + self.rounds) % 3 == 0 else "pass"
        return {
            "id": number + 100_000,
            "hostname": f"pulled-{number}",
            "hardware_serial": f"PULLED-{number}",
            "status": "online",
            "os_version": "macOS 15.3",
            "seen_time": now,
            "policy_updated_at": now,
            "policies": [{"id": 7, "name": "Firewall is on", "critical": True, "response": response}],
        }


class Memory:
    """Watches the resident memory of hub and workers."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._began_at = time.monotonic()
        self.samples: list[tuple[float, float]] = []
        self._each: list[float] = []

    async def keep(self, stopping: asyncio.Event) -> None:
        """Look every second."""
        while not stopping.is_set():
            self._each = [self._mib(pid) for pid in self._world.children()]
            self.samples.append((time.monotonic() - self._began_at, sum(self._each)))
            await asyncio.sleep(1.0)

    @property
    def latest(self) -> str:
        """Return what was seen last, of all and of each."""
        return f"{sum(self._each):.1f} MiB ({' + '.join(f'{each:.1f}' for each in self._each)})"

    @staticmethod
    def _mib(pid: int) -> float:
        path = Path(f"/proc/{pid}/statm")
        return int(path.read_text().split()[1]) * 4096 / 2**20 if path.exists() else 0.0

    def parts(self) -> tuple[float, float]:
        """Return the means of the first and the last part of the run, MiB: a minute each, or a third of it."""
        warm = [each for each in self.samples if each[0] >= WARM_UP_S] or self.samples
        length = min(60.0, (warm[-1][0] - warm[0][0]) / 3)
        first = [size for at, size in warm if at <= warm[0][0] + length]
        last = [size for at, size in warm if at >= warm[-1][0] - length]
        return sum(first) / len(first), sum(last) / len(last)
