"""All sensors whose products are asked: started, swapped at a reload, asked about one device, shown."""

import asyncio
import ssl
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Protocol

import msgspec
import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge

from gateway.config.pulls import Pull
from gateway.config.schema import Sensor
from gateway.hub.hooks import HookSensor
from gateway.observe.ops import Component
from gateway.pulls.http import ProductHttp
from gateway.pulls.ingest import Ingest
from gateway.pulls.puller import Puller, PullStatus
from gateway.pulls.store import CursorStore
from gateway.tasks import spawn
from plugins.pulling import PullFault, Pulling, Refreshing
from risk.model import DeviceId, Identifier, Posture

log = structlog.get_logger("pulls")

REFRESH_EVERY_S = 15.0
"""Least time between two questions about one device."""

REFRESH_TIMEOUT_S = 10.0
MAX_REFRESHING = 8
"""Most devices asked about at once; others wait, within their time."""

MAX_REMEMBERED = 10_000


class RefreshOutcome(StrEnum):
    """What came of asking a product about one device."""

    CHANGED = "changed"
    UNCHANGED = "unchanged"
    NOT_KNOWN = "not-known"
    TOO_SOON = "too-soon"
    FAILED = "failed"


class RefreshResult(msgspec.Struct, frozen=True, kw_only=True):
    """`detail` is for operators. `retry_in_s` is set when it was too soon."""

    outcome: RefreshOutcome
    detail: str = ""
    retry_in_s: float | None = None


class Postures(Protocol):
    """Where postures come from."""

    def posture(self, device_id: DeviceId) -> Posture | None:
        """Return what is known of the device, or None."""
        ...


class PullMetrics:
    """Metrics of asking products."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.looks = Counter(
            "posturegate_pulls",
            "Looks at the products of sensors by outcome.",
            ["sensor", "outcome"],
            registry=registry,
        )
        self.succeeded = Gauge(
            "posturegate_pull_success_timestamp_seconds",
            "When a product was last asked with success.",
            ["sensor"],
            registry=registry,
        )
        self.failing = Gauge(
            "posturegate_pull_failures",
            "Failed tries since the last success.",
            ["sensor"],
            registry=registry,
        )
        self.refreshes = Counter(
            "posturegate_refreshes",
            "Questions about one device by outcome.",
            ["sensor", "outcome"],
            registry=registry,
        )

    def note(self, status: PullStatus, outcome: str) -> None:
        """Take the outcome of a look."""
        self.looks.labels(status.sensor, outcome).inc()
        self.failing.labels(status.sensor).set(status.failures)
        if status.succeeded_at is not None:
            self.succeeded.labels(status.sensor).set(status.succeeded_at.timestamp())


class Pulls:
    """Asks the products of all sensors that have a `pull` section."""

    def __init__(
        self,
        ingest: Ingest,
        cursors: CursorStore,
        devices: Postures,
        *,
        clock: Callable[[], datetime],
        registry: CollectorRegistry,
        mono: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ingest = ingest
        self._cursors = cursors
        self._devices = devices
        self._clock = clock
        self._mono = mono
        self._metrics = PullMetrics(registry)
        self._running: dict[str, tuple[Puller, asyncio.Task[None]]] = {}
        self._asked: OrderedDict[DeviceId, float] = OrderedDict()
        self._room = asyncio.Semaphore(MAX_REFRESHING)

    async def configure(self, sensors: Sequence[Sensor], ready: Mapping[str, HookSensor]) -> None:
        """Ask for these sensors from now on; one that did not change goes on as it was. Raises `OSError`."""
        wanted = {sensor.name: sensor.pull for sensor in sensors if sensor.pull is not None}
        made = {
            name: self._puller(ready[name], pull)
            for name, pull in wanted.items()
            if not self._goes_on(ready[name], pull)
        }
        for name in [name for name in self._running if name in made or name not in wanted]:
            await self._end(name)
        for name, puller in made.items():
            self._running[name] = (puller, spawn(puller.run(), name=f"pull-{name}"))

    async def stop(self) -> None:
        """End all questions."""
        for name in list(self._running):
            await self._end(name)

    def want(self, sensor: str, resources: Sequence[str]) -> bool:
        """Fetch what a product said has changed; return whether this sensor's product is asked at all."""
        running = self._running.get(sensor)
        if running is None:
            return False
        running[0].want(resources)
        return True

    @property
    def refreshable(self) -> tuple[str, ...]:
        """Names of the sensors that can be asked about one device."""
        return tuple(
            name
            for name, (puller, _) in self._running.items()
            if isinstance(puller.sensor.facade.plugin, Refreshing)
        )

    async def refresh(self, device_id: DeviceId) -> dict[str, RefreshResult]:
        """Ask every product that can be asked about this device, and return what came of it by sensor.

        What they tell is durable and enforced when this returns. Takes at most `REFRESH_TIMEOUT_S`; a device that was
        asked about less than `REFRESH_EVERY_S` ago is not asked about again. Never raises.
        """
        names = self.refreshable
        wait_s = self._asked.get(device_id, -REFRESH_EVERY_S) + REFRESH_EVERY_S - self._mono()
        if wait_s > 0:
            soon = RefreshResult(outcome=RefreshOutcome.TOO_SOON, retry_in_s=round(wait_s, 1))
            return dict.fromkeys(names, soon)
        self._asked[device_id] = self._mono()
        self._asked.move_to_end(device_id)
        if len(self._asked) > MAX_REMEMBERED:
            self._asked.popitem(last=False)
        posture = self._devices.posture(device_id)
        identifiers = () if posture is None else posture.identifiers
        results = await asyncio.gather(*(self._refresh_one(name, identifiers) for name in names))
        return dict(zip(names, results, strict=True))

    async def _refresh_one(self, name: str, identifiers: Sequence[Identifier]) -> RefreshResult:
        result = await self._refreshed(name, identifiers)
        self._metrics.refreshes.labels(name, result.outcome.value).inc()
        return result

    async def _refreshed(self, name: str, identifiers: Sequence[Identifier]) -> RefreshResult:
        puller = self._running[name][0]
        try:
            async with asyncio.timeout(REFRESH_TIMEOUT_S), self._room:
                is_known, is_new = await puller.refresh(identifiers)
        except TimeoutError:
            return RefreshResult(
                outcome=RefreshOutcome.FAILED, detail=f"no answer within {REFRESH_TIMEOUT_S:g} s"
            )
        except PullFault as fault:
            return RefreshResult(outcome=RefreshOutcome.FAILED, detail=f"{fault.code.value}: {fault}")
        except Exception as error:
            log.exception("refresh-failed", sensor=name)
            return RefreshResult(outcome=RefreshOutcome.FAILED, detail=type(error).__name__)
        if not is_known:
            return RefreshResult(outcome=RefreshOutcome.NOT_KNOWN)
        return RefreshResult(outcome=RefreshOutcome.CHANGED if is_new else RefreshOutcome.UNCHANGED)

    def status(self) -> list[PullStatus]:
        """Return how asking each product goes."""
        return [puller.status for puller, _ in self._running.values()]

    def components(self) -> list[Component]:
        """Return the readiness of each product; one that is away degrades, and its silence counts by itself."""
        return [
            Component(f"pull {each.sensor}", is_ready=not each.fault, detail=each.fault, is_required=False)
            for each in self.status()
        ]

    def _goes_on(self, sensor: HookSensor, pull: Pull) -> bool:
        running = self._running.get(sensor.name)
        if running is None:
            return False
        before = running[0]
        return (
            before.pull == pull
            and before.sensor.facade.kind == sensor.facade.kind
            and before.sensor.options == sensor.options
        )

    def _puller(self, sensor: HookSensor, pull: Pull) -> Puller:
        plugin = sensor.facade.plugin
        if not isinstance(plugin, Pulling):
            raise TypeError(f"kind `{sensor.facade.kind}` cannot be asked")  # refused on load
        trusted: ssl.SSLContext | bool = True
        if pull.ca is not None:
            trusted = ssl.create_default_context()
            trusted.load_verify_locations(pull.ca)
        return Puller(
            sensor,
            pull,
            plugin=plugin,
            http=ProductHttp(pull, plugin.pull_access, ssl=trusted),
            ingest=self._ingest,
            cursors=self._cursors,
            clock=self._clock,
            on_outcome=self._metrics.note,
        )

    async def _end(self, name: str) -> None:
        puller, task = self._running.pop(name)
        task.cancel()
        await asyncio.wait([task])
        await puller.close()
