"""The supervisor: a small parent that keeps one hub and N workers running. It decides nothing.

It is apart from the hub so that workers hold their listeners and streams while a crashed hub comes back.
"""

import asyncio
import contextlib
import ctypes
import os
import signal
import socket
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import structlog

from gateway.listeners import hold_run_dir, reserved, shared_listener
from gateway.observe.logs import configure_logs
from gateway.tasks import spawn

log = structlog.get_logger("supervisor")

BACKOFF_S = (0.0, 0.1, 0.3, 1.0)
"""Waits before a child that keeps dying is started again; a child that lived `STEADY_S` starts at once. Short, for
without a hub no sensor is answered; a start that fails takes about a second of one core by itself.
"""
STEADY_S = 10.0
INVALID_CONFIG = 2
_PR_SET_PDEATHSIG = 1


class Household(msgspec.Struct, frozen=True):
    """What the supervisor has to know of the configuration; `drain` is in seconds."""

    workers: int
    listen: str
    run_dir: str
    drain: float


def supervise(config_path: str, household: Household) -> int:
    """Run hub and workers until SIGTERM or SIGINT; return the exit code. Raises `ListenFault`.

    SIGHUP has to be blocked: it is let through once there is a handler.
    """
    configure_logs()
    lock = hold_run_dir(Path(household.run_dir))
    listener = shared_listener(household.listen)
    try:
        with reserved(household.listen):
            return asyncio.run(Supervisor(config_path, household, listener).run())
    finally:
        os.close(lock)


def worker_count(workers: int | str) -> int:
    """Return how many worker processes `workers` means: `auto` is one per usable core."""
    return len(os.sched_getaffinity(0)) if isinstance(workers, str) else workers


@contextlib.contextmanager
def hangup_held() -> Iterator[None]:
    """Hold back SIGHUP; one that comes meanwhile waits for the end, here and in whatever is started meanwhile.

    Without a handler a SIGHUP kills: a reload would end a hub that has only just been started.
    """
    former = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGHUP,))
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, former)


def die_with_parent() -> None:
    """Ask the kernel to send us SIGTERM when the supervisor dies, so that no worker is left behind (Linux)."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


class Supervisor:
    """Keeps the children running and passes signals on."""

    def __init__(self, config_path: str, household: Household, listener: socket.socket | None = None) -> None:
        self._config_path = config_path
        self._household = household
        self._listener = listener
        self._children: dict[str, asyncio.subprocess.Process] = {}
        self._stopping = asyncio.Event()
        self._starting = asyncio.Lock()
        self._exit_code = 0

    async def run(self) -> int:
        """Start everything, wait for the end, drain, and return the exit code."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self._stopping.set)
        loop.add_signal_handler(signal.SIGINT, self._stopping.set)
        loop.add_signal_handler(signal.SIGHUP, self._pass_on_hangup)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGHUP,))
        keepers = [spawn(self._keep("hub", self._hub_command()), name="keep-hub")]
        for number in range(1, self._household.workers + 1):
            name = f"w{number}"
            keepers.append(spawn(self._keep(name, self._worker_command(name)), name=f"keep-{name}"))
        await self._stopping.wait()
        await self._end_children()
        for keeper in keepers:
            keeper.cancel()
        await asyncio.gather(*keepers, return_exceptions=True)
        return self._exit_code

    def _hub_command(self) -> Sequence[str]:
        return (sys.executable, "-m", "gateway", "hub", "--config", self._config_path)

    def _worker_command(self, name: str) -> Sequence[str]:
        command = (
            sys.executable,
            "-m",
            "gateway",
            "worker",
            "--name",
            name,
            "--run-dir",
            self._household.run_dir,
        )
        return command if self._listener is None else (*command, "--listen-fd", str(self._listener.fileno()))

    async def _keep(self, name: str, command: Sequence[str]) -> None:
        """Start a child again whenever it ends, until we stop.

        A hub that finds its configuration invalid ends all of us, unless it has been running by it: then a file that it
        reads may only be away for the moment, and nobody is let in until it is back.
        """
        failures = 0
        is_first = True
        loop = asyncio.get_running_loop()
        while not self._stopping.is_set():
            await asyncio.sleep(BACKOFF_S[min(failures, len(BACKOFF_S) - 1)])
            started = loop.time()
            passed = () if self._listener is None else (self._listener.fileno(),)
            child = await self._start(command, passed)
            self._children[name] = child
            code = await child.wait()
            if self._stopping.is_set():
                return
            if name == "hub" and code == INVALID_CONFIG and is_first:
                self._exit_code = code
                self._stopping.set()
                return
            is_first = False
            failures = 1 if loop.time() - started > STEADY_S else failures + 1
            log.error("child-ended", child=name, exit_code=code, restarts=failures)

    async def _start(self, command: Sequence[str], passed: Sequence[int]) -> asyncio.subprocess.Process:
        """Start a child that holds SIGHUP back until it has a handler. One after the other, for the mask is ours."""
        async with self._starting:
            with hangup_held():
                return await asyncio.create_subprocess_exec(*command, start_new_session=True, pass_fds=passed)

    def _pass_on_hangup(self) -> None:
        hub = self._children.get("hub")
        if hub is not None and hub.returncode is None:
            hub.send_signal(signal.SIGHUP)

    async def _end_children(self) -> None:
        """Ask the hub to drain its workers, then make sure that nobody is left."""
        for child in self._children.values():
            if child.returncode is None:
                child.terminate()
        try:
            async with asyncio.timeout(self._household.drain + 5):
                await asyncio.gather(*(child.wait() for child in self._children.values()))
        except TimeoutError:
            for name, child in self._children.items():
                if child.returncode is None:
                    log.error("child-killed", child=name, pid=child.pid)
                    child.kill()
