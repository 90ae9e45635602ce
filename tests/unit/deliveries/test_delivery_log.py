"""The delivery log is bounded, tells verdicts in one word, and strangers cannot push out what sensors sent."""

from datetime import UTC, datetime, timedelta

import pytest

from compliance.model import ComplianceState
from gateway.config.deliveries import Deliveries
from gateway.decision.judge import Interpretation
from gateway.deliveries.log import EFFECTS_PER_FLUSH, MAX_QUEUED_BYTES, UNVERIFIED_PER_FLUSH, DeliveryLog
from gateway.deliveries.model import MAX_SHOWN_EFFECTS, MAX_SIGNALS, Judged, Verdict, verdict_of
from gateway.deliveries.store import SCHEMA, DeliveryStore
from gateway.hub.hooks import Delivery
from plugins.contract import Normalized
from risk.database import Database
from risk.folding import fold
from risk.model import (
    DeviceId,
    Identifier,
    Posture,
    Rejection,
    SensorRules,
    Severity,
    Signal,
    SignalType,
)
from risk.outcome import Effect

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
DEVICE = DeviceId("dev_1")
SIGNAL = Signal(
    sensor="edr",
    type=SignalType.DETECTION,
    observed_at=NOW,
    received_at=NOW,
    external_id="c1",
    event_id="e1",
    device_ids=(Identifier("serial", "SN-1"),),
    level=Severity.HIGH,
)
JUDGED = Judged(
    interpretation=Interpretation({"edr": SensorRules(name="edr")}, (), ComplianceState.NONCOMPLIANT)
)
BEFORE = Posture(device_id=DEVICE, heard={"edr": NOW})
EFFECT = Effect(DEVICE, BEFORE, fold(BEFORE, SIGNAL))


def delivery(number=0, *, at=NOW, signals=(SIGNAL,), **rest):
    given = {
        "status": 200,
        "verdict": "accepted",
        "accepted": 1,
        "secret": 0,
        "body": b'{"a": 1}',
        "body_bytes": 8,
        "normalized": Normalized(signals=signals, origins=tuple(range(len(signals)))),
        "effects": (EFFECT,),
    }
    return Delivery(id=f"d{number}", sensor="edr", received_at=at, **given | rest)


def refused(number, **rest):
    return Delivery(
        id=f"r{number}", sensor="edr", status=401, verdict="credential-mismatch", received_at=NOW, **rest
    )


class Rig:
    def __init__(self, folder):
        self.database = Database(folder / "state.db", {"deliveries": SCHEMA})
        self.database.start()
        self.settings = Deliveries()
        self.now = NOW
        self.log = self.make()

    def make(self):
        return DeliveryLog(
            DeliveryStore(self.database),
            settings=lambda: self.settings,
            judged=lambda: JUDGED,
            clock=lambda: self.now,
        )


@pytest.fixture
async def rig(tmp_path):
    made = Rig(tmp_path)
    await made.log._store.load()
    yield made
    made.database.close()


async def test_a_record_tells_risk_before_and_after(rig):
    rig.log.note(delivery())
    record = await rig.log.find("d0")
    (effect,) = record.effects
    assert (effect.risk_before, effect.risk_after, effect.is_change) == ("none", "high", True)
    assert (record.verdict, record.secret, record.has_body) == (Verdict.ACCEPTED, 1, True)
    assert (await rig.log.body("d0")).body == b'{"a": 1}'
    assert await rig.log.find("d1") is None


async def test_a_record_is_found_by_the_senders_id_too(rig):
    rig.log.note(delivery(1, message_id="msg_7"))
    assert (await rig.log.find("msg_7")).id == "d1"


async def test_strangers_fill_nothing(rig):
    for number in range(UNVERIFIED_PER_FLUSH * 10):
        rig.log.note(refused(number))
    rig.log.note(delivery(1))
    listed = await rig.log.listed("edr", 100)
    assert len([each for each in listed if each.verdict is Verdict.BAD_SIGNATURE]) == UNVERIFIED_PER_FLUSH
    (record,) = [each for each in listed if each.verdict is Verdict.ACCEPTED]
    assert record.left_out == UNVERIFIED_PER_FLUSH * 9


async def test_strangers_push_out_nothing(rig):
    rig.settings = Deliveries(most=20)
    rig.log.note(delivery(1))
    for flush in range(10):
        for number in range(UNVERIFIED_PER_FLUSH):
            rig.log.note(refused(flush * 10 + number))
        await rig.log.flush()
    await rig.log.prune()
    listed = await rig.log.listed("edr", 100)
    assert [each.verdict for each in listed].count(Verdict.ACCEPTED) == 1
    assert len(listed) == 1 + 2


async def test_old_records_and_bodies_go(rig):
    rig.settings = Deliveries(keep=3600.0, keep_bodies=600.0)
    rig.log.note(delivery(1, at=NOW))
    await rig.log.flush()
    rig.now = NOW + timedelta(minutes=11)
    await rig.log.prune()
    assert await rig.log.body("d1") is None
    assert await rig.log.find("d1") is not None
    rig.now = NOW + timedelta(minutes=61)
    await rig.log.prune()
    assert await rig.log.find("d1") is None
    assert rig.log._store.totals.verified == rig.log._store.totals.bodies_bytes == 0


async def test_bodies_are_bounded_together_and_the_oldest_go_first(rig):
    rig.settings = Deliveries(bodies_bytes=5000)
    for number in range(10):
        rig.log.note(delivery(number, at=NOW + timedelta(seconds=number), body=b"x" * 990))
    await rig.log.flush()
    await rig.log.prune()
    kept = [number for number in range(10) if await rig.log.body(f"d{number}") is not None]
    assert kept == [5, 6, 7, 8, 9]
    fresh = rig.make()
    await fresh._store.load()
    assert fresh._store.totals == rig.log._store.totals


async def test_records_are_bounded(rig):
    rig.settings = Deliveries(most=700)
    for number in range(1500):
        rig.log.note(delivery(number, effects=()))
    await rig.log.flush()
    await rig.log.prune()
    assert rig.log._store.totals.verified == 700
    assert await rig.log.find("d799") is None
    assert await rig.log.find("d800") is not None


async def test_no_body_is_kept_where_none_is_wanted_or_none_was_verified(rig):
    rig.log.note(refused(1, body=b""))
    rig.settings = Deliveries(keep_bodies=0.0)
    rig.log.note(delivery(1))
    await rig.log.flush()
    assert await rig.log.body("d1") is None
    assert not (await rig.log.find("d1")).has_body


async def test_what_waits_is_bounded_in_bytes(rig):
    """A flood of large bodies costs bodies and effects, never memory."""
    large = b"x" * (1 << 20)
    for number in range(MAX_QUEUED_BYTES // len(large) + 5):
        rig.log.note(delivery(number, body=large))
    assert rig.log._bytes <= MAX_QUEUED_BYTES
    await rig.log.flush()
    assert (rig.log._bytes, rig.log._by_id) == (0, {})
    last = await rig.log.find(f"d{MAX_QUEUED_BYTES // len(large) + 4}")
    assert (last.has_body, last.accepted, last.has_effects) == (False, 1, False)


async def test_of_a_large_batch_the_first_signals_are_shown(rig):
    rig.log.note(delivery(1, signals=(SIGNAL,) * 500, rejections=tuple(
        Rejection(index=n, code="no-device", error="x", item={"large": "x" * 1000}) for n in range(300)
    ), rejected=300))  # fmt: skip
    record = await rig.log.find("d1")
    assert (len(record.signals), record.signals_left_out) == (MAX_SIGNALS, 500 - MAX_SIGNALS)
    assert (len(record.rejections), record.rejected) == (20, 300)


async def test_effects_are_left_out_when_too_much_comes_at_once(rig):
    for number in range(EFFECTS_PER_FLUSH + 3):
        rig.log.note(delivery(number))
    assert sum(len(each.delivery.effects) for each in rig.log._queue) == EFFECTS_PER_FLUSH
    await rig.log.flush()
    assert rig.log._effects == 0
    records = await rig.log.listed("edr", 1000)
    assert sum(each.has_effects for each in records) == EFFECTS_PER_FLUSH
    assert sum(not each.has_effects for each in records) == 3


async def test_large_deliveries_use_up_what_is_looked_at_by_their_devices(rig):
    whole = EFFECTS_PER_FLUSH // MAX_SHOWN_EFFECTS
    for number in range(whole + 3):
        rig.log.note(delivery(number, effects=(EFFECT,) * 50))
    await rig.log.flush()
    records = await rig.log.listed("edr", 1000)
    assert [len(each.effects) for each in records if each.has_effects] == [MAX_SHOWN_EFFECTS] * whole
    assert [len(each.effects) for each in records if not each.has_effects] == [0] * 3


async def test_the_time_of_the_answer_is_waited_for(rig):
    rig.log.note(delivery(1))
    await rig.log.flush(only_settled=True)
    assert len(rig.log._queue) == 1
    rig.log.answered("d1", 0.012)
    await rig.log.flush(only_settled=True)
    assert (await rig.log.find("d1")).answered_in_ms == 12.0


@pytest.mark.parametrize(
    ("verdict", "given"),
    [
        (Verdict.ACCEPTED, {"status": 200, "verdict": "accepted", "accepted": 1}),
        (Verdict.PARTLY, {"status": 200, "verdict": "accepted", "accepted": 1, "rejected": 1}),
        (Verdict.DUPLICATE, {"status": 200, "verdict": "accepted", "duplicates": 2}),
        (Verdict.IGNORED, {"status": 200, "verdict": "accepted", "ignored": 1}),
        (Verdict.BAD_SIGNATURE, {"status": 401, "verdict": "credential-missing"}),
        (Verdict.STALE, {"status": 401, "verdict": "timestamp-outside-tolerance"}),
        (Verdict.SCHEMA, {"status": 400, "verdict": "duplicate-key"}),
        (Verdict.SCHEMA, {"status": 422, "verdict": "nothing-usable", "rejected": 1}),
        (Verdict.RATE_LIMITED, {"status": 503, "verdict": "rate-limited"}),
        (Verdict.UNAVAILABLE, {"status": 503, "verdict": "not-enforced"}),
        (Verdict.HANDSHAKE, {"status": 200, "verdict": "handshake-okta"}),
        (Verdict.REFUSED, {"status": 413, "verdict": "body-too-large"}),
        (Verdict.TEST, {"status": 200, "verdict": "test"}),
        (Verdict.ACCEPTED, {"status": 200, "verdict": "pulled", "accepted": 3}),
    ],
)
def test_verdicts(verdict, given):
    rejections = (Rejection(index=0, code="type-unknown", error="x"),) if given.get("rejected") else ()
    assert verdict_of(Delivery(id="1", sensor="edr", rejections=rejections, **given)) is verdict


@pytest.mark.parametrize(
    ("code", "verdict"),
    [
        ("no-device", Verdict.UNKNOWN_DEVICE),
        ("no-subject", Verdict.NO_SUBJECT),
        ("not-allowed", Verdict.NOT_ALLOWED),
    ],
)
def test_verdicts_of_rejections(code, verdict):
    rejections = (Rejection(index=0, code=code, error="x"),)
    given = Delivery(
        id="1", sensor="e", status=422, verdict="nothing-usable", rejections=rejections, rejected=1
    )
    assert verdict_of(given) is verdict


async def test_after_a_restart_test_events_and_replays_are_not_taken_for_the_sensor(rig):
    later = NOW + timedelta(hours=1)
    rig.log.note(delivery(1))
    rig.log.note(delivery(2, at=later, verdict="test"))
    rig.log.note(delivery(3, at=later, verdict="replayed", secret=None, again="d1"))
    await rig.log.flush()
    assert await rig.log._store.last_heard() == {"edr": NOW}


async def test_what_was_run_again_is_recorded_at_the_time_of_that(rig):
    rig.log.note(delivery(1))
    rig.now = NOW + timedelta(hours=2)
    rig.log.note(delivery(2, verdict="replayed", secret=None, again="d1"))
    newest, _ = await rig.log.listed("edr", 2)
    assert (newest.id, newest.at, newest.age_s) == ("d2", rig.now, 7200.0)


async def test_a_record_counts_the_devices_that_wait_under_a_name(rig):
    rig.log.note(delivery(1, devices=3, parked=2))
    rig.log.note(delivery(2, devices=3))
    assert [(await rig.log.find(each)).parked for each in ("d1", "d2")] == [2, 0]
