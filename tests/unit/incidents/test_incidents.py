"""How incidents begin, go on and end; and the desk that keeps them, with a store that fails."""

import asyncio
from datetime import UTC, datetime, timedelta
from itertools import count

import msgspec
import pytest

from compliance.model import CompliancePolicy, ComplianceState, FactRule, RiskRule
from compliance.state import evaluate_compliance
from gateway.decision.judge import Interpretation
from gateway.incidents.desk import IncidentDesk
from gateway.incidents.model import Cause, Change, Incident, advance, causes, refused
from gateway.incidents.store import SCHEMA, SqliteIncidentStore, read_incidents
from gateway.incidents.timeline import render
from risk.database import Database, StoreFault
from risk.model import DeviceId, Fact, Finding, Posture, RiskLevel, SensorRules, Severity, SignalType
from risk.scoring import assess

T0 = datetime(2026, 3, 1, 12, tzinfo=UTC)
SENSORS = {"edr": SensorRules(name="edr")}
POLICIES = (
    CompliancePolicy(
        name="laptop",
        rules=(
            RiskRule(name="threat", max=RiskLevel.LOW),
            FactRule(name="disk", fact="disk_encrypted", equals=True),
        ),
    ),
)
MALWARE = Cause(key="finding:edr:m1", title="Stealer", sensor="edr", level="high", observed_at=T0)
DISK = Cause(key="rule:laptop/disk", title="Disk", sensor="edr", observed_at=T0)
CHANGE = Change(
    sensor="edr", received_at=T0 + timedelta(seconds=2), durable_in_s=0.003, enforced_in_s=0.005,
    cuts={"notes": 2}, by_worker={"w1": 0.001},
)  # fmt: skip


def at(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


def finding(name: str, level: Severity) -> Finding:
    return Finding(
        sensor="edr", external_id=name, type=SignalType.DETECTION, level=level, is_open=True, observed_at=T0,
        received_at=T0, first_observed_at=T0, title=name,
    )  # fmt: skip


def posture(*findings: Finding, disk: bool = True) -> Posture:
    fact = Fact(name="disk_encrypted", sensor="edr", value=disk, observed_at=T0, received_at=T0)
    return Posture(
        device_id=DeviceId("dev_1"), name="lt-1", findings={("edr", each.external_id): each for each in findings},
        facts={("edr", "disk_encrypted"): fact}, heard={"edr": T0},
    )  # fmt: skip


def causes_of(made: Posture) -> list[str]:
    risk = assess(made, SENSORS, T0)
    compliance = evaluate_compliance(made, POLICIES, risk=risk, sensors=SENSORS, now=T0)
    return [cause.key for cause in causes(risk, compliance, POLICIES)]


def step(
    known: list[Incident], *present: Cause, change: Change | None = CHANGE, now: datetime = T0
) -> list[Incident]:
    numbers = count(len(known) + 1)
    ids = (f"inc_{number}" for number in numbers)
    options = {"device_id": "dev_1", "device": "lt-1", "change": change, "now": now, "new_ids": ids}
    return list(advance(known, present, **options))


def test_each_finding_above_the_limit_and_each_failed_rule_is_a_cause() -> None:
    assert causes_of(posture()) == []
    bad = posture(
        finding("m1", Severity.HIGH), finding("m2", Severity.LOW), finding("m3", Severity.MEDIUM), disk=False
    )
    assert causes_of(bad) == ["finding:edr:m1", "finding:edr:m3", "rule:laptop/disk"]


def test_a_cause_begins_an_incident_with_what_its_delivery_measured() -> None:
    (begun,) = step([], MALWARE, now=at(2.1))
    assert (begun.device, begun.title, begun.level, begun.cuts) == ("lt-1", "Stealer", "high", {"notes": 2})
    assert (begun.lag_s, begun.durable_in_s, begun.enforced_in_s, begun.is_open) == (2.0, 0.003, 0.005, True)


def test_a_sensor_whose_clock_is_ahead_has_no_negative_lag() -> None:
    (begun,) = step([], Cause(key="k", title="t", observed_at=at(60)))
    assert begun.lag_s == 0.0


def test_an_incident_is_remediated_alone_and_restored_with_the_last_cause() -> None:
    both = step([], MALWARE, DISK)
    (first,) = step(both, DISK, now=at(10))
    assert (first.cause, first.remediated_at, first.restored_at) == (MALWARE.key, CHANGE.received_at, None)
    ended = step([first, both[1]], now=at(20))
    assert [(each.cause, each.restored_at) for each in ended] == [(MALWARE.key, at(20)), (DISK.key, at(20))]
    assert step(both, MALWARE, DISK) == []


def test_a_relapse_before_access_was_restored_takes_the_remediation_back() -> None:
    both = step([], MALWARE, DISK)
    (first,) = step(both, DISK, now=at(10))
    (again,) = step([first, both[1]], MALWARE, DISK, now=at(11))
    assert (again.remediated_at, again.relapses) == (None, 1)


def test_only_the_first_refusal_counts() -> None:
    (begun,) = step([], MALWARE)
    after = refused(begun, at(3), "notes", "AAAA-BBBB")
    assert (after.first_refused_at, after.first_refused_app) == (at(3), "notes")
    assert refused(after, at(4), "wiki", "CCCC-DDDD") is None


def test_a_timeline_shows_no_terminal_codes_of_a_sensor() -> None:
    (begun,) = step([], Cause(key="k", title="\x1b[31mred\nline", sensor="edr"))
    text = render([begun], at(60))
    assert "\x1b" not in text
    assert "open for" in text
    assert render([], at(0)) == "no incident is recorded\n"


def test_time_alone_is_told_as_such() -> None:
    (begun,) = step([], DISK, change=None)
    assert "without a delivery: by time" in render([begun], at(1))


# --- the desk ---------------------------------------------------------------------------------------------------


class Counts:
    def __init__(self) -> None:
        self.began = self.ended = self.open = 0

    def incident_began(self, incident: Incident) -> None:
        self.began += 1

    def incident_ended(self, incident: Incident) -> None:
        self.ended += 1

    def incidents_open(self, number: int) -> None:
        self.open = number


class Rig:
    def __init__(self, database: Database) -> None:
        self.posture = posture(finding("m1", Severity.HIGH))
        self.counts = Counts()
        numbers = count(1)
        self.store = SqliteIncidentStore(database)
        meaning = Interpretation(SENSORS, POLICIES, ComplianceState.NONCOMPLIANT)
        self.desk = IncidentDesk(
            self.store,
            posture=lambda device_id: self.posture if device_id == "dev_1" else None,
            interpretation=lambda: meaning,
            clock=lambda: at(5),
            make_id=lambda: f"inc_{next(numbers)}",
            observer=self.counts,
        )


@pytest.fixture
async def rig(tmp_path):
    database = Database(tmp_path / "state.db", {"incidents": SCHEMA})
    database.start()
    made = Rig(database)
    made.path = tmp_path / "state.db"
    made.desk.start()
    yield made
    await made.desk.stop()
    database.close()


async def test_the_desk_writes_begins_refusals_and_ends(rig: Rig) -> None:
    rig.desk.look(["dev_1", "dev_unknown"], CHANGE)
    await rig.desk.settled()
    rig.desk.refused("dev_1", "notes", "AAAA-BBBB")
    rig.desk.refused(None, "notes", "AAAA-BBBB")
    await rig.desk.settled()
    (found,) = read_incidents(rig.path, most=9, only_open=True)
    assert (found.first_refused_at, found.cuts) == (at(5), {"notes": 2})
    assert (rig.counts.began, rig.counts.open) == (1, 1)
    rig.posture = posture()
    rig.desk.look(["dev_1"], CHANGE)
    await rig.desk.settled()
    assert read_incidents(rig.path, most=9, only_open=True) == []
    assert (rig.counts.ended, rig.counts.open, rig.desk.open_count) == (1, 0, 0)
    assert await rig.store.prune(at(3600), 100) == 1


async def test_a_refusal_that_time_alone_caused_begins_an_incident(rig: Rig) -> None:
    rig.desk.refused("dev_1", "notes", "AAAA-BBBB")
    await rig.desk.settled()
    (found,) = read_incidents(rig.path, most=9)
    assert (found.received_at, found.first_refused_code) == (None, "AAAA-BBBB")


async def test_a_refusal_before_its_delivery_was_seen_through_leaves_the_incident_its_measures(
    rig: Rig,
) -> None:
    """One worker refuses already while another has yet to acknowledge, or while a large delivery is looked through."""
    begun = msgspec.structs.replace(CHANGE, received_at=at(4))
    rig.desk.refused("dev_1", "notes", "AAAA-BBBB")
    await rig.desk.settled()
    rig.desk.look(["dev_1"], msgspec.structs.replace(begun, sensor="mdm"))
    await rig.desk.settled()
    rig.desk.look(["dev_1"], msgspec.structs.replace(begun, received_at=at(6)))
    await rig.desk.settled()
    assert [each.received_at for each in read_incidents(rig.path, most=9)] == [None]
    rig.desk.look(["dev_1"], begun)
    await rig.desk.settled()
    (found,) = read_incidents(rig.path, most=9)
    assert (found.received_at, found.enforced_in_s, found.cuts) == (at(4), CHANGE.enforced_in_s, {"notes": 2})
    assert (found.lag_s, found.first_refused_code, rig.counts.began) == (4.0, "AAAA-BBBB", 1)


async def test_changes_of_a_device_that_wait_are_one_look_at_it(rig: Rig) -> None:
    better = Change(sensor="edr", received_at=at(9), durable_in_s=1.0, enforced_in_s=1.0)
    for change in (CHANGE, better, better):
        rig.desk.look(["dev_1"], change)
    await rig.desk.settled()
    (found,) = read_incidents(rig.path, most=9)
    assert found.enforced_in_s == CHANGE.enforced_in_s


async def test_an_outbreak_is_written_as_it_is_looked_through(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.incidents.desk.MAX_ROWS", 20)
    put, written = rig.store.put, []

    async def counting(incidents) -> None:
        written.append((len(incidents), len(rig.desk._queue)))
        await put(incidents)

    monkeypatch.setattr(rig.store, "put", counting)
    bad = rig.posture
    rig.desk._posture = lambda name: msgspec.structs.replace(bad, device_id=name)
    devices = [f"dev_{number}" for number in range(50)]
    rig.desk.look(devices, CHANGE)
    await rig.desk.settled()
    assert max(count for count, _ in written) <= 20
    assert written[0][1] > 0  # while others have yet to be looked at
    assert {each.device_id for each in read_incidents(rig.path, most=99)} == set(devices)
    assert (rig.counts.open, rig.desk.open_count) == (50, 50)


async def test_what_the_store_did_not_take_is_written_later(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.incidents.desk.RETRY_S", 0.01)
    put, failed = rig.store.put, asyncio.Event()

    async def failing(incidents) -> None:
        monkeypatch.setattr(rig.store, "put", put)
        failed.set()
        raise StoreFault("disk full")

    monkeypatch.setattr(rig.store, "put", failing)
    rig.desk.look(["dev_1"], CHANGE)
    await failed.wait()
    await rig.desk.settled()
    assert len(read_incidents(rig.path, most=9)) == 1


async def test_a_new_desk_goes_on_with_what_was_open(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    rig.desk.look(["dev_1"], CHANGE)
    await rig.desk.settled()
    again = Rig(rig.store._database)
    again.posture = posture()
    await again.desk.load()
    assert again.desk.open_count == 1
    again.desk.start()
    await again.desk.settled()
    await again.desk.stop()
    assert (again.counts.ended, again.desk.open_count) == (1, 0)


async def test_the_queue_is_bounded(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rig.desk._queue, "_most", 2)
    rig.desk.look(["a", "b", "c", "a"])
    assert rig.desk.dropped == 1
    await rig.desk.settled()


def test_a_timeline_is_in_the_order_of_our_own_clock() -> None:
    """One worker may refuse a request before another has acknowledged; the sensor's clock stands apart."""
    began = datetime(2026, 12, 1, 12, tzinfo=UTC)
    incident = Incident(
        id="inc_1", device_id="dev_1", device="laptop", cause="c", title="t", sensor="edr", opened_at=began,
        observed_at=began + timedelta(seconds=9), received_at=began, durable_in_s=0.001, enforced_in_s=1.0,
        first_refused_at=began + timedelta(seconds=0.5), cuts={"notes": 1},
    )  # fmt: skip
    text = render([incident], began)
    steps = (
        "observed by edr",
        "webhook received",
        "durable",
        "first request refused",
        "enforced",
        "exchanges cut",
    )
    assert sorted(steps, key=text.index) == list(steps)
