"""Rounds of the canary: raise a risk through the real webhook, see access end everywhere, lower it, see it come back.

A round passes when every stream that was open had ended soon after the answer, no stream brought anything that the
app wrote after the answer, a fresh request was refused at once, and access was back after the risk was gone.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import datetime

import msgspec
import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from gateway.canary.builtin import CONDITION, DEVICE, HOST, NAME, Builtin
from gateway.canary.client import Answer, CanaryFault, Connection, Door, Seen, ask, watch
from gateway.observe.metrics import WINDOW_BUCKETS
from gateway.observe.ops import Component
from gateway.tasks import spawn

log = structlog.get_logger("canary")

STREAMS_PER_WORKER = 4
MAX_STREAMS = 32
ALLOWED, REFUSED = 200, 403
FIRST_ROUND_S = 2.0
"""The first round begins this long after the start, when the workers serve."""
POLL_S = 0.01


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """How a canary runs: seconds between rounds, seconds for one step, and where it enters."""

    every_s: float
    timeout_s: float
    workers: int
    login_host: str
    door: Door
    cookie_name: str


class Round(msgspec.Struct, frozen=True, kw_only=True):
    """What one round measured, in seconds. `fault` is "" when it passed.

    `window_s` is from before the webhook's first byte until the last of access: the latest of the answer and of the
    newest mark that a stream still brought.
    """

    started_at: datetime
    fault: str = ""
    answered_s: float = 0.0
    streams_ended_s: float = 0.0
    window_s: float = 0.0
    restored_s: float = 0.0
    streams: int = 0


class Canary:
    """Runs rounds on a schedule. `start()`, `await stop()`; `component()` is its readiness."""

    def __init__(
        self,
        parts: Builtin,
        settings: Settings,
        *,
        sign_in: Callable[[], Awaitable[str]],
        clock: Callable[[], datetime],
        registry: CollectorRegistry,
    ) -> None:
        self._parts = parts
        self.settings = settings
        self._sign_in = sign_in
        self._clock = clock
        self._metrics = CanaryMetrics(registry)
        self._task: asyncio.Task[None] | None = None
        self._count = 0
        self._cookie = ""
        self.last: Round | None = None

    def start(self) -> None:
        """Begin the schedule."""
        if self._task is None:
            self._task = spawn(self._keep(), name="canary")

    async def stop(self) -> None:
        """End the schedule. Safe to call twice."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    @property
    def is_running(self) -> bool:
        """Whether the schedule runs."""
        return self._task is not None

    def component(self) -> Component:
        """Return what readiness says: ready until a round has failed. A failed canary degrades, and says why."""
        if self.last is None:
            return Component("canary", is_ready=True, detail="no round yet", is_required=False)
        if self.last.fault:
            return Component("canary", is_ready=False, detail=self.last.fault, is_required=False)
        shown = f"access gone after {self.last.window_s * 1000:.1f} ms in {self.last.streams} streams"
        return Component("canary", is_ready=True, detail=shown, is_required=False)

    async def _keep(self) -> None:
        await asyncio.sleep(FIRST_ROUND_S)
        while True:
            began = time.monotonic()
            self._note(await self.round())
            await asyncio.sleep(max(0.0, self.settings.every_s - (time.monotonic() - began)))

    def _note(self, result: Round) -> None:
        before, self.last = self.last, result
        self._metrics.take(result)
        if result.fault:
            log.error("canary-failed", fault=result.fault, window_s=round(result.window_s, 6))
        elif before is None or before.fault:
            log.info("canary-passed", window_s=round(result.window_s, 6), streams=result.streams)

    # --- one round -------------------------------------------------------------------------------------------

    async def round(self) -> Round:
        """Return what one round measured; a fault is told in it. Never raises but for cancellation."""
        started_at = self._clock()
        streams: list[tuple[Connection, Seen, asyncio.Task[None]]] = []
        try:
            return await self._measure(started_at, streams)
        except CanaryFault as fault:
            return Round(started_at=started_at, fault=str(fault), streams=len(streams))
        except Exception as error:  # noqa: BLE001 - a fault of ours must not end the watch over us
            return Round(
                started_at=started_at, fault=f"{type(error).__name__}: {error}", streams=len(streams)
            )
        finally:
            for (_, writer), _, task in streams:
                task.cancel()
                writer.close()

    async def _measure(
        self, started_at: datetime, streams: list[tuple[Connection, Seen, asyncio.Task[None]]]
    ) -> Round:
        await self._until_allowed()
        while len(streams) < min(MAX_STREAMS, STREAMS_PER_WORKER * max(1, self.settings.workers)):
            streams.append(await self._open_stream())
        await self._until(
            lambda: all(seen.last_mark_ns for _, seen, _ in streams), "a stream brought nothing"
        )
        began_ns = time.monotonic_ns()
        await self._tell("high", "open")
        answered_ns = time.monotonic_ns()
        status = await self._get()
        await self._until(
            lambda: all(seen.ended_ns for _, seen, _ in streams), "a stream went on after the answer"
        )
        ended_ns = max((seen.ended_ns or 0 for _, seen, _ in streams), default=answered_ns)
        newest_ns = max((seen.last_mark_ns for _, seen, _ in streams), default=0)
        late_ns = newest_ns - answered_ns
        restored_ns = time.monotonic_ns()
        await self._tell("none", "resolved")
        await self._until_allowed()
        return Round(
            started_at=started_at,
            fault=_fault(status, late_ns),
            answered_s=(answered_ns - began_ns) / 1e9,
            streams_ended_s=max(0, ended_ns - began_ns) / 1e9,
            window_s=max(answered_ns, newest_ns) / 1e9 - began_ns / 1e9,
            restored_s=(time.monotonic_ns() - restored_ns) / 1e9,
            streams=len(streams),
        )

    async def _until_allowed(self) -> None:
        """Wait until a request is let in, after a new sign-in or a word of health when that is what it needs."""
        deadline = time.monotonic() + self.settings.timeout_s
        status = await self._get() if self._cookie else 0
        while status != ALLOWED:
            if time.monotonic() > deadline:
                raise CanaryFault(f"without risk a request was answered {status} instead of {ALLOWED}")
            await asyncio.sleep(POLL_S)
            if status != REFUSED:
                self._cookie = await self._sign_in()
            await self._tell("none", "resolved")
            status = await self._get()

    async def _open_stream(self) -> tuple[Connection, Seen, asyncio.Task[None]]:
        status, (reader, writer) = await self._bounded(
            ask(self.settings.door, "GET", "/stream", self._app_headers)
        )
        if status != ALLOWED:
            writer.close()
            raise CanaryFault(f"without risk a stream was answered {status}")
        seen = Seen()
        return (reader, writer), seen, spawn(watch(reader, seen), name="canary-stream")

    async def _get(self) -> int:
        headers = {**self._app_headers, "Connection": "close"}
        status, (_, writer) = await self._bounded(ask(self.settings.door, "GET", "/", headers))
        writer.close()
        return status

    async def _tell(self, level: str, status: str) -> None:
        """Send one statement by the webhook and wait for its answer."""
        self._count += 1
        statement = {
            "device": DEVICE.value,
            "condition": CONDITION,
            "event": f"{self._parts.source.claim}-{self._count}",
            "level": level,
            "title": "Canary",
            "status": status,
        }
        headers = {
            "Host": self.settings.login_host,
            "Authorization": f"Bearer {self._parts.secret}",
            "Content-Type": "application/json",
            "Connection": "close",
        }
        answer, (_, writer) = await self._bounded(
            ask(self.settings.door, "POST", f"/.gate/hooks/{NAME}", headers, msgspec.json.encode(statement))
        )
        writer.close()
        if not ALLOWED <= answer < 300:  # noqa: PLR2004 - 2xx
            raise CanaryFault(f"the webhook answered {answer}")

    @property
    def _app_headers(self) -> dict[str, str]:
        return {"Host": HOST, "Cookie": f"{self.settings.cookie_name}={self._cookie}"}

    async def _bounded(self, work: Awaitable[Answer]) -> Answer:
        try:
            async with asyncio.timeout(self.settings.timeout_s):
                return await work
        except TimeoutError as error:
            raise CanaryFault(f"no answer within {self.settings.timeout_s:g} s") from error

    async def _until(self, holds: Callable[[], bool], fault: str) -> None:
        deadline = time.monotonic() + self.settings.timeout_s
        while not holds():
            if time.monotonic() > deadline:
                raise CanaryFault(fault)
            await asyncio.sleep(POLL_S)


def _fault(status: int, late_ns: int) -> str:
    if status != REFUSED:
        return f"after the webhook's answer a request was answered {status} instead of {REFUSED}"
    if late_ns > 0:
        return (
            f"a stream brought something that the app wrote {late_ns / 1e6:.1f} ms after the webhook's answer"
        )
    return ""


class CanaryMetrics:
    """The figures of the canary, on the hub's registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.rounds = Counter(
            "posturegate_canary_rounds", "Rounds of the canary by verdict.", ["verdict"], registry=registry
        )
        self.window = Histogram(
            "posturegate_canary_window_seconds",
            "From before the webhook's first byte until access was gone, answer and open streams included.",
            buckets=WINDOW_BUCKETS,
            registry=registry,
        )
        self.passed = Gauge(
            "posturegate_canary_last_success",
            "1 when the last round of the canary passed.",
            registry=registry,
        )
        self.last_window = Gauge(
            "posturegate_canary_last_window_seconds", "Exposure window of the last round.", registry=registry
        )
        self.last_at = Gauge(
            "posturegate_canary_last_timestamp_seconds", "When the last round began.", registry=registry
        )

    def take(self, result: Round) -> None:
        """Take note of a round."""
        self.rounds.labels("failed" if result.fault else "passed").inc()
        self.passed.set(0 if result.fault else 1)
        self.last_at.set(result.started_at.timestamp())
        if result.window_s:
            self.window.observe(result.window_s)
            self.last_window.set(result.window_s)
