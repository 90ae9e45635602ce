"""Watching and killing processes that may be nobody's children of ours, by pidfd (Linux).

A pid alone names whoever has it now; a pid with the time at which its process started names one process until reboot.
"""

import asyncio
import contextlib
import os
import select
import signal
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

_START_TIME_FIELD = 19
"""Position of `starttime` after the command name in `/proc/<pid>/stat`. Source: proc(5), field 22."""


class ProcessId(NamedTuple):
    """One process: its pid, and its start in clock ticks since boot (0 when nobody could tell)."""

    pid: int
    started: int


def process_id(pid: int) -> ProcessId | None:
    """Return who has `pid` now; None when nobody does, or only a zombie that can do nothing any more."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    except OSError:
        return ProcessId(pid, 0)
    fields = text.rpartition(")")[2].split()
    return None if fields[0] in {"Z", "X"} else ProcessId(pid, int(fields[_START_TIME_FIELD]))


class Watch:
    """Tells once when a process is dead, and can kill it. Raises `ProcessLookupError` when it is dead already."""

    def __init__(self, pid: int, on_death: Callable[[], None]) -> None:
        self._descriptor = os.pidfd_open(pid)
        self._on_death = on_death
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._descriptor, self._died)

    def kill(self) -> None:
        """Send SIGKILL; `on_death` follows when it has come to pass."""
        if self._descriptor < 0:
            return
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._descriptor, signal.SIGKILL)
        if select.select([self._descriptor], [], [], 0)[0]:
            self._died()

    def close(self) -> None:
        """Watch no longer."""
        if self._descriptor >= 0:
            self._loop.remove_reader(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = -1

    def _died(self) -> None:
        if self._descriptor >= 0:
            self.close()
            self._on_death()
