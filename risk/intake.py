"""Intake: signals of one delivery into durable, folded posture.

Deliveries that wait together are staged one after the other on a draft, made durable in one transaction, and
only then applied to memory: they are a *lot*. While a lot is being committed the next one is staged over it, and is
committed after it; when the first cannot be committed, the other is staged anew. INVARIANT: `submit` returns after its
signals are durable and in memory; when it raises, nothing of the delivery is in memory, and nothing of it is in the
store unless the process died in between.

A large delivery is made durable whole first, and then folded in parts (`risk.parts`) between which others have their
turn. INVARIANT: all of it is taken or nothing: what is durable is folded later when it cannot be now, if need be by the
next process. When `submit` raises for such a delivery, none of it was kept, or all of it is still going to be taken.

A duplicate is told by (sensor, event id) AND content, so that a sender that reuses an id cannot hide a new
statement. The devices of duplicates are in `changed_devices` as well: whoever answers a duplicate waits until
the first copy is enforced, however far that one has got.
"""

import asyncio
import contextlib
import itertools
import sys
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from time import monotonic
from typing import TypeVar

import msgspec

from risk.database import StoreFault, StoreOverloaded
from risk.folding import as_received, fold
from risk.joining import Case, Join
from risk.lanes import Lanes, is_light
from risk.model import DeviceId, Posture, Rejection, Signal
from risk.outcome import MAX_EFFECTS, Effect, IntakeResult
from risk.packing import pack_posture, pack_signal
from risk.parts import Delivered, Part, pack_part, unpack_part
from risk.seen import SeenMessages
from risk.snapshot import RiskState
from risk.staging import Stage, batch_of, digests_of, stage_delivery
from risk.store import (
    Batch,
    DeadLetter,
    PartRow,
    Retention,
    RiskStore,
    SignalRow,
)
from risk.subjects import Subjects
from risk.users import UserId

PROMISED_AT_ONCE = 16
"""Parts of a large delivery that are made durable together."""

MAX_PENDING = 1024
"""Most deliveries of one sensor that may wait; above it `submit` raises `StoreOverloaded`."""

MAX_PENDING_SIGNALS = 25_000
"""Most signals of one sensor that may wait, over all its deliveries."""

MAX_BATCH = 512
"""Most deliveries of one transaction."""

MAX_BATCH_SIGNALS = 256
"""No further delivery joins a transaction that already has this many signals, or a part of a large one, but light ones
that would wait for it. Each transaction costs the writer and the event loop some turns at the interpreter.
"""

MAX_DEAD_LETTER_BYTES = 65_536
"""Most bytes of a body that a dead letter keeps."""

TURN_S = 0.001
"""How long a group works at a stretch, where it can be interrupted, before others on the event loop have their turn."""

RETRY_S = 1.0
"""After this, what is durable but could not be folded is tried again."""

STOPPING = "the intake is stopping"

T = TypeVar("T")
Id = TypeVar("Id", bound=DeviceId)

PRUNE_EVERY_S = 60.0
PRUNE_MOST = 2000
"""How often, and how many rows at a time, what is past its retention goes."""


class _Submission:
    """A delivery that waits, or a part of one: then it is durable already, and `part_id` is its id."""

    __slots__ = ("delivered", "future", "part_id", "since", "weight")

    def __init__(self, delivered: Delivered, part_id: int | None = None) -> None:
        self.delivered = delivered
        self.part_id = part_id
        self.weight = len(delivered.signals) + len(delivered.rejections)
        self.since = monotonic()
        self.future: asyncio.Future[IntakeResult] = asyncio.get_running_loop().create_future()
        if part_id is not None:
            # Nobody may be waiting for a part, and whoever is waits for all of them.
            self.future.add_done_callback(_looked_at)


class _Turn:
    """A stretch of work on the event loop."""

    def __init__(self) -> None:
        self._began = monotonic()

    async def may_end(self) -> None:
        """Let others have their turn if this one has been long."""
        if monotonic() - self._began > TURN_S:
            await asyncio.sleep(0)
            self._began = monotonic()


class _Lot:
    """Deliveries that are staged for one transaction, over the lot that is being committed meanwhile, if any."""

    def __init__(self, stage: Stage, ahead: "_Lot | None") -> None:
        self.stage = stage
        self.ahead = ahead
        self.submissions: list[_Submission] = []
        self.results: list[IntakeResult] = []
        self.weight = 0
        self.is_light: bool | None = None
        """What kind of items it has; None as long as there are none."""
        self.packed: Mapping[DeviceId, tuple[Posture, bytes | None]] = {}
        self.users: dict[UserId, tuple[Posture, bytes]] = {}
        self.begun: list[float] = []
        self.staged = 0.0
        self.is_landed: bool | None = None
        """Whether it is durable and in memory; None as long as nobody knows."""

    @property
    def room(self) -> int:
        """How many more deliveries may join it."""
        return MAX_BATCH - len(self.submissions)

    def tell(self) -> None:
        """Tell those who wait what became of their deliveries: the lot has landed."""
        durable = monotonic()
        for submission, result, begun in zip(self.submissions, self.results, self.begun, strict=True):
            timings = {
                "waited": round((begun - submission.since) * 1000, 3),
                "staged": round((self.staged - begun) * 1000, 3),
                "durable": round((durable - self.staged) * 1000, 3),
            }
            if not submission.future.done():
                submission.future.set_result(msgspec.structs.replace(result, timings=timings))


class Amendment:
    """What an operator may change: `Intake.amend` gives it to the work and makes the result durable."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self.index = stage.draft

    def posture(self, device_id: DeviceId) -> Posture:
        """Return the posture of a record as this amendment sees it, an empty one for a new record."""
        return self._stage.posture(device_id)

    def replace(self, posture: Posture) -> None:
        """Replace what is known of a record."""
        self._stage.postures[posture.device_id] = posture

    def tell(self, device_id: DeviceId, signal: Signal) -> None:
        """Fold a signal into a record, and write it into the journal. Raises `PostureFull`."""
        self._stage.postures[device_id] = fold(self._stage.posture(device_id), signal)
        self._stage.signals.append(
            SignalRow(signal.received_at, signal.sensor, device_id, pack_signal(signal))
        )


class Intake:
    """The one writer of posture. `start` before the first `submit`, `stop` after the last."""

    def __init__(
        self,
        state: RiskState,
        store: RiskStore,
        *,
        clock: Callable[[], datetime],
        retention: Retention = Retention(),  # noqa: B008 - frozen
    ) -> None:
        self._state = state
        self._store = store
        store.unwritten = state
        self._clock = clock
        self._retention = retention
        self._waiting: Lanes[_Submission] = Lanes()
        self._writing = asyncio.Lock()
        """Held while a lot is staged, and while an operator changes something."""
        self._ahead: _Lot | None = None
        """The lot that is being committed."""
        self._landing: asyncio.Task[None] | None = None
        self._pruning: asyncio.Task[None] | None = None
        self._is_stopping = False
        self.subjects: Mapping[str, Subjects] = {}
        """Whom sensors may speak about; those that are not named here may speak about anybody."""
        self.on_late: Callable[[frozenset[DeviceId]], object] = lambda changed: None  # noqa: ARG005 - nobody looks
        """Told what has changed by a part that was folded when nobody waited for it any more."""
        self.on_joined: Callable[[Sequence[Join], Sequence[Case]], None] = lambda _joins, _cases: None
        """Is told of records that became one, and of cases that were opened, once that is durable."""
        self.on_bulk: Callable[[bool], object] = lambda _is_bulk: None
        """Is told when a lot that is not light begins to be committed, and when it has ended."""
        self._wake = asyncio.Event()
        self._consumer: asyncio.Task[None] | None = None
        self._seen = SeenMessages(store)
        self._prune_at = monotonic() + PRUNE_EVERY_S
        self._coming: Counter[str] = Counter()
        self._part_ids = itertools.count(1)

    async def start(self) -> None:
        """Load everything from the store, then begin to take deliveries. Raises `StoreFault`."""
        self._is_stopping = False
        after = ""
        self._state.load((), await self._store.load_users(), await self._store.load_merged())
        while devices := await self._store.load(after):
            self._state.load(devices)
            after = devices[-1].device_id
        await self._seen.start()
        parts = await self._store.load_parts()
        self._consumer = asyncio.get_running_loop().create_task(self._consume(), name="risk-intake")
        if parts:
            self._part_ids = itertools.count(parts[-1].id + 1)
            futures = [self._add_part(row.id, unpack_part(row.part)) for row in parts]
            await asyncio.gather(*futures, return_exceptions=True)

    async def stop(self) -> None:
        """End after the running transaction; deliveries that still wait raise `StoreOverloaded`."""
        if self._consumer is None:
            return
        self._is_stopping = True
        self._consumer.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._consumer
        self._consumer = None
        await self._all_landed()
        if self._pruning is not None:
            await asyncio.wait([self._pruning])
        with contextlib.suppress(StoreFault, StoreOverloaded):
            # It would only be worked out at the next start, while nobody is served.
            await self._store.settle()
        await self._seen.stop()
        while self._waiting:
            for submission in self._waiting.take(len(self._waiting), sys.maxsize):
                _fail(submission, StoreOverloaded(STOPPING))

    async def submit(
        self,
        sensor: str,
        signals: Sequence[Signal],
        rejections: Sequence[Rejection] = (),
        body: bytes = b"",
        *,
        items: Sequence[int] | None = None,
        delivery: str = "",
        keeps_rejected: bool = True,
    ) -> IntakeResult:
        """Make the signals of one delivery durable and known; return what became of each.

        `items` gives the item of the delivery that each signal came from (default: its position), `delivery` its id.
        `rejections` are items that became no signal: they are kept as dead letters in the same transaction,
        and returned; only returned without `keeps_rejected` (a delivery that is run again).
        Raises `StoreOverloaded` (retry later) and `StoreFault`; then nothing was applied.
        """
        if self._consumer is None or self._consumer.done():
            raise StoreFault("the intake is not running")
        delivered = Delivered(
            sensor=sensor,
            signals=signals,
            items=range(len(signals)) if items is None else items,
            rejections=rejections,
            body=body[:MAX_DEAD_LETTER_BYTES],
            delivery=delivery,
            keeps_rejected=keeps_rejected,
        )
        bounds = {"most": MAX_PENDING, "most_weight": MAX_PENDING_SIGNALS}
        if not self._waiting.has_room(sensor, len(signals) + self._coming[sensor], **bounds):
            raise StoreOverloaded(f"{self._waiting.waiting(sensor)} deliveries of `{sensor}` are waiting")
        if delivered.is_large:
            if self._coming[sensor] and self._coming[sensor] + len(signals) > MAX_PENDING_SIGNALS:
                raise StoreOverloaded(f"other large deliveries of `{sensor}` are coming in")
            return await self._submit_large(delivered)
        return await self._add(_Submission(delivered))

    def _add(self, submission: _Submission) -> asyncio.Future[IntakeResult]:
        sensor, is_part = submission.delivered.sensor, submission.part_id is not None
        self._waiting.add(sensor, submission, submission.weight, is_last=is_part)
        self._wake.set()
        return submission.future

    def _add_part(self, part_id: int, part: Part) -> asyncio.Future[IntakeResult]:
        delivered = Delivered(
            sensor=part.sensor,
            signals=part.signals,
            items=part.items,
            rejections=part.rejections,
            body=part.body,
            delivery=part.delivery,
            keeps_rejected=part.keeps_rejected,
        )
        return self._add(_Submission(delivered, part_id))

    async def _submit_large(self, delivered: Delivered) -> IntakeResult:
        self._coming[delivered.sensor] += len(delivered.signals)
        # Once it is durable its parts have to be folded, whoever has left meanwhile.
        promising = asyncio.ensure_future(self._promise(delivered))
        futures = deque(await asyncio.shield(promising))
        joined, faults = _Joined(), list[Exception]()
        while futures:
            # One after the other, so that what each tells is let go of then: all at once would hold up everybody.
            try:
                joined.add(await futures.popleft())
            except Exception as fault:  # noqa: BLE001 - it goes to the caller when all parts have ended
                faults.append(fault)
        await asyncio.sleep(0)  # the last part was long enough for one turn
        if faults:
            raise faults[0]
        # What waited when its part was folded may have been named by a later one.
        return joined.result(self._state.index.waiting(joined.parked))

    async def _promise(self, delivered: Delivered) -> list[asyncio.Future[IntakeResult]]:
        """Make a delivery durable as one, and have its parts wait for their turn.

        Its parts are written some at a time, so that what others deliver becomes durable in between. They count once
        the last have been written.
        """
        parts: list[tuple[int, Part]] = []
        try:
            rows: list[PartRow] = []
            for part in delivered.parts():
                if len(rows) == PROMISED_AT_ONCE:
                    await self._store.commit(Batch(parts=rows))
                    rows = []
                parts.append((next(self._part_ids), part))
                rows.append(PartRow(parts[-1][0], pack_part(part)))
                await asyncio.sleep(0)
            await self._store.commit(Batch(parts=rows, promised=(parts[0][0], parts[-1][0])))
        except (StoreFault, StoreOverloaded):
            # Where that fails too, the next process forgets them.
            with contextlib.suppress(StoreFault, StoreOverloaded):
                await self._store.commit(Batch(taken=[part_id for part_id, _ in parts]))
            raise
        finally:
            self._coming[delivered.sensor] -= len(delivered.signals)
        return [self._add_part(part_id, part) for part_id, part in parts]

    async def preview(
        self, sensor: str, signals: Sequence[Signal], *, items: Sequence[int] | None = None
    ) -> IntakeResult:
        """Return what `submit` would make of these signals now. Changes nothing. Raises `StoreFault`."""
        delivered = Delivered(
            sensor=sensor, signals=signals, items=range(len(signals)) if items is None else items
        )
        digests = [digests_of(each) for each in signals]
        known = await self._seen.known([key for key, _ in digests])
        stage = Stage(self._state, known, self.subjects)
        return stage_delivery(stage, delivered, as_received(signals), digests)

    async def amend(self, work: Callable[["Amendment"], T]) -> tuple[T, frozenset[DeviceId]]:
        """Let an operator's `work` change records; return what it made of them, and which have changed.

        All of it is durable and in memory when this returns, or nothing of it: raises what `work` raises, and as
        `submit`.
        """
        if self._consumer is None or self._consumer.done():
            raise StoreFault("the intake is not running")
        running = asyncio.ensure_future(self._amend(work))
        return await asyncio.shield(running)

    async def _amend(self, work: Callable[["Amendment"], T]) -> tuple[T, frozenset[DeviceId]]:
        async with self._writing:
            await self._all_landed()
            stage = Stage(self._state, {})
            amendment = Amendment(stage)
            made = work(amendment)
            stage.merge_postures()
            stage.name_changed()
            packed = _packed(stage.postures)
            await self._store.commit(batch_of(stage, packed, {}))
            self._state.apply(packed, stage.draft)
            self.on_joined(stage.draft.joins, stage.draft.opened)
        return made, frozenset(packed) | frozenset(stage.draft.affected)

    async def history(self, device_id: DeviceId, most: int) -> list[Signal]:
        """Return the newest signals of a device, newest first."""
        return await self._store.signals(device_id, most)

    async def dead_letter(
        self, sensor: str, reason: str, error: str, body: bytes, *, delivery: str = ""
    ) -> None:
        """Keep a delivery that nothing could be made of. Raises as `submit` does."""
        await self.submit(
            sensor, (), (Rejection(index=0, code=reason, error=error),), body, delivery=delivery
        )

    async def dead_letters(self, sensor: str | None, most: int) -> list[DeadLetter]:
        """Return the newest dead letters of a sensor, or of all, newest first."""
        return await self._store.dead_letters(sensor, most)

    async def discard(self, ids: Sequence[int]) -> int:
        """Remove these dead letters; return how many there were. Raises as `submit` does."""
        return await self._store.discard(ids)

    async def _consume(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._waiting:
                # INVARIANT: a transaction that was begun is also applied, even while the intake is stopped.
                await self._finish(asyncio.ensure_future(self._take()))

    async def _take(self) -> None:
        """Stage the next lot, and begin to commit it once the one ahead of it has landed."""
        async with self._writing:
            if self._ahead is not None and not self._ahead.stage.draft.is_untouched:
                # Whom signals are about is looked up in the index, and not also in what that lot makes of it.
                await self._all_landed()
            lot = _Lot(self._new_stage(self._ahead), self._ahead)
            try:
                await self._fill(lot)
                await self._all_landed()
                if lot.ahead is not None and not lot.ahead.is_landed:
                    lot = await self._staged_anew(lot)
                self._close(lot)
            except Exception as error:  # noqa: BLE001 - it goes to every delivery that waits for it
                await self._fail(lot, error)
                return
            self._ahead = lot
            self._landing = asyncio.ensure_future(self._land(lot))
        await self._keep_house()

    def _new_stage(self, ahead: _Lot | None) -> Stage:
        return Stage(self._state, {}, self.subjects, under=None if ahead is None else ahead.stage)

    async def _fill(self, lot: _Lot) -> None:
        """Stage what waits: until the lot is full; or until the one ahead has landed and nothing waits any more."""
        turn = _Turn()
        while not self._is_stopping:
            is_last = self._ahead is None
            if some := self._joining(lot, is_last=is_last):
                # Before anything else: whoever was taken is told when something fails.
                lot.submissions += some
                lot.weight += sum(each.weight if each.part_id is None else MAX_BATCH_SIGNALS for each in some)
                await self._stage(lot, some, turn)
            elif is_last:
                return
            else:
                self._wake.clear()
                await self._wake.wait()

    def _joining(self, lot: _Lot, *, is_last: bool) -> list[_Submission]:
        """Take those of who waits that join a lot. Light ones join any as long as it has to wait itself."""
        some: list[_Submission] = []
        if lot.weight < MAX_BATCH_SIGNALS and lot.room:
            some = self._waiting.take(lot.room, MAX_BATCH_SIGNALS - lot.weight, is_light=lot.is_light)
            if some and lot.is_light is None:
                lot.is_light = is_light(some[0].weight)
        if not some and not is_last and lot.is_light is False and lot.room:
            some = self._waiting.take(lot.room, MAX_BATCH_SIGNALS, is_light=True)
        return some

    async def _staged_anew(self, lot: _Lot) -> _Lot:
        """Return the lot as it is without the one ahead of it, which could not be committed."""
        again = _Lot(self._new_stage(None), None)
        again.submissions, again.is_light = lot.submissions, lot.is_light
        await self._stage(again, again.submissions, _Turn())
        return again

    async def _stage(self, lot: _Lot, some: Sequence[_Submission], turn: _Turn) -> None:
        """Stage deliveries. While others have their turn nobody else stages, and nothing of this is seen by anybody."""
        begun = monotonic()
        digests = [[digests_of(each) for each in submission.delivered.signals] for submission in some]
        lot.stage.known.update(await self._seen.known([key for rows in digests for key, _ in rows]))
        now = self._clock()
        for submission, rows in zip(some, digests, strict=True):
            await turn.may_end()
            delivered = submission.delivered
            is_part = submission.part_id is not None
            signals = as_received(delivered.signals)
            result = stage_delivery(lot.stage, delivered, signals, rows, is_part=is_part)
            lot.results.append(result)
            lot.begun.append(begun)
            if delivered.keeps_rejected:
                lot.stage.dead_letters.extend(_dead_letter(delivered, each, now) for each in result.rejected)
            if submission.part_id is not None:
                lot.stage.taken.append(submission.part_id)
        await turn.may_end()

    def _close(self, lot: _Lot) -> None:
        """Make a lot ready to be committed: nothing joins it any more. Raises `StoreOverloaded` while stopping."""
        if self._is_stopping:
            raise StoreOverloaded(STOPPING)
        stage = lot.stage
        stage.name_changed()
        if stage.draft.is_untouched:
            # They follow from the signals, and are written later, however many come until then.
            lot.packed = {each: (posture, None) for each, posture in stage.postures.items()}
        else:
            lot.packed = _packed(stage.postures)
        lot.users = _packed(stage.users)
        lot.staged = monotonic()

    async def _land(self, lot: _Lot) -> None:
        """Commit a lot, apply it, and tell those who wait for it."""
        stage, is_bulk = lot.stage, lot.is_light is False
        if is_bulk:
            self.on_bulk(is_bulk)
        try:
            await self._store.commit(batch_of(stage, lot.packed, lot.users))
            self._state.apply(lot.packed, stage.draft, lot.users)
            self._seen.remember(stage.seen.values())
            lot.is_landed = True
            self.on_joined(stage.draft.joins, stage.draft.opened)
            lot.tell()
        except Exception as error:  # noqa: BLE001 - it goes to every delivery that waits for it
            await self._fail(lot, error)
        finally:
            if is_bulk:
                self.on_bulk(not is_bulk)
            # What it was staged over has landed long ago.
            lot.ahead = stage.under = None
            self._ahead = self._landing = None
            self._wake.set()

    async def _all_landed(self) -> None:
        """Return once nothing is being committed."""
        if self._landing is not None:
            await asyncio.wait([self._landing])

    async def _fail(self, lot: _Lot, error: Exception) -> None:
        """Tell those who wait that nothing was taken. Durable parts are taken later, or kept if they cannot be."""
        is_store = isinstance(error, StoreFault | StoreOverloaded)
        fault = error if is_store else StoreFault(f"intake: {error!r}")
        for submission in lot.submissions:
            _fail(submission, fault)
        if self._is_stopping:
            return  # the next process finds the parts
        if is_store:
            self._try_again(lot.submissions)
        else:
            await self._give_up(lot.submissions, str(fault))

    def _try_again(self, group: Sequence[_Submission]) -> None:
        """Let the durable parts of a group wait for another turn."""
        for each in group:
            if each.part_id is not None:
                again = _Submission(each.delivered, each.part_id)
                again.future.add_done_callback(self._folded_late)
                asyncio.get_running_loop().call_later(RETRY_S, self._add, again)

    def _folded_late(self, future: asyncio.Future[IntakeResult]) -> None:
        if not future.cancelled() and future.exception() is None:
            self.on_late(future.result().changed)

    async def _give_up(self, group: Sequence[_Submission], error: str) -> None:
        """Keep parts that cannot be folded by a fault of ours as dead letters; their sender was told to send again."""
        now = self._clock()
        parts = [(each.part_id, each.delivered) for each in group if each.part_id is not None]
        letters = [
            DeadLetter(now, each.sensor, "internal", error, _head(msgspec.json.encode(each.signals)))
            for _, each in parts
        ]
        if parts:
            with contextlib.suppress(StoreFault, StoreOverloaded):
                await self._store.commit(Batch(taken=[part_id for part_id, _ in parts], dead_letters=letters))

    @staticmethod
    async def _finish(running: asyncio.Future[None]) -> None:
        """Wait for `running` to end although this task is cancelled meanwhile; then be cancelled."""
        try:
            await asyncio.shield(running)
        except asyncio.CancelledError:
            with contextlib.suppress(Exception):
                await running
            raise

    async def _keep_house(self) -> None:
        """Do what is due now and then. A store that cannot be written says so to those who deliver next."""
        with contextlib.suppress(StoreFault, StoreOverloaded):
            await self._store.tidy()
        if monotonic() >= self._prune_at and (self._pruning is None or self._pruning.done()):
            self._pruning = asyncio.create_task(self._prune(), name="risk-pruned")

    async def _prune(self) -> None:
        gone = 0
        with contextlib.suppress(StoreFault, StoreOverloaded):
            gone = await self._store.prune(self._clock(), self._retention, PRUNE_MOST)
        self._prune_at = monotonic() + (PRUNE_EVERY_S if gone < PRUNE_MOST else 1.0)


class _Joined:
    """What became of a delivery that is taken in parts."""

    def __init__(self) -> None:
        self._accepted = self._duplicates = 0
        self._rejected: list[Rejection] = []
        self._devices: set[DeviceId] = set()
        self.parked: set[DeviceId] = set()
        """Devices that were known by nothing but a name when their part was folded."""
        self._users: set[UserId] = set()
        self._waited = float("inf")
        self._staged = self._durable = 0.0
        self._effects: list[Effect] = []

    def add(self, part: IntakeResult) -> None:
        """Add what became of a part."""
        self._accepted += part.accepted
        self._duplicates += part.duplicates
        self._rejected += part.rejected
        self._devices |= part.changed_devices
        self.parked |= part.parked
        self._users |= part.changed_users
        self._waited = min(self._waited, part.timings["waited"])
        self._staged += part.timings["staged"]
        self._durable += part.timings["durable"]
        self._effects += part.effects[: MAX_EFFECTS - len(self._effects)]

    def result(self, parked: frozenset[DeviceId]) -> IntakeResult:
        """Return what became of the whole, of whose devices these are parked."""
        return IntakeResult(
            accepted=self._accepted,
            duplicates=self._duplicates,
            rejected=tuple(sorted(self._rejected, key=lambda each: each.index)),
            changed_devices=frozenset(self._devices),
            parked=parked,
            changed_users=frozenset(self._users),
            timings={
                "waited": self._waited,
                "staged": round(self._staged, 3),
                "durable": round(self._durable, 3),
            },
            effects=tuple(self._effects),
        )


def _packed(postures: Mapping[Id, Posture]) -> dict[Id, tuple[Posture, bytes]]:
    """Return postures with their bytes."""
    return {each: (posture, pack_posture(posture)) for each, posture in postures.items()}


def _looked_at(future: asyncio.Future[IntakeResult]) -> None:
    if not future.cancelled():
        future.exception()


def _head(body: bytes) -> bytes:
    return body[:MAX_DEAD_LETTER_BYTES]


def _dead_letter(delivered: Delivered, rejection: Rejection, now: datetime) -> DeadLetter:
    """Return what is kept of a rejected item: the item where it is known, else the start of the body."""
    body = delivered.body
    if rejection.item is not None:
        with contextlib.suppress(TypeError, ValueError, OverflowError, RecursionError):
            body = msgspec.json.encode(rejection.item)
    return DeadLetter(
        now,
        delivered.sensor,
        rejection.code,
        rejection.error,
        _head(body),
        delivered.delivery,
        rejection.index,
    )


def _fail(submission: _Submission, error: Exception) -> None:
    if not submission.future.done():
        submission.future.set_exception(error)
