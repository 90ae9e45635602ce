"""The delivery log: what became of each delivery, written in the background, off the path of the answer.

A record is written a moment after its answer has left, so a crash may lose the newest records; what was *accepted* is
durable by itself. What comes too fast is recorded without effects, then not at all; what was left out is counted.
"""

import asyncio
import hashlib
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

import msgspec
import structlog

from gateway.config.deliveries import Deliveries
from gateway.deliveries.ids import new_delivery_id
from gateway.deliveries.model import (
    MAX_REJECTIONS,
    MAX_SHOWN_EFFECTS,
    MAX_SIGNALS,
    DeliveryRecord,
    Judged,
    is_verified,
    record_of,
)
from gateway.deliveries.store import Body, Bounds, DeliveryStore, Kept
from gateway.hub.hooks import Delivery
from gateway.tasks import spawn
from gateway.turns import Turn, others_first
from plugins.contract import Normalized
from risk.database import StoreFault, StoreOverloaded

log = structlog.get_logger("deliveries")

FLUSH_EVERY_S = 0.5
MAX_QUEUED = 20_000
MAX_QUEUED_BYTES = 16 * 1024 * 1024
"""Most deliveries, and most bytes of their bodies, that wait to be written."""

MAX_ROWS = 128
MAX_ROW_BYTES = 1024 * 1024
"""Most of one transaction, so that signals get their turn at the store between two."""

MAX_PRUNES = 1000
"""Most transactions of one round of removing; the next round goes on."""

SLICE = 32
"""Most records made between two turns of the event loop."""

FEW = 256
"""As long as no more records wait, they are made after what is hurried: what a delivery did to access costs as much to
work out as several decisions.
"""

EFFECTS_PER_FLUSH = 100
"""Once this many devices of one flush were looked at, it is not worked out any more what deliveries did to access. What
devices were before and after is not kept for more: it is the most of a delivery that waits.
"""

UNVERIFIED_PER_FLUSH = 5
"""Most refused deliveries of one sensor that are recorded in one flush: strangers must not fill the log."""


SETTLED_S = 0.2
"""A delivery whose answer is on its way waits this long for it before it is recorded."""


class _Waiting:
    __slots__ = ("answered_in_s", "delivery", "had_effects", "left_out", "signals", "since")

    def __init__(self, delivery: Delivery, left_out: int, signals: int, *, had_effects: bool) -> None:
        self.delivery = delivery
        self.had_effects = had_effects
        self.left_out = left_out
        self.signals = signals
        self.since = time.monotonic()
        self.answered_in_s: float | None = None

    @property
    def is_settled(self) -> bool:
        """Whether nothing more becomes known of it."""
        is_answering = self.delivery.verdict == "accepted" and self.answered_in_s is None
        return not is_answering or time.monotonic() - self.since > SETTLED_S


class DeliveryLog:
    """Writes and finds delivery records. `judged` gives what effects are worked out with, once for each flush.

    `is_hurried` tells whether a delivery is being taken or a change enforced: then records wait a little.
    """

    def __init__(
        self,
        store: DeliveryStore,
        *,
        settings: Callable[[], Deliveries],
        judged: Callable[[], Judged],
        clock: Callable[[], datetime],
        is_hurried: Callable[[], bool] = lambda: False,
    ) -> None:
        self._store = store
        self._is_hurried = is_hurried
        self._settings = settings
        self._judged = judged
        self._clock = clock
        self._queue: deque[_Waiting] = deque()
        self._by_id: dict[str, _Waiting] = {}
        self._bytes = 0
        self._effects = 0
        self._refused: Counter[str] = Counter()
        self._left_out: Counter[str] = Counter()
        self._flushing: asyncio.Task[None] | None = None
        self._writing = asyncio.Lock()
        self.dropped = 0

    async def start(self) -> None:
        """Count what is kept, and begin to write."""
        await self._store.load()
        self._flushing = spawn(self._keep_flushing(), name="delivery-log")

    async def stop(self) -> None:
        """Write what is left."""
        if self._flushing is not None:
            self._flushing.cancel()
        await self.flush()

    def note(self, delivery: Delivery) -> None:
        """Queue the record of a delivery."""
        sensor = delivery.sensor
        if not delivery.id:
            delivery = msgspec.structs.replace(delivery, id=new_delivery_id())
        if not is_verified(delivery):
            self._refused[sensor] += 1
        is_too_much = not is_verified(delivery) and self._refused[sensor] > UNVERIFIED_PER_FLUSH
        if is_too_much or len(self._queue) >= MAX_QUEUED:
            self._left_out[sensor] += 1
            self.dropped += 1
            return
        normalized = delivery.normalized
        signals = 0 if normalized is None else len(normalized.signals)
        kept = _bounded(
            delivery,
            is_crowded=self._bytes + len(delivery.body) > MAX_QUEUED_BYTES,
            keeps_effects=self._effects < EFFECTS_PER_FLUSH,
        )
        left_out = self._left_out.pop(sensor, 0)
        waiting = _Waiting(kept, left_out, signals, had_effects=bool(delivery.effects))
        self._queue.append(waiting)
        self._by_id[delivery.id] = waiting
        self._bytes += len(kept.body)
        self._effects += len(kept.effects)

    def answered(self, delivery_id: str, took_s: float) -> None:
        """Note when the last byte of a delivery's answer was handed to the connection."""
        waiting = self._by_id.get(delivery_id)
        if waiting is not None:
            waiting.answered_in_s = took_s

    async def find(self, delivery_id: str) -> DeliveryRecord | None:
        """Return a record by our id or the sender's, None without one."""
        await self.flush()
        return await self._store.find(delivery_id)

    async def listed(
        self, sensor: str, most: int, *, since: datetime | None = None, until: datetime | None = None
    ) -> list[DeliveryRecord]:
        """Return the newest records of a sensor ("" for all), newest first."""
        await self.flush()
        return await self._store.listed(sensor, most, since=since, until=until)

    async def body(self, delivery_id: str) -> Body | None:
        """Return what a delivery contained, None when it is not kept."""
        await self.flush()
        return await self._store.body(delivery_id)

    async def body_ids(self, sensor: str, since: datetime, until: datetime, most: int) -> list[str]:
        """Return the ids of a sensor's kept bodies of a span, in the order in which they came."""
        await self.flush()
        return await self._store.body_ids(sensor, since, until, most)

    async def flush(self, *, only_settled: bool = False) -> None:
        """Write all that is queued now; `only_settled` leaves those whose answer is just being sent."""
        # What has been taken from the queue is written, even when whoever asked is gone meanwhile.
        await asyncio.shield(spawn(self._flush(only_settled=only_settled), name="delivery-log-flush"))

    async def prune(self) -> None:
        """Remove what is past its time or above a bound."""
        kept = self._settings()
        bounds = Bounds(
            keep=timedelta(seconds=kept.keep),
            most=kept.most,
            keep_bodies=timedelta(seconds=kept.keep_bodies),
            bodies_bytes=kept.bodies_bytes,
        )
        for _ in range(MAX_PRUNES):
            if not await self._store.prune(self._clock(), bounds):
                break

    async def _keep_flushing(self) -> None:
        prune_at = time.monotonic()
        while True:
            await asyncio.sleep(FLUSH_EVERY_S)
            await self.flush(only_settled=True)
            totals, kept = self._store.totals, self._settings()
            is_over = totals.bodies_bytes > kept.bodies_bytes or totals.verified > kept.most
            if is_over or time.monotonic() >= prune_at:
                prune_at = time.monotonic() + 60.0
                try:
                    await self.prune()
                except (StoreFault, StoreOverloaded) as error:
                    log.warning("delivery-log-not-pruned", error=str(error))

    async def _flush(self, *, only_settled: bool) -> None:
        async with self._writing:
            left = len(self._queue)
            self._refused.clear()
            judged = self._judged() if left else None
            effects = EFFECTS_PER_FLUSH
            while left > 0 and self._queue and (self._queue[0].is_settled or not only_settled):
                rows, effects = await self._next_rows(min(left, MAX_ROWS), judged, effects)
                left -= len(rows)
                await self._write(rows)

    async def _next_rows(self, most: int, judged: Judged | None, effects: int) -> tuple[list[Kept], int]:
        rows: list[Kept] = []
        size = 0
        while self._queue and len(rows) < most and size < MAX_ROW_BYTES:
            await others_first(is_hurried=len(self._queue) <= FEW and self._is_hurried())
            turn = Turn(SLICE)
            while self._queue and len(rows) < most and size < MAX_ROW_BYTES and turn.takes_another():
                waiting = self._queue.popleft()
                self._by_id.pop(waiting.delivery.id, None)
                self._bytes -= len(waiting.delivery.body)
                self._effects -= len(waiting.delivery.effects)
                size += len(waiting.delivery.body)
                has_effects = bool(waiting.delivery.effects) and effects > 0
                effects -= len(waiting.delivery.effects) if has_effects else 0
                rows.append(self._kept(waiting, judged if has_effects else None))
        return rows, effects

    def _kept(self, waiting: _Waiting, judged: Judged | None) -> Kept:
        delivery = waiting.delivery
        body = self._body(delivery)
        record = record_of(
            delivery,
            self._clock(),
            judged,
            answered_in_s=waiting.answered_in_s,
            body_sha256=hashlib.sha256(delivery.body).hexdigest() if delivery.body else "",
            has_body=body is not None,
            left_out=waiting.left_out,
            signals=waiting.signals,
            had_effects=waiting.had_effects,
        )
        return Kept(record, is_verified(delivery), body)

    def _body(self, delivery: Delivery) -> Body | None:
        settings = self._settings()
        is_kept = settings.keep_bodies > 0 and 0 < len(delivery.body) <= settings.bodies_bytes
        if not is_kept or delivery.again:
            return None
        return Body(
            id=delivery.id,
            sensor=delivery.sensor,
            at=delivery.received_at or self._clock(),
            headers=dict(delivery.headers),
            body=delivery.body,
        )

    async def _write(self, rows: Sequence[Kept]) -> None:
        try:
            await self._store.put(rows)
        except (StoreFault, StoreOverloaded) as error:
            self.dropped += len(rows)
            log.error("delivery-records-lost", count=len(rows), error=str(error))


def _bounded(delivery: Delivery, *, is_crowded: bool, keeps_effects: bool) -> Delivery:
    """Return the delivery without what no record shows; where much waits already, without body, signals and effects."""
    if is_crowded:
        return msgspec.structs.replace(delivery, body=b"", normalized=None, rejections=(), effects=())
    effects = delivery.effects[:MAX_SHOWN_EFFECTS] if keeps_effects else ()
    normalized = delivery.normalized
    if normalized is None:
        return msgspec.structs.replace(delivery, effects=effects)
    first = Normalized(signals=normalized.signals[:MAX_SIGNALS], origins=normalized.origins[:MAX_SIGNALS])
    bare = [
        msgspec.structs.replace(each, item=None) if each.item is not None else each
        for each in delivery.rejections[:MAX_REJECTIONS]
    ]
    return msgspec.structs.replace(delivery, normalized=first, rejections=tuple(bare), effects=effects)
