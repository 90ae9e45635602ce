"""Carries letters to their targets: one attempt after the other, until one is taken or its time is over.

Only the configured address is called: redirects are not followed, no proxy of the environment is used, the answer is
not read beyond a bound. A target that is slow delays its own letters only.
"""

import asyncio
import random
import ssl
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from pathlib import Path

import aiohttp
import structlog

from gateway.config.remediation import TaskTarget
from gateway.remediation.letters import signed_headers, wait_after
from gateway.remediation.task_store import Letter, LetterState, SqliteTaskStore
from gateway.tasks import spawn
from risk.database import StoreFault, StoreOverloaded

log = structlog.get_logger("tasks")

AT_ONCE = 8
"""Most letters on their way at one time."""

IDLE_S = 60.0
"""Longest sleep: a letter that another gateway on this store wrote is found after it."""

STORE_RETRY_S = 5.0
MAX_ANSWER_BYTES = 4096
OK, REDIRECTS, CLIENT_ERRORS = 200, 300, 400
GONE = 410


class Postman:
    """Delivers. `start`, `stir` when there is something new, `stop` at the end."""

    def __init__(
        self,
        store: SqliteTaskStore,
        targets: Callable[[], tuple[TaskTarget, ...]],
        *,
        clock: Callable[[], datetime],
        base: Path,
        on_attempt: Callable[[str, str], None] = lambda target, result: None,  # noqa: ARG005 - nobody looks
        spread: Callable[[], float] = random.random,
    ) -> None:
        self._store = store
        self._targets = targets
        self._clock = clock
        self._base = base
        self._on_attempt = on_attempt
        self._spread = spread
        self._wake = asyncio.Event()
        self._working: asyncio.Task[None] | None = None
        self._http: aiohttp.ClientSession | None = None

    def start(self) -> None:
        """Begin to deliver what waits."""
        self._http = aiohttp.ClientSession(
            cookie_jar=aiohttp.DummyCookieJar(), headers={"User-Agent": "posturegate"}, trust_env=False
        )
        self._working = spawn(self._work(), name="task-letters")

    async def stop(self) -> None:
        """End; what waits is in the store."""
        if self._working is not None:
            self._working.cancel()
            await asyncio.gather(self._working, return_exceptions=True)
        if self._http is not None:
            await self._http.close()

    def stir(self) -> None:
        """There may be something new."""
        self._wake.set()

    async def _work(self) -> None:
        while True:
            self._wake.clear()
            try:
                letters = await self._store.due(self._clock(), AT_ONCE)
                if letters:
                    await asyncio.gather(*(self._try(letter) for letter in letters))
                    continue
                next_at = await self._store.next_due()
            except (StoreFault, StoreOverloaded) as error:
                log.error("task-letters-store-failed", error=str(error))
                await asyncio.sleep(STORE_RETRY_S)
                continue
            wait_s = IDLE_S if next_at is None else (next_at - self._clock()).total_seconds()
            try:
                async with asyncio.timeout(min(IDLE_S, max(0.05, wait_s))):
                    await self._wake.wait()
            except TimeoutError:
                continue

    async def _try(self, letter: Letter) -> None:
        now = self._clock()
        target = self._by_name().get(letter.target)
        if target is None:
            await self._settle(letter, LetterState.FAILED, "the target is not configured any more", now)
            return
        status, asked_s, error = await self._send(letter, target, now)
        self._on_attempt(target.name, "delivered" if not error else "refused")
        if not error:
            log.info("task-told", target=target.name, task=letter.task_id, letter_event=letter.event)
            await self._settle(letter, LetterState.DELIVERED, "", now)
            return
        next_at = now + wait_after(letter.attempts + 1, asked_s, self._spread())
        is_over = status == GONE or next_at > letter.made_at + timedelta(seconds=target.give_up)
        state = LetterState.FAILED if is_over else LetterState.WAITING
        log.warning(
            "task-not-told",
            target=target.name,
            task=letter.task_id,
            attempt=letter.attempts + 1,
            state=state.value,
            error=error,
        )
        await self._settle(letter, state, error, next_at)

    async def _send(self, letter: Letter, target: TaskTarget, now: datetime) -> tuple[int, float | None, str]:
        """Return status, what the target asks to wait, and what went wrong ("" when it was taken)."""
        assert self._http is not None  # noqa: S101 - made by `start`
        try:
            tls: ssl.SSLContext | bool = True
            if target.ca is not None:
                tls = await asyncio.to_thread(ssl.create_default_context, cafile=self._base / target.ca)
            async with self._http.post(
                target.url,
                data=letter.body,
                headers=signed_headers(letter, target.secrets, now),
                timeout=aiohttp.ClientTimeout(total=target.timeout),
                allow_redirects=False,
                ssl=tls,
            ) as response:
                await response.content.read(MAX_ANSWER_BYTES)
                if OK <= response.status < REDIRECTS:
                    return response.status, None, ""
                return response.status, _asked_s(response.headers), f"answered {response.status}"
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return 0, None, str(error) or type(error).__name__
        except TimeoutError:
            return 0, None, f"no answer within {target.timeout:g} s"

    async def _settle(self, letter: Letter, state: LetterState, error: str, next_at: datetime) -> None:
        await self._store.settle(letter.id, state, error[:200], next_at)

    def _by_name(self) -> Mapping[str, TaskTarget]:
        return {target.name: target for target in self._targets()}


def _asked_s(headers: Mapping[str, str]) -> float | None:
    asked = headers.get("Retry-After", "").strip()
    return float(asked) if asked.isascii() and asked.isdigit() else None
