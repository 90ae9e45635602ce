"""Postures in memory and as bytes."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from risk import snapshot
from risk.folding import fold
from risk.model import DeviceId, Identifier, Posture, Severity, Signal, SignalType
from risk.packing import pack_posture, pack_signal, unpack_posture, unpack_signal
from risk.snapshot import RiskState
from risk.values import parse_bytes, parse_duration

T0 = datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=UTC)


def posture(name="dev_1", serial="S1"):
    signal = Signal(
        sensor="edr",
        type=SignalType.DETECTION,
        observed_at=T0,
        received_at=T0 + timedelta(seconds=1),
        external_id="c1",
        event_id="e1",
        level=Severity.HIGH,
        title="malware",
        recommended_actions=("scan", "call us"),
        facts={"a": None, "b": 1.5, "c": True, "d": "x", "e": 7},
        expires_at=T0 + timedelta(days=1),
    )
    empty = Posture(device_id=DeviceId(name), name="lt-1", identifiers=(Identifier("serial", serial),))
    return fold(empty, signal)


def test_packing_gives_the_posture_back():
    before = posture()
    assert unpack_posture(before.device_id, pack_posture(before)) == before
    assert len(pack_posture(before)) < 400


@given(st.text(max_size=30), st.integers(-(2**63), 2**63 - 1), st.datetimes(timezones=st.just(UTC)))
def test_packing_gives_any_signal_back(text, number, at):
    signal = Signal(
        sensor="s",
        type=SignalType.POSTURE_FACT,
        observed_at=at,
        received_at=at,
        external_id=text,
        event_id="e",
        facts={text: number},
    )
    assert unpack_signal(pack_signal(signal)) == signal


def test_postures_that_were_not_written_are_counted_until_they_are():
    """Taken to be written, put back, written with a commit, or gone with a merger: each waits no longer, or again."""
    state = RiskState()
    ids = [DeviceId(f"dev_{number}") for number in range(5)]
    for number, each in enumerate(ids):
        state.put(posture(each, f"S{number}"))
    assert state.count_unwritten() == 0
    changed = {each: posture(each, f"S{number}") for number, each in enumerate(ids)}
    state.apply({each: (changed[each], None) for each in ids}, state.index.draft())
    assert state.take_unwritten(1) == [(ids[0], pack_posture(changed[ids[0]]))]
    assert state.count_unwritten() == 4
    state.put(changed[ids[1]])
    assert state.count_unwritten() == 3
    draft = state.index.draft()
    kept = draft.resolve_or_create([Identifier("serial", "S2"), Identifier("entra-device-id", "e")])
    other = draft.resolve_or_create([Identifier("mde-machine-id", "m")])
    state.apply({kept: (changed[ids[2]], None), other: (Posture(device_id=other), None)}, draft)
    draft = state.index.draft()
    survivor = draft.resolve_or_create(
        [Identifier("entra-device-id", "e"), Identifier("mde-machine-id", "m")]
    )
    (gone,) = draft.merged
    state.apply({survivor: (changed[ids[2]], pack_posture(changed[ids[2]]))}, draft)
    state.put_back([gone, ids[0]])
    assert {each for each, _ in state.take_unwritten(9)} == {ids[0], ids[3], ids[4]}
    assert state.take_unwritten(9) == []


def test_what_devices_have_in_common_is_there_once():
    one, other = (unpack_posture(DeviceId(each), pack_posture(posture(each, f"S{each}"))) for each in "ab")
    assert one.identifiers[0].kind is other.identifiers[0].kind
    for (sensor, name), fact in one.facts.items():
        assert {sensor, name} == {fact.sensor, fact.name}
        assert other.facts[sensor, name].sensor is fact.sensor
        assert other.facts[sensor, name].name is fact.name
    assert next(iter(one.heard)) is next(iter(other.heard)) is next(iter(one.facts.values())).sensor


def test_a_posture_is_found_by_id_and_by_identifier():
    state = RiskState()
    state.put(posture())
    assert state.posture(DeviceId("dev_1")) == posture()
    assert state.resolve([Identifier("serial", "s1")]) == "dev_1"
    assert state.posture(DeviceId("dev_9")) is None
    assert (len(state), "dev_1" in state, list(state.device_ids())) == (1, True, ["dev_1"])


def test_every_change_raises_the_epoch():
    state = RiskState()
    before = state.epoch
    state.put(posture())
    assert state.epoch == before + 1


def test_only_some_postures_stay_open(monkeypatch):
    monkeypatch.setattr(snapshot, "MAX_OPEN", 2)
    state = RiskState()
    for number in range(5):
        state.put(posture(f"dev_{number}", f"S{number}"))
    assert sum(not isinstance(each, bytes) for each in state._devices._kept.values()) == 2
    assert all(state.posture(DeviceId(f"dev_{number}")).name == "lt-1" for number in range(5))


def test_a_posture_that_is_gone_keeps_no_other_open(monkeypatch):
    """What was opened before it was removed, and comes back, does not add to those that stay open."""
    monkeypatch.setattr(snapshot, "MAX_OPEN", 2)
    records = snapshot.Records()
    for number in (1, 2, 1, 3, 1, 4, 5):
        made = posture(f"dev_{number}", f"S{number}")
        records.remove(made.device_id)
        records.replace(made.device_id, made, pack_posture(made))
    assert sum(not isinstance(each, bytes) for each in records._kept.values()) <= 2
    assert sorted(records) == [f"dev_{number}" for number in (1, 2, 3, 4, 5)]
    assert all(records.get(DeviceId(each)).device_id == each for each in list(records))
    records.remove(DeviceId("dev_5"))
    assert records.get(DeviceId("dev_5")) is None


def test_durations_and_sizes():
    assert [parse_duration(text) for text in ("500ms", "30 s", "15m", "1.5h", "7d")] == [
        0.5,
        30,
        900,
        5400,
        604800,
    ]
    assert [parse_bytes(text) for text in ("512B", "1KiB", "10MiB")] == [512, 1024, 10 * 1024**2]
