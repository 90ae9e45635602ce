"""How long one kind of work may hold up the event loop at a stretch, however many pieces of it are ready at once."""

import asyncio
from collections.abc import Callable
from time import monotonic


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
