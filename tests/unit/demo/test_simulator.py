"""The demo's sensor speaks Standard Webhooks as its reference library reads them, and tells what happened."""

import base64
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web
from standardwebhooks import Webhook

from gateway.demo.browser import Browser
from gateway.demo.loopback import loopback_client, serving
from gateway.demo.people import LAPTOPS
from gateway.demo.simulator import Action, Sensor, SimulatorPage, signed
from tests.ports import free_ports

SECRET = "whsec_" + base64.b64encode(b"0123456789abcdef0123456789abcdef").decode()
SERIAL = next(iter(LAPTOPS))


@dataclass
class Receiver:
    """What a gateway would receive, verified by the reference library."""

    sensor: Sensor
    page_url: str
    payloads: list[dict[str, Any]] = field(default_factory=list)
    status: int = 202

    async def hook(self, request: web.Request) -> web.Response:
        self.payloads.append(Webhook(SECRET).verify(await request.read(), dict(request.headers)))
        return web.json_response({"accepted": 1, "enforced": True}, status=self.status)


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    port, page_port = free_ports(2)
    async with loopback_client() as client:
        sensor = Sensor(hook_url=f"http://127.0.0.1:{port}/hook", secret=SECRET, client=client)
        found = Receiver(sensor, f"http://127.0.0.1:{page_port}")
        app = web.Application()
        app.router.add_post("/hook", found.hook)
        page = SimulatorPage(sensor, app_url="http://app.localhost")
        async with serving(app, port), serving(page.app(), page_port):
            yield found


def events_of(receiver: Receiver) -> list[dict[str, Any]]:
    return receiver.payloads[-1]["data"]["events"]


def test_signature_of_the_specification() -> None:
    """Our signature equals the reference library's."""
    headers = signed(b'{"a":1}', message_id="msg_1", secret=SECRET, at=time.time())
    assert Webhook(SECRET).verify(b'{"a":1}', headers) == {"a": 1}


async def test_start_reports_every_laptop(receiver: Receiver) -> None:
    delivery = await receiver.sensor.report_all()
    assert delivery.is_enforced
    assert delivery.took_s > 0
    assert {event["device"]["serial"] for event in events_of(receiver)} == set(LAPTOPS)


async def test_compromise_and_clean_name_one_condition(receiver: Receiver) -> None:
    """What closes a detection has the id of what opened it."""
    await receiver.sensor.act(SERIAL, Action.COMPROMISE)
    opened = next(event for event in events_of(receiver) if event["kind"] == "detection")
    assert opened["detection"]["status"] == "open"
    await receiver.sensor.act(SERIAL, Action.CLEAN)
    closed = next(event for event in events_of(receiver) if event["kind"] == "detection")
    assert closed["detection"]["status"] == "resolved"
    assert closed["detection"]["id"] == opened["detection"]["id"]
    assert closed["event_id"] != opened["event_id"]


async def test_encryption_is_a_fact(receiver: Receiver) -> None:
    await receiver.sensor.act(SERIAL, Action.DECRYPT)
    assert events_of(receiver)[0]["facts"]["disk_encrypted"] is False


async def test_silence_sends_nothing(receiver: Receiver) -> None:
    assert await receiver.sensor.act(SERIAL, Action.SILENCE) is None
    assert receiver.payloads == []
    await receiver.sensor.report_all()
    assert SERIAL not in {event["device"]["serial"] for event in events_of(receiver)}


async def test_refusal_is_no_enforcement(receiver: Receiver) -> None:
    """An answer that is not a 2xx counts as nothing, whatever its body says."""
    receiver.status = 503
    delivery = await receiver.sensor.act(SERIAL, Action.COMPROMISE)
    assert delivery is not None
    assert not delivery.is_enforced


async def test_no_answer_is_told(receiver: Receiver) -> None:
    receiver.sensor.hook_url = f"http://127.0.0.1:{free_ports(1)[0]}/hook"
    delivery = await receiver.sensor.act(SERIAL, Action.COMPROMISE)
    assert delivery is not None
    assert delivery.status is None


async def test_page_presses_the_buttons(receiver: Receiver) -> None:
    async with Browser() as browser:
        url = f"{receiver.page_url}/act"
        form = {"serial": SERIAL, "action": "compromise"}
        assert (await browser.fetch(url, method="POST", form=form)).status == 303
        page = await browser.navigate(f"{receiver.page_url}/")
    assert "compromised" in page.text
    assert "202 enforced" in page.text


@pytest.mark.parametrize(
    "form", [{"serial": "x", "action": "clean"}, {"serial": SERIAL, "action": "explode"}]
)
async def test_page_refuses_what_it_has_no_button_for(receiver: Receiver, form: dict[str, str]) -> None:
    async with Browser() as browser:
        assert (await browser.fetch(f"{receiver.page_url}/act", method="POST", form=form)).status == 400


async def test_page_refuses_other_sites(receiver: Receiver) -> None:
    async with Browser() as browser:
        answer = await browser.fetch(
            f"{receiver.page_url}/act",
            method="POST",
            form={"serial": SERIAL, "action": "compromise"},
            headers={"Sec-Fetch-Site": "cross-site"},
        )
    assert answer.status == 403
    assert receiver.payloads == []
