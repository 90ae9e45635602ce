"""What posture means at one instant: levels, expiry, silence, trust."""

from datetime import UTC, datetime, timedelta

import pytest

from risk.folding import fold
from risk.model import DeviceId, Posture, RiskLevel, SensorRules, Severity, Signal, SignalType
from risk.scoring import assess, fact_value, is_silent, risk_level, silent_at

T0 = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
RULES = {
    "edr": SensorRules(name="edr", max_silence_s=24 * 3600),
    "mdm": SensorRules(name="mdm", trust=5, unknown_level=Severity.HIGH),
}


def posture(*statements):
    """Return the posture after statements given as (sensor, hours, fields)."""
    made = Posture(device_id=DeviceId("dev_1"))
    for number, (sensor, hours, fields) in enumerate(statements):
        given = {
            "sensor": sensor,
            "type": SignalType.DETECTION,
            "observed_at": T0 + hours * HOUR,
            "received_at": T0 + hours * HOUR,
            "external_id": f"c{number}",
            "event_id": f"e{number}",
        }
        made = fold(made, Signal(**(given | fields)))
    return made


def test_nothing_ever_told_is_unknown_and_not_none():
    result = assess(posture(), RULES, T0)
    assert (result.level, result.is_known, result.changes_at) == (RiskLevel.UNKNOWN, False, None)


def test_a_heartbeat_alone_is_a_known_absence_of_risk():
    result = assess(posture(("edr", 0, {"type": SignalType.HEARTBEAT})), RULES, T0)
    assert (result.level, result.is_known) == (RiskLevel.NONE, True)


@pytest.mark.parametrize(
    ("severity", "level"),
    [
        (Severity.NONE, RiskLevel.NONE),
        (Severity.INFORMATIONAL, RiskLevel.NONE),
        (Severity.LOW, RiskLevel.LOW),
        (Severity.MEDIUM, RiskLevel.MEDIUM),
        (Severity.HIGH, RiskLevel.HIGH),
        (Severity.CRITICAL, RiskLevel.HIGH),
        (Severity.UNKNOWN, RiskLevel.LOW),
    ],
)
def test_severities(severity, level):
    assert risk_level(severity, Severity.LOW) is level


def test_an_unknown_that_counts_as_unknown_is_high():
    assert risk_level(Severity.UNKNOWN, Severity.UNKNOWN) is RiskLevel.HIGH


def test_the_worst_live_source_wins_and_all_are_named():
    result = assess(
        posture(("edr", 1, {"level": Severity.LOW}), ("mdm", 0, {"level": Severity.HIGH, "title": "bad"})),
        RULES,
        T0,
    )
    assert result.level is RiskLevel.HIGH
    assert [(each.sensor, each.level) for each in result.contributions] == [
        ("mdm", RiskLevel.HIGH),
        ("edr", RiskLevel.LOW),
    ]


def test_the_sensor_decides_what_unknown_counts_as():
    assert assess(posture(("mdm", 0, {"level": Severity.UNKNOWN})), RULES, T0).level is RiskLevel.HIGH
    assert assess(posture(("edr", 0, {"level": Severity.UNKNOWN})), RULES, T0).level is RiskLevel.MEDIUM


def test_an_expired_finding_does_not_count_and_its_end_is_foretold():
    known = posture(("mdm", 0, {"level": Severity.HIGH, "expires_at": T0 + HOUR}))
    before = assess(known, RULES, T0)
    assert (before.level, before.changes_at) == (RiskLevel.HIGH, T0 + HOUR)
    after = assess(known, RULES, T0 + HOUR)
    assert (after.level, after.changes_at, after.is_known) == (RiskLevel.NONE, None, True)


def test_silence_counts_against_the_device_and_never_for_it():
    known = posture(("edr", 0, {"level": Severity.HIGH}))
    late = T0 + 24 * HOUR
    assert assess(known, RULES, T0).changes_at == late
    result = assess(known, RULES, late)
    assert (result.level, result.is_known, result.silent_sensors) == (RiskLevel.HIGH, False, ("edr",))
    quiet = assess(posture(("edr", 0, {"type": SignalType.HEARTBEAT})), RULES, late)
    assert (quiet.level, quiet.is_known) == (RiskLevel.NONE, False)


def test_a_sensor_without_max_silence_is_never_silent():
    known = posture(("mdm", 0, {"level": Severity.LOW}))
    assert assess(known, RULES, T0 + 9999 * HOUR).is_known
    assert silent_at(known, RULES["mdm"]) is None


def test_a_sensor_that_only_said_the_device_is_missing_is_silent_from_the_start():
    fact = {"type": SignalType.POSTURE_FACT, "facts": {"reporting": False}}
    known = posture(("edr", 0, fact))
    assert is_silent(known, RULES["edr"], T0)
    assert not assess(known, RULES, T0).is_known


def test_a_sensor_that_is_not_configured_is_not_heard():
    known = posture(("gone", 0, {"level": Severity.HIGH, "facts": {"a": 1}}))
    assert assess(known, RULES, T0).level is RiskLevel.UNKNOWN
    assert fact_value(known, "a", RULES, T0) is None


def facts(value, **rest):
    return {"type": SignalType.POSTURE_FACT, "facts": {"disk_encrypted": value}} | rest


def test_the_most_trusted_live_source_states_the_fact():
    known = posture(("mdm", 0, facts(value=True)), ("edr", 1, facts(value=False)))
    found = fact_value(known, "disk_encrypted", RULES, T0 + 2 * HOUR)
    assert (found.value, found.source, found.age_s) == (True, "mdm", 7200.0)


def test_an_expired_or_silent_source_gives_way_to_the_next():
    known = posture(("mdm", 0, facts(value=True, expires_at=T0 + HOUR)), ("edr", 0, facts(value=False)))
    assert fact_value(known, "disk_encrypted", RULES, T0).changes_at == T0 + HOUR
    found = fact_value(known, "disk_encrypted", RULES, T0 + HOUR)
    assert (found.value, found.source, found.changes_at) == (False, "edr", T0 + 24 * HOUR)
    assert fact_value(known, "disk_encrypted", RULES, T0 + 24 * HOUR) is None


def test_among_equals_the_newest_observation_counts():
    rules = {name: SensorRules(name=name) for name in ("a", "b")}
    known = posture(("b", 0, facts(value=1)), ("a", 1, facts(value=2)))
    assert fact_value(known, "disk_encrypted", rules, T0 + HOUR).value == 2


def test_a_fact_that_nobody_states_is_none():
    assert fact_value(posture(), "disk_encrypted", RULES, T0) is None
