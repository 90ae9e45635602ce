"""Deliveries over HTTP: what each answer is, and that nothing is half done."""

import asyncio
import base64
import gzip
import hashlib
import hmac
import json
import time
from collections import Counter
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from aiohttp import web
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from standardwebhooks import Webhook

from gateway.config.schema import Basic, Bearer, Hmac, Sensor, StandardWebhooks
from gateway.feed.hub_side import NotEnforced
from gateway.hub import holding
from gateway.hub import hooks as hooks_module
from gateway.hub.hooks import (
    MAX_SHOWN,
    Hooks,
    SensorConfigFault,
    TokenBucket,
    as_test_event,
    hook_sensor,
    hook_sensors,
)
from gateway.tasks import spawn
from plugins.catalog import Catalog
from plugins.sensors.alertmanager import AlertmanagerSensor
from plugins.sensors.cloudevents import CloudeventsSensor
from plugins.sensors.defender import DefenderSensor
from plugins.sensors.falco import FalcoSensor
from plugins.sensors.fleet import FleetSensor
from plugins.sensors.generic import GenericSensor
from plugins.sensors.ocsf import OcsfSensor
from plugins.sensors.okta import OktaSensor
from plugins.sensors.wazuh import WazuhSensor
from risk.database import StoreFault, StoreOverloaded
from risk.intake import Intake
from risk.memory import MemoryRiskStore
from risk.model import Identifier
from risk.snapshot import RiskState
from risk.values import Secret

SECRET = "whsec_" + "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVo="
OTHER = "whsec_" + "MDEyMzQ1Njc4OUFCQ0RFRkdISUpLTE1OT1A="
BEARER = "bearer-secret-0123456789"
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
CATALOG = Catalog(
    [
        *(GenericSensor(), WazuhSensor(), FleetSensor(), AlertmanagerSensor(), DefenderSensor()),
        *(OktaSensor(), CloudeventsSensor(), FalcoSensor(), OcsfSensor()),
    ]
)
MAPPING = {
    "items": "alerts",
    "device": [{"kind": "serial", "path": "serial"}],
    "level": {"path": "severity"},
    "external_id": "id",
    "event_id": "message",
    "resolves": {"path": "status", "equals": ["closed"]},
}


def sensor(name="edr", **rest):
    given = {
        "name": name,
        "kind": "generic",
        "auth": StandardWebhooks(secrets=(Secret(SECRET),)),
        "options": MAPPING,
        "body_bytes": 10_000,
        "rate": 1000.0,
    }
    return Sensor(**(given | rest))


def alert(number=1, **rest):
    return {"serial": "SN-1", "severity": "high", "id": f"c{number}", "message": f"m{number}"} | rest


class Clock:
    def __init__(self):
        self.now_ns = 10**15

    def __call__(self):
        return self.now_ns


class Rig:
    """The handler in an application of its own, with a worker that counts what it enforced."""

    def __init__(self, client_maker, *sensors):
        self._client_maker = client_maker
        self.state = RiskState()
        self.store = MemoryRiskStore()
        self.intake = Intake(self.state, self.store, clock=lambda: NOW)
        self.begun = []
        self.another = asyncio.Event()
        self.enforced = []
        self.seen = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.asked = asyncio.Event()
        self.fault = None
        self.mono = Clock()
        ready = hook_sensors(sensors or (sensor(),), CATALOG)
        self.hooks = Hooks(
            ready, self.intake, self.enforce, clock=lambda: NOW, mono_ns=self.mono, observe=self.seen.append
        )

    async def enforce(self, devices, received_ns):
        self.asked.set()
        self.begun.append(devices)
        self.another.set()
        await self.gate.wait()
        if self.fault is not None:
            raise self.fault
        self.enforced.append((devices, received_ns))
        self.mono.now_ns += 2_000_000

    async def next_begun(self):
        self.another.clear()
        await self.another.wait()

    async def handle(self, request):
        """As the hub does: who hangs up ends nothing."""
        return await asyncio.shield(spawn(self.hooks.handle(request), name="delivery"))

    async def start(self):
        await self.intake.start()
        application = web.Application()
        application.router.add_route("*", "/.gate/hooks/{sensor}", self.handle)
        self.client = await self._client_maker(application)
        return self

    async def send(
        self, payload, *, to="edr", secret=SECRET, headers=None, message="msg_1", at=NOW, method="POST"
    ):
        body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        signature = Webhook(secret).sign(message, at.replace(tzinfo=None), body.decode("utf-8", "replace"))
        signed = {
            "webhook-id": message,
            "webhook-timestamp": str(int(at.timestamp())),
            "webhook-signature": signature,
        }
        return await self.client.request(
            method, f"/.gate/hooks/{to}", data=body, headers=signed if headers is None else headers
        )

    def findings(self, serial="SN-1"):
        device_id = self.state.resolve([Identifier("serial", serial)])
        return {} if device_id is None else self.state.posture(device_id).findings


@pytest.fixture
async def make(aiohttp_client):
    rigs = []

    async def build(*sensors):
        rigs.append(Rig(aiohttp_client, *sensors))
        return await rigs[-1].start()

    yield build
    for each in rigs:
        each.gate.set()
        await each.intake.stop()


@pytest.fixture
async def rig(make):
    return await make()


async def refused(response, status, code):
    """Check an RFC 9457 answer and return its document."""
    assert response.status == status, await response.text()
    assert response.content_type == "application/problem+json"
    document = await response.json()
    assert {"type", "title", "status", "detail", "instance", "code"} <= set(document)
    assert (document["status"], document["code"]) == (status, code)
    return document


async def test_a_delivery_is_enforced_before_it_is_answered(rig):
    rig.gate.clear()
    sending = asyncio.ensure_future(rig.send({"alerts": [alert(1), alert(2)]}))
    await rig.asked.wait()
    assert len(rig.findings()) == 2
    assert not sending.done(), "durable and known, but not enforced yet"
    rig.gate.set()
    response = await sending
    assert response.status == 200
    answer = await response.json()
    assert answer.pop("delivery") == rig.seen[0].id
    assert answer == {
        "accepted": 2,
        "duplicates": 0,
        "rejected": [],
        "rejected_count": 0,
        "ignored": 0,
        "enforced": True,
        "devices": 1,
        "users": 0,
        "parked": 0,
        "enforced_in_ms": 2.0,
        "id": "msg_1",
    }
    assert len(rig.findings()) == 2
    assert rig.seen[-1].verdict == "accepted"


async def test_the_first_byte_is_what_a_worker_said(rig):
    early = rig.mono.now_ns - 5_000_000
    body = json.dumps({"alerts": [alert()]}).encode()
    signature = Webhook(SECRET).sign("m", NOW.replace(tzinfo=None), body.decode())
    headers = {
        "webhook-id": "m",
        "webhook-timestamp": str(int(NOW.timestamp())),
        "webhook-signature": signature,
        "X-Gate-Received": str(early),
    }
    answer = await (await rig.send(body, headers=headers)).json()
    assert answer["enforced_in_ms"] == 7.0
    assert rig.enforced[0][1] == early


@pytest.mark.parametrize("claim", ["-1", "x", "99999999999999999999999", "1", "\u0664"])
async def test_an_incredible_first_byte_is_not_believed(rig, claim):
    body = json.dumps({"alerts": [alert()]}).encode()
    signature = Webhook(SECRET).sign("m", NOW.replace(tzinfo=None), body.decode())
    headers = {
        "webhook-id": "m",
        "webhook-timestamp": str(int(NOW.timestamp())),
        "webhook-signature": signature,
        "X-Gate-Received": claim,
    }
    assert (await (await rig.send(body, headers=headers)).json())["enforced_in_ms"] == 2.0


async def test_a_wrong_signature_tells_what_was_received_and_stores_nothing(rig):
    body = json.dumps({"alerts": [alert()]}).encode()
    response = await rig.send(body, secret=OTHER)
    document = await refused(response, 401, "credential-mismatch")
    assert document["received"] == {"bytes": len(body), "sha256": hashlib.sha256(body).hexdigest()}
    assert response.headers["WWW-Authenticate"] == "Standard-Webhooks"
    assert rig.findings() == {}
    assert await rig.store.dead_letters(None, 10) == []
    assert rig.enforced == []


async def test_an_unsigned_delivery_is_refused(rig):
    await refused(await rig.send({"alerts": []}, headers={}), 401, "credential-missing")


async def test_a_repeated_signature_header_is_refused(rig):
    body = json.dumps({"alerts": [alert()]}).encode()
    signature = Webhook(SECRET).sign("m", NOW.replace(tzinfo=None), body.decode())
    headers = [
        ("webhook-id", "m"),
        ("webhook-timestamp", str(int(NOW.timestamp()))),
        ("webhook-signature", signature),
        ("webhook-signature", signature),
    ]
    await refused(await rig.send(body, headers=headers), 401, "credential-repeated")


async def test_a_clock_that_is_off_is_refused(rig):
    await refused(
        await rig.send({"alerts": [alert()]}, at=NOW - timedelta(seconds=301)),
        401,
        "timestamp-outside-tolerance",
    )


async def test_bearer_senders(make):
    rig = await make(
        sensor(auth=Bearer(secrets=(Secret(BEARER), Secret("next-secret-0123456789")))),
        sensor("own", auth=Bearer(secrets=(Secret(BEARER),), header="X-Sensor-Key")),
    )
    for secret in (BEARER, "next-secret-0123456789"):
        response = await rig.send({"alerts": [alert()]}, headers={"Authorization": f"Bearer {secret}"})
        assert response.status == 200
    assert (await rig.send({"alerts": [alert()]}, to="own", headers={"x-sensor-key": BEARER})).status == 200
    wrong = await rig.send({"alerts": [alert()]}, headers={"Authorization": "Bearer wrong"})
    await refused(wrong, 401, "credential-mismatch")
    assert wrong.headers["WWW-Authenticate"] == "Bearer"


async def test_an_unknown_sensor_is_not_found_and_becomes_no_label(rig):
    await refused(await rig.send({"alerts": []}, to="nobody"), 404, "no-such-sensor")
    assert rig.seen[-1].sensor == ""


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "OPTIONS"])
async def test_only_post_is_taken(rig, method):
    response = await rig.send({"alerts": []}, method=method)
    await refused(response, 405, "method-not-allowed")
    assert response.headers["Allow"] == "POST"


async def test_a_body_that_is_too_large_is_refused(rig):
    await refused(await rig.send({"alerts": ["x" * 20_000]}), 413, "body-too-large")


async def test_a_body_without_a_length_is_cut_off_at_the_limit(rig):
    sent = 0

    async def endless():
        nonlocal sent
        while sent < 5_000_000:
            sent += 4096
            yield b" " * 4096

    response = await rig.client.post("/.gate/hooks/edr", data=endless())
    await refused(response, 413, "body-too-large")


async def test_an_encoded_body_is_refused(rig):
    response = await rig.send({"alerts": []}, headers={"Content-Encoding": "gzip"})
    await refused(response, 415, "body-encoded")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "body-empty"),
        (b"{", "body-not-json"),
        (b"\xff\xfe", "body-not-utf8"),
        (b'{"a":1,"a":2}', "duplicate-key"),
        (b'{"a":NaN}', "number-not-finite"),
        (b"[" * 5000 + b"]" * 5000, "too-deep"),
    ],
)
async def test_an_unreadable_body_is_kept_as_a_dead_letter(make, body, code):
    rig = await make(sensor(body_bytes=100_000, auth=Bearer(secrets=(Secret(BEARER),))))
    await refused(await rig.send(body, headers={"Authorization": f"Bearer {BEARER}"}), 400, code)
    (letter,) = await rig.store.dead_letters("edr", 10)
    assert (letter.reason, letter.body) == (code, body)
    assert rig.enforced == []


async def test_some_bad_items_are_reported_beside_the_good_ones(rig):
    response = await rig.send({"alerts": [alert(1), {"serial": "0000"}, {"nothing": 1}, alert(2)]})
    answer = await response.json()
    assert (response.status, answer["accepted"], answer["enforced"]) == (200, 2, True)
    assert [(each["index"], each["code"]) for each in answer["rejected"]] == [
        (1, "condition-missing"),
        (2, "condition-missing"),
    ]
    assert len(await rig.store.dead_letters("edr", 10)) == 2


async def test_of_many_bad_items_an_answer_lists_the_first_and_counts_all(rig):
    items = [alert(1), *({"nothing": n} for n in range(250))]
    for body, name in (({"alerts": items}, "rejected"), (as_test_event([{"alerts": items}]), "would_reject")):
        answer = await (await rig.send(body)).json()
        assert [each["index"] for each in answer[name]] == list(range(1, MAX_SHOWN + 1))
        assert answer[f"{name}_count"] == 250
    document = await refused(await rig.send({"alerts": items[1:]}), 422, "nothing-usable")
    assert (len(document["rejected"]), document["rejected_count"]) == (MAX_SHOWN, 250)
    assert len(await rig.store.dead_letters("edr", 1000)) == 500


async def test_junk_identifiers_name_no_device(rig):
    response = await rig.send({"alerts": [alert(1), alert(2, serial="0000-0000")]})
    assert [(each["index"], each["code"]) for each in (await response.json())["rejected"]] == [
        (1, "no-device")
    ]


async def test_a_delivery_without_a_usable_item_is_refused_and_kept(rig):
    document = await refused(await rig.send({"alerts": [{"nothing": 1}]}), 422, "nothing-usable")
    assert [each["code"] for each in document["rejected"]] == ["condition-missing"]
    assert len(await rig.store.dead_letters("edr", 10)) == 1
    assert rig.enforced == []


async def test_what_has_no_subject_here_is_no_fault_of_its_sender(make):
    """A retry cannot help. Its operator learns of it: a dead letter that says what was named, to be tried again."""
    rig = await make(sensor(kind="ocsf", options={}))
    finding = {
        "class_uid": 2004,
        "severity_id": 4,
        "finding_info": {"uid": "f-1"},
        "resources": [{"type": "AwsS3Bucket", "uid": "arn:aws:s3:::example"}],
    }
    response = await rig.send(finding)
    answer = await response.json()
    assert (response.status, answer["accepted"], answer["rejected_count"]) == (200, 0, 1)
    assert answer["rejected"][0]["code"] == "no-subject"
    assert "AwsS3Bucket `arn:aws:s3:::example`" in answer["rejected"][0]["error"]
    (letter,) = await rig.store.dead_letters("edr", 10)
    assert letter.reason == "no-subject"
    await refused(await rig.send([finding, {"class_uid": 2004}]), 422, "nothing-usable")


async def test_a_delivery_of_which_everything_is_ignored_is_fine(make):
    rig = await make(sensor(kind="fleet", options={}))
    response = await rig.send({"type": "user_logged_in", "details": {}})
    assert (response.status, (await response.json())["ignored"]) == (200, 1)
    assert rig.enforced == []


async def test_a_retry_is_a_duplicate_and_waits_for_enforcement_too(rig):
    await rig.send({"alerts": [alert()]})
    answer = await (await rig.send({"alerts": [alert()]}, at=NOW + timedelta(seconds=60))).json()
    assert (answer["accepted"], answer["duplicates"], answer["devices"]) == (0, 1, 1)
    assert len(rig.enforced) == 2


async def test_a_delivery_that_is_not_enforced_is_not_acknowledged(rig):
    rig.fault = NotEnforced("worker 2")
    response = await rig.send({"alerts": [alert()]})
    await refused(response, 503, "not-enforced")
    assert response.headers["Retry-After"] == "5"
    rig.fault = None
    answer = await (await rig.send({"alerts": [alert()]})).json()
    assert (answer["duplicates"], answer["enforced"]) == (1, True)


@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [(StoreOverloaded("full"), 429, "overloaded"), (StoreFault("disk"), 503, "store-unavailable")],
)
async def test_a_store_that_cannot_take_it_asks_to_retry(rig, monkeypatch, fault, status, code):
    async def commit(_batch):
        raise fault

    monkeypatch.setattr(rig.store, "commit", commit)
    for body in ({"alerts": [alert()]}, b"{"):
        response = await rig.send(body)
        document = await refused(response, status, code)
        assert response.headers["Retry-After"] == "5"
        assert "disk" not in json.dumps(document)
    assert rig.findings() == {}


async def test_a_flood_is_told_when_to_come_back(make):
    rig = await make(sensor(rate=0.5))
    for number in range(5):
        assert (await rig.send({"alerts": [alert(number)]})).status == 200
    response = await rig.send({"alerts": [alert(9)]})
    await refused(response, 429, "rate-limited")
    assert int(response.headers["Retry-After"]) in {1, 2}
    rig.mono.now_ns += 2 * 10**9
    assert (await rig.send({"alerts": [alert(9)]})).status == 200


async def test_strangers_use_up_nobodys_rate(make):
    rig = await make(sensor(rate=0.1))
    for _ in range(5):
        await refused(await rig.send({"alerts": []}, secret=OTHER), 401, "credential-mismatch")
    assert (await rig.send({"alerts": [alert()]})).status == 200


async def test_a_noisy_sensor_waits_behind_itself_and_not_in_the_way_of_another(make):
    rig = await make(sensor(), sensor("mdm"))
    rig.gate.clear()
    noise = [
        asyncio.ensure_future(
            rig.send({"alerts": [alert(number, serial=f"SN-{number}")]}, message=f"m{number}")
        )
        for number in range(hooks_module.AT_ONCE + 8)
    ]
    while len(rig.begun) < hooks_module.AT_ONCE:
        await rig.next_begun()
    quiet = asyncio.ensure_future(rig.send({"alerts": [alert(serial="SN-Q")]}, to="mdm", message="q"))
    while len(rig.begun) == hooks_module.AT_ONCE:
        await rig.next_begun()
    assert rig.findings("SN-Q"), "the next one that is worked on is the other sensor's"
    rig.gate.set()
    assert {response.status for response in await asyncio.gather(quiet, *noise)} == {200}
    assert len(rig.begun) == hooks_module.AT_ONCE + 9


async def test_sensors_can_be_swapped(rig):
    rig.hooks.swap(hook_sensors((sensor("new"),), CATALOG))
    await refused(await rig.send({"alerts": [alert()]}), 404, "no-such-sensor")
    assert (await rig.send({"alerts": [alert()]}, to="new")).status == 200


async def test_a_sender_that_leaves_in_its_body_is_no_fault_of_ours(rig):
    _, writer = await asyncio.open_connection(rig.client.host, rig.client.port)
    writer.write(b"POST /.gate/hooks/edr HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nhalf")
    await writer.drain()
    await asyncio.sleep(0)
    writer.close()
    async with asyncio.timeout(60):
        while not rig.seen:  # noqa: ASYNC110 - a list of what happened
            await asyncio.sleep(0)
    assert [(each.status, each.verdict) for each in rig.seen] == [(400, "body-cut-off")]


async def test_a_slow_body_ends(rig, monkeypatch):
    monkeypatch.setattr(hooks_module, "BODY_TIMEOUT_S", 0.01)

    async def stuck():
        yield b"{"
        await asyncio.Event().wait()

    response = await rig.client.post("/.gate/hooks/edr", data=stuck())
    await refused(response, 408, "body-timeout")


MANY = 10_000


@pytest.mark.parametrize(
    ("items", "join"),
    [
        ("alerts[*]", lambda rows: b'{"alerts": [' + b",".join(rows) + b"]}"),
        (None, b"\n".join),
    ],
    ids=["envelope", "lines"],
)
async def test_ten_thousand_items_are_one_delivery(make, items, join):
    options = {name: value for name, value in MAPPING.items() if name != "items"}
    if items is not None:
        options["items"] = items
    rig = await make(sensor(options=options, body_bytes=4_000_000))
    rows = [json.dumps(alert(n, serial=f"SN-{n}")).encode() for n in range(MANY)]
    response = await rig.send(join(rows))
    answer = await response.json()
    assert (response.status, answer["accepted"], answer["devices"]) == (200, MANY, MANY)
    [(devices, _)] = rig.enforced
    assert len(devices) == MANY
    assert len(rig.findings("SN-9999")) == 1
    document = await refused(await rig.send(join([*rows, rows[0]])), *TOO_MANY[items])
    assert len(rig.enforced) == 1, document


async def test_what_a_long_body_was_made_into_is_let_go_of_item_by_item(make, monkeypatch):
    """Whoever frees all of it at once holds up everybody else for milliseconds."""
    gone = []

    async def let_go(values):
        gone.append([type(each).__name__ for each in values])

    monkeypatch.setattr(hooks_module, "let_go", let_go)
    rig = await make(sensor(options=MAPPING, body_bytes=4_000_000))
    rows = [alert(n, serial=f"SN-{n}") for n in range(1000)]
    assert (await rig.send({"alerts": rows})).status == 200
    assert (await rig.send({"alerts": rows[:1]})).status == 200
    [kinds] = gone
    assert Counter(kinds) == {"dict": 1 + 1000 + 1000, "Signal": 1000}


TOO_MANY = {
    "alerts": (422, "nothing-usable"),
    "alerts[*]": (422, "nothing-usable"),
    None: (400, "too-many-items"),
}


class Slow:
    """Senders that have sent a part of their body and wait with the rest."""

    def __init__(self, rig):
        self.rig = rig
        self.go_on = asyncio.Event()
        self.sending = []
        self.bytes = 0

    async def _body(self, count):
        yield b"x" * count
        await self.go_on.wait()

    async def send(self, client, count=999, *, is_held=True):
        data = self._body(count)
        headers = {"X-Gate-Client": client}
        self.sending.append(
            asyncio.ensure_future(self.rig.client.post("/.gate/hooks/edr", data=data, headers=headers))
        )
        self.bytes += count * is_held
        while is_held and self.rig.hooks._held.of_strangers < self.bytes:  # noqa: ASYNC110 - read on this loop
            await asyncio.sleep(0)
        return self.sending[-1]

    async def statuses(self):
        self.go_on.set()
        return [(await each).status for each in self.sending]


@pytest.fixture
def small(monkeypatch):
    """Let the bounds be those of whole bodies alone."""
    monkeypatch.setattr(holding, "MAX_NETWORK_BYTES", 0)
    monkeypatch.setattr(holding, "MAX_SENSOR_BYTES", 0)


async def test_what_strangers_hold_is_bounded_by_network_and_costs_no_sensor_anything(make, small):
    """Each of them stays below the size of a body; together they do not exceed what one network may hold."""
    rig = await make(sensor(body_bytes=1000), sensor("other", body_bytes=1000))
    slow = Slow(rig)
    for _ in range(4):
        await slow.send("192.0.2.1")
    response = await (await slow.send("192.0.2.1", is_held=False))
    await refused(response, 429, "overloaded")
    assert int(response.headers["Retry-After"]) > 0
    slow.sending.pop()
    for to in ("edr", "other"):
        assert (await rig.send({"alerts": [alert()]}, to=to)).status == 200, "no sensor pays for it"
    assert rig.hooks._held.by_network == {"192.0.2.1": 4 * 999}
    assert await slow.statuses() == [401] * 4
    assert (rig.hooks._held.by_network, rig.hooks._held.by_sensor, rig.hooks._held.of_strangers) == (
        {},
        {},
        0,
    )


async def test_one_ipv6_machine_is_one_network(make, small):
    rig = await make(sensor(body_bytes=1000))
    slow = Slow(rig)
    for number in range(4):
        await slow.send(f"2001:db8:1:2::{number}")
    await refused(await (await slow.send("2001:db8:1:2:ffff::", is_held=False)), 429, "overloaded")
    slow.sending.pop()
    await slow.send("2001:db8:1:3::1")
    assert await slow.statuses() == [401] * 5


async def test_what_all_strangers_hold_is_bounded(make, small):
    rig = await make(sensor(body_bytes=1000))
    slow = Slow(rig)
    for number in range(32):
        await slow.send(f"192.0.2.{number // 4}", 1000)
    await refused(await (await slow.send("198.51.100.1", 1, is_held=False)), 429, "overloaded")
    slow.sending.pop()
    assert await slow.statuses() == [401] * 32
    assert (await rig.send({"alerts": [alert()]})).status == 200


async def test_what_a_verified_sender_holds_is_bounded_by_sensor(make, small):
    """Deliveries that wait for their enforcement, from as many networks as they like."""
    rig = await make(sensor(body_bytes=1000), sensor("other", body_bytes=1000))
    rig.gate.clear()

    async def send(number, to="edr"):
        payload = {"alerts": [alert(number, serial=f"SN-{number}", pad="x" * 850)]}
        return await rig.send(payload, to=to, message=f"msg_{number}")

    sending = [asyncio.ensure_future(send(number)) for number in range(4)]
    while len(rig.begun) < 4:
        await rig.next_begun()
    await refused(await send(4), 429, "overloaded")
    other = asyncio.ensure_future(send(5, "other"))
    while len(rig.begun) < 5:
        await rig.next_begun()
    assert rig.hooks._held.by_network == {}
    rig.gate.set()
    assert [(await each).status for each in (*sending, other)] == [200] * 5
    assert (await send(6)).status == 200
    assert rig.hooks._held.by_sensor == {}


# --- other schemes, handshakes, overload, compressed bodies ---------------------------------------


def bearer(name="edr", **rest):
    return sensor(name, **({"auth": Bearer(secrets=(Secret(BEARER),)), "options": {}} | rest))


AUTHORIZED = {"Authorization": f"Bearer {BEARER}"}


async def test_senders_with_a_signature_of_their_own(make):
    scheme = Hmac(
        secrets=(Secret(BEARER),),
        signature_header="X-Sig",
        prefix="sha256=",
        message="{timestamp}.{body}",
        timestamp_header="X-Ts",
    )
    rig = await make(sensor(auth=scheme))
    body = json.dumps({"alerts": [alert()]}).encode()
    sent_at = str(int(NOW.timestamp()))
    mac = hmac.new(BEARER.encode(), f"{sent_at}.".encode() + body, hashlib.sha256).hexdigest()
    headers = {"X-Sig": f"sha256={mac}", "X-Ts": sent_at}
    assert (await rig.send(body, headers=headers)).status == 200
    response = await rig.send(body + b" ", headers=headers)
    await refused(response, 401, "credential-mismatch")
    assert response.headers["WWW-Authenticate"] == "HMAC-SHA256"


async def test_senders_with_a_name_and_a_password(make):
    rig = await make(sensor(auth=Basic(secrets=(Secret(BEARER),), username="jamf")))
    right = base64.b64encode(f"jamf:{BEARER}".encode()).decode()
    assert (await rig.send({"alerts": [alert()]}, headers={"Authorization": f"Basic {right}"})).status == 200
    response = await rig.send({"alerts": [alert()]}, headers={})
    await refused(response, 401, "credential-missing")
    assert response.headers["WWW-Authenticate"].startswith("Basic realm=")


async def test_graph_is_told_its_token_as_plain_text(make):
    rig = await make(bearer(kind="defender"))
    response = await rig.client.post("/.gate/hooks/edr", params={"validationToken": "a b+<script>é"})
    assert (response.status, await response.text()) == (200, "a b+<script>é")
    assert response.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert rig.seen[-1].verdict == "handshake-graph"
    for token in ("x" * 1025, "", "a\nb"):
        asked = await rig.client.post("/.gate/hooks/edr", params={"validationToken": token})
        await refused(asked, 400, "token-unreadable")
    await refused(await rig.client.post("/.gate/hooks/edr", json={}), 401, "credential-missing")


async def test_okta_is_answered_with_the_right_credential_only(make):
    rig = await make(bearer(kind="okta"))
    challenge = {"X-Okta-Verification-Challenge": "c-1"}
    response = await rig.client.get("/.gate/hooks/edr", headers=challenge | AUTHORIZED)
    assert (response.status, await response.json()) == (200, {"verification": "c-1"})
    await refused(await rig.client.get("/.gate/hooks/edr", headers=challenge), 401, "credential-missing")
    plain = await rig.client.get("/.gate/hooks/edr", headers=AUTHORIZED)
    await refused(plain, 405, "method-not-allowed")
    assert plain.headers["Allow"] == "POST, GET"


async def test_cloudevents_origins_are_those_of_the_configuration(make):
    options = {"kind": "falco", "origins": ["emitter.example"]}
    rig = await make(bearer(kind="cloudevents", options=options, rate=2.0))

    async def ask(origin, rate=None):
        headers = {"WebHook-Request-Origin": origin} | ({"WebHook-Request-Rate": rate} if rate else {})
        return await rig.client.options("/.gate/hooks/edr", headers=headers)

    for rate, allowed in (("60", "60"), ("9999", "120"), ("x", "120"), (None, "120")):
        response = await ask("Emitter.example", rate)
        assert response.status == 200
        assert response.headers["WebHook-Allowed-Origin"] == "Emitter.example"
        assert response.headers["WebHook-Allowed-Rate"] == allowed
    refusal = await ask("other.example")
    await refused(refusal, 403, "origin-not-allowed")
    assert "WebHook-Allowed-Origin" not in refusal.headers


@pytest.mark.parametrize(
    ("method", "query", "headers", "status"),
    [
        ("POST", {"validationToken": "t"}, {}, 401),
        ("GET", {}, {"X-Okta-Verification-Challenge": "c", **AUTHORIZED}, 405),
        ("OPTIONS", {}, {"WebHook-Request-Origin": "emitter.example"}, 405),
    ],
)
async def test_a_kind_that_knows_no_handshake_answers_none(make, method, query, headers, status):
    rig = await make(bearer(kind="fleet"))
    response = await rig.client.request(method, "/.gate/hooks/edr", params=query, headers=headers)
    assert response.status == status


async def test_handshakes_have_a_rate_of_their_own(make):
    rig = await make(bearer(kind="defender", rate=0.1))
    asked = [await rig.client.post("/.gate/hooks/edr", params={"validationToken": "t"}) for _ in range(51)]
    assert {each.status for each in asked[:50]} == {200}
    await refused(asked[50], 429, "rate-limited")
    response = await rig.send({"value": [{"subscriptionId": "s"}]}, headers=AUTHORIZED)
    assert response.status == 200


async def test_a_change_notification_is_accepted_and_says_that_nobody_fetches(make):
    rig = await make(bearer(kind="defender"))
    payload = {"value": [{"subscriptionId": "s", "clientState": "x", "resource": "users/1"}]}
    response = await rig.send(payload, headers=AUTHORIZED)
    answer = await response.json()
    assert (response.status, answer["accepted"], answer["ignored"]) == (200, 0, 1)
    assert answer["pull_required"] == {"resources": ["users/1"], "configured": False}


async def test_too_much_is_told_as_the_sender_needs_it(make):
    """Alertmanager drops whatever is answered with 4xx, 429 included."""
    rig = await make(bearer(kind="alertmanager", rate=0.1), bearer("falco", kind="falco", rate=0.1))
    for name, status in (("edr", 503), ("falco", 429)):
        await rig.send({}, to=name, headers=AUTHORIZED)
        response = await rig.send({}, to=name, headers=AUTHORIZED)
        await refused(response, status, "rate-limited")
        assert int(response.headers["Retry-After"]) >= 1


# --- delivery services ---------------------------------------------------------------------------

EVENT = {"rule": "x", "priority": "Notice", "hostname": "lt-1", "time": "2026-03-01T09:15:30Z"}


def hose(*records):
    data = [base64.b64encode(json.dumps(each).encode()).decode() for each in records]
    return {"requestId": "r-1", "timestamp": 5, "records": [{"data": each} for each in data]}


async def test_firehose_gets_the_answer_that_it_demands(make):
    """It takes any answer for a failure that does not repeat its id beside a time in milliseconds."""
    scheme = Bearer(secrets=(Secret(BEARER),), header="X-Amz-Firehose-Access-Key")
    rig = await make(bearer(kind="falco", auth=scheme))
    key = {"X-Amz-Firehose-Access-Key": BEARER, "X-Amz-Firehose-Request-Id": "r-1"}
    body = hose(EVENT, EVENT | {"rule": "y"})
    body["records"].append({"data": "%"})
    for accepted, duplicates in ((2, 0), (0, 2)):
        response = await rig.send(body, headers=key)
        assert (response.status, response.content_type) == (200, "application/json")
        answer = await response.json()
        assert (answer["requestId"], answer["timestamp"]) == ("r-1", int(NOW.timestamp() * 1000))
        assert (answer["accepted"], answer["duplicates"]) == (accepted, duplicates)
        assert [(each["index"], each["code"]) for each in answer["rejected"]] == [(2, "data-unreadable")]


@pytest.mark.parametrize(
    ("body", "headers", "status", "code"),
    [
        (b"{", AUTHORIZED, 400, "body-not-json"),
        (hose({"nothing": 1}), AUTHORIZED, 422, "nothing-usable"),
        (hose(*([[]] * 10_001)), AUTHORIZED, 400, "too-many-items"),
        (hose(EVENT), {}, 401, "credential-missing"),
    ],
)
async def test_firehose_is_told_of_a_failure_with_its_id(make, body, headers, status, code):
    rig = await make(bearer(kind="falco", body_bytes=1_000_000))
    response = await rig.send(body, headers={"X-Amz-Firehose-Request-Id": "r-1", **headers})
    document = await refused(response, status, code)
    assert (document["requestId"], document["timestamp"]) == ("r-1", int(NOW.timestamp() * 1000))
    assert document["errorMessage"] == document["detail"]


async def test_what_is_told_in_several_messages_is_joined_without_what_is_around_it(make):
    """Rows of an alert are matched by what they say, which base64 hides."""
    rig = await make(bearer(kind="falco"))
    joined = []

    async def join(sensor, facade, payloads):
        joined.extend(payloads)
        return list(payloads)

    rig.hooks = Hooks(
        hook_sensors((bearer(kind="falco"),), CATALOG),
        rig.intake,
        rig.enforce,
        clock=lambda: NOW,
        mono_ns=rig.mono,
        join=join,
    )
    assert (await rig.send(hose(EVENT), headers=AUTHORIZED)).status == 200
    assert joined == [EVENT]


async def test_no_other_sender_gets_what_firehose_gets(make):
    rig = await make(bearer(kind="falco"))
    answer = await (await rig.send(EVENT, headers=AUTHORIZED)).json()
    assert not {"requestId", "timestamp", "errorMessage"} & set(answer)
    document = await refused(await rig.send(b"{", headers=AUTHORIZED), 400, "body-not-json")
    assert not {"requestId", "timestamp", "errorMessage"} & set(document)


async def test_event_grid_is_told_its_code_once_it_is_verified(make):
    rig = await make(bearer(kind="falco"))
    data = {"validationCode": "c-1", "validationUrl": "https://elsewhere.example/"}
    question = [{"eventType": "Microsoft.EventGrid.SubscriptionValidationEvent", "data": data}]
    response = await rig.send(question, headers=AUTHORIZED)
    assert (response.status, await response.json()) == (200, {"validationResponse": "c-1"})
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert rig.seen[-1].verdict == "handshake-event-grid"
    await refused(await rig.send(question, headers={}), 401, "credential-missing")
    data["validationCode"] = "x" * 1025
    await refused(await rig.send(question, headers=AUTHORIZED), 400, "token-unreadable")


async def test_a_topic_that_wants_to_be_confirmed_is_kept_for_somebody_to_look_at(make):
    rig = await make(bearer(kind="falco"))
    arn = "arn:aws:sns:eu-central-1:111122223333:alerts"
    asked = {
        "Type": "SubscriptionConfirmation",
        "TopicArn": arn,
        "SubscribeURL": "https://sns.example/?Token=t",
    }
    document = await refused(await rig.send(asked, headers=AUTHORIZED), 422, "nothing-usable")
    assert [each["code"] for each in document["rejected"]] == ["subscription-unconfirmed"]
    (letter,) = await rig.store.dead_letters("edr", 10)
    assert json.loads(letter.body) == asked


async def test_a_test_event_of_what_is_in_base64_is_read_as_well(make):
    rig = await make(bearer(kind="falco"))
    response = await rig.send(as_test_event([hose(EVENT)]), headers=AUTHORIZED)
    assert (await response.json())["would_accept"] == 1


COMPRESSED = {"Content-Encoding": "gzip", **AUTHORIZED}


async def sent_compressed(make, body, **rest):
    """Send bytes that the client does not touch; the server inflates nothing, as in the hub."""
    rig = await make(bearer(options=MAPPING, gzip=True, **rest))
    request = rig.client.session.post(
        rig.client.make_url("/.gate/hooks/edr"), data=body, headers=COMPRESSED, compress=False
    )
    return rig, await request


@pytest.fixture
def as_sent(monkeypatch):
    """Let the handler see the body as it was sent: the hub's server is to be told `auto_decompress=False`."""
    original = web.Application._make_handler
    monkeypatch.setattr(
        web.Application,
        "_make_handler",
        lambda self, **rest: original(self, **(rest | {"auto_decompress": False})),
    )


async def test_a_compressed_body_is_read_where_the_sensor_says_so(make, as_sent):
    half = json.dumps({"alerts": [alert()]}).encode()
    for body in (gzip.compress(half), gzip.compress(half[:9]) + gzip.compress(half[9:])):
        _, response = await sent_compressed(make, body)
        assert (response.status, (await response.json())["accepted"]) == (200, 1)


async def test_a_compressed_body_is_read_behind_a_server_that_inflates(make):
    _, response = await sent_compressed(make, gzip.compress(json.dumps({"alerts": [alert()]}).encode()))
    assert (response.status, (await response.json())["accepted"]) == (200, 1)


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (gzip.compress(b" " * 5_000_000, mtime=0), 413, "body-too-large"),
        (gzip.compress(b'{"a": 1}', mtime=0)[:-9], 400, "body-cut-off"),
        (b"\x1f\x8bno gzip at all", 400, "body-not-gzip"),
        (b"not compressed", 400, "body-not-json"),
    ],
    ids=["a bomb", "cut off", "not gzip", "plain"],
)
async def test_a_compressed_body_is_bounded_and_whole(make, as_sent, body, status, code):
    _, response = await sent_compressed(make, body)
    await refused(response, status, code)


@pytest.mark.parametrize("encoding", ["br", "deflate", "gzip, gzip"])
async def test_no_other_encoding_is_read(make, as_sent, encoding):
    rig = await make(bearer(options=MAPPING, gzip=True))
    response = await rig.send(b"{}", headers={"Content-Encoding": encoding, **AUTHORIZED})
    await refused(response, 415, "body-encoded")


async def test_lines_and_mixed_rows_are_numbered_through(make):
    rig = await make(bearer(kind="alertmanager"))
    one = {
        "status": "firing",
        "labels": {"alertname": "A", "hostname": "lt-1", "severity": "page"},
        "startsAt": "2026-02-01T00:00:00Z",
        "fingerprint": "f",
    }
    lines = [{"alerts": [one, {"status": "?"}]}, {"alerts": [one | {"labels": {"alertname": "Watchdog"}}]}]
    body = "\n".join(json.dumps(each) for each in lines).encode()
    answer = await (await rig.send(body, headers=AUTHORIZED)).json()
    assert (answer["accepted"], answer["ignored"]) == (1, 1)
    assert [(each["index"], each["code"]) for each in answer["rejected"]] == [(1, "not-an-alert")]


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"kind": "generik"}, "kind"),
        ({"options": {}}, "options"),
        ({"options": MAPPING | {"level": {"path": "a..b"}}}, "options.level.path"),
        ({"auth": StandardWebhooks(secrets=(Secret("whsec_short"),))}, "auth.secrets"),
        ({"auth": StandardWebhooks(secrets=())}, "auth.secrets"),
        ({"auth": Bearer(secrets=(Secret("short"),))}, "auth.secrets"),
        ({"rate": 0.0}, "rate"),
        ({"auth": Basic(secrets=(Secret("short"),), username="x")}, "auth.secrets"),
        ({"auth": Hmac(secrets=(Secret("short"),), signature_header="X")}, "auth.secrets"),
        ({"kind": "cloudevents", "options": {"kind": "nobody"}}, "options"),
        ({"kind": "cloudevents", "options": {"kind": "cloudevents"}}, "options"),
    ],
)
def test_a_sensor_that_cannot_work_is_refused_at_load(change, path):
    with pytest.raises(SensorConfigFault) as caught:
        hook_sensor(sensor(**change), CATALOG)
    assert caught.value.path == path


def test_a_token_bucket_gives_a_burst_and_then_the_rate():
    bucket = TokenBucket(rate=2.0, burst=3.0, now_ns=0)
    assert [bucket.wait_s(0) for _ in range(4)] == [0.0, 0.0, 0.0, 0.5]
    assert bucket.wait_s(500_000_000) == 0.0
    assert bucket.wait_s(500_000_000) > 0


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=20,
)
KINDS = {
    **{kind: {} for kind in ("wazuh", "fleet", "alertmanager", "defender", "okta", "falco")},
    "generic": MAPPING,
    "cloudevents": {"kind": "falco"},
}


@pytest.mark.parametrize("kind", list(KINDS))
async def test_no_payload_ends_in_a_fault_of_ours(make, kind):
    """Random JSON and random bytes at every kind: each answer is one that is documented."""
    rig = await make(
        sensor(
            kind=kind, options=KINDS[kind], auth=Bearer(secrets=(Secret(BEARER),)), rate=1e9, body_bytes=10**6
        )
    )
    bodies = []

    @given(JSON.map(lambda value: json.dumps(value).encode()) | st.binary(max_size=60))
    @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    def draw(body):
        bodies.append(body)

    draw()
    started = time.process_time()
    for body in bodies:
        response = await rig.send(body, headers={"Authorization": f"Bearer {BEARER}"})
        assert response.status in {200, 400, 422}, (body, await response.text())
        msgspec.json.decode(await response.read())
    assert time.process_time() - started < 60


NAMED = {**MAPPING, "device": [{"kind": "serial", "path": "serial"}, {"kind": "hostname", "path": "host"}]}


def only_named(number, host):
    return {"host": host, "severity": "high", "id": f"c{number}", "message": f"m{number}"}


async def test_an_answer_counts_the_devices_of_which_only_a_name_is_known(make):
    """What is said of them waits: a sender that is told 200 would take it for enforced otherwise."""
    rig = await make(sensor(options=NAMED))
    alerts = [alert(1), only_named(2, "lt-1"), only_named(3, "lt-1"), only_named(4, "lt-2")]
    trial = await (await rig.send(as_test_event([{"alerts": alerts}]))).json()
    assert (trial["would_accept"], trial["would_be_parked"]) == (4, 2)
    assert rig.state.index.parked == 0
    answer = await (await rig.send({"alerts": alerts})).json()
    assert (answer["accepted"], answer["devices"], answer["parked"]) == (4, 3, 2)
    assert [each.parked for each in rig.seen] == [0, 2]
    answer = await (await rig.send({"alerts": alerts[1:2]}, message="msg_2")).json()
    assert (answer["duplicates"], answer["parked"]) == (1, 1)
    answer = await (await rig.send({"alerts": [alert(9)]}, message="msg_3")).json()
    assert (answer["devices"], answer["parked"]) == (1, 0)
