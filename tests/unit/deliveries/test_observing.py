"""What follows from a delivery: its figures, its record, and the change that incidents are given."""

from datetime import UTC, datetime, timedelta

import pytest

from compliance.model import CompliancePolicy, ComplianceState, FactRule
from gateway.canary.builtin import NAME
from gateway.canary.watch import CanaryWatch
from gateway.config.deliveries import Deliveries
from gateway.decision.judge import Interpretation, judge
from gateway.deliveries.log import DeliveryLog
from gateway.deliveries.model import Judged
from gateway.deliveries.observing import DeliveryObserver
from gateway.deliveries.standing import Standings
from gateway.deliveries.store import SCHEMA, DeliveryStore
from gateway.feed.hub_side import Enforcement
from gateway.hub.hooks import Delivery
from gateway.hub.triage import Triage
from gateway.observe.metrics import Metrics
from risk.database import Database
from risk.model import DeviceId, Fact, Posture, SensorRules

NOW = datetime(2026, 12, 1, 12, tzinfo=UTC)
FIRST_BYTE = NOW - timedelta(seconds=2)
DEVICE = DeviceId("dev_1")
MEANING = Interpretation(
    {"edr": SensorRules(name="edr")},
    (CompliancePolicy(name="laptop", rules=(FactRule(name="disk", fact="disk", equals=True),)),),
    ComplianceState.NONCOMPLIANT,
)
BARE = Posture(
    device_id=DEVICE,
    facts={("edr", "disk"): Fact(name="disk", sensor="edr", value=False, observed_at=NOW, received_at=NOW)},
    heard={"edr": NOW},
)
ENFORCED = Enforcement(
    workers=2, cut=3, fenced=("w2",), seconds=0.004, by_worker={"w1": 0.003}, cuts={"notes": 3},
    evaluated_mono_ns=6_000_000,
)  # fmt: skip


def delivery(sensor="edr", **rest):
    given = {
        "status": 202, "verdict": "accepted", "accepted": 2, "secret": 0, "received_at": NOW,
        "first_byte_at": FIRST_BYTE, "received_mono_ns": 1_000_000, "durable_in_s": 0.001, "enforced_in_s": 0.006,
        "enforcement": ENFORCED, "device_ids": frozenset({DEVICE}),
    }  # fmt: skip
    return Delivery(id="d1", sensor=sensor, **given | rest)


class Nothing:
    """No device has anything open."""

    def has_open(self, device_id):
        return False

    def awaits_evidence(self, device_id):
        return False


class Rig:
    def __init__(self, folder, config):
        self.database = Database(folder / "state.db", {"deliveries": SCHEMA})
        self.database.start()
        self.metrics = Metrics()
        self.suspected = []
        self.log = DeliveryLog(
            DeliveryStore(self.database), settings=Deliveries, clock=lambda: NOW,
            judged=lambda: Judged(interpretation=MEANING),
        )  # fmt: skip
        self.standings = Standings(list, lambda _: (0.0, 0.0), lambda: NOW)
        self.observer = DeliveryObserver(
            self.metrics,
            canary=CanaryWatch(config, 1, sessions=list, clock=lambda: NOW, registry=self.metrics.registry),
            triage=Triage(
                posture={DEVICE: BARE}.get,
                interpretation=lambda: MEANING,
                incidents=Nothing(),
                tasks=Nothing(),
                interpret=judge,
                suspected=lambda devices, change: self.suspected.append((list(devices), change)),
                clock=lambda: NOW,
            ),
            standings=lambda: self.standings,
            deliveries=self.log,
            clock=lambda: NOW,
        )

    def figure(self, name, **labels):
        return self.metrics.registry.get_sample_value(f"posturegate_{name}", labels)


@pytest.fixture
async def rig(tmp_path, small_config):
    made = Rig(tmp_path, small_config)
    await made.log._store.load()
    yield made
    made.observer.flush()
    made.database.close()


async def test_a_device_that_may_fail_a_rule_is_looked_at_with_what_the_delivery_brought_about(rig):
    rig.observer.delivered(delivery())
    ((devices, change),) = rig.suspected
    assert devices == [DEVICE]
    assert (change.sensor, change.received_at, change.durable_in_s) == ("edr", FIRST_BYTE, 0.001)
    assert (change.enforced_in_s, change.cuts, change.by_worker) == (0.006, {"notes": 3}, {"w1": 0.003})
    assert change.fenced == ("w2",)


async def test_what_a_delivery_took_is_measured(rig):
    rig.observer.delivered(delivery(duplicates=1, lag_s=4.0))
    rig.observer.answered("edr", "d1", 0.007)
    assert rig.figure("sensor_deliveries_total", sensor="edr", verdict="accepted") == 1
    assert rig.figure("sensor_signals_total", sensor="edr", verdict="accepted") == 2
    assert rig.figure("sensor_signals_total", sensor="edr", verdict="duplicates") == 1
    assert rig.figure("sensor_signals_total", sensor="edr", verdict="rejected") is None
    assert rig.figure("enforcement_seconds_sum", sensor="edr") == 0.006
    assert rig.figure("durable_seconds_sum", sensor="edr") == 0.001
    assert rig.figure("evaluated_seconds_sum", sensor="edr") == 0.005
    assert rig.figure("sensor_lag_seconds_sum", sensor="edr") == 4.0
    assert rig.figure("answered_seconds_sum", sensor="edr") == 0.007
    assert rig.figure("worker_enforcement_seconds_sum", worker="w1") == 0.003
    assert rig.figure("streams_cut_seconds_sum", sensor="edr", app="notes") == 0.006


async def test_a_delivery_that_is_run_again_begins_its_change_now(rig):
    rig.observer.delivered(delivery(again="d0"))
    ((_, change),) = rig.suspected
    assert change.received_at == NOW


async def test_what_was_not_enforced_brought_nothing_about(rig):
    rig.observer.delivered(delivery(status=503, verdict="not-enforced", enforced_in_s=None, enforcement=None))
    assert rig.suspected == [([DEVICE], None)]
    assert rig.figure("enforcement_seconds_count", sensor="edr") is None


@pytest.mark.parametrize(("sensor", "is_kept"), [("edr", True), (NAME, False), ("", False)])
async def test_all_are_counted_and_those_of_sensors_are_kept_but_for_the_canary(rig, sensor, is_kept):
    rig.observer.delivered(delivery(sensor))
    await rig.log.flush()
    assert rig.figure("sensor_deliveries_total", sensor=sensor, verdict="accepted") == 1
    assert (await rig.log.find("d1") is not None) is is_kept
    assert (sensor in rig.standings._heard) is is_kept
