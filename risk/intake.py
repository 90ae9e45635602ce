"""Intake: signals of one delivery into durable, folded posture.

Deliveries that wait together are staged one after the other on a draft, made durable in one transaction, and
only then applied to memory. INVARIANT: `submit` returns after its signals are durable and in memory; when it
raises, nothing of the delivery is in memory, and nothing of it is in the store unless the process died in
between.

A large delivery is made durable whole first, and then folded in parts (`risk.parts`) between which others have their
turn. INVARIANT: all of it is taken or nothing: what is durable is folded later when it cannot be now, if need be by the
next process. When `submit` raises for such a delivery, none of it was kept, or all of it is still going to be taken.

A duplicate is told by (sensor, event id) AND content, so that a sender that reuses an id cannot hide a new
statement. The devices of duplicates are in `changed_devices` as well: whoever answers a duplicate waits until
the first copy is enforced, however far that one has got.
"""

import asyncio
import contextlib
import hashlib
import itertools
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from time import monotonic
from typing import TypeVar

import msgspec

from risk.database import StoreFault, StoreOverloaded
from risk.devices import SENSOR_SCOPED, DeviceIndex, ParkingFull, name_of
from risk.folding import PostureFull, as_received, fold, join
from risk.joining import Case, Join
from risk.lanes import Lanes
from risk.model import DeviceId, Identifier, Posture, Rejection, Signal, SignalType
from risk.outcome import MAX_EFFECTS, Effect, IntakeResult
from risk.packing import pack_posture, pack_signal
from risk.parts import MAX_PART, Delivered, Part, pack_part, unpack_part
from risk.recent import Recent
from risk.snapshot import RiskState
from risk.store import (
    Batch,
    DeadLetter,
    DeviceRow,
    MergedRow,
    PartRow,
    Retention,
    RiskStore,
    SeenRow,
    SignalRow,
    UserRow,
)
from risk.subjects import NotAllowed, Subjects, allowed, check_names
from risk.users import USER_KINDS, UserId, linked, new_record, spelled

MAX_PENDING = 1024
"""Most deliveries of one sensor that may wait; above it `submit` raises `StoreOverloaded`."""

MAX_PENDING_SIGNALS = 25_000
"""Most signals of one sensor that may wait, over all its deliveries."""

MAX_BATCH = 512
"""Most deliveries of one transaction."""

MAX_BATCH_SIGNALS = MAX_PART
"""No further delivery joins a transaction that already has this many signals."""

MAX_SEEN = 200_000
"""Most message ids kept in memory; the store is asked for older ones."""

MAX_IDENTIFIERS = 16
"""Most identifiers of one signal that are looked at."""

MAX_DEAD_LETTER_BYTES = 65_536
"""Most bytes of a body that a dead letter keeps."""

RETRY_S = 1.0
"""After this, what is durable but could not be folded is tried again."""

T = TypeVar("T")

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

PRUNE_EVERY_S = 60.0
PRUNE_MOST = 2000
"""How often, and how many rows at a time, what is past its retention goes."""


class _Submission:
    """A delivery that waits, or a part of one: then it is durable already, and `part_id` is its id."""

    __slots__ = ("delivered", "future", "part_id", "since")

    def __init__(self, delivered: Delivered, part_id: int | None = None) -> None:
        self.delivered = delivered
        self.part_id = part_id
        self.since = monotonic()
        self.future: asyncio.Future[IntakeResult] = asyncio.get_running_loop().create_future()
        if part_id is not None:
            # Nobody may be waiting for a part, and whoever is waits for all of them.
            self.future.add_done_callback(_looked_at)


class _Unusable(Exception):
    """A signal that can be attributed to nobody, or kept nowhere; `code` is stable."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


class _Stage:
    """One transaction in the making: what it would change, and the results its deliveries would get."""

    def __init__(
        self, state: RiskState, seen: dict[bytes, bytes], subjects: Mapping[str, Subjects] | None = None
    ) -> None:
        self.subjects = subjects or {}
        self.state = state
        self.known = seen
        self.draft: DeviceIndex = state.index.draft()
        self.postures: dict[DeviceId, Posture] = {}
        self.users: dict[UserId, Posture] = {}
        self.signals: list[SignalRow] = []
        self.seen: dict[bytes, SeenRow] = {}
        self.dead_letters: list[DeadLetter] = []
        self.taken: list[int] = []
        self.results: list[tuple[_Submission, IntakeResult]] = []
        self.merged = 0

    def posture(self, device_id: DeviceId) -> Posture:
        """Return the device's posture as this transaction sees it, an empty one for a new device."""
        found = self.postures.get(device_id) or self.state.posture(device_id)
        return found or Posture(device_id=device_id)

    def user_records(self, identifiers: Sequence[Identifier]) -> dict[UserId, Posture]:
        """Return the records that the identifiers name as this transaction sees them, each linked with the others."""
        named = spelled(identifiers)
        return {
            user_id: linked(
                self.users.get(user_id) or self.state.user_record(user_id) or new_record(user_id, identifier),
                named.values(),
            )
            for user_id, identifier in named.items()
        }

    def has_seen(self, key: bytes, digest: bytes) -> bool:
        """Return whether this very message was accepted before, or earlier in this transaction."""
        staged = self.seen.get(key)
        return (self.known.get(key) if staged is None else staged.digest) == digest

    def name_changed(self) -> None:
        """Bring identifiers and cases that this transaction changed into the postures."""
        for device_id, identifiers in self.draft.changed.items():
            posture = self.posture(device_id)
            self.postures[device_id] = msgspec.structs.replace(
                posture,
                identifiers=identifiers,
                name=name_of(identifiers),
                contested=self.draft.contested(device_id),
            )

    def merge_postures(self) -> None:
        """Put together what is known of records that turned out to be one; to be called after every resolution."""
        if len(self.draft.merged) == self.merged:
            return
        for dropped in list(self.draft.merged)[self.merged :]:
            kept = self.draft.survivor(dropped)
            before = self.postures.pop(dropped, None) or self.state.posture(dropped)
            if before is not None:
                self.postures[kept] = join(self.posture(kept), before)
        self.merged = len(self.draft.merged)


class Amendment:
    """What an operator may change: `Intake.amend` gives it to the work and makes the result durable."""

    def __init__(self, stage: _Stage) -> None:
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
        self._clock = clock
        self._retention = retention
        self._waiting: Lanes[_Submission] = Lanes()
        self._writing = asyncio.Lock()
        self.subjects: Mapping[str, Subjects] = {}
        """Whom sensors may speak about; those that are not named here may speak about anybody."""
        self.on_late: Callable[[frozenset[DeviceId]], object] = lambda changed: None  # noqa: ARG005 - nobody looks
        """Told what has changed by a part that was folded when nobody waited for it any more."""
        self.on_joined: Callable[[Sequence[Join], Sequence[Case]], None] = lambda _joins, _cases: None
        """Is told of records that became one, and of cases that were opened, once that is durable."""
        self._wake = asyncio.Event()
        self._consumer: asyncio.Task[None] | None = None
        self._seen = Recent(MAX_SEEN)
        self._is_seen_complete = False
        self._prune_at = monotonic() + PRUNE_EVERY_S
        self._coming: Counter[str] = Counter()
        self._part_ids = itertools.count(1)

    async def start(self) -> None:
        """Load everything from the store, then begin to take deliveries. Raises `StoreFault`."""
        devices, users = await self._store.load(), await self._store.load_users()
        self._state.load(devices, users, await self._store.load_merged())
        rows, self._is_seen_complete = await self._store.recent_seen(MAX_SEEN)
        self._seen = Recent(MAX_SEEN)
        self._seen.put((row.key, row.digest) for row in rows)
        self._is_seen_complete = self._is_seen_complete and not self._seen.has_forgotten
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
        self._consumer.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._consumer
        self._consumer = None
        for submission in self._waiting.take(len(self._waiting), sys.maxsize):
            _fail(submission, StoreOverloaded("the intake is stopping"))

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
        delivered = submission.delivered
        self._waiting.add(delivered.sensor, submission, len(delivered.signals) + len(delivered.rejections))
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
        futures = await asyncio.shield(promising)
        results = await asyncio.gather(*futures, return_exceptions=True)
        for each in results:
            if isinstance(each, BaseException):
                raise each
        return _joined([each for each in results if isinstance(each, IntakeResult)])

    async def _promise(self, delivered: Delivered) -> list[asyncio.Future[IntakeResult]]:
        """Make a delivery durable as one, and have its parts wait for their turn."""
        try:
            parts: list[tuple[int, Part]] = []
            rows: list[PartRow] = []
            for part in delivered.parts():
                parts.append((next(self._part_ids), part))
                rows.append(PartRow(parts[-1][0], pack_part(part)))
                await asyncio.sleep(0)
            await self._store.commit(Batch(parts=rows))
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
        digests = [_digests(each) for each in signals]
        known = await self._known([key for key, _ in digests])
        stage = _Stage(self._state, known, self.subjects)
        return _stage(stage, _Submission(delivered), as_received(signals), digests)

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
            stage = _Stage(self._state, {})
            amendment = Amendment(stage)
            made = work(amendment)
            stage.merge_postures()
            stage.name_changed()
            packed = {each: (posture, pack_posture(posture)) for each, posture in stage.postures.items()}
            await self._store.commit(_batch(stage, packed, {}))
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
                group = self._waiting.take(MAX_BATCH, MAX_BATCH_SIGNALS)
                try:
                    # INVARIANT: once begun, a transaction is also applied, even while the intake is stopped.
                    await self._finish(asyncio.ensure_future(self._run(group)))
                except (StoreFault, StoreOverloaded) as error:
                    for submission in group:
                        _fail(submission, error)
                    self._try_again(group)
                except Exception as error:  # noqa: BLE001 - it goes to every delivery that waits for it
                    fault = StoreFault(f"intake: {error!r}")
                    for submission in group:
                        _fail(submission, fault)
                    await self._give_up(group, str(fault))

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

    async def _run(self, group: Sequence[_Submission]) -> None:
        async with self._writing:
            await self._take(group)
        await self._prune()

    async def _take(self, group: Sequence[_Submission]) -> None:
        begun = monotonic()
        signals = [as_received(submission.delivered.signals) for submission in group]
        digests = [[_digests(each) for each in submission.delivered.signals] for submission in group]
        known = await self._known([key for rows in digests for key, _ in rows])
        stage = _Stage(self._state, known, self.subjects)
        now = self._clock()
        for submission, some, rows in zip(group, signals, digests, strict=True):
            result = _stage(stage, submission, some, rows)
            stage.results.append((submission, result))
            if submission.delivered.keeps_rejected:
                stage.dead_letters.extend(
                    _dead_letter(submission.delivered, each, now) for each in result.rejected
                )
            if submission.part_id is not None:
                stage.taken.append(submission.part_id)
        stage.name_changed()
        packed = {
            device_id: (posture, pack_posture(posture)) for device_id, posture in stage.postures.items()
        }
        users = {user_id: (record, pack_posture(record)) for user_id, record in stage.users.items()}
        staged = monotonic()
        await self._store.commit(_batch(stage, packed, users))
        self._state.apply(packed, stage.draft, users)
        self._remember(stage)
        self.on_joined(stage.draft.joins, stage.draft.opened)
        durable = monotonic()
        for submission, result in stage.results:
            timings = {
                "waited": round((begun - submission.since) * 1000, 3),
                "staged": round((staged - begun) * 1000, 3),
                "durable": round((durable - staged) * 1000, 3),
            }
            if not submission.future.done():
                submission.future.set_result(msgspec.structs.replace(result, timings=timings))

    async def _known(self, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        """Return the content digests of the keys that were accepted before."""
        known = {key: digest for key in keys if (digest := self._seen.get(key)) is not None}
        if self._is_seen_complete:
            return known
        older = [key for key in keys if key not in known]
        return {**(await self._store.seen(older)), **known} if older else known

    def _remember(self, stage: _Stage) -> None:
        self._seen.put((row.key, row.digest) for row in stage.seen.values())
        self._is_seen_complete = self._is_seen_complete and not self._seen.has_forgotten

    async def _prune(self) -> None:
        if monotonic() < self._prune_at:
            return
        gone = await self._store.prune(self._clock(), self._retention, PRUNE_MOST)
        self._prune_at = monotonic() + (PRUNE_EVERY_S if gone < PRUNE_MOST else 1.0)


def _stage(
    stage: _Stage,
    submission: _Submission,
    signals: Sequence[Signal],
    digests: Sequence[tuple[bytes, bytes]],
) -> IntakeResult:
    """Apply the signals of one delivery to the stage; return its result."""
    delivered = submission.delivered
    accepted = duplicates = 0
    devices: set[DeviceId] = set()
    users: set[UserId] = set()
    rejected: list[Rejection] = list(delivered.rejections)
    affected = len(stage.draft.affected)
    befores: dict[DeviceId, Posture | None] = {}
    for told, item, (key, digest) in zip(signals, delivered.items, digests, strict=True):
        is_known = stage.has_seen(key, digest)
        try:
            signal = _allowed(stage, told)
            if signal.device_ids or not signal.user_ids:
                subject = _stage_device(stage, signal, befores, is_known=is_known)
                devices.update(() if subject is None else (subject,))
            else:
                named = _stage_user(stage, signal, is_known=is_known)
                subject = named[0]
                users.update(named)
        except NotAllowed as error:
            rejected.append(_rejection(submission, item, "not-allowed", error, told))
            continue
        except _Unusable as error:
            rejected.append(_rejection(submission, item, error.code, error, told))
            continue
        if is_known:
            duplicates += 1
            continue
        accepted += 1
        stage.signals.append(SignalRow(signal.received_at, signal.sensor, subject, pack_signal(signal)))
        stage.seen[key] = SeenRow(key, digest, signal.received_at)
    # What rests on a record that was merged, or whose cases changed, rests on something else now.
    devices.update(stage.draft.affected[affected:])
    return IntakeResult(
        accepted=accepted,
        duplicates=duplicates,
        rejected=tuple(sorted(rejected, key=lambda each: each.index)),
        changed_devices=frozenset(devices),
        changed_users=frozenset(users),
        effects=tuple(_effect(stage, device_id, before) for device_id, before in befores.items()),
    )


def _effect(stage: _Stage, device_id: DeviceId, before: Posture | None) -> Effect:
    """Return the effect on a device, with the identifiers and cases that it has at this point of the transaction."""
    kept = stage.draft.survivor(device_id)
    after = stage.posture(kept)
    identifiers = stage.draft.changed.get(kept)
    if identifiers is not None:
        contested = stage.draft.contested(kept)
        after = msgspec.structs.replace(
            after, identifiers=identifiers, name=name_of(identifiers), contested=contested
        )
    return Effect(kept, before, after)


def _allowed(stage: _Stage, signal: Signal) -> Signal:
    """Return the signal as far as its sensor may speak about its subject. Raises `NotAllowed`."""
    subjects = stage.subjects.get(signal.sensor)
    if subjects is None:
        return signal
    signal = allowed(signal, subjects)
    if subjects.names and signal.device_ids:
        known = stage.draft.attributed(_scoped(signal))
        named = () if known is None else stage.draft.identifiers_of(known)
        check_names(signal.sensor, subjects, (*signal.device_ids, *named))
    return signal


def _stage_device(
    stage: _Stage, signal: Signal, befores: dict[DeviceId, Posture | None], *, is_known: bool
) -> DeviceId | None:
    """Fold the signal into the device that it names, and return that; None for the heartbeat of nobody.

    `befores` takes what was known of the device before the delivery. A message that is known changes nothing. Raises
    `_Unusable`.
    """
    device_ids = _scoped(signal)
    if is_known:
        return stage.draft.attributed(device_ids)
    try:
        device_id = stage.draft.resolve_or_create(device_ids)
    except ParkingFull as error:
        raise _Unusable("parking-full", str(error)) from error
    stage.merge_postures()
    if device_id is None:
        if signal.type is SignalType.HEARTBEAT and not signal.device_ids:
            return None
        raise _Unusable("no-device", _no_device(signal))
    before = stage.postures.get(device_id) or stage.state.posture(device_id)
    try:
        stage.postures[device_id] = fold(before or Posture(device_id=device_id), signal)
    except PostureFull as error:
        raise _Unusable("posture-full", str(error)) from error
    if len(befores) < MAX_EFFECTS:
        befores.setdefault(device_id, before)
    return device_id


def _stage_user(stage: _Stage, signal: Signal, *, is_known: bool) -> tuple[UserId, ...]:
    """Fold the signal into the records of the user that it names, and return them, at least one.

    A message that is known changes nothing. Raises `_Unusable`.
    """
    records = stage.user_records(_users(signal))
    if not records:
        sent = ", ".join(f"{each.kind} `{each.value[:64]}`" for each in signal.user_ids[:MAX_IDENTIFIERS])
        raise _Unusable("no-user", f"no identifier names a user: {sent}")
    if not is_known:
        try:
            folded = {user_id: fold(record, signal) for user_id, record in records.items()}
        except PostureFull as error:
            raise _Unusable("posture-full", str(error)) from error
        stage.users.update(folded)
    return tuple(records)


def _batch(
    stage: _Stage,
    packed: dict[DeviceId, tuple[Posture, bytes]],
    users: dict[UserId, tuple[Posture, bytes]],
) -> Batch:
    devices = [DeviceRow(id_, _keys(stage, posture), data) for id_, (posture, data) in packed.items()]
    return Batch(
        devices=devices,
        merged=[MergedRow(gone, stage.draft.survivor(gone)) for gone in stage.draft.merged],
        users=[UserRow(user_id, data) for user_id, (_, data) in users.items()],
        signals=[_of_survivor(stage, row) for row in stage.signals] if stage.merged else stage.signals,
        seen=list(stage.seen.values()),
        dead_letters=stage.dead_letters,
        taken=stage.taken,
    )


def _keys(stage: _Stage, posture: Posture) -> str | None:
    """Return the index keys of a record, None when they are stored as they are."""
    device_id = posture.device_id
    if device_id in stage.state and device_id not in stage.draft.changed:
        return None
    return stage.draft.record_keys(device_id, posture.identifiers)


def _of_survivor(stage: _Stage, row: SignalRow) -> SignalRow:
    """Return the row under the record that its device became part of within this transaction."""
    if row.device_id is None or row.device_id not in stage.draft.merged:
        return row
    return msgspec.structs.replace(row, device_id=stage.draft.survivor(row.device_id))


def _rejection(submission: _Submission, item: int, code: str, error: Exception, signal: Signal) -> Rejection:
    """Return why an item is not taken; of a part, which has no body, with what the item became."""
    content = None if submission.part_id is None else msgspec.to_builtins(signal)
    return Rejection(index=item, code=code, error=str(error), item=content)


def _joined(results: Sequence[IntakeResult]) -> IntakeResult:
    """Return what became of a delivery that was taken in parts."""
    rejected = [each for result in results for each in result.rejected]
    return IntakeResult(
        accepted=sum(result.accepted for result in results),
        duplicates=sum(result.duplicates for result in results),
        rejected=tuple(sorted(rejected, key=lambda each: each.index)),
        changed_devices=frozenset().union(*(result.changed_devices for result in results)),
        changed_users=frozenset().union(*(result.changed_users for result in results)),
        timings={
            "waited": min(result.timings["waited"] for result in results),
            "staged": round(sum(result.timings["staged"] for result in results), 3),
            "durable": round(sum(result.timings["durable"] for result in results), 3),
        },
        effects=tuple(effect for result in results for effect in result.effects)[:MAX_EFFECTS],
    )


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


def _scoped(signal: Signal) -> list[Identifier]:
    """Return the signal's identifiers, those that a sensor hands out under this sensor's own name.

    Whatever issuer the signal claims for them, a sensor can only speak of its own numbers.
    """
    return [
        Identifier(each.kind, each.value, signal.sensor) if each.kind in SENSOR_SCOPED else each
        for each in signal.device_ids[:MAX_IDENTIFIERS]
    ]


def _users(signal: Signal) -> list[Identifier]:
    """Return the signal's identifiers of a user; a name that means nothing elsewhere is this sensor's own."""
    return [
        each if each.kind in USER_KINDS else Identifier(each.kind, each.value, signal.sensor)
        for each in signal.user_ids[:MAX_IDENTIFIERS]
    ]


def _no_device(signal: Signal) -> str:
    sent = ", ".join(f"{each.kind} `{each.value[:64]}`" for each in signal.device_ids[:MAX_IDENTIFIERS])
    return f"no identifier names a device: {sent}" if sent else "the item names no device"


def _digests(signal: Signal) -> tuple[bytes, bytes]:
    """Return the keys of the message and of its content.

    Our own times are no content: a message without a time of its own is the same when it is sent again.
    """
    key = hashlib.blake2b(f"{signal.sensor}\x1f{signal.event_id}".encode(), digest_size=16).digest()
    observed_at = _EPOCH if signal.observed_at == signal.received_at else signal.observed_at
    content = pack_signal(
        msgspec.structs.replace(signal, received_at=_EPOCH, observed_at=observed_at, expires_at=None)
    )
    return key, hashlib.blake2b(content, digest_size=8).digest()


def _fail(submission: _Submission, error: Exception) -> None:
    if not submission.future.done():
        submission.future.set_exception(error)
