"""How long background work goes on before everybody else on the event loop has their turn."""

import asyncio
import sys
import time
from collections.abc import Callable
from typing import Any

TURN_S = 0.001
"""Longest stretch of background work; a piece that was begun is finished."""


STEP_ASIDE_S = 0.005
"""Pause before a stretch of background work while something hurried is under way."""


SWITCH_S = 0.0005
BULK_SWITCH_S = 0.0001
"""How long a thread that waits for the interpreter leaves it to the one that has it. The writer of the store waits
after each statement of a transaction: while it writes many signals, a busy event loop gives way sooner. At other times
the event loop is not held up while it enforces a change.
"""


def take_turns(is_bulk: bool = False) -> None:
    """Have the threads of this process take turns at the interpreter, more often while many signals are written."""
    sys.setswitchinterval(BULK_SWITCH_S if is_bulk else SWITCH_S)


async def others_first(*, is_hurried: bool) -> None:
    """Give everybody else on the event loop their turn; a longer one while something hurried is under way."""
    await asyncio.sleep(STEP_ASIDE_S if is_hurried else 0)


LET_GO_AT_ONCE = 256
"""Most values that are let go of between two turns of the event loop: a tenth of a millisecond."""


async def let_go(values: list[Any]) -> None:
    """Empty a list of what nobody needs any more, some at a time: Python frees all of it at once otherwise."""
    while values:
        await asyncio.sleep(0)
        del values[-LET_GO_AT_ONCE:]


class Turn:
    """One stretch of background work: at most `most` pieces, and none begun after `TURN_S`."""

    __slots__ = ("_left", "_mono", "_until")

    def __init__(self, most: int, mono: Callable[[], float] = time.monotonic) -> None:
        self._left = most
        self._mono = mono
        self._until = mono() + TURN_S

    def takes_another(self) -> bool:
        """Return whether another piece of work fits in; to be asked before each."""
        if self._left <= 0 or self._mono() >= self._until:
            return False
        self._left -= 1
        return True
