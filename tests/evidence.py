"""What a failing test shows beside its assertion: the logs of the programs that it ran.

with shown_on_failure("log of the gateway", folder / "gate.log"):
    ...
"""

import asyncio
import contextlib
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

MOST_CHARACTERS = 30_000
"""The end of a log is shown: what led to the failure stands there."""

FAULTHANDLER = {"PYTHONFAULTHANDLER": "1"}
"""Environment of programs that `stacks_dumped` is for."""

_running: dict[Path, str] = {}
_ended: list[tuple[str, str]] = []


@contextmanager
def shown_on_failure(title: str, log: Path) -> Iterator[None]:
    """While the block runs, and until the test in which it ends is over, a failure shows the end of `log`."""
    _running[log] = title
    try:
        yield
    finally:
        _ended.append((_running.pop(log), _end_of(log)))


def sections() -> list[tuple[str, str]]:
    """Return titles and texts of all logs, those first that have ended."""
    return [*_ended, *((title, _end_of(log)) for log, title in _running.items())]


def forget_ended() -> None:
    """Begin the next test: what ended before is none of its business."""
    _ended.clear()


def _end_of(log: Path) -> str:
    return log.read_text(errors="replace")[-MOST_CHARACTERS:] if log.exists() else ""


async def stacks_dumped(pid: int) -> None:
    """Make the children of a process that does not do what it should write where they stand, and end."""
    with contextlib.suppress(OSError):
        for child in _children(pid):
            os.kill(child, signal.SIGABRT)
        await asyncio.sleep(1.0)


def _children(pid: int) -> list[int]:
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
