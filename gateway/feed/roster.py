"""The roster: every worker process that may hold tickets, on disk, so that a new hub knows whom a former one served.

INVARIANT: a process is on the roster before it gets its first lease, and leaves it only after its death. A hub that
comes up can therefore account for every stranger: it waits until each has linked again, or is dead.
"""

from pathlib import Path

import msgspec

from gateway.feed.process import ProcessId, process_id


class RosterLine(msgspec.Struct, frozen=True):
    """One worker process."""

    worker: str
    pid: int
    started: int


class RosterUnreadable(Exception):
    """The file is there, and nobody knows what it said."""


class Roster:
    """The file. Written whole and replaced at once, so that a crash leaves the old one or the new one."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> tuple[RosterLine, ...]:
        """Return the processes on the roster that still live. Raises `RosterUnreadable`."""
        try:
            lines = msgspec.json.decode(self._path.read_bytes(), type=tuple[RosterLine, ...])
        except FileNotFoundError:
            return ()
        except (OSError, msgspec.MsgspecError) as error:
            raise RosterUnreadable(str(error)) from error
        return tuple(line for line in lines if process_id(line.pid) == ProcessId(line.pid, line.started))

    def write(self, lines: tuple[RosterLine, ...]) -> None:
        """Replace the file. Raises `OSError`."""
        fresh = self._path.with_suffix(".new")
        fresh.write_bytes(msgspec.json.encode(lines))
        fresh.replace(self._path)
