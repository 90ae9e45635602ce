"""The desk of tasks: many devices at once, a store that fails, and changes that come while it looks."""

from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path

import pytest

from compliance.model import CompliancePolicy, ComplianceState, FactRule
from gateway.config.remediation import Tasks
from gateway.decision.judge import Interpretation
from gateway.remediation import task_desk as desk_module
from gateway.remediation.task_desk import MAX_DEVICES, TaskDesk
from gateway.remediation.task_store import SCHEMA, Letter, SqliteTaskStore, TaskQuery, read_tasks
from gateway.remediation.tasks import Happened, SecurityTask, TaskChange, TaskEvent, TaskState
from risk.database import Database, StoreFault
from risk.model import DeviceId, Fact, Posture, SensorRules

NOW = datetime(2026, 12, 1, 6, tzinfo=UTC)
POLICY = CompliancePolicy(name="laptop", rules=(FactRule(name="disk", fact="disk", equals=True),))
MEANING = Interpretation({"edr": SensorRules(name="edr")}, (POLICY,), ComplianceState.NONCOMPLIANT)


class Store(SqliteTaskStore):
    """The real store, which can be made to fail, and tells what it was asked."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self.faults = 0
        self.puts: list[int] = []
        self.asked: list[int] = []

    async def put(self, tasks: Sequence[SecurityTask], letters: Sequence[Letter]) -> None:
        self._fail()
        self.puts.append(len(tasks))
        await super().put(tasks, letters)

    async def of_devices(self, device_ids: Sequence[str]) -> dict[str, list[SecurityTask]]:
        self._fail()
        self.asked.append(len(device_ids))
        return await super().of_devices(device_ids)

    def _fail(self) -> None:
        if self.faults > 0:
            self.faults -= 1
            raise StoreFault("the disk is full")


class Rig:
    def __init__(self, database: Database, path: Path) -> None:
        self.path, self.now = path, NOW
        self.bad: set[str] = set()
        self.heard: list[TaskEvent] = []
        self.open = 0
        self.store = Store(database)
        self.numbers = count(1)
        self.desk = self.make()

    def make(self) -> TaskDesk:
        return TaskDesk(
            self.store,
            posture=self.posture,
            interpretation=lambda: MEANING,
            settings=Tasks,
            clock=lambda: self.now,
            make_id=lambda kind: f"{kind}_{next(self.numbers)}",
            observer=self,
            on_letters=lambda: None,
        )

    def posture(self, name: DeviceId) -> Posture:
        fact = Fact(name="disk", sensor="edr", value=name not in self.bad, observed_at=NOW, received_at=NOW)
        return Posture(device_id=name, name=name, facts={("edr", "disk"): fact}, heard={"edr": NOW})

    def task_happened(self, happened: Happened) -> None:
        self.heard.append(happened.event)

    def tasks_open(self, count: int) -> None:
        self.open = count

    def stored(self, **query: object) -> list[SecurityTask]:
        return read_tasks(self.path, TaskQuery(most=10_000, **query), self.now)

    async def look(self, *devices: str) -> None:
        self.desk.look(devices)
        await self.desk.settled()


@pytest.fixture
async def rig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Rig]:
    monkeypatch.setattr(desk_module, "RETRY_S", 0.01)
    database = Database(tmp_path / "state.db", {"tasks": SCHEMA})
    database.start()
    made = Rig(database, tmp_path / "state.db")
    made.desk.start()
    yield made
    made.store.faults = 0
    await made.desk.stop()
    database.close()


async def test_a_device_that_fails_nothing_asks_nothing_of_the_store(rig: Rig) -> None:
    await rig.look("d1", "d2")
    assert (rig.store.asked, rig.store.puts, rig.desk.open_count) == ([], [], 0)


async def test_an_outbreak_is_a_few_reads_and_a_few_transactions(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(desk_module, "MAX_ROWS", 100)
    devices = [f"d{number}" for number in range(MAX_DEVICES * 4)]
    rig.bad = set(devices)
    await rig.look(*devices)
    assert rig.store.asked == [MAX_DEVICES] * 4
    assert max(rig.store.puts) <= 100
    assert len(rig.store.puts) <= 6
    assert {task.device_id for task in rig.stored(state="open")} == rig.bad
    assert (rig.open, rig.desk.open_count, rig.desk.has_open("d0")) == (len(devices), len(devices), True)
    rig.bad = {"d7"}
    await rig.look(*devices)
    assert [task.device_id for task in rig.stored(state="open")] == ["d7"]
    assert (rig.open, rig.desk.open_count, rig.desk.has_open("d0")) == (1, 1, False)


async def test_a_cause_that_comes_back_opens_its_old_task_again(rig: Rig) -> None:
    for bad in ({"d1", "d2"}, {"d2"}, {"d1", "d2"}):
        rig.bad = bad
        await rig.look("d1", "d2")
    assert sorted((task.device_id, task.relapses) for task in rig.stored()) == [("d1", 1), ("d2", 0)]
    assert rig.heard.count(TaskEvent.REOPENED) == 1


async def test_what_changes_while_a_device_is_looked_at_is_looked_at_again(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    of_devices = rig.store.of_devices

    async def meanwhile(device_ids: Sequence[str]) -> dict[str, list[SecurityTask]]:
        monkeypatch.setattr(rig.store, "of_devices", of_devices)
        rig.bad = set()
        rig.desk.look(["d1"])
        return await of_devices(device_ids)

    monkeypatch.setattr(rig.store, "of_devices", meanwhile)
    rig.bad = {"d1"}
    await rig.look("d1")
    assert [task.state for task in rig.stored()] == [TaskState.RESOLVED]


async def test_a_store_that_fails_is_asked_again(rig: Rig) -> None:
    rig.bad = {"d1", "d2"}
    rig.store.faults = 3  # at the read, then at the read, then at the write
    await rig.look("d1", "d2")
    assert len(rig.stored(state="open")) == 2
    assert rig.heard == [TaskEvent.OPENED] * 2


async def test_what_is_written_late_is_not_older_than_what_was_written_meanwhile(rig: Rig) -> None:
    rig.bad = {"d1"}
    await rig.look("d1")
    (task,) = rig.stored()
    rig.store.faults = 1
    with pytest.raises(StoreFault):
        await rig.desk.change(task.id, TaskChange(assignee="ana"), by="ana")
    await rig.desk.change(task.id, TaskChange(note="half done"), by="ana")
    (task,) = rig.stored()
    assert (task.assignee, [note.text for note in task.notes]) == ("ana", ["half done"])


async def test_every_task_that_is_late_is_told_once(rig: Rig) -> None:
    rig.bad = {f"d{number}" for number in range(MAX_DEVICES + 5)}
    await rig.look(*rig.bad)
    rig.now = NOW + timedelta(days=365)
    for _ in range(2):
        await rig.desk._note_overdue()
    assert rig.heard.count(TaskEvent.OVERDUE) == MAX_DEVICES + 5


async def test_a_new_desk_goes_on_with_what_was_open(rig: Rig) -> None:
    rig.bad = {"d1", "d2"}
    await rig.look("d1", "d2")
    again = rig.make()
    await again.load()
    assert (again.open_count, len(again.of_device("d1"))) == (2, 1)
    rig.bad = set()
    again.start()
    await again.settled()
    await again.stop()
    assert again.open_count == 0
