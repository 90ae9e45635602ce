"""Keeps the tasks of a running hub: looks at devices after the answer has left, never on the way of a delivery.

Devices come into a bounded queue, coalesced; a task evaluates a few at a time and writes what changed together with the
letters that tell of it. When the store is away, what changed is written later; nothing is enforced by a task.
"""

import asyncio
import itertools
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Protocol

import structlog

from gateway.config.remediation import Tasks
from gateway.decision.context import Interpret
from gateway.decision.judge import Interpretation, judge
from gateway.remediation.letters import letters
from gateway.remediation.task_store import Letter, SqliteTaskStore
from gateway.remediation.tasks import (
    Happened,
    SecurityTask,
    TaskChange,
    advance,
    change,
    overdue,
    task_causes,
)
from gateway.tasks import spawn
from risk.database import StoreFault, StoreOverloaded
from risk.model import DeviceId, Posture

log = structlog.get_logger("tasks")

MAX_QUEUED = 50_000
MAX_LIVE = 100_000
"""Most tasks that are not resolved; above it no further one is opened."""

SLICE = 8
"""As many as the incidents take at a time: whichever looks second finds the interpretation done."""

RETRY_S = 2.0
OVERDUE_EVERY_S = 30.0


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
        self._resolved_of: dict[str, tuple[SecurityTask, ...]] = {}
        self._queue: dict[str, None] = {}
        self._unwritten: list[tuple[SecurityTask, tuple[Letter, ...]]] = []
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._jobs: list[asyncio.Task[None]] = []
        self.dropped = 0

    async def load(self) -> None:
        """Take over what was not resolved when the last hub ended. Raises `StoreFault`."""
        for task in await self._store.live(MAX_LIVE):
            self._live.setdefault(task.device_id, {})[task.id] = task

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

    async def settled(self) -> None:
        """Return when everything that was queued has been looked at and written."""
        await self._idle.wait()

    @property
    def open_count(self) -> int:
        """Number of tasks that are not resolved."""
        return sum(len(tasks) for tasks in self._live.values())

    def has_open(self, device_id: str) -> bool:
        """Return whether a task of the device is not resolved."""
        return device_id in self._live

    def of_device(self, device_id: str) -> tuple[SecurityTask, ...]:
        """Return the tasks of a device that are not resolved, oldest first."""
        return tuple(sorted(self._live.get(device_id, {}).values(), key=lambda task: task.opened_at))

    def look(self, devices: Iterable[str]) -> None:
        """Look at devices soon: something may have changed about them."""
        for device_id in devices:
            if device_id not in self._queue and len(self._queue) >= MAX_QUEUED:
                self.dropped += 1
                continue
            self._queue[device_id] = None
        if self._queue:
            self._idle.clear()
            self._wake.set()

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
            await self._wake.wait()
            self._wake.clear()
            try:
                await self._drain()
            except (StoreFault, StoreOverloaded) as error:
                log.error("tasks-not-written", count=len(self._unwritten), error=str(error))
                await asyncio.sleep(RETRY_S)
                self._wake.set()
                continue
            if not self._queue:
                self._idle.set()

    async def _drain(self) -> None:
        while self._queue:
            for device_id in list(itertools.islice(self._queue, SLICE)):
                await self._evaluate(device_id)
                self._queue.pop(device_id, None)
            await self._write()
            await asyncio.sleep(0)
        await self._write()

    async def _evaluate(self, device_id: str) -> None:
        posture = self._posture(DeviceId(device_id))
        if posture is None:
            return
        now, meaning = self._clock(), self._interpretation()
        causes = task_causes(posture, *self._interpret(posture, meaning, now), meaning.policies)
        live = self._live.get(device_id, {})
        known_causes = {task.cause for task in live.values()}
        fresh = {cause.key for cause in causes.present} - known_causes
        if not fresh and not live:
            return
        if fresh and not live and self.open_count >= MAX_LIVE:
            self.dropped += 1
            return
        # A cause that is new here may be an old one that came back.
        known = await self._store.of_device(device_id) if fresh else []
        by_id = {task.id: task for task in known} | live
        for happened in advance(
            tuple(by_id.values()),
            causes,
            posture=posture,
            sla=self._settings().sla,
            now=now,
            new_ids=iter(lambda: self._make_id("task"), None),
        ):
            self._note(happened)

    def _note(self, happened: Happened) -> None:
        task = happened.task
        mine = self._live.setdefault(task.device_id, {})
        if task.is_open:
            mine[task.id] = task
        else:
            mine.pop(task.id, None)
        if not mine:
            del self._live[task.device_id]
        posted = letters(
            happened,
            self._settings().targets,
            now=self._clock(),
            new_ids=iter(lambda: self._make_id("msg"), None),
        )
        self._unwritten.append((task, tuple(posted)))
        self._observer.task_happened(happened)
        log.info(
            "task",
            task=task.id,
            change=happened.event.value,
            device=task.device_id,
            cause=task.cause,
            severity=task.severity.value,
        )

    async def _write(self) -> None:
        batch, self._unwritten = self._unwritten, []
        if not batch:
            return
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
            now = self._clock()
            for tasks in list(self._live.values()):
                for task in list(tasks.values()):
                    late = overdue(task, now)
                    if late is not None:
                        self._note(late)
            self._idle.clear()
            self._wake.set()
