"""The sensor of the demo: a page whose buttons send signed webhooks to the gateway, as a real sensor would.

It speaks Standard Webhooks 1.0 over HTTP and knows nothing of the gateway but its URL and the shared secret.
"""

import asyncio
import base64
import hashlib
import hmac
import json
import secrets
import time
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from enum import StrEnum
from http import HTTPStatus
from typing import Any

import aiohttp
import msgspec
from aiohttp import web

from gateway.demo.pages import page
from gateway.demo.people import LAPTOPS, PEOPLE, Laptop
from gateway.tasks import spawn

HEARTBEAT_S = 20.0
MOST_DELIVERIES = 30

DETECTION_TITLE = "Credential-stealing malware is running"
DETECTION_TEXT = (
    "A process read the browser's saved passwords and cookies, "
    "and opened a connection to a known control server."
)
DETECTION_WHY = (
    "Whoever controls this program can use your sign-ins, so everything you can open, they can open too."
)
DETECTION_ACTIONS = (
    "Disconnect from the company network.",
    "Leave the laptop on: the security team removes the program remotely.",
    "Change your password from another device.",
)


class Action(StrEnum):
    """What the buttons do."""

    COMPROMISE = "compromise"
    CLEAN = "clean"
    DECRYPT = "decrypt"
    ENCRYPT = "encrypt"
    SILENCE = "silence"
    SPEAK = "speak"


class LaptopState(msgspec.Struct):
    """What is true of a laptop in the demo's world. `detection` names what runs there, None when clean."""

    laptop: Laptop
    detection: str | None = None
    is_encrypted: bool = True
    is_silent: bool = False


class Delivery(msgspec.Struct, frozen=True):
    """A webhook that was sent, and what came back. `status` None means that no answer came."""

    at: str
    text: str
    status: int | None
    answer: Any
    took_s: float

    @property
    def is_enforced(self) -> bool:
        """Return whether the gateway took the webhook, and says that what follows from it is enforced."""
        is_taken = self.status in {HTTPStatus.OK, HTTPStatus.ACCEPTED}
        return is_taken and isinstance(self.answer, dict) and self.answer.get("enforced") is True


class Sensor:
    """Sends what happens to the laptops to the gateway's webhook."""

    def __init__(self, *, hook_url: str, secret: str, client: aiohttp.ClientSession) -> None:
        self.hook_url = hook_url
        self.laptops = {serial: LaptopState(laptop) for serial, laptop in LAPTOPS.items()}
        self.deliveries: deque[Delivery] = deque(maxlen=MOST_DELIVERIES)
        self._secret = secret
        self._client = client

    async def report_all(self) -> Delivery:
        """Tell the state of every laptop that is not silent, in one delivery."""
        speaking = [state for state in self.laptops.values() if not state.is_silent]
        delivery = await self.send([report(state) for state in speaking], f"{len(speaking)} laptops report")
        self.deliveries.appendleft(delivery)
        return delivery

    async def act(self, serial: str, action: Action) -> Delivery | None:
        """Change the laptop, and report it. Going silent sends nothing and returns None."""
        state = self.laptops[serial]
        name = state.laptop.hostname
        match action:
            case Action.COMPROMISE:
                state.detection = state.detection or f"detection-{secrets.token_hex(4)}"
                events, text = (
                    [report(state), detection(state, state.detection, is_open=True)],
                    f"malware on {name}",
                )
            case Action.CLEAN:
                closed, state.detection = state.detection, None
                events = [report(state)]
                if closed is not None:
                    events.append(detection(state, closed, is_open=False))
                text = f"{name} is clean again"
            case Action.DECRYPT | Action.ENCRYPT:
                state.is_encrypted = action is Action.ENCRYPT
                events, text = (
                    [report(state)],
                    f"disk encryption {'on' if state.is_encrypted else 'off'}: {name}",
                )
            case Action.SILENCE:
                state.is_silent = True
                return None
            case Action.SPEAK:
                events, text = [report(state)], f"{name} reports again"
        state.is_silent = False
        delivery = await self.send(events, text)
        self.deliveries.appendleft(delivery)
        return delivery

    async def send(self, events: list[dict[str, Any]], text: str) -> Delivery:
        """Send one delivery and measure how long its answer takes."""
        body = json.dumps({"type": "demo.events", "timestamp": _now(), "data": {"events": events}}).encode()
        headers = signed(body, message_id=f"msg_{secrets.token_hex(12)}", secret=self._secret, at=time.time())
        return await self.send_raw(body, headers, text)

    async def send_raw(self, body: bytes, headers: dict[str, str], text: str) -> Delivery:
        """Send bytes as they are, and measure from just before the request until the answer is complete."""
        at = datetime.now().astimezone().strftime("%H:%M:%S")
        began = time.monotonic()
        try:
            async with self._client.post(self.hook_url, data=body, headers=headers) as answer:
                raw = await answer.read()
                took = time.monotonic() - began
                return Delivery(at, text, answer.status, _decoded(raw), took)
        except (aiohttp.ClientError, TimeoutError) as error:
            return Delivery(at, text, None, str(error), time.monotonic() - began)

    @asynccontextmanager
    async def beating(self) -> AsyncIterator[None]:
        """Send heartbeats of all laptops that are not silent while the context is open."""
        task = spawn(self._beat(), name="demo-heartbeats")
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(HEARTBEAT_S)
            speaking = [state for state in self.laptops.values() if not state.is_silent]
            delivery = await self.send([report(state) for state in speaking], "heartbeats")
            if not delivery.is_enforced:
                self.deliveries.appendleft(delivery)  # only what went wrong is worth a line


class SimulatorPage:
    """The page with a card and buttons for each laptop."""

    def __init__(self, sensor: Sensor, *, app_url: str) -> None:
        self._sensor = sensor
        self._app_url = app_url

    def app(self) -> web.Application:
        """Return the web app."""
        app = web.Application()
        app.add_routes([web.get("/", self._home), web.post("/act", self._act)])
        return app

    async def _home(self, _request: web.Request) -> web.Response:
        owners = {
            person.laptop.serial: person.name for person in PEOPLE.values() if person.laptop is not None
        }
        return page(
            "simulator.html",
            app_url=self._app_url,
            hook_url=self._sensor.hook_url,
            laptops=[_card(state, owners[serial]) for serial, state in self._sensor.laptops.items()],
            deliveries=[_line(delivery) for delivery in self._sensor.deliveries],
        )

    async def _act(self, request: web.Request) -> web.Response:
        form = await request.post()
        serial, action = form.get("serial"), form.get("action")
        if serial not in self._sensor.laptops or action not in set(Action):
            raise web.HTTPBadRequest(text="no such laptop or action")
        if request.headers.get("Sec-Fetch-Site", "same-origin") not in {"same-origin", "none"}:
            raise web.HTTPForbidden(text="only the simulator's own page may press its buttons")
        await self._sensor.act(str(serial), Action(str(action)))
        return web.Response(status=303, headers={"Location": "/"})


def report(state: LaptopState) -> dict[str, Any]:
    """Return the event in which the sensor tells what it sees of a laptop."""
    return {
        "kind": "report",
        "event_id": f"evt_{secrets.token_hex(8)}",
        "observed_at": _now(),
        "device": {"serial": state.laptop.serial, "hostname": state.laptop.hostname},
        "facts": {"disk_encrypted": state.is_encrypted, "os": state.laptop.system},
    }


def detection(state: LaptopState, name: str, *, is_open: bool) -> dict[str, Any]:
    """Return the event in which the sensor tells that a detection was made, or that it was cleaned up."""
    return {
        "kind": "detection",
        "event_id": f"evt_{secrets.token_hex(8)}",
        "observed_at": _now(),
        "device": {"serial": state.laptop.serial, "hostname": state.laptop.hostname},
        "detection": {
            "id": name,
            "status": "open" if is_open else "resolved",
            "severity": "critical",
            "title": DETECTION_TITLE,
            "description": DETECTION_TEXT,
            "why": DETECTION_WHY,
            "actions": list(DETECTION_ACTIONS),
        },
    }


def signed(body: bytes, *, message_id: str, secret: str, at: float) -> dict[str, str]:
    """Return the headers that sign a body by a `whsec_` secret; `at` is in unix seconds.

    Source: Standard Webhooks 1.0, "signature scheme".
    """
    timestamp = str(int(at))
    key = base64.b64decode(secret.removeprefix("whsec_"))
    content = f"{message_id}.{timestamp}.".encode() + body
    signature = base64.b64encode(hmac.new(key, content, hashlib.sha256).digest()).decode()
    return {
        "Content-Type": "application/json",
        "webhook-id": message_id,
        "webhook-timestamp": timestamp,
        "webhook-signature": f"v1,{signature}",
    }


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _decoded(raw: bytes) -> Any:
    try:
        return json.loads(raw)
    except ValueError:
        return raw.decode(errors="replace")


def _card(state: LaptopState, owner: str) -> dict[str, Any]:
    if state.is_silent:
        kind, text = "warn", "silent"
    elif state.detection is not None:
        kind, text = "bad", "compromised"
    elif not state.is_encrypted:
        kind, text = "warn", "not encrypted"
    else:
        kind, text = "good", "healthy"
    return {
        "serial": state.laptop.serial,
        "hostname": state.laptop.hostname,
        "system": state.laptop.system,
        "owner": owner,
        "kind": kind,
        "state": text,
        "compromised": state.detection is not None,
        "encrypted": state.is_encrypted,
        "silent": state.is_silent,
    }


def _line(delivery: Delivery) -> dict[str, Any]:
    return {
        "at": delivery.at,
        "text": delivery.text,
        "status": delivery.status,
        "enforced": delivery.is_enforced,
        "answer": json.dumps(delivery.answer, indent=2, ensure_ascii=False),
        "took_ms": delivery.took_s * 1000,
    }
