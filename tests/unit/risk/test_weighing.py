"""Ceilings, allowed subjects, correlation and decay: truth from many voices."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from risk.builtin import OPERATOR, OVERRIDE, RULES
from risk.correlation import CORRELATION, Correlation, Decay, Weighing
from risk.folding import fold
from risk.intake import Intake
from risk.memory import MemoryRiskStore
from risk.model import DeviceId, Identifier, Posture, RiskLevel, SensorRules, Severity, Signal, SignalType
from risk.packing import pack_posture, unpack_posture
from risk.scoring import assess
from risk.snapshot import RiskState
from risk.subjects import NotAllowed, Subjects, allowed

T0 = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
SENSORS = {
    **RULES,
    "edr": SensorRules(name="edr"),
    "ids": SensorRules(name="ids", max_level=RiskLevel.LOW),
    "mdm": SensorRules(name="mdm"),
}


def said(condition, level=Severity.MEDIUM, *, sensor="edr", at=T0, category="", resolves=False, **rest):
    return Signal(
        sensor=sensor,
        type=SignalType.REMEDIATION if resolves else SignalType.DETECTION,
        observed_at=at,
        received_at=at,
        external_id=condition,
        event_id=f"{condition}-{at.isoformat()}-{level}",
        level=None if resolves else level,
        category=category,
        title=condition,
        resolves=resolves,
        **rest,
    )


def posture(*history):
    made = Posture(device_id=DeviceId("dev_1"))
    for each in history:
        made = fold(made, each)
    return made


def level(*history, now=T0 + HOUR, **tables):
    return assess(posture(*history), SENSORS, now, Weighing(**tables))


def test_a_sensor_never_counts_more_than_its_ceiling():
    assert level(said("a", Severity.CRITICAL, sensor="ids")).level is RiskLevel.LOW
    assert level(said("a", Severity.CRITICAL, sensor="ids"), said("b")).level is RiskLevel.MEDIUM


THREE = Correlation(name="three", count=3, at_least="medium", level="high")


def test_several_findings_mean_more_than_each():
    two = (said("a"), said("b"))
    assert level(*two, correlation=(THREE,)).level is RiskLevel.MEDIUM
    found = level(*two, said("c"), correlation=(THREE,))
    assert found.level is RiskLevel.HIGH
    assert found.contributions[0].sensor == CORRELATION
    assert "three" in found.contributions[0].title
    assert level(*two, said("c", Severity.LOW), correlation=(THREE,)).level is RiskLevel.MEDIUM
    assert level(*two, said("c", sensor="ids"), correlation=(THREE,)).level is RiskLevel.MEDIUM


def test_what_is_counted_can_be_sensors_or_categories_and_can_age():
    by_sensor = Correlation(name="s", level="high", distinct="sensors")
    assert level(said("a"), said("b"), correlation=(by_sensor,)).level is RiskLevel.MEDIUM
    assert level(said("a"), said("b", sensor="mdm"), correlation=(by_sensor,)).level is RiskLevel.HIGH
    by_category = Correlation(name="c", level="high", distinct="categories")
    assert (
        level(said("a", category="x"), said("b", category="x"), correlation=(by_category,)).level
        is RiskLevel.MEDIUM
    )
    assert (
        level(said("a", category="x"), said("b", category="y"), correlation=(by_category,)).level
        is RiskLevel.HIGH
    )
    burst = Correlation(name="b", level="high", within=7200.0)
    early, late = said("a"), said("b", at=T0 + HOUR)
    found = level(early, late, now=T0 + HOUR, correlation=(burst,))
    assert (found.level, found.changes_at) == (RiskLevel.HIGH, T0 + 2 * HOUR)
    assert level(early, late, now=T0 + 2 * HOUR, correlation=(burst,)).level is RiskLevel.MEDIUM
    one = Correlation(name="one", count=1, categories=("c2",), level="high")
    assert level(said("a", Severity.LOW, category="c2"), correlation=(one,)).level is RiskLevel.HIGH


SLOWLY = Decay(after="high", level="medium", lasts=4 * 3600.0)


def test_a_resolved_finding_counts_for_a_while():
    history = (said("a", Severity.HIGH), said("a", at=T0 + HOUR, resolves=True))
    found = level(*history, now=T0 + 2 * HOUR, decay=(SLOWLY,))
    assert (found.level, found.changes_at) == (RiskLevel.MEDIUM, T0 + 5 * HOUR)
    assert level(*history, now=T0 + 5 * HOUR, decay=(SLOWLY,)).level is RiskLevel.NONE
    assert level(*history, now=T0 + 2 * HOUR).level is RiskLevel.NONE
    mild = (said("a", Severity.LOW), said("a", at=T0 + HOUR, resolves=True))
    assert level(*mild, now=T0 + 2 * HOUR, decay=(SLOWLY,)).level is RiskLevel.NONE


def test_what_it_was_is_known_in_every_order_and_after_a_restart():
    opened, worse = said("a", Severity.LOW), said("a", Severity.HIGH, at=T0 + HOUR / 2)
    closed = said("a", at=T0 + HOUR, resolves=True)
    one, other = posture(opened, worse, closed), posture(closed, worse, opened)
    assert one == other == unpack_posture(one.device_id, pack_posture(one))
    assert next(iter(one.findings.values())).open_level is Severity.HIGH


moments = st.integers(0, 6).map(lambda hour: T0 + hour * HOUR)
statements = st.builds(
    said,
    st.sampled_from("abc"),
    st.sampled_from([Severity.LOW, Severity.MEDIUM, Severity.HIGH]),
    sensor=st.sampled_from(["edr", "ids", "mdm"]),
    at=moments,
    category=st.sampled_from(["", "x", "y"]),
    resolves=st.booleans(),
)
overrides = st.builds(
    lambda level, at, lasts: said(OVERRIDE, level, sensor=OPERATOR, at=at, expires_at=at + lasts * HOUR),
    st.sampled_from([Severity.NONE, Severity.MEDIUM, Severity.HIGH]),
    moments,
    st.integers(1, 5),
)


@given(st.lists(statements | overrides, min_size=1, max_size=12), moments, st.randoms())
def test_the_level_does_not_depend_on_the_order_of_what_was_said(history, now, random):
    tables = Weighing(
        (THREE, Correlation(name="s", level="high", distinct="sensors", within=7200.0)), (SLOWLY,)
    )
    shuffled = history + random.choices(history, k=3)
    random.shuffle(shuffled)
    one, other = (
        assess(posture(*history), SENSORS, now, tables),
        assess(posture(*shuffled), SENSORS, now, tables),
    )
    assert one == other
    plain = assess(posture(*history), SENSORS, now)
    assert [plain.level, one.level] == sorted([plain.level, one.level], key=list(RiskLevel).index)


# --- subjects -------------------------------------------------------------------------------------

SERIAL, NAME = Identifier("serial", "S1"), Identifier("hostname", "LT-7")
USER = Identifier("email", "ana@example.org")


def about(*devices, users=()):
    return said("a", device_ids=devices, user_ids=users)


def test_a_sensor_speaks_only_about_whom_it_may():
    assert allowed(about(SERIAL), Subjects()) == about(SERIAL)
    with pytest.raises(NotAllowed):
        allowed(about(users=(USER,)), Subjects(about=("device",)))
    with pytest.raises(NotAllowed):
        allowed(about(SERIAL), Subjects(about=("user",)))
    only_serials = Subjects(identifiers=("serial",))
    assert allowed(about(SERIAL, NAME), only_serials).device_ids == (SERIAL,)
    with pytest.raises(NotAllowed):
        allowed(about(NAME), only_serials)


async def test_what_goes_beyond_is_a_dead_letter():
    store, state = MemoryRiskStore(), RiskState()
    intake = Intake(state, store, clock=lambda: T0)
    intake.subjects = {"edr": Subjects(names=("lt-*",))}
    await intake.start()
    result = await intake.submit("edr", [about(SERIAL), about(Identifier("serial", "S2"), NAME)])
    assert (result.accepted, [each.code for each in result.rejected]) == (1, ["not-allowed"])
    again = await intake.submit("edr", [about(Identifier("serial", "S2"), Identifier("hostname", "srv-1"))])
    assert again.accepted == 1, "the record has an allowed name"
    assert len(await store.dead_letters("edr", 9)) == 1
    assert len(state) == 1
    await intake.stop()
