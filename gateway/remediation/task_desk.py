"""Keeps the tasks of a running hub: looks at devices after the answer has left, never on the way of a delivery.

Devices come into a bounded queue, coalesced; a task evaluates a few at a time and writes what changed together with the
letters that tell of it. When the store is away, what changed is written later; nothing is enforced by a task.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import NamedTuple, Protocol

import msgspec
import structlog

from gateway.config.remediation import Tasks
from gateway.decision.context import Interpret
from gateway.decision.judge import Interpretation, judge
from gateway.device_queue import DeviceQueue
from gateway.incidents.model import new_home
from gateway.observe.logs import EventLines
from gateway.remediation.letters import letters
from gateway.remediation.task_store import Letter, SqliteTaskStore
from gateway.remediation.tasks import (
    Causes,
    Happened,
    SecurityTask,
    TaskChange,
    TaskEvent,
    TaskState,
    advance,
    change,
    not_asked,
    overdue,
    task_causes,
)
from gateway.tasks import spawn
from gateway.turns import Turn
from risk.database import StoreFault, StoreOverloaded
from risk.model import DeviceId, Posture

log = structlog.get_logger("tasks")

MAX_QUEUED = 50_000
MAX_LIVE = 100_000
"""Most tasks that are not resolved; above it no further one is opened."""

SLICE = 8
"""Most devices looked at between two turns of the event loop."""

MAX_DEVICES = 64
"""Devices whose earlier tasks are read together."""

MAX_ROWS = 256
"""Most tasks of one transaction, so that signals get their turn at the store between two."""

RETRY_S = 2.0
CAUGHT_UP_S = 0.5
"""Longest that a page waits for tasks: what is reported is looked at within milliseconds, unless in a flood."""

OVERDUE_EVERY_S = 30.0

TASK_FIELDS = {
    "task": "task.id",
    "change": "event.value",
    "device": "task.device_id",
    "cause": "task.cause",
    "severity": "task.severity.value",
}
"""What the log says of a change."""


class _Looked(NamedTuple):
    """A device that was looked at, and what it has to get rid of."""

    device_id: str
    posture: Posture
    causes: Causes
    at: datetime
    is_new: bool
    """Whether a cause is among them of which no task is open: it may be an old one that came back."""


class Observer(Protocol):
    """Who counts."""

    def task_happened(self, happened: Happened) -> None:
        """A task changed."""
        ...

    def tasks_open(self, count: int) -> None:
        """So many tasks are not resolved now."""
        ...


class TaskDesk:
    """Opens, advances and resolves tasks. `await load()`, `start()`; `await stop()` at the end."""

    def __init__(
        self,
        store: SqliteTaskStore,
        *,
        posture: Callable[[DeviceId], Posture | None],
        interpretation: Callable[[], Interpretation],
        settings: Callable[[], Tasks],
        clock: Callable[[], datetime],
        make_id: Callable[[str], str],
        observer: Observer,
        on_letters: Callable[[], None],
        interpret: Interpret = judge,
    ) -> None:
        self._interpret = interpret
        self._store = store
        self._posture = posture
        self._interpretation = interpretation
        self._settings = settings
        self._clock = clock
        self._make_id = make_id
        self._observer = observer
        self._on_letters = on_letters
        self._live: dict[str, dict[str, SecurityTask]] = {}
        self._count = 0
        self._lines = EventLines("task", TASK_FIELDS)
        self._writing = asyncio.Lock()
        self._queue = DeviceQueue[None](MAX_QUEUED)
        self._unwritten: list[tuple[SecurityTask, tuple[Letter, ...]]] = []
        self._jobs: list[asyncio.Task[None]] = []
        self.dropped = 0

    async def load(self) -> None:
        """Take over what was not resolved when the last hub ended. Raises `StoreFault`."""
        for task in await self._store.live(MAX_LIVE):
            self._keep(task)

    def start(self) -> None:
        """Begin to look; what changed while no hub was there is seen at once."""
        self.look(tuple(self._live))
        self._jobs = [
            spawn(self._work(), name="security-tasks"),
            spawn(self._watch_clock(), name="overdue-tasks"),
        ]

    async def stop(self) -> None:
        """End; what is queued is looked at first."""
        for job in self._jobs:
            job.cancel()
        await asyncio.gather(*self._jobs, return_exceptions=True)
        await self._drain()
        self._lines.flush()

    async def settled(self) -> None:
        """Return when everything that was queued has been looked at and written."""
        await self._queue.settled()

    async def caught_up(self) -> None:
        """Return as `settled`, after `CAUGHT_UP_S` at the latest: for a page that tells a person of tasks."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CAUGHT_UP_S):
                await self.settled()

    @property
    def open_count(self) -> int:
        """Number of tasks that are not resolved."""
        return self._count

    def has_open(self, device_id: str) -> bool:
        """Return whether a task of the device is not resolved."""
        return device_id in self._live

    def awaits_evidence(self, device_id: str) -> bool:
        """Return whether somebody said that a task of the device is done, and no sensor has told of it since."""
        return any(task.state is TaskState.VERIFYING for task in self._live.get(device_id, {}).values())

    def of_device(self, device_id: str) -> tuple[SecurityTask, ...]:
        """Return the tasks of a device that are not resolved, oldest first."""
        return tuple(sorted(self._live.get(device_id, {}).values(), key=lambda task: task.opened_at))

    def look(self, devices: Iterable[str]) -> None:
        """Look at devices soon: something may have changed about them."""
        for device_id in devices:
            if not self._queue.put(device_id, None):
                self.dropped += 1
        if self._queue:
            self._queue.stir()

    def regroup(self, devices: Iterable[str]) -> None:
        """Look at devices whose records an operator has changed: a task goes where its cause has gone."""
        now, meaning, names, causes_of = self._clock(), self._interpretation(), {}, {}
        for device_id in devices:
            posture = self._posture(DeviceId(device_id))
            if posture is not None and posture.device_id == device_id:
                names[device_id] = posture.name
                found = task_causes(posture, *self._interpret(posture, meaning, now), meaning.policies)
                causes_of[device_id] = {cause.key for cause in found.present}
        for task in [each for name in names for each in self.of_device(name)]:
            to = new_home(task.device_id, task.cause, causes_of)
            if to is not None and not self._has(to, task.cause):
                self._move(task, to, names[to])
        self.look(devices)

    def look_again(self) -> None:
        """Look at every device with a task: the policies may have changed."""
        self.look(tuple(self._live))

    async def change(self, task_id: str, wanted: TaskChange, *, by: str) -> SecurityTask | None:
        """Make a person's change and return the task, None when there is none of this id.

        Raises `TaskRefused`, `StoreFault`, `StoreOverloaded`.
        """
        task = self._find(task_id) or await self._store.find(task_id)
        if task is None:
            return None
        happened = change(task, wanted, by=by, now=self._clock())
        if happened is None:
            return task
        log.info("task-changed", task=task.id, by=by, change=happened.event.value)
        self._note(happened)
        await self._write()
        return happened.task

    async def said_done(self, device_id: str, by: str) -> None:
        """Somebody says that the device is fixed: its tasks wait for evidence now."""
        for task in self.of_device(device_id):
            await self.change(task.id, TaskChange(done=True), by=by)

    # --- inside ----------------------------------------------------------------------------------------------

    def _find(self, task_id: str) -> SecurityTask | None:
        return next((tasks[task_id] for tasks in self._live.values() if task_id in tasks), None)

    async def _work(self) -> None:
        while True:
            await self._queue.stirred()
            try:
                await self._drain()
            except (StoreFault, StoreOverloaded) as error:
                log.error("tasks-not-written", count=len(self._unwritten), error=str(error))
                await asyncio.sleep(RETRY_S)
                self._queue.stir()
                continue
            self._queue.rest()

    async def _drain(self) -> None:
        while self._queue:
            taken = self._queue.take(MAX_DEVICES)
            try:
                await self._evaluate(list(taken))
            except (StoreFault, StoreOverloaded):
                self._queue.put_back(taken)
                raise
            if len(self._unwritten) >= MAX_ROWS:
                await self._write()
        await self._write()

    async def _evaluate(self, devices: Sequence[str]) -> None:
        """Note what has changed about the tasks of some devices. Raises `StoreFault`, and then nothing is noted."""
        looked: list[_Looked] = []
        waiting = iter(devices)
        left = len(devices)
        while left > 0:
            turn = Turn(SLICE)
            while left > 0 and turn.takes_another():
                left -= 1
                found = self._look_at(next(waiting))
                if found is not None:
                    looked.append(found)
            await asyncio.sleep(0)
        new = [each.device_id for each in looked if each.is_new]
        known = await self._store.of_devices(new) if new else {}
        for each in looked:
            self._advance(each, known.get(each.device_id, ()))

    def _look_at(self, device_id: str) -> _Looked | None:
        """Return what a device has to get rid of, None when that is nothing and no task is open."""
        posture = self._posture(DeviceId(device_id))
        if posture is None:
            return None
        now, meaning = self._clock(), self._interpretation()
        if posture.device_id != device_id:
            self._adopt(device_id, posture, now)
            device_id = posture.device_id
        causes = task_causes(posture, *self._interpret(posture, meaning, now), meaning.policies)
        live = self._live.get(device_id, {})
        fresh = {cause.key for cause in causes.present} - {task.cause for task in live.values()}
        if not fresh and not live:
            return None
        if fresh and not live and self.open_count >= MAX_LIVE:
            self.dropped += 1
            return None
        return _Looked(device_id, posture, causes, now, bool(fresh))

    def _has(self, device_id: str, cause: str) -> bool:
        return any(task.cause == cause for task in self._live.get(device_id, {}).values())

    def _adopt(self, device_id: str, posture: Posture, now: datetime) -> None:
        """Give a record the tasks of one that became part of it; what it has itself is not had twice."""
        for task in self.of_device(device_id):
            if self._has(posture.device_id, task.cause):
                self._note(Happened(not_asked(task, now), TaskEvent.RESOLVED))
            else:
                self._move(task, posture.device_id, posture.name)

    def _move(self, task: SecurityTask, to: str, name: str) -> None:
        log.info("task-moved", task=task.id, device=task.device_id, to=to)
        self._forget(task)
        moved = msgspec.structs.replace(task, device_id=to, device=name)
        self._keep(moved)
        self._unwritten.append((moved, ()))

    def _advance(self, looked: _Looked, known: Sequence[SecurityTask]) -> None:
        by_id = {task.id: task for task in known} | self._live.get(looked.device_id, {})
        for happened in advance(
            tuple(by_id.values()),
            looked.causes,
            posture=looked.posture,
            sla=self._settings().sla,
            now=looked.at,
            new_ids=iter(lambda: self._make_id("task"), None),
        ):
            self._note(happened)

    def _note(self, happened: Happened) -> None:
        task = happened.task
        self._keep(task)
        posted = letters(
            happened,
            self._settings().targets,
            now=self._clock(),
            new_ids=iter(lambda: self._make_id("msg"), None),
        )
        self._unwritten.append((task, tuple(posted)))
        self._observer.task_happened(happened)
        self._lines.log(happened)

    def _keep(self, task: SecurityTask) -> None:
        self._forget(task)
        if task.is_open:
            self._live.setdefault(task.device_id, {})[task.id] = task
            self._count += 1

    def _forget(self, task: SecurityTask) -> None:
        mine = self._live.get(task.device_id, {})
        if mine.pop(task.id, None) is not None:
            self._count -= 1
            if not mine:
                del self._live[task.device_id]

    async def _write(self) -> None:
        """Write what has changed, in its order. Raises `StoreFault`, `StoreOverloaded`; then it is written later."""
        async with self._writing:
            while self._unwritten:
                batch, self._unwritten = self._unwritten[:MAX_ROWS], self._unwritten[MAX_ROWS:]
                try:
                    await self._store.put(
                        [task for task, _ in batch], [letter for _, posted in batch for letter in posted]
                    )
                except (StoreFault, StoreOverloaded):
                    self._unwritten = batch + self._unwritten
                    raise
                self._observer.tasks_open(self.open_count)
                if any(posted for _, posted in batch):
                    self._on_letters()

    async def _watch_clock(self) -> None:
        while True:
            await asyncio.sleep(OVERDUE_EVERY_S)
            await self._note_overdue()
            self._queue.stir()

    async def _note_overdue(self) -> None:
        """Tell of the tasks whose time is over now, a few devices at a time."""
        now, waiting = self._clock(), deque(self._live)
        while waiting:
            for _ in range(min(len(waiting), MAX_DEVICES)):
                for task in list(self._live.get(waiting.popleft(), {}).values()):
                    late = overdue(task, now)
                    if late is not None:
                        self._note(late)
            await asyncio.sleep(0)
