"""Folding, case by case: who wins, what stays, what gives way at the bounds."""

from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from risk import folding
from risk.folding import MAX_STATEMENTS, PostureFull, as_received, fold
from risk.model import DeviceId, Fact, Posture, Severity, Signal, SignalType

T0 = datetime(2026, 3, 1, 12, tzinfo=UTC)
EMPTY = Posture(device_id=DeviceId("dev_1"))
MINUTE = timedelta(minutes=1)


def signal(minute=0, **rest):
    at = T0 + minute * MINUTE
    given = {
        "sensor": "edr",
        "type": SignalType.DETECTION,
        "observed_at": at,
        "received_at": at,
        "external_id": "c1",
        "event_id": f"e{minute}",
        "level": Severity.HIGH,
        "title": "malware",
    }
    return Signal(**(given | rest))


def close(minute=0, **rest):
    return signal(minute, type=SignalType.REMEDIATION, level=None, resolves=True, **rest)


def folded(*signals):
    posture = EMPTY
    for each in signals:
        posture = fold(posture, each)
    return posture


def finding(posture, external_id="c1", sensor="edr"):
    return posture.findings[sensor, external_id]


def test_newer_statement_replaces_older():
    found = finding(folded(signal(1), signal(2, level=Severity.LOW)))
    assert (found.level, found.is_open, found.first_observed_at) == (Severity.LOW, True, T0 + MINUTE)


def test_older_statement_changes_nothing_but_the_beginning():
    found = finding(folded(signal(2, level=Severity.LOW), signal(1)))
    assert (found.level, found.observed_at) == (Severity.LOW, T0 + 2 * MINUTE)
    assert found.first_observed_at == T0 + MINUTE


def test_close_before_its_open_leaves_a_tombstone_that_wins():
    posture = folded(close(5))
    assert not finding(posture).is_open
    assert not finding(fold(posture, signal(3))).is_open
    assert finding(fold(posture, signal(6))).is_open


def test_an_old_healthy_message_never_lowers_what_a_newer_one_raised():
    posture = folded(signal(5))
    assert finding(fold(posture, close(4))).is_open


def test_relapse_counts_from_the_opening_after_the_close():
    found = finding(folded(signal(1), close(3), signal(7), signal(9)))
    assert found.first_observed_at == T0 + 7 * MINUTE


def test_a_late_close_moves_the_beginning():
    found = finding(folded(signal(1), signal(7), signal(9), close(3)))
    assert (found.is_open, found.first_observed_at) == (True, T0 + 7 * MINUTE)
    assert found.closed_at == T0 + 3 * MINUTE


def test_of_two_statements_of_one_instant_the_message_id_decides():
    first, second = signal(1, event_id="a", level=Severity.LOW), signal(1, event_id="b")
    for order in ((first, second), (second, first)):
        assert finding(folded(*order)).level is Severity.HIGH


def test_of_two_statements_of_one_instant_the_later_received_wins():
    """Products that put the beginning of a condition into its close as well must be able to close it."""
    later = T0 + 9 * MINUTE
    closing, reopened = close(1, received_at=later), signal(1, received_at=later + MINUTE)
    for order in ((signal(1), closing), (closing, signal(1))):
        assert not finding(folded(*order)).is_open
    assert finding(folded(reopened, closing, signal(1))).is_open


def test_conditions_of_two_sensors_never_mix():
    posture = folded(signal(1), close(2, sensor="mdm"))
    assert finding(posture).is_open
    assert not finding(posture, sensor="mdm").is_open


def test_a_fact_is_kept_per_sensor_and_the_newest_wins():
    fact = {"type": SignalType.POSTURE_FACT, "level": None}
    posture = folded(
        signal(2, facts={"disk_encrypted": True}, **fact),
        signal(1, facts={"disk_encrypted": False}, **fact),
        signal(3, facts={"disk_encrypted": None}, sensor="mdm", **fact),
    )
    assert posture.facts["edr", "disk_encrypted"].value is True
    assert posture.facts["mdm", "disk_encrypted"].value is None
    assert not posture.findings


def test_a_posture_fact_with_a_severity_is_a_condition_too():
    posture = folded(signal(1, type=SignalType.POSTURE_FACT, facts={"state": "fail"}))
    assert finding(posture).is_open
    assert not posture.facts, "`state` belongs to the condition, not to the device"


def test_a_heartbeat_only_refreshes_when_the_sensor_was_heard():
    posture = folded(signal(1, type=SignalType.HEARTBEAT, level=None), signal(0, type=SignalType.HEARTBEAT))
    assert posture.heard == {"edr": T0 + MINUTE}
    assert not posture.findings


def test_a_sensor_that_reports_the_device_missing_has_not_heard_of_it():
    """Otherwise Fleet's daily word of missing hosts would keep them fresh for ever."""
    posture = folded(signal(1, type=SignalType.POSTURE_FACT, level=None, facts={"reporting": False}))
    assert posture.heard == {}
    assert posture.facts["edr", "reporting"].value is False


def test_folding_the_same_signal_again_returns_the_same_posture():
    posture = folded(signal(1, facts={"a": 1}))
    assert fold(posture, signal(1, facts={"a": 1})) is posture


def test_a_severity_that_is_missing_is_unknown():
    assert finding(folded(signal(1, level=None))).level is Severity.UNKNOWN


def test_the_future_becomes_the_time_of_receipt_in_the_order_that_was_claimed():
    late, later = (signal(1, observed_at=T0 + timedelta(days=days)) for days in (1, 2))
    found = as_received([later, late, signal(0)])
    assert [each.observed_at for each in found] == [
        T0 + MINUTE,
        T0 + MINUTE - timedelta(microseconds=1),
        T0,
    ]
    assert as_received([signal(1)]) == [signal(1)]


def test_of_one_instant_in_one_delivery_the_later_item_wins():
    """Clocks of whole seconds: whatever the ids of the messages are."""
    items = [signal(1, event_id="z"), close(1, event_id="a")]
    assert not finding(folded(*as_received(items))).is_open
    assert finding(folded(*as_received(items[::-1]))).is_open


@pytest.fixture
def three_findings(monkeypatch):
    monkeypatch.setattr(folding, "MAX_FINDINGS", 3)
    monkeypatch.setattr(folding, "MAX_FACTS", 2)


def test_at_the_bound_the_oldest_tombstone_goes_first(three_findings):
    posture = folded(close(2, external_id="new"), close(1, external_id="old"), signal(3, external_id="a"))
    posture = fold(posture, signal(4, external_id="b", level=Severity.LOW))
    assert [key[1] for key in posture.findings] == ["new", "a", "b"]


def test_at_the_bound_an_expired_finding_goes_before_an_open_one(three_findings):
    expired = signal(1, external_id="gone", expires_at=T0 + 2 * MINUTE)
    posture = folded(expired, signal(1, external_id="a"), signal(1, external_id="b"))
    assert ("edr", "gone") not in fold(posture, signal(5, external_id="c", level=Severity.LOW)).findings


def test_at_the_bound_a_lesser_finding_gives_way_to_a_worse_one(three_findings):
    posture = folded(
        signal(1, external_id="a"), signal(2, external_id="b", level=Severity.LOW), signal(3, external_id="c")
    )
    assert {key[1] for key in fold(posture, signal(4, external_id="d")).findings} == {"a", "c", "d"}


@pytest.mark.parametrize("new", [signal(9, external_id="d"), close(9, external_id="d")])
def test_at_the_bound_an_open_high_finding_never_gives_way(three_findings, new):
    posture = folded(*(signal(1, external_id=name) for name in "abc"))
    with pytest.raises(PostureFull):
        fold(posture, new)


def test_closing_a_known_condition_works_at_the_bound(three_findings):
    posture = folded(*(signal(1, external_id=name) for name in "abc"))
    assert not finding(fold(posture, close(2, external_id="a")), "a").is_open


def test_too_many_facts_are_refused(three_findings):
    posture = folded(signal(1, facts={"a": 1, "b": 2}))
    with pytest.raises(PostureFull):
        fold(posture, signal(2, facts={"c": 3}))
    assert fold(posture, signal(2, facts={"a": 5})).facts["edr", "a"].value == 5


def test_sensors_heard_are_bounded():
    posture = EMPTY
    for number in range(folding.MAX_HEARD + 5):
        posture = fold(posture, signal(number, sensor=f"s{number:03}", type=SignalType.HEARTBEAT))
    assert len(posture.heard) == folding.MAX_HEARD
    assert "s000" not in posture.heard


def test_beyond_the_kept_openings_the_earliest_stays_the_beginning():
    posture = folded(*(signal(minute) for minute in range(40, 0, -1)))
    assert finding(posture).first_observed_at == T0 + MINUTE
    assert len(finding(posture).openings) == folding.MAX_OPENINGS


def test_posture_is_left_untouched():
    before = folded(signal(1, facts={"a": 1}))
    copy = msgspec.structs.replace(before, findings=dict(before.findings), facts=dict(before.facts))
    fold(before, close(2, facts={"a": 2, "b": 3}))
    assert before == copy


@pytest.mark.parametrize("value", [True, "Debian 12", 7])
def test_repeating_a_value_for_long_is_the_same_as_joining_all_of_it(value) -> None:
    """The shortcut for the usual report gives what the long way gives, in order and out of order."""

    def at(minute):
        return T0 + minute * MINUTE

    stated = [
        Fact(name="os", sensor="edr", value=value, observed_at=at(n), received_at=at(n), version=f"v{n}")
        for n in range(2 * MAX_STATEMENTS)
    ]
    first, *later = stated
    known = first
    for each in later:
        known = folding._join_facts(known, each)
    assert known.since == first.observed_at
    assert known.statements == tuple(each.observed_at for each in stated[:MAX_STATEMENTS])
    assert (known.observed_at, known.version) == (stated[-1].observed_at, stated[-1].version)
    late = folding._join_facts(known, msgspec.structs.replace(first, observed_at=at(-1)))
    assert late.statements == (at(-1), *known.statements[:-1])
    other = Fact(name="os", sensor="edr", value="else", observed_at=at(99), received_at=at(99))
    changed = folding._join_facts(known, other)
    assert (changed.since, changed.statements) == (at(99), ())


def test_devices_of_one_delivery_share_what_they_have_heard() -> None:
    """One sensor at one instant: that is most of a large estate, and is in memory once."""
    told, other = signal(1), Posture(device_id=DeviceId("dev_2"))
    first, second = (fold(each, told).heard for each in (EMPTY, other))
    assert first == {"edr": T0 + MINUTE}
    assert first is second
    assert folded(signal(1), signal(2, sensor="mdm")).heard == {
        "edr": T0 + MINUTE,
        "mdm": T0 + 2 * MINUTE,
    }


def test_a_report_of_many_facts_changes_only_those_that_it_tells() -> None:
    before = folded(signal(1, facts={"a": 1, "b": 2, "state": "fail"}))
    after = fold(before, signal(2, facts={"a": 1, "c": 3}))
    assert {name: fact.value for (_, name), fact in after.facts.items()} == {"a": 1, "b": 2, "c": 3}
    assert after.facts["edr", "b"] is before.facts["edr", "b"]
    assert {name for _, name in before.facts} == {"a", "b"}
