"""How long one kind of work may hold up the event loop at a stretch, and which kind goes after another."""

import asyncio
from collections.abc import Callable
from time import monotonic

from gateway.turns import STEP_ASIDE_S, TURN_S


class Pace:
    """Lets pieces of work begin in one turn of the event loop until they have taken `most_s` together."""

    def __init__(self, most_s: float, clock: Callable[[], float] = monotonic) -> None:
        self._most_s = most_s
        self._clock = clock
        self._began: float | None = None
        """When the first piece of this turn of the loop began."""

    async def turn(self) -> None:
        """Return when a piece of work may begin: at once, or in a later turn, in the order of the calls."""
        while self._began is not None and self._clock() - self._began >= self._most_s:  # noqa: ASYNC110 - turn by turn
            await asyncio.sleep(0)
        if self._began is None:
            self._began = self._clock()
            # It is called before whoever waits from now on.
            asyncio.get_running_loop().call_soon(self._over)

    def _over(self) -> None:
        self._began = None


class GivingWay:
    """Work of which there may be much at once, and which can wait: pages for those who are refused.

    Whoever is refused may ask again a thousand times a second. That must not hold up those for whom access changes.
    """

    def __init__(self, is_hurried: Callable[[], bool]) -> None:
        self._is_hurried = is_hurried
        self._pace = Pace(TURN_S)

    async def turn(self) -> None:
        """Return when a piece of work may go on: a moment later while something hurried is under way."""
        if self._is_hurried():
            await asyncio.sleep(STEP_ASIDE_S)
        await self._pace.turn()
