"""Background work leaves the event loop to others."""

import asyncio
from collections import Counter
from typing import ClassVar

from gateway.tasks import spawn
from gateway.turns import LET_GO_AT_ONCE, let_go


class Freed:
    """Counts in which turn of the event loop each of them was freed."""

    turn = 0
    by_turn: ClassVar[Counter[int]] = Counter()

    def __del__(self) -> None:
        Freed.by_turn[Freed.turn] += 1


async def test_others_have_their_turn_while_much_is_let_go_of() -> None:
    Freed.by_turn.clear()
    work = spawn(let_go([Freed() for _ in range(5 * LET_GO_AT_ONCE - 1)]), name="let-go")
    while not work.done():
        Freed.turn += 1
        await asyncio.sleep(0)
    assert Freed.by_turn.total() == 5 * LET_GO_AT_ONCE - 1
    assert max(Freed.by_turn.values()) == LET_GO_AT_ONCE
