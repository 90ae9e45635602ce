"""Large deliveries: all or nothing, in parts between which others have their turn, tried again when the store fails."""

import asyncio
import json
from datetime import UTC, datetime

import msgspec
import pytest

from risk import intake as intake_module
from risk.database import StoreFault, StoreOverloaded
from risk.intake import MAX_PENDING_SIGNALS, PROMISED_AT_ONCE, Intake
from risk.joining import JoinRules
from risk.memory import MemoryRiskStore
from risk.model import Identifier, Rejection, Severity, Signal, SignalType
from risk.parts import MAX_PART, pack_part, unpack_part
from risk.snapshot import RiskState
from risk.store import PartRow

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
MANY = 10_000


def signal(number, sensor="edr", **rest):
    given = {
        "sensor": sensor,
        "type": SignalType.DETECTION,
        "observed_at": NOW,
        "received_at": NOW,
        "external_id": f"c{number}",
        "event_id": f"e{number}",
        "device_ids": (Identifier("serial", f"SN-{number % 100}"),),
        "level": Severity.HIGH,
    }
    return Signal(**(given | rest))


class SteppedStore(MemoryRiskStore):
    """A store that stops before a transaction that takes a part, and can be made to fail."""

    def __init__(self):
        super().__init__()
        self.stopped, self.go_on = asyncio.Event(), asyncio.Event()
        self.go_on.set()
        self.fault = None
        self.promised = []

    async def commit(self, batch):
        if batch.parts:
            self.promised.append(len(batch.parts))
        if batch.taken:
            self.stopped.set()
            await self.go_on.wait()
        if self.fault is not None and (batch.taken or batch.parts):
            raise self.fault
        await super().commit(batch)


class Rig:
    def __init__(self, store=None):
        self.store = store or SteppedStore()
        self.state = RiskState()
        self.intake = Intake(self.state, self.store, clock=lambda: NOW)
        self.late = asyncio.Queue()
        self.intake.on_late = self.late.put_nowait

    def open_findings(self):
        return sum(len(self.state.posture(each).findings) for each in list(self.state.device_ids()))


@pytest.fixture
async def rig():
    made = Rig()
    await made.intake.start()
    yield made
    made.store.go_on.set()
    await made.intake.stop()


async def test_ten_thousand_signals_are_promised_at_once_and_all_taken(rig):
    result = await rig.intake.submit("edr", [signal(n) for n in range(MANY)])
    assert (result.accepted, result.duplicates, result.rejected) == (MANY, 0, ())
    assert sum(rig.store.promised) == -(-MANY // MAX_PART)
    assert max(rig.store.promised) == PROMISED_AT_ONCE, "others become durable in between"
    assert result.changed_devices == set(rig.state.device_ids())
    assert len(result.changed_devices) == 100
    assert rig.open_findings() == MANY
    assert await rig.store.load_parts() == []
    again = await rig.intake.submit("edr", [signal(n) for n in range(MANY)])
    assert (again.accepted, again.duplicates) == (0, MANY)
    assert again.changed_devices == result.changed_devices


async def test_another_sensor_is_answered_while_a_large_delivery_is_taken(rig):
    rig.store.go_on.clear()
    large = asyncio.ensure_future(rig.intake.submit("edr", [signal(n) for n in range(MANY)]))
    await rig.store.stopped.wait()
    single = asyncio.ensure_future(rig.intake.submit("mdm", [signal(1, "mdm")]))
    await asyncio.sleep(0)
    rig.store.go_on.set()
    assert (await single).accepted == 1
    assert not large.done()
    taken = -(-MANY // MAX_PART) - len(await rig.store.load_parts())
    assert taken <= 4, (
        "the other sensor waits for the part that is under way, and shares its turn with one more"
    )
    assert (await large).accepted == MANY


async def test_nothing_is_kept_of_a_delivery_that_cannot_be_promised(rig):
    rig.store.fault = StoreFault("disk full")
    with pytest.raises(StoreFault, match="disk full"):
        await rig.intake.submit("edr", [signal(n) for n in range(MANY)])
    rig.store.fault = None
    assert (rig.open_findings(), await rig.store.load_parts()) == (0, [])
    assert (await rig.intake.submit("edr", [signal(n) for n in range(MANY)])).accepted == MANY


async def test_nothing_is_kept_of_a_delivery_that_is_half_written_when_the_store_fails(rig):
    commit = rig.store.commit

    async def third_fails(batch):
        if batch.parts and len(rig.store.promised) == 2:
            raise StoreFault("disk full")
        await commit(batch)

    rig.store.commit = third_fails
    with pytest.raises(StoreFault, match="disk full"):
        await rig.intake.submit("edr", [signal(n) for n in range(MANY)])
    assert len(rig.store.promised) == 2
    assert (rig.open_findings(), rig.store._parts) == (0, {})
    rig.store.commit = commit
    assert (await rig.intake.submit("edr", [signal(n) for n in range(MANY)])).accepted == MANY


async def test_what_was_promised_is_taken_when_the_store_works_again(rig, monkeypatch):
    """Its sender was told to send again; whether it does or not, no half of it stays."""
    monkeypatch.setattr(intake_module, "RETRY_S", 0.0)
    rig.store.go_on.clear()
    sending = asyncio.ensure_future(rig.intake.submit("edr", [signal(n) for n in range(3 * MAX_PART)]))
    await rig.store.stopped.wait()
    rig.store.fault = StoreFault("disk full")
    rig.store.go_on.set()
    with pytest.raises(StoreFault, match="disk full"):
        await sending
    rig.store.fault = None
    changed = set()
    for _ in range(3):
        changed |= await rig.late.get()
    assert changed == set(rig.state.device_ids())
    assert rig.open_findings() == 3 * MAX_PART
    assert await rig.store.load_parts() == []


async def test_the_next_process_takes_what_was_promised(rig):
    for number in range(3):
        part = unpack_part(pack_part(next(delivered(number).parts())))
        promised = (5, 7) if number == 2 else None
        await rig.store.commit(
            intake_module.Batch(parts=[PartRow(number + 5, pack_part(part))], promised=promised)
        )
    after = Rig(rig.store)
    await after.intake.start()
    assert after.open_findings() == 3 * MAX_PART
    assert await after.store.load_parts() == []
    assert (
        await after.intake.submit("edr", [signal(n) for n in range(MANY)])
    ).accepted == MANY - 3 * MAX_PART
    await after.intake.stop()


def delivered(number):
    signals = [signal(n) for n in range(number * MAX_PART, (number + 1) * MAX_PART)]
    return intake_module.Delivered(sensor="edr", signals=signals, items=range(MAX_PART))


async def test_a_part_that_our_own_fault_cannot_take_becomes_a_dead_letter(rig, monkeypatch):
    staging = intake_module.stage_delivery

    def stage(stage, delivered, *rest, **more):
        if any(each.external_id == "c100" for each in delivered.signals):
            raise ZeroDivisionError
        return staging(stage, delivered, *rest, **more)

    monkeypatch.setattr(intake_module, "stage_delivery", stage)
    with pytest.raises(StoreFault, match="ZeroDivisionError"):
        await rig.intake.submit("edr", [signal(n) for n in range(3 * MAX_PART)])
    assert (await rig.intake.submit("mdm", [signal(1, "mdm")])).accepted == 1
    [letter] = await rig.store.dead_letters(None, 10)
    assert (letter.sensor, letter.reason) == ("edr", "internal")
    assert len(json.loads(letter.body)) == MAX_PART
    assert await rig.store.load_parts() == []


async def test_rejected_items_of_a_large_delivery_keep_their_numbers_and_content(rig):
    signals = [signal(n, device_ids=() if n == 777 else signal(n).device_ids) for n in range(1000)]
    plain = [Rejection(index=2000 + n, code="level-unknown", error="?", item={"n": n}) for n in range(300)]
    whole = Rejection(index=3000, code="no-items", error="?")
    result = await rig.intake.submit("edr", signals, [*plain, whole], b"the body")
    assert result.accepted == 999
    assert [each.index for each in result.rejected] == [777, *range(2000, 2300), 3000]
    letters = await rig.store.dead_letters("edr", 1000)
    assert len(letters) == 302
    bodies = {letter.reason: letter.body for letter in letters}
    assert json.loads(bodies["no-device"])["external_id"] == "c777"
    assert bodies["no-items"] == b"the body"
    assert {msgspec.json.decode(each.body)["n"] for each in letters if each.reason == "level-unknown"} == set(
        range(300)
    )


async def test_a_sensor_has_bounds_for_large_deliveries_too(rig):
    rig.store.go_on.clear()
    first = asyncio.ensure_future(
        rig.intake.submit("edr", [signal(n) for n in range(MAX_PENDING_SIGNALS - 1000)])
    )
    await asyncio.sleep(0)
    with pytest.raises(StoreOverloaded):
        await rig.intake.submit("edr", [signal(n) for n in range(2000)])
    await rig.store.stopped.wait()
    with pytest.raises(StoreOverloaded):
        await rig.intake.submit("edr", [signal(n) for n in range(2000)])
    other = asyncio.ensure_future(rig.intake.submit("mdm", [signal(n, "mdm") for n in range(2000)]))
    rig.store.go_on.set()
    assert (await other).accepted == 2000
    await first


@pytest.mark.parametrize(("joins", "parked"), [(True, 1), (False, 2)])
async def test_what_waits_at_the_end_of_a_large_delivery_is_what_no_part_has_named(rig, joins, parked):
    rig.state.join_by(JoinRules(joins_hostnames=joins))
    lonely = [
        signal(n, device_ids=(Identifier("hostname", f"lt-{n % 2}"),)) for n in range(MAX_PART, 2 * MAX_PART)
    ]
    whole = (Identifier("serial", "SN-1"), Identifier("hostname", "lt-1"))
    named = [signal(n, device_ids=whole) for n in range(MAX_PART)]
    result = await rig.intake.submit("edr", [*lonely, *named])
    assert result.accepted == 2 * MAX_PART
    assert len(result.parked) == rig.state.index.parked == parked
    assert result.parked <= result.changed_devices
