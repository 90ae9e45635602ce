"""Starts servers and helpers, each in a process group of its own, and ends every one of them whatever happens."""

import asyncio
import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.bench.machine import descendants

STOP_WITHIN_S = 8.0
READY_WITHIN_S = 30.0
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None)
_ROOT = Path(__file__).resolve().parents[2]


class BenchFault(Exception):
    """A bench cannot be run; the text says why."""


class Server:
    """A process that was started, with all that it started itself."""

    def __init__(self, name: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
        self.name = name
        self.pid = process.pid
        self.process = process
        self.log = log

    def pids(self) -> list[int]:
        """Return the pids of the process and of everything below it."""
        return descendants(self.pid)

    def tail(self, lines: int = 12) -> str:
        """Return the end of what it printed."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])


class Processes:
    """All processes of a bench. Leaving the context ends them: asked first, then killed, descendants included."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._servers: list[Server] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for server in reversed(self._servers):
            self.stop(server)

    def start(
        self,
        name: str,
        command: Sequence[str | Path],
        *,
        cores: tuple[int, ...] = (),
        environment: Mapping[str, str] | None = None,
    ) -> Server:
        """Start a server on these cores; what it prints goes to a file. Raises `BenchFault`."""
        log = self.folder / f"{name.replace(' ', '-')}.{len(self._servers)}.log"
        with log.open("wb") as output:
            try:
                process = subprocess.Popen(  # noqa: S603 - our own command lines
                    [str(part) for part in command],
                    stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd=_ROOT,
                    env=os.environ | dict(environment or {}),
                    start_new_session=True, preexec_fn=_prepared(cores),  # noqa: PLW1509 - no threads here
                )  # fmt: skip
            except OSError as error:
                raise BenchFault(f"{name} cannot be started: {error}") from error
        server = Server(name, process, log)
        self._servers.append(server)
        return server

    def module(self, name: str, module: str, *arguments: object, cores: tuple[int, ...] = ()) -> Server:
        """Start one of our own helpers as `python -m module`."""
        return self.start(name, [sys.executable, "-m", module, *map(str, arguments)], cores=cores)

    def stop(self, server: Server) -> None:
        """End a server and everything below it. Safe to call twice."""
        if server not in self._servers:
            return
        self._servers.remove(server)
        below = server.pids()
        if server.process.poll() is None:
            server.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                server.process.wait(STOP_WITHIN_S)
        for pid in below:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                if pid == server.pid and server.process.poll() is not None:
                    continue
                os.kill(pid, signal.SIGKILL)
        server.process.wait()


def _prepared(cores: tuple[int, ...]) -> Callable[[], None]:
    def run() -> None:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if cores:
            os.sched_setaffinity(0, cores)

    return run


async def output_of(
    command: Sequence[str | Path],
    *,
    cores: tuple[int, ...] = (),
    within_s: float = 120.0,
) -> str:
    """Run a helper to its end and return what it printed. Raises `BenchFault` when it fails or takes too long."""
    try:
        process = await asyncio.create_subprocess_exec(
            *map(str, command), stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE, cwd=_ROOT, preexec_fn=_prepared(cores), start_new_session=True,
        )  # fmt: skip
    except FileNotFoundError as error:
        raise BenchFault(f"not measured: `{command[0]}` is not installed") from error
    try:
        async with asyncio.timeout(within_s):
            out, errors = await process.communicate()
    except TimeoutError as error:
        raise BenchFault(f"`{Path(str(command[0])).name}` took longer than {within_s:.0f} s") from error
    finally:
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
    if process.returncode:
        raise BenchFault(f"`{' '.join(map(str, command[:4]))}` failed: {errors.decode()[-800:]}")
    return out.decode()


async def module_output(
    module: str, *arguments: object, cores: tuple[int, ...] = (), within_s: float = 120.0
) -> str:
    """Run one of our own helpers as `python -m module` and return what it printed."""
    return await output_of(
        [sys.executable, "-m", module, *map(str, arguments)], cores=cores, within_s=within_s
    )


async def listening(server: Server, port: int, within_s: float = READY_WITHIN_S) -> None:
    """Wait until somebody accepts connections on the port. Raises `BenchFault` when the server ends or is late."""
    deadline = time.monotonic() + within_s
    while True:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 0.2):
            return
        if server.process.poll() is not None:
            raise BenchFault(f"{server.name} ended at once:\n{server.tail()}")
        if time.monotonic() > deadline:
            raise BenchFault(f"{server.name} does not listen after {within_s:.0f} s:\n{server.tail()}")
        await asyncio.sleep(0.02)
