"""Rows of one alert in several messages, in any order, with a restart in between: one detection, fully known."""

import itertools
from datetime import UTC, datetime, timedelta

import pytest

from gateway.deliveries.fragments import MAX_KEYS, MAX_PARTS, SCHEMA, Fragments
from plugins.catalog import SensorFacade
from plugins.contract import Fragment
from plugins.sensors.defender import DefenderSensor
from plugins.sensors.wazuh import WazuhSensor
from risk.database import Database
from risk.folding import as_received, fold
from risk.model import DeviceId, Identifier, Posture, Severity

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
FACADE = SensorFacade(DefenderSensor())
OPTIONS = FACADE.parse_options({})


def row(table, **properties):
    common = {"Timestamp": "2026-03-02T11:59:00Z", "AlertId": "da1", **properties}
    return {"time": "2026-03-02T12:00:00Z", "category": f"AdvancedHunting-{table}", "properties": common}


INFO = row("AlertInfo", Title="Credential theft", Severity="High", Category="CredentialAccess")
MACHINE = row("AlertEvidence", EntityType="Machine", DeviceId="m-1", DeviceName="lt-1.corp.example")
USER = row("AlertEvidence", EntityType="User", AccountUpn="robin@example.com")


class Rig:
    def __init__(self, folder):
        self.path = folder / "state.db"
        self.now = NOW
        self.database = None

    async def start(self):
        if self.database is not None:
            self.database.close()
        self.database = Database(self.path, {"fragments": SCHEMA})
        self.database.start()
        self.fragments = Fragments(self.database, lambda: self.now)
        await self.fragments.load()

    async def signals(self, *payloads):
        joined = await self.fragments.joined("mde", FACADE, payloads)
        read = FACADE.normalize(joined, OPTIONS, sensor="mde", received_at=self.now, headers={})
        assert read.rejections == ()
        return read.signals


@pytest.fixture
async def rig(tmp_path):
    made = Rig(tmp_path)
    await made.start()
    yield made
    made.database.close()


@pytest.mark.parametrize("order", list(itertools.permutations((INFO, MACHINE, USER))))
async def test_messages_in_any_order_make_one_detection(rig, order):
    posture = Posture(device_id=DeviceId("dev_1"))
    for number, each in enumerate(order):
        rig.now = NOW + timedelta(seconds=number)
        for signal in await rig.signals({"records": [each]}):
            (received,) = as_received([signal])
            posture = fold(posture, received)
        await rig.start()
    (finding,) = posture.findings.values()
    assert (finding.level, finding.title, finding.external_id) == (
        Severity.HIGH,
        "Credential theft",
        "alert:da1",
    )


@pytest.mark.parametrize("payloads", [[[INFO, MACHINE]], [INFO, MACHINE], [MACHINE, INFO]])
async def test_rows_of_one_delivery_are_joined_however_they_are_wrapped(rig, payloads):
    given = [{"records": each} if isinstance(each, list) else each for each in payloads]
    signals = await rig.signals(*given)
    assert {(each.level, each.title) for each in signals} == {(Severity.HIGH, "Credential theft")}
    assert {each.device_ids[0] for each in signals} == {Identifier("mde-machine-id", "m-1")}


async def test_the_same_rows_again_are_kept_once(rig):
    for _ in range(3):
        await rig.signals({"records": [INFO, MACHINE]})
    count = await rig.database.read(
        lambda connection: connection.execute("SELECT count(*) FROM delivery_fragment").fetchone()
    )
    assert count == (2,)


async def test_a_fragment_is_forgotten_after_a_day(rig):
    await rig.signals({"records": [INFO]})
    rig.now += timedelta(days=1, seconds=1)
    (signal,) = await rig.signals({"records": [MACHINE]})
    assert signal.level is Severity.UNKNOWN
    await rig.start()
    assert len(rig.fragments._parts) == 1


async def test_another_sensor_sees_nothing_of_it(rig):
    await rig.signals({"records": [INFO]})
    assert await rig.fragments.joined("other", FACADE, [MACHINE]) == [MACHINE]


async def test_a_kind_that_joins_nothing_is_left_alone(rig):
    assert await rig.fragments.joined("w", SensorFacade(WazuhSensor()), [{"a": 1}, 7]) == [{"a": 1}, 7]


async def test_what_waits_is_bounded(rig):
    for number in range(MAX_PARTS + 10):
        await rig.fragments.joined(
            "mde", FACADE, [row("AlertEvidence", EntityType="Ip", RemoteIP=str(number))]
        )
    assert len(rig.fragments._parts["mde", "da1"][1]) == MAX_PARTS
    rows = [row("AlertInfo", AlertId=f"a{number}") for number in range(MAX_KEYS + 5)]
    for start in range(0, len(rows), 1000):
        await rig.fragments.joined("mde", FACADE, [{"records": rows[start : start + 1000]}])
    assert len(rig.fragments._parts) == MAX_KEYS


async def test_what_is_no_json_of_a_row_is_no_fragment(rig):
    for odd in (None, 7, [], {}, {"records": [None, 7, {"category": None}]}, {"records": {}}):
        assert await rig.fragments.joined("mde", FACADE, [odd]) == [odd]


async def test_a_plugin_that_raises_keeps_nothing(rig):
    class Raising(DefenderSensor):
        def fragments(self, payload):
            yield Fragment("k", 1)
            raise KeyError(payload)

    assert await rig.fragments.joined("mde", SensorFacade(Raising()), [INFO]) == [INFO]
