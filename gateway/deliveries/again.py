"""Running what sensors sent again: kept bodies and dead letters, through the same plugin, intake and enforcement.

The sender was verified when the body came; its signature is not asked for again. The time of receipt stays that of the
first time: an old body makes no sensor look alive, and an old statement changes nothing that a newer one said.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Any

import msgspec

from gateway.deliveries.fragments import Fragments
from gateway.deliveries.ids import new_delivery_id
from gateway.deliveries.log import DeliveryLog
from gateway.deliveries.model import (
    MAX_SIGNALS,
    EffectLine,
    Judged,
    RejectionLine,
    SignalLine,
    effect_lines,
    rejection_lines,
    signal_lines,
)
from gateway.deliveries.store import Body
from gateway.feed.hub_side import NotEnforced
from gateway.hub.hooks import Delivery, HookSensor, tried_payloads
from gateway.tasks import spawn
from plugins.contract import Normalized
from plugins.payload import PayloadFault, parse_payloads
from risk.database import StoreFault, StoreOverloaded
from risk.intake import MAX_DEAD_LETTER_BYTES, Intake
from risk.model import DeviceId, Rejection
from risk.outcome import IntakeResult
from risk.store import DeadLetter

MAX_RUN = 1000
"""Most deliveries that are run again by one request."""

MAX_LETTERS = 1000
"""Most dead letters that are listed or tried again by one request."""

VERDICT = "replayed"


class AgainFault(Exception):
    """What was asked for cannot be done; the text says why."""

    def __init__(self, text: str, *, is_missing: bool = False) -> None:
        super().__init__(text)
        self.is_missing = is_missing


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What came, or with `dry_run` would come, of running one delivery again. `fault` says why nothing could.

    `rejections`, `signals` and `effects` are the first of each; `rejected` counts all rejections. `is_test`: it is
    a test event, of which nothing can come.
    """

    id: str
    at: datetime
    dry_run: bool
    accepted: int = 0
    duplicates: int = 0
    ignored: int = 0
    rejected: int = 0
    parked: int = 0
    rejections: tuple[RejectionLine, ...] = ()
    signals: tuple[SignalLine, ...] = ()
    signals_left_out: int = 0
    effects: tuple[EffectLine, ...] = ()
    fault: str = ""
    is_test: bool = False


class LetterOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """What came of trying a dead letter again: `is_settled` when it was taken and is gone."""

    id: int
    is_settled: bool
    text: str


class Again:
    """Runs deliveries and dead letters again."""

    def __init__(
        self,
        log: DeliveryLog,
        intake: Intake,
        *,
        sensor: Callable[[str], HookSensor | None],
        enforce: Callable[[frozenset[DeviceId], int], Awaitable[object]],
        observe: Callable[[Delivery], None],
        judged: Callable[[], Judged],
        clock: Callable[[], datetime],
        fragments: Fragments,
    ) -> None:
        self._fragments = fragments
        self._log = log
        self._intake = intake
        self._sensor = sensor
        self._enforce = enforce
        self._observe = observe
        self._judged = judged
        self._clock = clock
        self._running = asyncio.Lock()

    async def run(self, sensor: str, ids: Sequence[str], *, dry_run: bool) -> list[Outcome]:
        """Run kept bodies again in the given order. Raises `AgainFault`, `StoreFault`, `StoreOverloaded`.

        INVARIANT: what has become durable is enforced when this returns. A fault of one delivery is told with it; those
        before it are done.
        """
        known = self._sensor(sensor)
        if known is None:
            raise AgainFault(f"no sensor `{sensor}` is configured", is_missing=True)
        if len(ids) > MAX_RUN:
            raise AgainFault(f"at most {MAX_RUN} deliveries are run at once; take a shorter span")
        async with self._running:
            return [await self._run_one(known, each, dry_run=dry_run) for each in ids]

    async def span(self, sensor: str, since: datetime, until: datetime) -> list[str]:
        """Return the ids of a sensor's kept bodies of a span, oldest first, one more than may be run."""
        return await self._log.body_ids(sensor, since, until, MAX_RUN + 1)

    async def _run_one(self, sensor: HookSensor, delivery_id: str, *, dry_run: bool) -> Outcome:
        body = await self._body(sensor.name, delivery_id)
        if body is None:
            text = "its body is not kept (see `deliveries.keep_bodies`)"
            return Outcome(id=delivery_id, at=self._clock(), dry_run=dry_run, fault=text)
        try:
            payloads = sensor.facade.opened(parse_payloads(body.body))
        except PayloadFault as fault:
            return Outcome(id=body.id, at=body.at, dry_run=dry_run, fault=f"{fault.code}: {fault}")
        if tried_payloads(payloads) is not None:
            text = "it is a test event"
            return Outcome(id=body.id, at=body.at, dry_run=dry_run, fault=text, is_test=True)
        normalized = self._normalized(sensor, body, payloads)
        try:
            result = await self._taken(sensor, body, normalized, dry_run=dry_run)
        except NotEnforced:
            text = "stored, but not every worker enforces it yet: run it again"
            return Outcome(id=body.id, at=body.at, dry_run=dry_run, fault=text)
        return Outcome(
            id=body.id,
            at=body.at,
            dry_run=dry_run,
            accepted=result.accepted,
            duplicates=result.duplicates,
            ignored=normalized.ignored,
            rejected=len(result.rejected),
            parked=len(result.parked),
            rejections=rejection_lines(result.rejected),
            signals=signal_lines(normalized),
            signals_left_out=max(0, len(normalized.signals) - MAX_SIGNALS),
            effects=effect_lines(result.effects, self._judged(), self._clock()),
        )

    def _normalized(self, sensor: HookSensor, body: Body, payloads: Sequence[Any]) -> Normalized:
        """Return what the plugin makes of the payloads now, beside what is kept of the same statements."""
        return sensor.facade.normalize(
            self._fragments.beside(sensor.name, sensor.facade, payloads),
            sensor.options,
            sensor=sensor.name,
            received_at=body.at,
            headers=body.headers,
        )

    async def _body(self, sensor: str, delivery_id: str) -> Body | None:
        body = await self._log.body(delivery_id)
        if body is None:
            record = await self._log.find(delivery_id)
            body = None if record is None or record.id == delivery_id else await self._log.body(record.id)
        return body if body is not None and body.sensor == sensor else None

    async def _taken(
        self, sensor: HookSensor, body: Body, normalized: Normalized, *, dry_run: bool
    ) -> IntakeResult:
        if dry_run:
            result = await self._intake.preview(sensor.name, normalized.signals, items=normalized.origins)
            rejected = (*normalized.rejections, *result.rejected)
            return msgspec.structs.replace(result, rejected=rejected)
        # Once begun it is carried through, even when whoever asked is gone.
        return await asyncio.shield(spawn(self._apply(sensor, body, normalized), name="run-again"))

    async def _apply(self, sensor: HookSensor, body: Body, normalized: Normalized) -> IntakeResult:
        begun_ns = time.monotonic_ns()
        result = await self._intake.submit(
            sensor.name,
            normalized.signals,
            normalized.rejections,
            items=normalized.origins,
            keeps_rejected=False,
        )
        durable_in_s = (time.monotonic_ns() - begun_ns) / 1e9
        enforcement = await self._enforce(result.changed, begun_ns) if result.changed else None
        self._observe(
            Delivery(
                id=new_delivery_id(),
                sensor=sensor.name,
                status=200,
                verdict=VERDICT,
                body_bytes=len(body.body),
                accepted=result.accepted,
                duplicates=result.duplicates,
                rejected=len(result.rejected),
                ignored=normalized.ignored,
                devices=len(result.changed_devices),
                parked=len(result.parked),
                durable_in_s=durable_in_s,
                enforced_in_s=(time.monotonic_ns() - begun_ns) / 1e9,
                timings=result.timings,
                received_at=body.at,
                device_ids=result.changed_devices,
                enforcement=enforcement,
                normalized=normalized,
                rejections=result.rejected,
                effects=result.effects,
                again=body.id,
            )
        )
        return result

    # --- dead letters ------------------------------------------------------------------------------------

    async def letters(self, sensor: str | None, most: int) -> list[DeadLetter]:
        """Return the newest dead letters of a sensor, or of all."""
        return await self._intake.dead_letters(sensor, min(most, MAX_LETTERS))

    async def discard(self, sensor: str, ids: Sequence[int] | None) -> int:
        """Remove dead letters of a sensor, all of them for None; return how many went."""
        own = [each.id for each in await self.letters(sensor, MAX_LETTERS)]
        return await self._intake.discard([each for each in own if ids is None or each in ids])

    async def retry(self, sensor: str, ids: Sequence[int] | None, *, dry_run: bool) -> list[LetterOutcome]:
        """Try dead letters again with the configuration in force, all of a sensor for None; those taken are gone.

        A letter whose whole delivery is kept is tried with that; its other items are duplicates then. Raises as `run`.
        """
        known = self._sensor(sensor)
        if known is None:
            raise AgainFault(f"no sensor `{sensor}` is configured", is_missing=True)
        letters = [each for each in await self.letters(sensor, MAX_LETTERS) if ids is None or each.id in ids]
        if ids is not None and len(letters) < len(set(ids)):
            raise AgainFault(f"not every one of them is a dead letter of `{sensor}`", is_missing=True)
        outcomes = []
        async with self._running:
            # Oldest first, as they came.
            for letter in reversed(letters):
                outcomes.append(await self._retry_one(known, letter, dry_run=dry_run))  # noqa: PERF401 - awaits
        settled = [each.id for each in outcomes if each.is_settled]
        if settled and not dry_run:
            await self._intake.discard(settled)
        return outcomes

    async def _retry_one(self, sensor: HookSensor, letter: DeadLetter, *, dry_run: bool) -> LetterOutcome:
        whole = await self._body(sensor.name, letter.delivery) if letter.delivery else None
        if whole is None and len(letter.body) >= MAX_DEAD_LETTER_BYTES:
            text = f"only its first {MAX_DEAD_LETTER_BYTES} bytes are kept"
            return LetterOutcome(id=letter.id, is_settled=False, text=text)
        body = whole or Body(
            id=letter.delivery or f"letter-{letter.id}",
            sensor=sensor.name,
            at=letter.received_at,
            headers={},
            body=letter.body,
        )
        try:
            payloads = sensor.facade.opened(parse_payloads(body.body))
            normalized = self._normalized(sensor, body, payloads)
            result = await self._taken(sensor, body, normalized, dry_run=dry_run)
        except PayloadFault as fault:
            return LetterOutcome(id=letter.id, is_settled=False, text=f"{fault.code}: {fault}")
        except (NotEnforced, StoreFault, StoreOverloaded) as error:
            return LetterOutcome(id=letter.id, is_settled=False, text=f"{type(error).__name__}: {error}")
        still = _still(result.rejected, None if whole is None else letter.item)
        if still is not None:
            return LetterOutcome(id=letter.id, is_settled=False, text=f"{still.code}: {still.error}")
        text = f"{result.accepted} accepted, {result.duplicates} duplicates, {normalized.ignored} ignored"
        return LetterOutcome(id=letter.id, is_settled=True, text=text)


def _still(rejected: Sequence[Rejection], item: int | None) -> Rejection | None:
    """Return the rejection of the letter's own item (of any for None), None when it is taken now."""
    return next((each for each in rejected if item is None or each.index == item), None)
