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

from gateway.decision.explain import DecisionRecord
from gateway.tasks import spawn
from risk.database import StoreFault, StoreOverloaded

log = structlog.get_logger("decisions")

MAX_QUEUED = 10_000
FLUSH_EVERY_S = 0.5


class RecordStore(Protocol):
    """Where records are kept (see `risk.store`)."""

    async def put_many(self, records: Sequence[tuple[str, datetime, bytes]]) -> None:
        """Keep (code, time, record) rows durably."""
        ...


class DecisionRecorder:
    """Writes decision records. `make` builds one when it is written, off the path of the request."""

    def __init__(self, store: RecordStore) -> None:
        self._store = store
        self._queue: deque[tuple[str, datetime, Callable[[], DecisionRecord]]] = deque(maxlen=MAX_QUEUED)
        self._flushing: asyncio.Task[None] | None = None
        self.dropped = 0

    def start(self) -> None:
        """Begin to write what is queued."""
        self._flushing = spawn(self._keep_flushing(), name="decision-records")

    async def stop(self) -> None:
        """Write what is left."""
        if self._flushing is not None:
            self._flushing.cancel()
        await self._flush()

    def later(self, code: str, at: datetime, make: Callable[[], DecisionRecord]) -> None:
        """Queue a record."""
        if len(self._queue) == MAX_QUEUED:
            self.dropped += 1
        self._queue.append((code, at, make))

    async def now(self, record: DecisionRecord) -> bool:
        """Write a record and return whether it is kept."""
        try:
            await self._store.put_many([(record.code, record.decided_at, msgspec.json.encode(record))])
        except (StoreFault, StoreOverloaded) as error:
            log.error("decision-record-lost", code=record.code, error=str(error))
            return False
        return True

    async def _keep_flushing(self) -> None:
        while True:
            await asyncio.sleep(FLUSH_EVERY_S)
            await self._flush()

    async def _flush(self) -> None:
        if not self._queue:
            return
        rows = [(code, at, msgspec.json.encode(make())) for code, at, make in self._queue]
        self._queue.clear()
        try:
            await self._store.put_many(rows)
        except (StoreFault, StoreOverloaded) as error:
            self.dropped += len(rows)
            log.error("decision-records-lost", count=len(rows), error=str(error))
