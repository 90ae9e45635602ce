"""How sensors stand: silence, rate, quota, which secret, what was wrong last; also for products that are asked."""

from datetime import UTC, datetime, timedelta

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from gateway.config.schema import Bearer, Sensor
from gateway.deliveries.standing import STEP_S, WINDOW_S, Standings
from gateway.hub.hooks import Delivery, hook_sensor
from gateway.pulls.puller import PullStatus
from plugins.catalog import Catalog
from plugins.sensors.wazuh import WazuhSensor
from risk.model import Rejection
from risk.values import Secret

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
CATALOG = Catalog([WazuhSensor()])
SENSOR = hook_sensor(
    Sensor(name="edr", kind="wazuh", auth=Bearer(secrets=(Secret("x" * 32),)), max_silence=3600.0), CATALOG
)


class Rig:
    def __init__(self):
        self.now = NOW
        self.asked = []
        self.standings = Standings(
            lambda: [SENSOR], lambda _name: (200.0, 1999.0), lambda: self.now, lambda: self.asked
        )

    def note(self, verdict="accepted", status=200, **rest):
        given = {"accepted": 1, "secret": 1} if verdict == "accepted" else {}
        delivery = Delivery(
            id="d", sensor="edr", status=status, verdict=verdict, received_at=self.now, **given | rest
        )
        self.standings.note(delivery)

    @property
    def one(self):
        (found,) = self.standings.all()
        return found


@pytest.fixture
def rig():
    return Rig()


def test_a_sensor_that_never_spoke_is_silent(rig):
    assert (rig.one.last_at, rig.one.is_silent) == (None, True)
    rig.standings.load({"edr": NOW - timedelta(minutes=5)})
    assert (rig.one.age_s, rig.one.is_silent) == (300.0, False)


def test_silence_begins_after_max_silence(rig):
    rig.note()
    rig.now += timedelta(seconds=3600)
    assert not rig.one.is_silent
    rig.now += timedelta(seconds=1)
    assert rig.one.is_silent


@pytest.mark.parametrize(
    ("verdict", "status"), [("test", 200), ("handshake-okta", 200), ("credential-mismatch", 401)]
)
def test_what_the_sensor_did_not_say_itself_does_not_count_as_hearing_it(rig, verdict, status):
    rig.note(verdict, status)
    assert rig.one.last_at is None
    assert sum(rig.one.verdicts.values()) == 1


def test_rate_secret_and_the_last_fault(rig):
    for _ in range(30):
        rig.note()
    rig.note("credential-mismatch", 401)
    assert rig.one.rate_per_s == 30 / WINDOW_S
    assert (rig.one.secret, rig.one.last_fault) == (2, "401 credential-mismatch")
    rig.now += timedelta(seconds=WINDOW_S + 1)
    assert rig.one.rate_per_s == 0.0


def test_a_rate_forgets_what_is_older_however_long_deliveries_go_on(rig):
    for _ in range(1000):
        rig.now += timedelta(seconds=STEP_S)
        rig.note()
        rig.note()
    assert rig.one.rate_per_s == 2 / STEP_S
    assert len(rig.standings._heard["edr"]._counts) == WINDOW_S / STEP_S


def test_a_product_that_is_asked_is_heard_although_it_has_nothing_new(rig):
    rig.asked = [PullStatus(sensor="edr", succeeded_at=NOW - timedelta(minutes=1))]
    assert (rig.one.age_s, rig.one.is_silent) == (60.0, False)
    rig.asked = [PullStatus(sensor="edr", fault="refused: 401")]
    assert (rig.one.pull_fault, rig.one.is_silent) == ("refused: 401", True)


def test_metrics(rig):
    registry = CollectorRegistry()
    registry.register(rig.standings)
    rig.note(lag_s=2.5)
    text = generate_latest(registry).decode()
    sample = {"sensor": "edr"}
    assert (
        registry.get_sample_value("posturegate_sensor_last_event_timestamp_seconds", sample)
        == NOW.timestamp()
    )
    assert 'posturegate_sensor_last_lag_seconds{sensor="edr"} 2.5' in text
    assert 'posturegate_sensor_silent{sensor="edr"} 0.0' in text
    assert 'posturegate_sensor_quota_per_second{sensor="edr"} 200.0' in text


def test_what_had_no_subject_is_told_to_the_operator_and_counts_as_heard(rig):
    nobody = Rejection(index=0, code="no-subject", error="names only AwsS3Bucket `b`")
    rig.note(accepted=0, rejected=1, rejections=(nobody,))
    assert (rig.one.last_at, rig.one.verdicts) == (NOW, {"no-subject": 1})
    assert rig.one.last_fault == "no-subject: names only AwsS3Bucket `b`"


def test_devices_that_wait_under_a_name_are_those_of_the_newest_delivery(rig):
    assert rig.one.parked == 0
    rig.note(devices=3, parked=2)
    assert rig.one.parked == 2
    rig.note("credential-mismatch", 401)
    assert rig.one.parked == 2
    rig.note(devices=3)
    assert rig.one.parked == 0
