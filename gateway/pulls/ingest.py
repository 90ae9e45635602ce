"""What a product answered, into the same intake as a delivery: durable and enforced before anything else happens."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from functools import partial
from typing import Any

from gateway.deliveries.ids import new_delivery_id
from gateway.feed.hub_side import NotEnforced
from gateway.hub.hooks import Delivery, HookSensor
from gateway.pulls.aside import beside
from gateway.tasks import spawn
from plugins.contract import Normalized
from plugins.payload import digest
from plugins.pulling import PullCode, PullFault
from risk.database import StoreFault, StoreOverloaded
from risk.intake import Intake
from risk.model import DeviceId
from risk.outcome import IntakeResult

MAX_REMEMBERED = 10_000
"""Most unusable items remembered, so that each is kept as a dead letter once and not at every round."""


class Ingest:
    """Takes payloads of a product."""

    def __init__(
        self,
        intake: Intake,
        enforce: Callable[[frozenset[DeviceId], int], Awaitable[object]],
        observe: Callable[[Delivery], None],
        clock: Callable[[], datetime],
    ) -> None:
        self._intake = intake
        self._enforce = enforce
        self._observe = observe
        self._clock = clock
        self._unusable: dict[str, None] = {}

    async def take(self, sensor: HookSensor, payloads: Sequence[Any], verdict: str) -> IntakeResult:
        """Return what became of the payloads once it is durable and every worker enforces it. Raises `PullFault`.

        INVARIANT: once begun it is carried through, even when whoever asked no longer waits: nothing durable goes
        unenforced.
        """
        return await asyncio.shield(spawn(self._take(sensor, payloads, verdict), name="pull-ingest"))

    async def _take(self, sensor: HookSensor, payloads: Sequence[Any], verdict: str) -> IntakeResult:
        begun_ns, received_at = time.monotonic_ns(), self._clock()
        normalized, keys = await beside(partial(_read, sensor, payloads, received_at))
        fresh = tuple(
            each for each, key in zip(normalized.rejections, keys, strict=True) if self._is_new(key)
        )
        try:
            result = await self._intake.submit(
                sensor.name, normalized.signals, fresh, items=normalized.origins
            )
            durable_in_s = (time.monotonic_ns() - begun_ns) / 1e9
            enforcement = await self._enforce(result.changed, begun_ns) if result.changed else None
        except (StoreFault, StoreOverloaded, NotEnforced) as error:
            raise PullFault(PullCode.FAILED, f"what was pulled could not be taken: {error}") from error
        if result.accepted or result.rejected:
            self._observe(
                Delivery(
                    id=new_delivery_id(),
                    sensor=sensor.name,
                    status=200,
                    verdict=verdict,
                    accepted=result.accepted,
                    duplicates=result.duplicates,
                    rejected=len(result.rejected),
                    ignored=normalized.ignored,
                    devices=len(result.changed_devices),
                    parked=len(result.parked),
                    enforced_in_s=(time.monotonic_ns() - begun_ns) / 1e9,
                    durable_in_s=durable_in_s,
                    timings=result.timings,
                    received_at=received_at,
                    received_mono_ns=begun_ns,
                    device_ids=result.changed_devices,
                    enforcement=enforcement,
                )
            )
        return result

    def _is_new(self, key: str) -> bool:
        if key in self._unusable:
            return False
        self._unusable[key] = None
        if len(self._unusable) > MAX_REMEMBERED:
            del self._unusable[next(iter(self._unusable))]
        return True


def _read(sensor: HookSensor, payloads: Sequence[Any], received_at: datetime) -> tuple[Normalized, list[str]]:
    """Return what the plugin makes of the payloads, and what each unusable item of them is known by. Pure."""
    normalized = sensor.facade.normalize(
        payloads, sensor.options, sensor=sensor.name, received_at=received_at, headers={}
    )
    return normalized, [
        digest(sensor.name, each.code, each.error, each.item) for each in normalized.rejections
    ]
