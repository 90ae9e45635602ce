"""Intake: signals of one delivery into durable, folded posture.

Deliveries that wait together are staged one after the other on a draft, made durable in one transaction, and
only then applied to memory. INVARIANT: `submit` returns after its signals are durable and in memory; when it
raises, nothing of the delivery is in memory, and nothing of it is in the store unless the process died in
between.

A duplicate is told by (sensor, event id) AND content, so that a sender that reuses an id cannot hide a new
statement. The devices of duplicates are in `changed_devices` as well: whoever answers a duplicate waits until
the first copy is enforced, however far that one has got.
"""

import asyncio
import contextlib
import hashlib
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from time import monotonic

import msgspec

from risk.database import StoreFault, StoreOverloaded
from risk.devices import SENSOR_SCOPED, DeviceIndex, keys_text, name_of
from risk.folding import PostureFull, clamp, fold
from risk.lanes import Lanes
from risk.model import DeviceId, Identifier, Posture, Rejection, Signal, SignalType
from risk.packing import pack_posture, pack_signal
from risk.snapshot import RiskState
from risk.store import Batch, DeadLetter, DeviceRow, Retention, RiskStore, SeenRow, SignalRow

MAX_PENDING = 1024
"""Most deliveries of one sensor that may wait; above it `submit` raises `StoreOverloaded`."""

MAX_PENDING_SIGNALS = 25_000
"""Most signals of one sensor that may wait, over all its deliveries."""

MAX_BATCH = 512
"""Most deliveries of one transaction."""

MAX_BATCH_SIGNALS = 2000
"""No further delivery joins a transaction that already has this many signals."""

MAX_SEEN = 200_000
"""Most message ids kept in memory; the store is asked for older ones."""

MAX_IDENTIFIERS = 16
"""Most identifiers of one signal that are looked at."""

MAX_DEAD_LETTER_BYTES = 65_536
"""Most bytes of a body that a dead letter keeps."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

PRUNE_EVERY_S = 60.0
PRUNE_MOST = 2000
"""How often, and how many rows at a time, what is past its retention goes."""


class IntakeResult(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one delivery, in signals.

    `changed_devices` are all devices whose enforcement the answer must wait for, those of duplicates
    included. `timings` are milliseconds: `waited`, `staged`, `durable`.
    """

    accepted: int = 0
    duplicates: int = 0
    rejected: tuple[Rejection, ...] = ()
    changed_devices: frozenset[DeviceId] = frozenset()
    timings: dict[str, float] = {}


class _Submission:
    __slots__ = ("body", "future", "items", "rejections", "sensor", "signals", "since")

    def __init__(
        self,
        sensor: str,
        signals: Sequence[Signal],
        items: Sequence[int],
        rejections: Sequence[Rejection],
        body: bytes,
    ) -> None:
        self.sensor = sensor
        self.signals = signals
        self.items = items
        self.rejections = rejections
        self.body = body
        self.since = monotonic()
        self.future: asyncio.Future[IntakeResult] = asyncio.get_running_loop().create_future()


class _Stage:
    """One transaction in the making: what it would change, and the results its deliveries would get."""

    def __init__(self, state: RiskState, seen: dict[bytes, bytes]) -> None:
        self.state = state
        self.known = seen
        self.draft: DeviceIndex = state.index.draft()
        self.postures: dict[DeviceId, Posture] = {}
        self.signals: list[SignalRow] = []
        self.seen: dict[bytes, SeenRow] = {}
        self.dead_letters: list[DeadLetter] = []
        self.results: list[tuple[_Submission, IntakeResult]] = []

    def posture(self, device_id: DeviceId) -> Posture:
        """Return the device's posture as this transaction sees it, an empty one for a new device."""
        found = self.postures.get(device_id) or self.state.posture(device_id)
        return found or Posture(device_id=device_id)

    def has_seen(self, key: bytes, digest: bytes) -> bool:
        """Return whether this very message was accepted before, or earlier in this transaction."""
        staged = self.seen.get(key)
        return (self.known.get(key) if staged is None else staged.digest) == digest

    def name_changed(self) -> None:
        """Bring identifiers that were joined to a record into its posture."""
        for device_id, identifiers in self.draft.changed.items():
            posture = self.posture(device_id)
            self.postures[device_id] = msgspec.structs.replace(
                posture, identifiers=identifiers, name=name_of(identifiers)
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
        self._wake = asyncio.Event()
        self._consumer: asyncio.Task[None] | None = None
        self._seen: dict[bytes, bytes] = {}
        self._is_seen_complete = False
        self._prune_at = monotonic() + PRUNE_EVERY_S

    async def start(self) -> None:
        """Load everything from the store, then begin to take deliveries. Raises `StoreFault`."""
        self._state.load(await self._store.load())
        rows, self._is_seen_complete = await self._store.recent_seen(MAX_SEEN)
        self._seen = {row.key: row.digest for row in rows}
        self._consumer = asyncio.get_running_loop().create_task(self._consume(), name="risk-intake")

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
    ) -> IntakeResult:
        """Make the signals of one delivery durable and known; return what became of each.

        `items` gives the item of the delivery that each signal came from (default: its position).
        `rejections` are items that became no signal: they are kept as dead letters in the same transaction,
        and returned. Raises `StoreOverloaded` (retry later) and `StoreFault`; then nothing was applied.
        """
        if self._consumer is None or self._consumer.done():
            raise StoreFault("the intake is not running")
        bounds = {"most": MAX_PENDING, "most_weight": MAX_PENDING_SIGNALS}
        if not self._waiting.has_room(sensor, len(signals), **bounds):
            raise StoreOverloaded(f"{self._waiting.waiting(sensor)} deliveries of `{sensor}` are waiting")
        clamped = [clamp(signal) for signal in signals]
        submission = _Submission(sensor, clamped, items or range(len(signals)), rejections, body)
        self._waiting.add(sensor, submission, len(signals))
        self._wake.set()
        return await submission.future

    async def dead_letter(self, sensor: str, reason: str, error: str, body: bytes) -> None:
        """Keep a delivery that nothing could be made of. Raises as `submit` does."""
        await self.submit(sensor, (), (Rejection(index=0, code=reason, error=error),), body)

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
                except Exception as error:  # noqa: BLE001 - it goes to every delivery that waits for it
                    fault = StoreFault(f"intake: {error!r}")
                    for submission in group:
                        _fail(submission, fault)

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
        begun = monotonic()
        digests = [[_digests(each) for each in submission.signals] for submission in group]
        known = await self._known([key for rows in digests for key, _ in rows])
        stage = _Stage(self._state, known)
        now = self._clock()
        for submission, rows in zip(group, digests, strict=True):
            result = _stage(stage, submission, rows)
            stage.results.append((submission, result))
            stage.dead_letters.extend(_dead_letter(submission, each, now) for each in result.rejected)
        stage.name_changed()
        packed = {
            device_id: (posture, pack_posture(posture)) for device_id, posture in stage.postures.items()
        }
        staged = monotonic()
        await self._store.commit(_batch(stage, packed))
        self._state.apply(packed, stage.draft)
        self._remember(stage)
        durable = monotonic()
        for submission, result in stage.results:
            timings = {
                "waited": round((begun - submission.since) * 1000, 3),
                "staged": round((staged - begun) * 1000, 3),
                "durable": round((durable - staged) * 1000, 3),
            }
            if not submission.future.done():
                submission.future.set_result(msgspec.structs.replace(result, timings=timings))
        await self._prune()

    async def _known(self, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        """Return the content digests of the keys that were accepted before."""
        known = {key: digest for key in keys if (digest := self._seen.get(key)) is not None}
        if self._is_seen_complete:
            return known
        older = [key for key in keys if key not in known]
        return {**(await self._store.seen(older)), **known} if older else known

    def _remember(self, stage: _Stage) -> None:
        for row in stage.seen.values():
            self._seen[row.key] = row.digest
        while len(self._seen) > MAX_SEEN:
            del self._seen[next(iter(self._seen))]
            self._is_seen_complete = False

    async def _prune(self) -> None:
        if monotonic() < self._prune_at:
            return
        gone = await self._store.prune(self._clock(), self._retention, PRUNE_MOST)
        self._prune_at = monotonic() + (PRUNE_EVERY_S if gone < PRUNE_MOST else 1.0)


def _stage(stage: _Stage, submission: _Submission, digests: Sequence[tuple[bytes, bytes]]) -> IntakeResult:
    """Apply one delivery to the stage; return its result."""
    accepted = duplicates = 0
    changed: set[DeviceId] = set()
    rejected: list[Rejection] = list(submission.rejections)
    for signal, item, (key, digest) in zip(submission.signals, submission.items, digests, strict=True):
        device_ids = _scoped(signal)
        if stage.has_seen(key, digest):
            duplicates += 1
            known = stage.draft.resolve(device_ids)
            changed.update(() if known is None else (known,))
            continue
        device_id = stage.draft.resolve_or_create(device_ids)
        if device_id is None and (signal.type is not SignalType.HEARTBEAT or signal.device_ids):
            rejected.append(Rejection(index=item, code="no-device", error=_no_device(signal)))
            continue
        try:
            if device_id is not None:
                stage.postures[device_id] = fold(stage.posture(device_id), signal)
        except PostureFull as error:
            rejected.append(Rejection(index=item, code="posture-full", error=str(error)))
            continue
        accepted += 1
        changed.update(() if device_id is None else (device_id,))
        stage.signals.append(SignalRow(signal.received_at, signal.sensor, device_id, pack_signal(signal)))
        stage.seen[key] = SeenRow(key, digest, signal.received_at)
    return IntakeResult(
        accepted=accepted,
        duplicates=duplicates,
        rejected=tuple(sorted(rejected, key=lambda each: each.index)),
        changed_devices=frozenset(changed),
    )


def _batch(stage: _Stage, packed: dict[DeviceId, tuple[Posture, bytes]]) -> Batch:
    devices = [
        DeviceRow(id_, keys_text(posture.identifiers), data) for id_, (posture, data) in packed.items()
    ]
    return Batch(
        devices=devices,
        signals=stage.signals,
        seen=list(stage.seen.values()),
        dead_letters=stage.dead_letters,
    )


def _dead_letter(submission: _Submission, rejection: Rejection, now: datetime) -> DeadLetter:
    """Return what is kept of a rejected item: the item where it is known, else the start of the body."""
    body = submission.body
    if rejection.item is not None:
        with contextlib.suppress(TypeError, ValueError, OverflowError, RecursionError):
            body = msgspec.json.encode(rejection.item)
    return DeadLetter(now, submission.sensor, rejection.code, rejection.error, body[:MAX_DEAD_LETTER_BYTES])


def _scoped(signal: Signal) -> list[Identifier]:
    """Return the signal's identifiers, those that a sensor hands out under this sensor's own name.

    Whatever issuer the signal claims for them, a sensor can only speak of its own numbers.
    """
    return [
        Identifier(each.kind, each.value, signal.sensor) if each.kind in SENSOR_SCOPED else each
        for each in signal.device_ids[:MAX_IDENTIFIERS]
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
