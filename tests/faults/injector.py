"""What is done to the gateway during a run: kills, stops, store stalls, reloads. All of it ends before the run does."""

import asyncio
import contextlib
import os
import random
import signal
import sqlite3
import time
from collections.abc import Awaitable, Callable

from tests.faults.world import World

BACK_SHARE = 0.7
BACK_WITHIN_S = 12.0


class Injector:
    """Chooses faults by its own random numbers. `done` says what it did, and when."""

    def __init__(self, world: World, choice: random.Random, *, say: Callable[[str], None]) -> None:
        self._world = world
        self._random = choice
        self._say = say
        self._began = time.monotonic()
        self.done: list[str] = []
        self._faults: list[tuple[int, Callable[[], Awaitable[str]]]] = [
            (3, self.kill_hub),
            (3, self.kill_worker),
            (3, self.stop_worker),
            (2, self.stop_hub),
            (2, self.stall_store),
            (2, self.reload),
            (1, self.stop_worker_and_kill_hub),
        ]

    async def keep(self, stopping: asyncio.Event) -> None:
        """Do one fault after the other until `stopping`."""
        while not stopping.is_set():
            await asyncio.sleep(self._random.uniform(0.3, 2.0))
            weights = [weight for weight, _ in self._faults]
            _, fault = self._random.choices(self._faults, weights)[0]
            at = time.monotonic() - self._began
            text = f"{at:6.2f} s  {await fault()}"
            self.done.append(text)
            self._say(text)

    async def kill_hub(self) -> str:
        """Mostly with time to come back; sometimes what follows hits one that has hardly begun."""
        pid = self._kill(self._world.pids("hub"), signal.SIGKILL)
        if self._random.random() < BACK_SHARE:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(BACK_WITHIN_S):
                    await self._world.ready()
        return f"killed the hub {pid}"

    async def kill_worker(self) -> str:
        return f"killed a worker {self._kill(self._world.pids('worker'), signal.SIGKILL)}"

    async def stop_worker(self) -> str:
        return await self._stopped("worker", self._random.uniform(0.3, 4.0))

    async def stop_hub(self) -> str:
        return await self._stopped("hub", self._random.choice((0.3, 1.5, 6.5)))

    async def stop_worker_and_kill_hub(self) -> str:
        """The worst case for a lease: a worker with open streams stands still while the hub comes anew."""
        pid = self._kill(self._world.pids("worker"), signal.SIGSTOP)
        await asyncio.sleep(self._random.uniform(0.0, 0.3))
        self._kill(self._world.pids("hub"), signal.SIGKILL)
        seconds = self._random.uniform(1.0, 7.0)
        await asyncio.sleep(seconds)
        self._kill([pid], signal.SIGCONT)
        return f"stopped worker {pid} for {seconds:.1f} s while the hub was killed"

    async def _stopped(self, role: str, seconds: float) -> str:
        pid = self._kill(self._world.pids(role), signal.SIGSTOP)
        await asyncio.sleep(seconds)
        self._kill([pid], signal.SIGCONT)
        return f"stopped {role} {pid} for {seconds:.1f} s"

    async def stall_store(self) -> str:
        """Hold the lock on the store, as a backup or a slow disk does."""
        seconds = self._random.uniform(0.2, 3.0)
        connection = sqlite3.connect(self._world.folder / "state.db", isolation_level=None, timeout=5)
        try:
            with contextlib.suppress(sqlite3.OperationalError):
                connection.execute("BEGIN IMMEDIATE")
            await asyncio.sleep(seconds)
        finally:
            connection.close()
        return f"held the store for {seconds:.1f} s"

    async def reload(self) -> str:
        self._world.write_config(reason=f"number {self._random.randrange(1000)}")
        if self._world.process is not None and self._world.process.returncode is None:
            self._world.process.send_signal(signal.SIGHUP)
        return "reloaded the configuration"

    def _kill(self, pids: list[int], number: signal.Signals) -> int:
        if not pids:
            return 0
        pid = self._random.choice(pids)
        with contextlib.suppress(ProcessLookupError):
            if pid:
                os.kill(pid, number)
        return pid
