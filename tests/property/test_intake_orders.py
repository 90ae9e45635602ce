"""Histories of several sensors through the whole intake, over SQLite, told in different orders.

One by one in their order, or shuffled, repeated, batched and with a restart in the middle: posture, risk and compliance
are the same. What cannot commute is kept out of these histories, and documented in docs/devices.md: two statements of
one condition and instant, two times in the future of one condition or fact, and names that several devices share.
"""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import count
from random import Random

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from compliance.model import CompliancePolicy, ComplianceState, FactRule, RiskRule
from gateway.decision.judge import Interpretation, judge
from risk.correlation import Correlation, Decay, Weighing
from risk.database import Database
from risk.intake import Intake
from risk.joining import JoinRules
from risk.model import DeviceId, Identifier, RiskLevel, SensorRules, Severity, Signal, SignalType
from risk.scoring import assess
from risk.snapshot import RiskState
from risk.sqlite import SCHEMA, SqliteRiskStore

T0 = datetime(2026, 1, 1, tzinfo=UTC)
END = T0 + timedelta(hours=6)
"""When the histories are over; they are delivered afterwards."""

RULES = JoinRules(joins_hostnames=True, domains=("corp.example",))
SENSORS = {
    "edr": SensorRules(name="edr", max_silence_s=86_400.0, max_level=RiskLevel.MEDIUM),
    "mdm": SensorRules(name="mdm", trust=1),
    "mde": SensorRules(name="mde", unknown_level=Severity.LOW),
    "ids": SensorRules(name="ids"),
    "okta": SensorRules(name="okta"),
}
MEANING = Interpretation(
    SENSORS,
    (
        CompliancePolicy(
            name="laptop",
            rules=(
                RiskRule(name="threat", max=RiskLevel.LOW),
                FactRule(name="disk", fact="disk", equals=True, max_age=3600.0 * 24, grace=600.0),
            ),
        ),
    ),
    ComplianceState.COMPLIANT,
    weighing=Weighing(
        (Correlation("two agree", "high", distinct="sensors", within=7200.0),),
        (Decay("high", "medium", 3600.0),),
    ),
)


def names(device: int, sensor: str) -> list[Identifier]:
    """Return every identifier by which a sensor knows a device."""
    host = f"LT-{device}"
    return {
        "edr": [Identifier("sensor-device-id", f"00{device}"), Identifier("hostname", host)],
        "mdm": [Identifier("serial", f"S{device}"), Identifier("entra-device-id", f"E{device}")],
        "mde": [
            Identifier("mde-machine-id", f"m{device}"),
            Identifier("hostname", f"lt-{device}.corp.example"),
            Identifier("entra-device-id", f"{{e{device}}}"),
        ],
        "ids": [Identifier("hostname", host.lower())],
        "okta": [],
    }[sensor]


PEOPLE = [
    [Identifier("email", "ana@corp.example"), Identifier("okta-user-id", "00u1")],
    [
        Identifier("upn", "Ben@corp.example"),
        Identifier("okta-user-id", "00u2"),
        Identifier("entra-user-id", "b"),
    ],
]


@st.composite
def histories(draw: st.DrawFn) -> list[Signal]:
    """Return statements in the order in which they were made; each sensor and instant has one."""
    minutes = sorted(draw(st.sets(st.integers(0, 300), min_size=1, max_size=14)))
    skewed: set[tuple[str, int]] = set()
    """Whose times of the future are told already: by sensor, and `facts` for the facts that all sensors share."""
    return [draw(statement(minute, skewed)) for minute in minutes]


@st.composite
def statement(draw: st.DrawFn, minute: int, skewed: set[tuple[str, int]]) -> Signal:
    sensor, device = draw(st.sampled_from(sorted(SENSORS))), draw(st.integers(0, 1))
    known = PEOPLE[device] if sensor == "okta" else names(device, sensor)
    said = draw(st.lists(st.sampled_from(known), min_size=1, unique=True))
    kind = draw(st.sampled_from(["open", "open", "update", "close", "fact", "heartbeat"]))
    at = T0 + timedelta(minutes=minute)
    observed = at
    facts = {"disk": draw(st.booleans())} if kind in ("fact", "update") else {}
    told_of = {(sensor, device)} | ({("facts", device)} if facts else set())
    if skewed.isdisjoint(told_of) and draw(st.integers(0, 9)) == 0:
        skewed |= told_of
        observed = END + timedelta(days=draw(st.integers(1, 400)))
    return Signal(
        sensor=sensor,
        type={
            "fact": SignalType.POSTURE_FACT,
            "close": SignalType.REMEDIATION,
            "heartbeat": SignalType.HEARTBEAT,
        }.get(kind, SignalType.DETECTION),
        observed_at=observed,
        received_at=at,
        external_id=draw(st.sampled_from(["c1", "c2"])),
        event_id=f"{sensor}-{minute}",
        device_ids=() if sensor == "okta" else tuple(said),
        user_ids=tuple(said) if sensor == "okta" else (),
        level=draw(st.sampled_from(list(Severity))) if kind in ("open", "update") else None,
        title=f"{kind} at {minute}",
        category=draw(st.sampled_from(["", "malware"])),
        facts=facts,
        resolves=kind == "close",
        expires_at=draw(st.none() | st.integers(1, 20).map(lambda hours: at + timedelta(hours=hours))),
    )


def deliveries(history: list[Signal], random: Random) -> list[list[Signal]]:
    """Return the statements in some order, some of them again, in batches of one sensor."""
    told = history + random.choices(history, k=random.randint(0, 6))
    random.shuffle(told)
    batches: list[list[Signal]] = []
    for each in told:
        fits = bool(batches) and batches[-1][0].sensor == each.sensor
        if fits and random.random() < 0.7:
            batches[-1].append(each)
        else:
            batches.append([each])
    return batches


async def known_after(batches: list[list[Signal]], restart_at: int = -1) -> RiskState:
    """Deliver; return what is known at the end, as the next start reads it from the store."""
    database = Database(":memory:", {"risk": SCHEMA})
    database.start()
    moments, numbers = count(1), count(1)
    make_id = lambda: DeviceId(f"dev_{next(numbers)}")  # noqa: E731
    try:
        state, intake = await begun(database, make_id)
        for at, batch in enumerate(batches):
            if at == restart_at:
                await intake.stop()
                state, intake = await begun(database, make_id)
            received_at = END + timedelta(seconds=next(moments))
            await intake.submit(
                batch[0].sensor, [msgspec.structs.replace(each, received_at=received_at) for each in batch]
            )
        in_memory = told(state)
        await intake.stop()
        state, intake = await begun(database, make_id)
        await intake.stop()
        assert told(state) == in_memory, "what is in memory is what is durable"
        return state
    finally:
        database.close()


async def begun(database: Database, make_id: Callable[[], DeviceId]) -> tuple[RiskState, Intake]:
    state = RiskState(make_id)
    state.join_by(RULES)
    intake = Intake(state, SqliteRiskStore(database), clock=lambda: END)
    await intake.start()
    return state, intake


def told(state: RiskState) -> dict[frozenset[tuple[str, str]], object]:
    """Return what is known of each device, by its identifiers, and of each user: what a decision can see of it."""
    found: dict[frozenset[tuple[str, str]], object] = {}
    for device_id in state.device_ids():
        posture = state.posture(device_id)
        assert posture is not None
        keys = frozenset((each.kind, state.index.key_of(each) or "") for each in posture.identifiers)
        assert keys not in found
        meant = []
        for hours in (0, 1, 5, 13, 26):
            risk, compliance = judge(posture, MEANING, END + timedelta(hours=hours, minutes=5))
            meant.append((seen(risk), compliance.state, risk.is_known))
        found[keys] = (meant, conditions(posture), facts(posture), posture.contested, sorted(posture.heard))
    for person in PEOPLE:
        _, record = state.user(person)
        if record is not None:
            risk = assess(record, SENSORS, END + timedelta(minutes=5), MEANING.weighing)
            found[frozenset((each.kind, each.value) for each in person)] = (
                seen(risk),
                conditions(record),
                facts(record),
            )
    return found


def seen(risk):
    """Return a level with what made it; times of the future were clamped to when we heard them."""
    return risk.level, {
        (each.sensor, each.external_id, each.level, each.title) for each in risk.contributions
    }


def past(at):
    return None if at is None else min(at, END)


def conditions(posture):
    return {
        key: (each.is_open, each.level, each.title, past(each.observed_at), past(each.first_observed_at),
              past(each.closed_at), each.expires_at, each.open_level)
        for key, each in posture.findings.items()
    }  # fmt: skip


def facts(posture):
    return {
        key: (each.value, past(each.observed_at), past(each.since)) for key, each in posture.facts.items()
    }


@settings(max_examples=100, deadline=None)
@given(histories(), st.randoms(use_true_random=False))
def test_no_order_repetition_batching_or_restart_changes_what_is_known(
    history: list[Signal], random: Random
) -> None:
    in_order = asyncio.run(known_after([[each] for each in history]))
    batches = deliveries(history, random)
    shuffled = asyncio.run(known_after(batches, restart_at=random.randrange(len(batches))))
    assert told(shuffled) == told(in_order)


@settings(max_examples=40, deadline=None)
@given(histories(), st.randoms(use_true_random=False))
def test_a_repeated_history_changes_nothing(history: list[Signal], random: Random) -> None:
    once = asyncio.run(known_after([[each] for each in history]))
    twice = asyncio.run(known_after([[each] for each in (*history, *random.sample(history, len(history)))]))
    assert told(twice) == told(once)


CLAIMS = [
    [Identifier("serial", "S1"), Identifier("sensor-device-id", "001")],
    [Identifier("serial", "S2"), Identifier("sensor-device-id", "001")],
    [Identifier("sensor-device-id", "001")],
    [Identifier("serial", "S2"), Identifier("udid", "u2")],
    [Identifier("udid", "u2"), Identifier("sensor-device-id", "002")],
    [Identifier("serial", "S1"), Identifier("sensor-device-id", "003")],
]


@settings(max_examples=40, deadline=None)
@given(st.permutations(range(len(CLAIMS))), st.lists(st.sampled_from(range(len(CLAIMS))), max_size=3))
def test_who_is_contested_does_not_depend_on_the_order(order: list[int], again: list[int]) -> None:
    """An agent id that came with two serial numbers: a case, and neither device is known, whoever came first."""
    history = [
        Signal(
            sensor="edr",
            type=SignalType.DETECTION,
            observed_at=T0 + timedelta(minutes=at),
            received_at=T0,
            external_id=f"c{at}",
            event_id=f"e{at}",
            device_ids=tuple(ids),
            level=Severity.LOW,
        )
        for at, ids in enumerate(CLAIMS)
    ]
    state = asyncio.run(known_after([[history[at]] for at in (*order, *again)]))
    (case,) = state.cases
    assert (case.identifier.kind, len(case.claimants)) == ("sensor-device-id", 2)
    serials = {serial: state.resolve([Identifier("serial", serial)]) for serial in ("S1", "S2")}
    assert set(serials.values()) == set(case.claimants)
    for device_id in case.claimants:
        posture = state.posture(device_id)
        assert posture is not None
        risk = assess(posture, SENSORS, END)
        assert (risk.level, risk.is_known) == (RiskLevel.UNKNOWN, False)
    assert state.resolve([Identifier("sensor-device-id", "002", "edr")]) == serials["S2"]
