"""Keeps decision records: tickets in the background, refusals before their page is shown.

A full queue drops the oldest ticket record and counts it; a refusal's record is never dropped silently: its page is
shown without a reference code when the store fails.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Protocol

import msgspec
import structlog

from gateway.decision.completing import Completing, Work
from gateway.decision.explain import DecisionRecord
from gateway.tasks import spawn
from gateway.turns import Turn, others_first
from risk.database import StoreFault, StoreOverloaded

log = structlog.get_logger("decisions")

MAX_QUEUED = 10_000
FLUSH_EVERY_S = 0.5
SLICE = 8
"""Most records made between two turns of the event loop: each costs about as much as a decision, and a change of access
must not wait for a queue of them.
"""
MAX_ROWS = 64
"""Most records of one transaction, so that signals get their turn at the store between two."""


class RecordStore(Protocol):
    """Where records are kept (see `risk.store`)."""

    async def put_many(
        self, records: Sequence[tuple[str, datetime, bytes]], *, is_waited_for: bool = True
    ) -> None:
        """Keep (code, time, record) rows durably; where nobody waits for it, after others."""
        ...


class DecisionRecorder:
    """Writes decision records. `make` builds one when it is written, off the path of the request.

    `is_hurried` tells whether a delivery is being taken or a change enforced: then records wait a little.
    """

    def __init__(self, store: RecordStore) -> None:
        self._store = store
        self._queue: deque[tuple[str, datetime, Callable[[], DecisionRecord]]] = deque(maxlen=MAX_QUEUED)
        self._flushing: asyncio.Task[None] | None = None
        self._writing = asyncio.Lock()
        self._completing = Completing(self._write)
        self.dropped = 0
        self.is_hurried: Callable[[], bool] = lambda: False

    def start(self) -> None:
        """Begin to write what is queued."""
        self._completing.start()
        self._flushing = spawn(self._keep_flushing(), name="decision-records")

    async def stop(self) -> None:
        """Write what is left."""
        await self._completing.stop()
        if self._flushing is not None:
            self._flushing.cancel()
        async with self._writing:
            await self._flush()

    def later(self, code: str, at: datetime, make: Callable[[], DecisionRecord]) -> None:
        """Queue a record."""
        if len(self._queue) == MAX_QUEUED:
            self.dropped += 1
        self._queue.append((code, at, make))

    async def now(self, record: DecisionRecord) -> bool:
        """Write a record and return whether it is kept."""
        return await self._write(record)

    def complete(self, record: DecisionRecord, work: Work) -> None:
        """Add to a record that is kept what would have let the request in, once `work` has found it."""
        self._completing.add(record, work)

    async def found(self, work: Work) -> tuple[str, ...]:
        """Return what `work` finds, off the event loop."""
        return await self._completing.work(work)

    async def _write(self, record: DecisionRecord) -> bool:
        try:
            await self._store.put_many([(record.code, record.decided_at, msgspec.json.encode(record))])
        except (StoreFault, StoreOverloaded) as error:
            log.error("decision-record-lost", code=record.code, error=str(error))
            return False
        return True

    async def _keep_flushing(self) -> None:
        while True:
            await asyncio.sleep(FLUSH_EVERY_S)
            # What has been taken from the queue is written, even when we are stopped in the middle.
            await asyncio.shield(spawn(self._flush_alone(), name="decision-records-flush"))

    async def _flush_alone(self) -> None:
        async with self._writing:
            await self._flush()

    async def _flush(self) -> None:
        """Write all that is queued now. What is queued meanwhile waits for the next time."""
        left = len(self._queue)
        while left > 0 and self._queue:
            rows = await self._next_rows(min(left, MAX_ROWS))
            left -= len(rows)
            try:
                await self._store.put_many(rows, is_waited_for=False)
            except (StoreFault, StoreOverloaded) as error:
                self.dropped += len(rows)
                log.error("decision-records-lost", count=len(rows), error=str(error))

    async def _next_rows(self, most: int) -> list[tuple[str, datetime, bytes]]:
        rows: list[tuple[str, datetime, bytes]] = []
        while self._queue and len(rows) < most:
            await others_first(is_hurried=self.is_hurried())
            turn = Turn(SLICE)
            while self._queue and len(rows) < most and turn.takes_another():
                code, at, make = self._queue.popleft()
                rows.append((code, at, msgspec.json.encode(make())))
        return rows
