"""Folding gives the same posture in every order and with every repetition (below the bounds)."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from risk.folding import MAX_OPENINGS, fold
from risk.model import DeviceId, Posture, Severity, Signal, SignalType

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
