"""Intake: durable before known, known before answered, nothing half-applied, duplicates harmless."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from risk import intake as intake_module
from risk import seen as seen_module
from risk.database import StoreFault, StoreOverloaded
from risk.devices import keys_text
from risk.intake import Intake
from risk.memory import MemoryRiskStore
from risk.model import DeviceId, Identifier, Posture, Rejection, Severity, Signal, SignalType
from risk.packing import pack_posture
from risk.snapshot import RiskState
from risk.store import LOADED_AT_ONCE, Batch, DeviceRow

T0 = datetime(2026, 3, 1, 12, tzinfo=UTC)
LAPTOP = (Identifier("serial", "SN-1"), Identifier("hostname", "lt-1"))


def signal(event="e1", condition="c1", minute=0, **rest):
    at = T0 + timedelta(minutes=minute)
    given = {
        "sensor": "edr",
        "type": SignalType.DETECTION,
        "observed_at": at,
        "received_at": T0 + timedelta(hours=1),
        "external_id": condition,
        "event_id": event,
        "device_ids": LAPTOP,
        "level": Severity.HIGH,
    }
    return Signal(**(given | rest))


class GatedStore(MemoryRiskStore):
    """A store whose commits wait until they are let through, and can be made to fail."""

    def __init__(self):
        super().__init__()
        self.gate = asyncio.Event()
        self.gate.set()
        self.entered = asyncio.Event()
        self.fault = None
        self.batches = []

    async def commit(self, batch):
        self.entered.set()
        await self.gate.wait()
        if self.fault is not None:
            raise self.fault
        self.batches.append(batch)
        await super().commit(batch)


class Rig:
    def __init__(self, store=None):
        self.store = store or GatedStore()
        self.state = RiskState()
        self.intake = Intake(self.state, self.store, clock=lambda: T0 + timedelta(hours=1))

    def posture(self, *identifiers):
        device_id = self.state.resolve(identifiers or LAPTOP)
        return None if device_id is None else self.state.posture(device_id)


@pytest.fixture
async def rig():
    made = Rig()
    await made.intake.start()
    yield made
    made.store.gate.set()
    await made.intake.stop()


async def test_a_signal_of_an_unknown_device_makes_its_record(rig):
    result = await rig.intake.submit("edr", [signal()])
    assert (result.accepted, result.duplicates, result.rejected) == (1, 0, ())
    posture = rig.posture()
    assert result.changed_devices == {posture.device_id}
    assert posture.name == "lt-1"
    assert posture.identifiers == LAPTOP
    assert posture.findings["edr", "c1"].is_open
    assert set(result.timings) == {"waited", "staged", "durable"}


async def test_memory_changes_only_after_the_store_has_it(rig):
    rig.store.gate.clear()
    answer = asyncio.ensure_future(rig.intake.submit("edr", [signal()]))
    await rig.store.entered.wait()
    assert rig.posture() is None
    assert rig.state.resolve(LAPTOP) is None
    rig.store.gate.set()
    await answer
    assert rig.posture() is not None


async def test_nothing_is_applied_when_the_store_fails(rig):
    epoch = rig.state.epoch
    rig.store.fault = StoreFault("disk full")
    with pytest.raises(StoreFault, match="disk full"):
        await rig.intake.submit("edr", [signal()])
    assert (rig.posture(), rig.state.epoch, len(rig.state)) == (None, epoch, 0)
    rig.store.fault = None
    assert (await rig.intake.submit("edr", [signal()])).accepted == 1


async def test_an_unforeseen_fault_of_the_store_is_a_store_fault(rig):
    rig.store.fault = ZeroDivisionError()
    with pytest.raises(StoreFault):
        await rig.intake.submit("edr", [signal()])


async def test_a_delivery_sent_again_is_a_duplicate_and_names_its_devices(rig):
    first = await rig.intake.submit("edr", [signal()])
    again = await rig.intake.submit("edr", [signal(received_at=T0 + timedelta(hours=2))])
    assert (again.accepted, again.duplicates) == (0, 1)
    assert again.changed_devices == first.changed_devices


async def test_a_duplicate_is_not_answered_before_its_first_copy(rig):
    rig.store.gate.clear()
    first = asyncio.ensure_future(rig.intake.submit("edr", [signal()]))
    await rig.store.entered.wait()
    second = asyncio.ensure_future(rig.intake.submit("edr", [signal()]))
    for _ in range(5):
        await asyncio.sleep(0)
    assert not second.done()
    rig.store.gate.set()
    assert ((await first).accepted, (await second).duplicates) == (1, 1)


async def test_copies_within_one_transaction_are_duplicates(rig):
    results = await asyncio.gather(*(rig.intake.submit("edr", [signal()]) for _ in range(3)))
    assert sorted(result.accepted for result in results) == [0, 0, 1]
    assert all(result.changed_devices for result in results)


async def test_the_same_message_id_with_other_content_is_news(rig):
    """A sender that reuses an id for open and close must not be able to hide either."""
    await rig.intake.submit("edr", [signal()])
    closing = signal(minute=5, type=SignalType.REMEDIATION, resolves=True)
    assert (await rig.intake.submit("edr", [closing])).accepted == 1
    assert not rig.posture().findings["edr", "c1"].is_open


async def test_a_message_without_a_time_of_its_own_is_recognised_when_sent_again(rig):
    now, later = T0 + timedelta(hours=1), T0 + timedelta(hours=2)
    await rig.intake.submit("edr", [signal(observed_at=now, received_at=now)])
    again = await rig.intake.submit("edr", [signal(observed_at=later, received_at=later)])
    assert again.duplicates == 1


async def test_equal_message_ids_of_two_sensors_are_two_messages(rig):
    await rig.intake.submit("edr", [signal()])
    assert (await rig.intake.submit("mdm", [signal(sensor="mdm")])).accepted == 1


async def test_bad_items_are_rejected_and_kept_while_good_ones_are_taken(rig):
    junk = signal("e2", device_ids=(Identifier("hostname", "localhost"),))
    nobody = signal("e3", device_ids=())
    broken = Rejection(index=0, code="time-unreadable", error="no time", item={"a": 1})
    result = await rig.intake.submit("edr", [signal(), junk, nobody], [broken], b"body", items=[1, 2, 3])
    assert result.accepted == 1
    assert [(each.index, each.code) for each in result.rejected] == [
        (0, "time-unreadable"),
        (2, "no-device"),
        (3, "no-device"),
    ]
    letters = await rig.store.dead_letters("edr", 10)
    assert {letter.reason for letter in letters} == {"no-device", "time-unreadable"}
    assert {letter.body for letter in letters} == {b"body", b'{"a":1}'}


async def test_a_heartbeat_of_the_sensor_itself_needs_no_device(rig):
    alive = signal(type=SignalType.HEARTBEAT, device_ids=(), level=None)
    result = await rig.intake.submit("edr", [alive])
    assert (result.accepted, result.changed_devices) == (1, frozenset())


async def test_a_posture_that_is_full_rejects_the_signal(rig, monkeypatch):
    monkeypatch.setattr("risk.folding.MAX_FINDINGS", 1)
    result = await rig.intake.submit("edr", [signal(), signal("e2", "c2")])
    assert (result.accepted, [each.code for each in result.rejected]) == (1, ["posture-full"])


async def test_a_future_time_is_clamped(rig):
    await rig.intake.submit("edr", [signal(observed_at=T0 + timedelta(days=9))])
    assert rig.posture().findings["edr", "c1"].observed_at == T0 + timedelta(hours=1)


async def test_a_sensor_speaks_only_of_its_own_numbers(rig):
    claimed = (Identifier("sensor-device-id", "001", "someone-else"),)
    await rig.intake.submit("edr", [signal(device_ids=claimed)])
    assert rig.state.resolve([Identifier("sensor-device-id", "001", "edr")]) is not None
    assert rig.state.resolve([Identifier("sensor-device-id", "001", "someone-else")]) is None


async def test_identifiers_join_over_deliveries(rig):
    await rig.intake.submit("edr", [signal(device_ids=LAPTOP[:1])])
    await rig.intake.submit("mdm", [signal("e2", sensor="mdm", device_ids=LAPTOP)])
    assert rig.posture().name == "lt-1"
    assert len(rig.posture().findings) == 2
    assert len(rig.state) == 1


async def test_signals_of_one_device_from_many_senders_all_arrive(rig):
    work = [rig.intake.submit("edr", [signal(f"e{n}", f"c{n}", n)]) for n in range(300)]
    results = await asyncio.gather(*work)
    assert sum(result.accepted for result in results) == 300
    assert len(rig.posture().findings) == 300
    assert len(rig.store.batches) < 10, "deliveries that wait together share a transaction"


async def staged(rig, *submissions):
    """Begin deliveries one after the other, each once the one before is staged, while the first is being committed."""
    rig.store.gate.clear()
    begun = []
    for each in submissions:
        begun.append(asyncio.ensure_future(each))
        for _ in range(20):
            await asyncio.sleep(0)
    return begun


async def test_what_comes_during_a_commit_is_staged_over_it_and_shares_the_next_one(rig):
    await rig.intake.submit("edr", [signal()])
    begun = await staged(
        rig,
        rig.intake.submit("edr", [signal("e2", "c2", 2)]),
        rig.intake.submit("mdm", [signal("e3", "c3", 3, sensor="mdm")]),
        rig.intake.submit("edr", [signal("e4", "c2", 4, type=SignalType.REMEDIATION, resolves=True)]),
        rig.intake.submit("edr", [signal("e2", "c2", 2)]),
    )
    assert len(rig.intake._ahead.submissions) == 1
    assert not rig.intake._waiting, "the others are staged already"
    assert len(rig.posture().findings) == 1, "and seen by nobody"
    rig.store.gate.set()
    results = await asyncio.gather(*begun)
    assert [(each.accepted, each.duplicates) for each in results] == [(1, 0), (1, 0), (1, 0), (0, 1)]
    assert len(rig.store.batches) == 3
    found = rig.posture().findings
    assert (found["edr", "c2"].is_open, found["mdm", "c3"].is_open) == (False, True)


async def test_what_was_staged_over_a_commit_that_fails_is_staged_anew(rig):
    await rig.intake.submit("edr", [signal()])
    first, again, other = await staged(
        rig,
        rig.intake.submit("edr", [signal("e2", "c2", 2)]),
        rig.intake.submit("edr", [signal("e2", "c2", 2)]),
        rig.intake.submit("edr", [signal("e3", "c3", 3)]),
    )
    rig.store.fault = StoreFault("disk full")
    first.add_done_callback(lambda _: setattr(rig.store, "fault", None))
    rig.store.gate.set()
    with pytest.raises(StoreFault, match="disk full"):
        await first
    assert ((await again).accepted, (await again).duplicates) == (1, 0), "the first copy was not kept"
    assert (await other).accepted == 1
    assert set(rig.posture().findings) == {("edr", "c1"), ("edr", "c2"), ("edr", "c3")}
    after = Rig(rig.store)
    await after.intake.start()
    assert after.posture() == rig.posture()
    await after.intake.stop()


async def test_who_wants_to_know_is_told_while_many_signals_are_written(rig):
    told = []
    rig.intake.on_bulk = told.append
    await rig.intake.submit("edr", [signal()])
    assert told == []
    await rig.intake.submit("edr", [signal(f"m{number}", f"m{number}", number) for number in range(100)])
    assert told == [True, False]


async def test_nothing_is_staged_over_a_commit_that_makes_a_record(rig):
    first, second = await staged(
        rig, rig.intake.submit("edr", [signal()]), rig.intake.submit("mdm", [signal("e2", sensor="mdm")])
    )
    rig.store.gate.set()
    assert (await first).changed_devices == (await second).changed_devices
    assert len(rig.state) == 1


async def test_what_an_operator_changes_waits_for_what_is_being_committed(rig):
    await rig.intake.submit("edr", [signal()])
    (first,) = await staged(rig, rig.intake.submit("edr", [signal("e2", "c2", 2)]))
    device_id = rig.state.resolve(LAPTOP)
    amending = asyncio.ensure_future(
        rig.intake.amend(lambda amendment: amendment.tell(device_id, signal("e3", "c3", 3)))
    )
    for _ in range(20):
        await asyncio.sleep(0)
    rig.store.gate.set()
    await asyncio.gather(first, amending)
    assert set(rig.posture().findings) == {("edr", "c1"), ("edr", "c2"), ("edr", "c3")}


async def test_too_much_waiting_is_refused(rig, monkeypatch):
    monkeypatch.setattr(intake_module, "MAX_PENDING", 1)
    rig.store.gate.clear()
    first = asyncio.ensure_future(rig.intake.submit("edr", [signal()]))
    await rig.store.entered.wait()
    second = asyncio.ensure_future(rig.intake.submit("edr", [signal("e2")]))
    await asyncio.sleep(0)
    with pytest.raises(StoreOverloaded):
        await rig.intake.submit("edr", [signal("e3")])
    rig.store.gate.set()
    await asyncio.gather(first, second)


async def test_a_sender_that_goes_away_takes_nothing_back(rig):
    rig.store.gate.clear()
    sender = asyncio.ensure_future(rig.intake.submit("edr", [signal()]))
    await rig.store.entered.wait()
    sender.cancel()
    rig.store.gate.set()
    await rig.intake.submit("edr", [signal("e2", "c2")])
    assert len(rig.posture().findings) == 2


async def test_stopping_finishes_the_running_transaction_and_refuses_the_rest(rig):
    rig.store.gate.clear()
    running = asyncio.ensure_future(rig.intake.submit("edr", [signal()]))
    await rig.store.entered.wait()
    waiting = asyncio.ensure_future(rig.intake.submit("edr", [signal("e2")]))
    await asyncio.sleep(0)
    stopping = asyncio.ensure_future(rig.intake.stop())
    await asyncio.sleep(0)
    rig.store.gate.set()
    await stopping
    assert (await running).accepted == 1
    assert rig.posture() is not None
    with pytest.raises(StoreOverloaded):
        await waiting
    with pytest.raises(StoreFault):
        await rig.intake.submit("edr", [signal("e3")])


async def test_a_start_knows_every_device_however_many_there_are():
    rig, many = Rig(), LOADED_AT_ONCE + 1
    rows = [
        DeviceRow(
            each := DeviceId(f"dev_{number:06}"),
            keys_text([Identifier("serial", f"SN-{number}")]),
            pack_posture(Posture(device_id=each)),
        )
        for number in range(many)
    ]
    await rig.store.commit(Batch(devices=rows))
    await rig.intake.start()
    await rig.intake.stop()
    assert len(rig.state) == many
    assert rig.posture(Identifier("serial", f"SN-{many - 1}")).device_id == rows[-1].device_id


async def test_a_restart_knows_everything_again():
    first = Rig()
    await first.intake.start()
    await first.intake.submit("edr", [signal(), signal("e2", type=SignalType.POSTURE_FACT, facts={"a": 1})])
    before = first.posture()
    await first.intake.stop()
    second = Rig(first.store)
    await second.intake.start()
    assert second.posture() == before
    assert (await second.intake.submit("edr", [signal()])).duplicates == 1
    await second.intake.stop()


async def test_message_ids_that_left_memory_are_found_in_the_store(monkeypatch):
    monkeypatch.setattr(seen_module, "MAX_RECENT", 1)
    rig = Rig()
    await rig.intake.start()
    await rig.intake.submit("edr", [signal("e1", "c1"), signal("e2", "c2"), signal("e3", "c3")])
    assert (await rig.intake.submit("edr", [signal("e1", "c1")])).duplicates == 1
    await rig.intake.stop()


async def test_what_is_past_its_retention_goes(rig, monkeypatch):
    await rig.intake.submit("edr", [signal(received_at=T0 - timedelta(days=60))])
    monkeypatch.setattr(rig.intake, "_prune_at", 0.0)
    await rig.intake.submit("edr", [signal("e2", "c2")])
    await rig.intake._pruning
    seen, _ = await rig.store.recent_seen(10)
    assert len(seen) == 1
    assert rig.posture().findings["edr", "c1"].is_open, "posture has no retention"


async def test_a_dead_letter_keeps_the_start_of_the_body(rig):
    await rig.intake.dead_letter("edr", "body-not-json", "no JSON", b"x" * 100_000)
    (letter,) = await rig.store.dead_letters("edr", 10)
    assert (letter.reason, letter.error, len(letter.body)) == ("body-not-json", "no JSON", 65_536)


def test_a_device_id_is_ours():
    made = RiskState()
    device_id = made.index.resolve_or_create([Identifier("serial", "SN-9")])
    assert device_id.startswith("dev_")
    assert len(device_id) == len(DeviceId("dev_")) + 20
