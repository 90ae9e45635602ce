"""How work shares the event loop: by its clock, in the order of the calls."""

import asyncio

from gateway.hub.pace import GivingWay, Pace


class Work:
    """Pieces of work that take a second each by a clock of their own, and the turns of the loop they were done in."""

    def __init__(self, most_s):
        self.now = 100.0
        self.pace = Pace(most_s, lambda: self.now)
        self.turn = 0
        self.done = []

    async def piece(self, name):
        await self.pace.turn()
        self.now += 1
        self.done.append((name, self.turn))

    async def run(self, count):
        pieces = [asyncio.ensure_future(self.piece(name)) for name in range(count)]
        while not all(each.done() for each in pieces):
            self.turn += 1
            await asyncio.sleep(0)


async def test_pieces_are_done_in_order_and_shared_out_over_turns() -> None:
    work = Work(2)
    await work.run(7)
    assert [name for name, _ in work.done] == list(range(7))
    turns = [turn for _, turn in work.done]
    assert max(turns.count(each) for each in turns) == 2
    assert len(set(turns)) == 4


async def test_what_fits_into_one_turn_does_not_wait() -> None:
    work = Work(100)
    await work.run(7)
    assert {turn for _, turn in work.done} == {1}


async def test_a_piece_that_takes_longer_than_a_turn_is_done_all_the_same() -> None:
    work = Work(0.5)
    await work.run(3)
    assert [name for name, _ in work.done] == [0, 1, 2]
    assert len({turn for _, turn in work.done}) == 3


async def test_what_can_wait_begins_after_what_is_hurried() -> None:
    """Many who are refused at once must not hold up a change of access, however many turns of the loop that takes."""
    hurried, done = asyncio.Event(), []
    giving_way = GivingWay(lambda: not hurried.is_set())

    async def hurry() -> None:
        for _ in range(20):
            await asyncio.sleep(0)
        done.append("hurried")
        hurried.set()

    async def page(name: str) -> None:
        await giving_way.turn()
        done.append(name)

    await asyncio.gather(page("first"), hurry(), page("second"))
    assert done == ["hurried", "first", "second"]


async def test_what_gives_way_does_not_wait_for_ever() -> None:
    """Where something is always hurried, it is only late."""
    await asyncio.wait_for(GivingWay(lambda: True).turn(), 5)
