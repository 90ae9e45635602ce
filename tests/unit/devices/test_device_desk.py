"""What an operator does with records: cases, merge, split, override, inventory; durable and enforced."""

from datetime import UTC, datetime, timedelta

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from compliance.model import ComplianceState
from gateway.decision.judge import Interpretation
from gateway.devices.desk import DeskFault, DeviceDesk
from gateway.devices.figures import DeviceFigures
from gateway.devices.inventory import RowFault, rows_of
from risk.builtin import RULES
from risk.database import Database
from risk.intake import Intake
from risk.joining import JoinRules
from risk.model import Identifier, RiskLevel, SensorRules, Severity, Signal, SignalType
from risk.scoring import fact_value
from risk.snapshot import RiskState
from risk.sqlite import SCHEMA, SqliteRiskStore

T0 = datetime(2026, 3, 1, 12, tzinfo=UTC)
SENSORS = {**RULES, "edr": SensorRules(name="edr")}


class Rig:
    def __init__(self, folder):
        self.now = T0
        self.database = Database(folder / "state.db", SCHEMA)
        self.database.start()
        self.enforced = []
        self.numbers = 0
        self.open()

    def open(self):
        self.state = RiskState()
        self.intake = Intake(self.state, SqliteRiskStore(self.database), clock=lambda: self.now)
        meaning = Interpretation(SENSORS, (), ComplianceState.COMPLIANT)
        self.desk = DeviceDesk(self.state, self.intake, self.enforce, lambda: meaning, clock=lambda: self.now)

    async def enforce(self, devices, _received_ns):
        self.enforced.append(devices)

    async def reopen(self):
        await self.intake.stop()
        self.open()
        await self.intake.start()

    async def told(self, *identifiers, condition="c1", level=Severity.HIGH, **rest):
        self.numbers += 1
        signal = Signal(
            sensor="edr",
            type=SignalType.DETECTION,
            observed_at=self.now,
            received_at=self.now,
            external_id=condition,
            event_id=f"e{self.numbers}",
            device_ids=identifiers,
            level=level,
            title=condition,
            **rest,
        )
        return await self.intake.submit("edr", [signal])

    def risk(self, text):
        return self.desk.show(text).risk


@pytest.fixture
async def rig(tmp_path):
    made = Rig(tmp_path)
    await made.intake.start()
    yield made
    await made.intake.stop()
    made.database.close()


def serial(value):
    return Identifier("serial", value)


def machine(value):
    return Identifier("mde-machine-id", value)


async def test_what_two_products_said_is_of_one_device_once_somebody_names_both(rig):
    await rig.told(serial("S1"), condition="a")
    await rig.told(machine("m1"), condition="b")
    one, other = rig.desk.find("S1"), rig.desk.find("m1")
    result = await rig.told(serial("S1"), machine("m1"), condition="c")
    assert {one, other} <= result.changed, "whoever rested on either rests on something else now"
    assert {each.title for each in rig.risk("m1").contributions} == {"a", "b", "c"}
    assert rig.desk.find(other) == one
    await rig.reopen()
    assert rig.desk.find(other) == rig.desk.find("m1") == one
    assert len(rig.state) == 1
    assert {each.title for each in rig.risk("S1").contributions} == {"a", "b", "c"}
    assert len(await rig.intake.history(one, 9)) == 3


async def test_a_device_is_found_by_everything_that_is_shown_of_it(rig):
    """Numbers that a sensor gave out are named with the sensor: without it, they are nobody's."""
    await rig.told(serial("S1"), Identifier("sensor-device-id", "7", "edr"), Identifier("hostname", "lt-1"))
    one = rig.desk.find("S1")
    assert [rig.desk.find(each) for each in ("sensor-device-id@edr=7", "hostname=lt-1", "lt-1", one)] == [
        one
    ] * 4
    for nobody in ("sensor-device-id=7", "sensor-device-id@mdm=7", "serial@edr=", "7"):
        with pytest.raises(DeskFault, match="no device is known"):
            rig.desk.find(nobody)


async def contested(rig):
    await rig.told(serial("S1"), machine("m1"), condition="a", level=Severity.LOW)
    await rig.told(serial("S2"), condition="b", level=Severity.LOW)
    result = await rig.told(serial("S2"), machine("m1"), condition="c", level=Severity.LOW)
    return rig.desk.find("S1"), rig.desk.find("S2"), result


async def test_what_two_devices_claim_makes_both_unknown_until_it_is_settled(rig):
    one, other, result = await contested(rig)
    assert {one, other} <= result.changed
    assert [rig.risk(each).level for each in (one, other)] == [RiskLevel.UNKNOWN, RiskLevel.UNKNOWN]
    assert not rig.risk(one).is_known
    await rig.reopen()
    (case,) = rig.desk.cases()
    assert (case.identifier.value, set(case.claimants)) == ("m1", {one, other})
    assert rig.risk(one).level is RiskLevel.UNKNOWN
    assert {each.id for each in rig.desk.listed(9, contested=True)} == {one, other}
    rig.enforced.clear()
    await rig.desk.settle(machine("m1"), "S2", "it was moved", "uid 0")
    assert {one, other} <= frozenset().union(*rig.enforced)
    assert rig.desk.cases() == []
    assert rig.desk.find("m1") == other
    assert [rig.risk(each).level for each in (one, other)] == [RiskLevel.LOW, RiskLevel.LOW]
    await rig.told(serial("S1"), machine("m1"), condition="d", level=Severity.LOW)
    await rig.reopen()
    assert rig.desk.cases() == [], "settled is settled"


async def test_what_was_told_by_a_contested_identifier_alone_goes_to_its_owner(rig):
    """Its close would come to the new owner, and leave the finding with the old one for ever."""
    one, other, _ = await contested(rig)
    await rig.told(machine("m1"), condition="of-m1")
    assert {each.title for each in rig.risk(one).contributions} == {"a", "of-m1"}
    await rig.desk.settle(machine("m1"), "S2", "it was moved", "uid 0")
    assert {each.title for each in rig.risk(one).contributions} == {"a"}
    assert {each.title for each in rig.risk(other).contributions} == {"b", "c", "of-m1"}
    rig.now += timedelta(minutes=1)
    await rig.told(machine("m1"), condition="of-m1", level=None, resolves=True)
    await rig.reopen()
    assert {each.title for each in rig.risk(other).contributions} == {"b", "c"}


async def test_what_waits_and_what_is_contested_are_figures(rig):
    registry = CollectorRegistry()
    registry.register(DeviceFigures(rig.state))
    await contested(rig)
    await rig.told(Identifier("hostname", "lt-1"))
    text = generate_latest(registry).decode()
    for line in ("posturegate_devices 3.0", "posturegate_devices_parked 1.0", "posturegate_device_cases 1.0"):
        assert line in text


async def test_joins_and_cases_are_told_of(rig):
    told = []
    rig.intake.on_joined = lambda joins, cases: told.extend((*joins, *cases))
    await contested(rig)
    await rig.told(Identifier("hostname", "lt-1"))
    await rig.told(serial("S1"), Identifier("hostname", "lt-1"))
    case, join = told
    assert case.identifier.value == "m1"
    assert (join.kept, join.rule, join.identifier.value) == (rig.desk.find("S1"), "parked", "lt-1")


async def test_what_waits_is_given_to_the_device_that_alone_has_the_name_once_two_are_one(rig):
    name = Identifier("hostname", "lt-1")
    await rig.told(serial("S1"), name, condition="a")
    await rig.told(serial("S2"), name, condition="b")
    await rig.told(name, condition="waits")
    assert len(rig.desk.listed(9, parked=True)) == 1
    await rig.desk.merge("S1", "S2", "a new main board", "uid 0")
    assert rig.desk.listed(9, parked=True) == []
    assert {each.title for each in rig.risk("S1").contributions} == {"a", "b", "waits"}


async def test_an_operator_makes_two_records_one(rig):
    one, other, _ = await contested(rig)
    await rig.desk.merge("S1", "S2", "a new main board", "uid 0")
    assert rig.desk.find(other) == one
    assert rig.desk.cases() == []
    assert {each.title for each in rig.risk("S2").contributions} == {"a", "b", "c"}


async def test_a_split_takes_along_what_was_told_by_those_identifiers_alone(rig):
    await rig.told(serial("S1"), machine("m1"), condition="both")
    await rig.told(machine("m1"), condition="of-m1")
    await rig.told(serial("S1"), condition="of-s1")
    made = await rig.desk.split("S1", [machine("m1")], "two laptops", "uid 0")
    assert {each.title for each in made.risk.contributions} == {"of-m1"}
    assert {each.title for each in rig.risk("S1").contributions} == {"both", "of-s1"}
    await rig.told(serial("S1"), machine("m1"), condition="again")
    await rig.reopen()
    assert rig.desk.find("m1") == made.id
    assert rig.desk.find("S1") != made.id
    with pytest.raises(DeskFault):
        await rig.desk.split("S1", [serial("S1")], "nothing left", "uid 0")


async def test_what_a_split_gave_away_can_be_split_again_and_does_not_come_back(rig):
    await rig.told(serial("S1"), machine("m1"), machine("m2"), condition="all")
    await rig.told(machine("m1"), condition="of-m1")
    await rig.told(machine("m2"), condition="of-m2")
    first = await rig.desk.split("S1", [machine("m1"), machine("m2")], "two laptops", "uid 0")
    assert {each.title for each in first.risk.contributions} == {"of-m1", "of-m2"}
    await rig.reopen()
    second = await rig.desk.split("m1", [machine("m2")], "and a third", "uid 0")
    assert {each.title for each in second.risk.contributions} == {"of-m2"}
    assert {each.title for each in rig.risk("m1").contributions} == {"of-m1"}
    assert {each.title for each in rig.risk("S1").contributions} == {"all"}


async def test_a_split_leaves_what_was_given_away_before_where_it_is(rig):
    await rig.told(serial("S1"), machine("m1"), machine("m2"), condition="all")
    await rig.told(machine("m1"), condition="same")
    await rig.desk.split("S1", [machine("m1")], "two laptops", "uid 0")
    await rig.told(machine("m2"), condition="same")
    third = await rig.desk.split("S1", [machine("m2")], "and a third", "uid 0")
    assert {each.title for each in third.risk.contributions} == {"same"}
    assert {each.title for each in rig.risk("S1").contributions} == {"all"}
    assert {each.title for each in rig.risk("m1").contributions} == {"same"}


async def test_an_override_covers_what_was_known_and_ends_by_itself(rig):
    await rig.told(serial("S1"), condition="old")
    rig.now += timedelta(minutes=1)
    view = await rig.desk.override("S1", "low", timedelta(hours=8), "a false alarm", "uid 0")
    assert (view.risk.level, view.override) == (RiskLevel.LOW, "low")
    assert view.risk.changes_at == rig.now + timedelta(hours=8)
    rig.now += timedelta(minutes=1)
    await rig.told(serial("S1"), condition="old")
    assert rig.risk("S1").level is RiskLevel.LOW, "it is said again, not new"
    await rig.told(serial("S1"), condition="new")
    assert rig.risk("S1").level is RiskLevel.HIGH
    await rig.told(serial("S1"), condition="new", level=None, resolves=True)
    rig.now += timedelta(hours=9)
    assert rig.risk("S1").level is RiskLevel.HIGH
    await rig.reopen()
    assert rig.risk("S1").level is RiskLevel.HIGH


async def test_an_override_raises_too_and_can_be_taken_back(rig):
    await rig.told(serial("S1"), level=Severity.LOW)
    rig.now += timedelta(minutes=1)
    assert (
        await rig.desk.override("S1", "high", timedelta(hours=1), "stolen", "x")
    ).risk.level is RiskLevel.HIGH
    rig.now += timedelta(minutes=1)
    assert (await rig.desk.end_override("S1", "found", "x")).risk.level is RiskLevel.LOW


@pytest.mark.parametrize(
    ("level", "lasts", "reason"),
    [("awful", 1, "x"), ("low", 0, "x"), ("low", 31 * 24, "x"), ("low", 1, "  ")],
)
async def test_an_override_has_a_level_an_end_and_a_reason(rig, level, lasts, reason):
    await rig.told(serial("S1"))
    with pytest.raises(DeskFault):
        await rig.desk.override("S1", level, timedelta(hours=lasts), reason, "x")


async def test_an_inventory_gives_owners_and_facts_but_makes_nobody_known(rig):
    rows = [
        {
            "serial": "S1",
            "Hostname": "lt-1",
            "owner": "ana@example.org",
            "ownership": "corporate",
            "tags": "hr,eu",
        },
        {"serial": "", "owner": "nobody"},
        {"serial": "S2", "x": {"deep": 1}},
    ]
    result = await rig.desk.take_inventory(rows)
    assert (result.taken, set(result.faults)) == (1, {1, 2})
    view = rig.desk.show("S1")
    assert (view.owner, view.risk.level, view.risk.is_known) == ("ana@example.org", RiskLevel.UNKNOWN, False)
    posture = rig.state.posture(view.id)
    assert fact_value(posture, "tags", SENSORS, T0).value == "hr,eu"
    assert (await rig.desk.take_inventory(rows[:1])).unchanged == 1
    rig.now += timedelta(minutes=1)
    await rig.desk.take_inventory([{"serial": "S1", "owner": "ben@example.org"}])
    rig.now += timedelta(minutes=1)
    assert (await rig.desk.take_inventory(rows[:1])).taken == 1
    assert rig.desk.show("lt-1").owner == "ana@example.org"


async def test_one_person_has_several_devices_as_inventory_and_sensors_say(rig):
    await rig.desk.take_inventory([{"serial": "S1", "owner": "Ana@example.org"}])
    rig.now += timedelta(minutes=1)
    for serial_, owner in (("S1", "ben@example.org"), ("S2", "ana@example.org"), ("S3", "ben@example.org")):
        await rig.told(serial(serial_), facts={"owner": owner})
    names = {each.name for each in rig.desk.listed(9, owner="ana@example.org")}
    assert names == {"S1", "S2"}, "the inventory is asked first"


def test_a_file_is_csv_or_json():
    assert rows_of("Serial Number,owner\nS1,a@b\n", is_json=False) == [
        {"serial_number": "S1", "owner": "a@b"}
    ]
    assert rows_of('[{"serial": "S1"}]', is_json=True) == [{"serial": "S1"}]
    for text, is_json in (("", False), ("{}", True), ("[1]", True), ("[" * 100_000, True)):
        with pytest.raises(RowFault):
            rows_of(text, is_json=is_json)


async def test_devices_known_by_a_name_alone_are_parked_until_they_show_themselves(rig):
    await rig.told(Identifier("hostname", "lt-7"), condition="a")
    (parked,) = rig.desk.listed(9, parked=True)
    assert parked.name == "lt-7"
    await rig.told(serial("S7"), Identifier("hostname", "lt-7"), condition="b")
    assert rig.desk.listed(9, parked=True) == []
    assert {each.title for each in rig.risk("S7").contributions} == {"a", "b"}


async def test_what_waits_becomes_part_of_a_device_that_was_known_by_a_number_before(rig):
    await rig.told(Identifier("hostname", "lt-7"), condition="a")
    await rig.told(serial("S7"), condition="b")
    result = await rig.told(serial("S7"), Identifier("hostname", "LT-7."), condition="c")
    assert len(result.changed) == 2
    assert {each.title for each in rig.risk("lt-7").contributions} == {"a", "b", "c"}
    assert len(rig.state) == 1


async def test_no_more_wait_than_is_configured(rig):
    rig.state.join_by(JoinRules(max_parked=2))
    for name in ("a", "b"):
        assert (await rig.told(Identifier("hostname", name))).accepted == 1
    result = await rig.told(Identifier("hostname", "c"))
    assert [each.code for each in result.rejected] == ["parking-full"]
    assert (await rig.told(Identifier("hostname", "a"))).accepted == 1
    assert (await rig.told(serial("S1"), Identifier("hostname", "a"))).accepted == 1
    assert (await rig.told(Identifier("hostname", "c"))).accepted == 1
    await rig.reopen()
    rig.state.join_by(JoinRules(max_parked=2))
    assert rig.state.index.parked == 2
    assert [each.code for each in (await rig.told(Identifier("hostname", "d"))).rejected] == ["parking-full"]


async def test_a_text_that_names_nobody_or_several(rig):
    with pytest.raises(DeskFault):
        rig.desk.find("S9")
    await rig.told(serial("X1"))
    await rig.told(machine("x1"))
    with pytest.raises(DeskFault):
        rig.desk.find("X1")
    assert rig.desk.find("serial=X1") != rig.desk.find("mde-machine-id=x1")
