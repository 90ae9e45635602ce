"""Works out, once a refusal has been recorded, what would have let the request in, and adds it to the record.

The search goes through all inputs of all policies and may take tenths of a second, in which nothing else of the hub may
stand still: it has a thread of its own, for one refusal at a time, and a short queue. What does not fit is left out.
"""

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor

import msgspec
import structlog

from gateway.decision.explain import DecisionRecord
from gateway.tasks import spawn

log = structlog.get_logger("decisions")

MAX_WAITING = 64
"""Most refusals that wait. A flood of them is alike: whoever looks into one finds another that says it."""

Work = Callable[[], tuple[str, ...]]
"""Returns what would have let the request in, as short texts. Pure."""


class Completing:
    """Adds to records. `keep` writes a record in place of the one with the same code."""

    def __init__(self, keep: Callable[[DecisionRecord], Awaitable[bool]]) -> None:
        self._keep = keep
        self._waiting: asyncio.Queue[tuple[DecisionRecord, Work]] = asyncio.Queue(MAX_WAITING)
        self._thread = ThreadPoolExecutor(1, "nearest-allow")
        self._running: asyncio.Task[None] | None = None
        self.left_out = 0

    def start(self) -> None:
        """Begin to work."""
        self._running = spawn(self._run(), name="nearest-allow")

    async def stop(self) -> None:
        """End; records that wait stay as they are."""
        if self._running is not None:
            self._running.cancel()
        await asyncio.to_thread(self._thread.shutdown, cancel_futures=True)

    def add(self, record: DecisionRecord, work: Work) -> None:
        """Complete a record that is kept, when its turn comes."""
        try:
            self._waiting.put_nowait((record, work))
        except asyncio.QueueFull:
            self.left_out += 1

    async def work(self, work: Work) -> tuple[str, ...]:
        """Return what `work` finds, off the event loop."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    async def _run(self) -> None:
        while True:
            record, work = await self._waiting.get()
            try:
                found = await self.work(work)
            except Exception:
                log.exception("nearest-allow-failed", code=record.code)
                continue
            if found:
                await self._keep(msgspec.structs.replace(record, would_change=found))
