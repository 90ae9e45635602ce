"""Asking one product: rounds at an interval, resources that it says have changed, one device on request.

A round goes on where the last one ended: the cursor is kept after each page, once what the page told is durable and
enforced. A fault ends the round; the next try waits as long as the product asked, at least twice as long each time.
"""

import asyncio
import contextlib
import random
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec
import structlog

from gateway.config.pulls import Pull
from gateway.hub.hooks import HookSensor
from gateway.pulls.http import ProductHttp
from gateway.pulls.ingest import Ingest
from gateway.pulls.store import CursorStore
from plugins.payload import digest
from plugins.pulling import (
    MAX_CURSOR_CHARS,
    Fetching,
    PullAccess,
    PullCode,
    PullFault,
    Pulling,
    PullPage,
    Refreshing,
)
from risk.database import StoreFault, StoreOverloaded
from risk.model import Identifier

log = structlog.get_logger("pulls")

JITTER = 0.1
"""Up to this part of every wait is added at random, so that many gateways do not ask at once."""

FIRST_RETRY_S = 5.0
MAX_RETRY_S = 3600.0
MAX_PAGES = 10_000
"""Most pages of one round; the next round goes on there."""

MAX_WANTED = 1000
"""Most resources that wait to be fetched; above it a whole round is begun instead."""

FIRST_WAIT_S = 2.0
PAUSE_S = 1.0
"""Least time between two looks at a product, however often it says that something has changed."""


class PullStatus(msgspec.Struct, kw_only=True):
    """How asking a product goes. `fault` is that of the last try, "" when it went well."""

    sensor: str
    rounds: int = 0
    pages: int = 0
    accepted: int = 0
    failures: int = 0
    succeeded_at: datetime | None = None
    fault: str = ""
    next_at: datetime | None = None


class Puller:
    """Asks the product of one sensor. `run` until cancelled."""

    def __init__(
        self,
        sensor: HookSensor,
        pull: Pull,
        *,
        plugin: Pulling,
        http: ProductHttp,
        ingest: Ingest,
        cursors: CursorStore,
        clock: Callable[[], datetime],
        on_outcome: Callable[[PullStatus, str], None],
    ) -> None:
        self.sensor = sensor
        self.pull = pull
        self.status = PullStatus(sensor=sensor.name)
        self._plugin = plugin
        self._http = http
        self._ingest = ingest
        self._cursors = cursors
        self._clock = clock
        self._on_outcome = on_outcome
        self._wanted: dict[str, None] = {}
        self._is_round_wanted = False
        self._wake = asyncio.Event()
        self._source = source_of(sensor.facade.kind, pull, plugin.pull_access)

    async def run(self) -> None:
        """Ask, for ever."""
        wait_s = FIRST_WAIT_S * random.random()  # noqa: S311 - jitter
        while True:
            self.status.next_at = self._clock() + timedelta(seconds=wait_s)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._wake.wait()
            self._wake.clear()
            outcome = "ok"
            try:
                await self._look()
            except PullFault as fault:
                outcome, wait_s = fault.code.value, self._after(fault)
            except Exception as error:  # noqa: BLE001 - whatever a plugin raises is its own fault
                raised = PullFault(PullCode.FAILED, f"{type(error).__name__}: {error}"[:300])
                outcome, wait_s = "plugin-fault", self._after(raised)
            else:
                self.status.failures, self.status.fault = 0, ""
                self.status.succeeded_at = self._clock()
                wait_s = self.pull.interval
            wait_s *= 1 + JITTER * random.random()  # noqa: S311 - jitter
            self._on_outcome(self.status, outcome)
            # Whatever wakes it now, the product is left alone for this long.
            pause_s = wait_s if outcome != "ok" else PAUSE_S
            await asyncio.sleep(min(pause_s, wait_s))
            wait_s = max(0.0, wait_s - pause_s)

    def want(self, resources: Sequence[str]) -> None:
        """Fetch these soon, or begin a round where the plugin cannot fetch one by one."""
        if isinstance(self._plugin, Fetching) and len(self._wanted) + len(resources) <= MAX_WANTED:
            self._wanted.update(dict.fromkeys(resources))
        else:
            self._is_round_wanted = True
        self._wake.set()

    async def refresh(self, identifiers: Sequence[Identifier]) -> tuple[bool, bool]:
        """Ask about one device; return whether the product knows it, and whether that told anything new.

        Raises `PullFault`.
        """
        if not isinstance(self._plugin, Refreshing):
            raise PullFault(PullCode.NOT_FOUND, "this kind cannot be asked about one device")
        try:
            page = await self._plugin.refresh(
                identifiers, self._http, self.sensor.options, sensor=self.sensor.name
            )
        except PullFault as fault:
            if fault.code is not PullCode.NOT_FOUND:
                raise
            page = None
        if page is None:
            return False, False
        result = await self._ingest.take(self.sensor, page.payloads, "refreshed")
        return True, result.accepted > 0

    async def close(self) -> None:
        """End its connections."""
        await self._http.close()

    async def _look(self) -> None:
        """Fetch what is wanted; make a round when nothing was, or when one is wanted."""
        wanted = list(self._wanted)
        for resource in wanted:
            await self._fetch(resource)
            self._wanted.pop(resource, None)
        if not wanted or self._is_round_wanted:
            self._is_round_wanted = False
            await self._round()

    async def _fetch(self, resource: str) -> None:
        if isinstance(self._plugin, Fetching):
            page = await self._plugin.fetch(resource, self._http, self.sensor.options)
            if page is not None:
                await self._took(page, "fetched")

    async def _round(self) -> None:
        try:
            cursor = await self._cursors.load(self.sensor.name, self._source)
            for _ in range(MAX_PAGES):
                page = await self._page(cursor)
                await self._took(page, "pulled")
                if not page.is_last and page.cursor == cursor:
                    raise PullFault(PullCode.FAILED, "the product goes round in circles")
                cursor = page.cursor
                await self._cursors.save(self.sensor.name, self._source, cursor)
                if page.is_last:
                    break
        except (StoreFault, StoreOverloaded) as error:
            raise PullFault(PullCode.FAILED, f"the store cannot be used: {error}") from error
        self.status.rounds += 1

    async def _page(self, cursor: str) -> PullPage:
        """Return a page; a product that has forgotten the cursor is asked from the beginning."""
        try:
            page = await self._plugin.pull(cursor, self._http, self.sensor.options)
        except PullFault as fault:
            if fault.code is not PullCode.CURSOR_LOST or not cursor:
                raise
            page = await self._plugin.pull("", self._http, self.sensor.options)
        if len(page.cursor) > MAX_CURSOR_CHARS:
            raise PullFault(PullCode.FAILED, f"a cursor is longer than {MAX_CURSOR_CHARS} characters")
        return page

    async def _took(self, page: PullPage, verdict: str) -> None:
        result = await self._ingest.take(self.sensor, page.payloads, verdict)
        self.status.pages += 1
        self.status.accepted += result.accepted

    def _after(self, fault: PullFault) -> float:
        """Note a fault; return how long to wait."""
        self.status.failures += 1
        self.status.fault = f"{fault.code.value}: {fault}"
        doubled = FIRST_RETRY_S * 2.0 ** min(self.status.failures - 1, 16)
        wait_s = min(MAX_RETRY_S, max(doubled, fault.retry_after_s or 0.0))
        log.warning(
            "pull-failed",
            sensor=self.sensor.name,
            code=fault.code.value,
            error=str(fault),
            failures=self.status.failures,
            retry_in_s=round(wait_s, 3),
        )
        return wait_s


def source_of(kind: str, pull: Pull, access: PullAccess) -> str:
    """Return what tells one source from another: a cursor means nothing to another product, tenant or client."""
    values: tuple[Any, ...] = (kind, pull.url or access.url, pull.tenant, pull.client_id)
    return digest(*values)
