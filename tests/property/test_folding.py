"""Folding gives the same posture in every order and with every repetition (below the bounds)."""

import asyncio
import functools
from datetime import UTC, datetime, timedelta

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from risk.folding import MAX_OPENINGS, MAX_STATEMENTS, _join_facts, fold, join
from risk.intake import Intake
from risk.memory import MemoryRiskStore
from risk.model import DeviceId, Fact, Identifier, Posture, Severity, Signal, SignalType
from risk.snapshot import RiskState
from risk.users import linked, new_record, reach, spelled, together

T0 = datetime(2026, 1, 1, tzinfo=UTC)
minutes = st.integers(0, 12).map(lambda minute: T0 + timedelta(minutes=minute))


@st.composite
def signals(draw):
    resolves = draw(st.booleans())
    return Signal(
        sensor=draw(st.sampled_from(["edr", "mdm"])),
        type=SignalType.REMEDIATION if resolves else draw(st.sampled_from(list(SignalType))),
        observed_at=draw(minutes),
        received_at=draw(minutes),
        external_id=draw(st.sampled_from(["c1", "c2"])),
        event_id=draw(st.sampled_from(["e1", "e2", "e3"])),
        level=draw(st.sampled_from([None, *Severity])),
        title=draw(st.sampled_from(["one", "two"])),
        facts=draw(
            st.dictionaries(
                st.sampled_from(["disk_encrypted", "reporting", "state"]),
                st.sampled_from([True, False, None, "on", 3]),
                max_size=2,
            )
        ),
        resolves=resolves,
        expires_at=draw(st.none() | minutes),
    )


def folded(history):
    posture = Posture(device_id=DeviceId("dev_1"))
    for each in history:
        posture = fold(posture, each)
    return posture


@st.composite
def histories(draw):
    """Return a history, and the same statements in another order with repetitions."""
    history = draw(st.lists(signals(), min_size=1, max_size=MAX_OPENINGS - 1))
    repeated = history + draw(st.lists(st.sampled_from(history), max_size=6))
    return history, draw(st.permutations(repeated))


@given(histories())
def test_order_and_repetition_do_not_matter(pair):
    history, shuffled = pair
    assert folded(shuffled) == folded(history)


@given(histories())
def test_the_newest_statement_of_a_condition_wins(pair):
    _, shuffled = pair
    for (sensor, external_id), finding in folded(shuffled).findings.items():
        about = [
            each.observed_at
            for each in shuffled
            if (each.sensor, each.external_id) == (sensor, external_id)
            and (each.resolves or (each.type is not SignalType.HEARTBEAT and is_judged(each)))
        ]
        assert finding.observed_at == max(about)


def is_judged(signal):
    if signal.type is SignalType.REMEDIATION:
        return True
    return signal.type is not SignalType.POSTURE_FACT or signal.level is not None


@given(histories())
def test_an_open_condition_began_after_its_last_close_and_not_after_its_last_word(pair):
    _, shuffled = pair
    for finding in folded(shuffled).findings.values():
        assert finding.first_observed_at <= finding.observed_at
        if finding.is_open and finding.closed_at is not None:
            assert finding.first_observed_at >= finding.closed_at


@given(st.lists(st.tuples(st.integers(0, 30), st.booleans()), min_size=1, max_size=14), st.randoms())
def test_a_value_counts_since_it_was_first_stated_without_another_between(statements, random):
    """So that a sensor which repeats a failing fact cannot keep a device in grace for ever."""
    history = [
        Signal(
            sensor="mdm",
            type=SignalType.POSTURE_FACT,
            observed_at=T0 + timedelta(minutes=minute),
            received_at=T0 + timedelta(minutes=minute),
            external_id="f",
            event_id=f"{minute}-{value}",
            facts={"disk_encrypted": value},
        )
        for minute, value in statements
    ]
    random.shuffle(history)
    (fact,) = folded(history).facts.values()
    others = [each.observed_at for each in history if each.facts["disk_encrypted"] is not fact.value]
    bound = max(others, default=T0 - timedelta(1))
    mine = [each.observed_at for each in history if each.facts["disk_encrypted"] is fact.value]
    assert fact.since == min((at for at in mine if at > bound), default=fact.observed_at)


@given(histories(), st.randoms())
def test_a_history_that_was_told_to_two_records_is_the_same_once_they_are_joined(pair, random):
    history, shuffled = pair
    first = [each for each in shuffled if random.random() < 0.6]
    second = [each for each in history if each not in first] + first[:2]
    assert join(folded(first), folded(second)) == folded(history)
    assert join(folded(second), folded(first)) == folded(history)


PEOPLE = [
    Identifier("email", "ana@example.org"),
    Identifier("upn", "Ana@Example.org"),
    Identifier("entra-user-id", "E1"),
    Identifier("entra-user-id", "e2"),
    Identifier("okta-user-id", "00u1"),
    Identifier("sub", "7", "https://op.example"),
]


def told_of_people(history):
    """Return the records after statements that each name some identifiers, as the intake folds them."""
    records = {}
    for each, names in history:
        found = spelled(names)
        for user_id, identifier in found.items():
            record = linked(records.get(user_id) or new_record(user_id, identifier), found.values())
            records[user_id] = fold(record, each)
    return records


@given(
    st.lists(
        st.tuples(signals(), st.lists(st.sampled_from(PEOPLE), min_size=1, max_size=3)),
        min_size=1,
        max_size=MAX_OPENINGS - 1,
    ),
    st.lists(st.sampled_from(PEOPLE), min_size=1, max_size=2),
    st.randoms(),
)
def test_what_is_known_of_a_person_does_not_depend_on_the_order_either(history, asked, random):
    shuffled = history + random.choices(history, k=4)
    random.shuffle(shuffled)
    one, other = told_of_people(history), told_of_people(shuffled)
    assert one == other
    ids, found = reach(asked, one.get)
    again, found_again = reach(list(reversed(asked)), other.get)
    assert set(ids) == set(again)
    whole, whole_again = together(found), together(found_again)
    if whole is None or whole_again is None:
        assert whole is whole_again
        return
    assert (whole.findings, whole.facts, whole.heard) == (
        whole_again.findings,
        whole_again.facts,
        whole_again.heard,
    )


DEVICES = {
    "one": [
        Identifier("serial", "S1"),
        Identifier("entra-device-id", "e1"),
        Identifier("mde-machine-id", "m1"),
        Identifier("sensor-device-id", "001"),
        Identifier("udid", "u1"),
    ],
    "two": [
        Identifier("serial", "S2"),
        Identifier("entra-device-id", "e2"),
        Identifier("mde-machine-id", "m2"),
        Identifier("sensor-device-id", "002"),
    ],
}


@st.composite
def told_of_devices(draw):
    """Return statements that each name some identifiers of one of two devices."""
    device = DEVICES[draw(st.sampled_from(sorted(DEVICES)))]
    names = draw(st.lists(st.sampled_from(device), min_size=1, max_size=3, unique=True))
    number = draw(st.integers(0, 10**6))
    return msgspec.structs.replace(draw(signals()), device_ids=tuple(names), event_id=f"e{number}")


async def known_after(history):
    """Return what the intake knows after a history, told in deliveries of one: posture by identifiers."""
    state = RiskState()
    intake = Intake(state, MemoryRiskStore(), clock=lambda: T0)
    await intake.start()
    for each in history:
        await intake.submit(each.sensor, [each])
    await intake.stop()
    postures = [state.posture(device_id) for device_id in state.device_ids()]
    return {
        frozenset(each.identifiers): (each.findings, each.facts, each.heard, each.contested)
        for each in postures
    }


@settings(max_examples=60, deadline=None)
@given(
    # A message that comes again with the same content, but another time of reception or expiry, changes nothing.
    st.lists(told_of_devices(), min_size=1, max_size=9, unique_by=lambda each: (each.sensor, each.event_id)),
    st.randoms(),
)
def test_which_records_are_one_device_does_not_depend_on_the_order(history, random):
    """Identifiers that were named together are one device, whichever came first, and know the same."""
    shuffled = history + random.choices(history, k=3)
    random.shuffle(shuffled)
    assert asyncio.run(known_after(history)) == asyncio.run(known_after(shuffled))


values = st.sampled_from([True, True, True, False, "on", "on", 3, 3.0, None])
stated = st.lists(st.tuples(minutes | minutes.map(lambda at: at + timedelta(hours=1)), values), min_size=1)


@given(stated, st.booleans())
def test_folding_a_fact_is_joining_all_that_was_stated_of_it(statements, is_ordered):
    """The short ways of folding, for a report that repeats what is known, give what the long way gives."""
    if is_ordered:
        statements = [(T0 + timedelta(minutes=at), value) for at, (_, value) in enumerate(statements * 3)]
    told, facts = [], []
    for number, (at, value) in enumerate(statements):
        told.append(
            Signal(
                sensor="edr", type=SignalType.HEARTBEAT, observed_at=at, received_at=at, external_id="c",
                event_id=f"e{number}", facts={"disk": value},
            )
        )  # fmt: skip
        facts.append(
            Fact(name="disk", sensor="edr", value=value, observed_at=at, received_at=at, version=f"e{number}")
        )
    known = folded(told).facts["edr", "disk"]
    assert known == functools.reduce(_join_facts, facts)
    assert len(known.statements) <= MAX_STATEMENTS
