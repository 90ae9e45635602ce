"""Deliveries that are under way at once, over a store that fails now and then: the same is known as one by one.

While a lot is being committed the next one is staged over it, and staged anew when the first could not be committed.
"""

import asyncio
from itertools import count
from random import Random

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from risk.database import Database, StoreFault
from risk.intake import Intake
from risk.model import DeviceId, Signal
from risk.outcome import IntakeResult
from risk.snapshot import RiskState
from risk.sqlite import SCHEMA, SqliteRiskStore
from risk.store import Batch
from tests.property.test_intake_orders import (
    END,
    RULES,
    begun,
    deliveries,
    histories,
    known_after,
    timedelta,
    told,
)


class Failing(SqliteRiskStore):
    """A store of which a commit fails now and then, or takes a while."""

    def __init__(self, database: Database, random: Random) -> None:
        super().__init__(database)
        self._random = random

    async def commit(self, batch: Batch) -> None:
        for _ in range(self._random.randint(0, 4)):
            await asyncio.sleep(0)
        if self._random.random() < 0.3:
            raise StoreFault("disk full")
        await super().commit(batch)


async def delivered(intake: Intake, batch: list[Signal]) -> IntakeResult:
    """Return what a delivery led to, sent again until it is taken."""
    while True:
        try:
            return await intake.submit(batch[0].sensor, batch)
        except StoreFault:
            await asyncio.sleep(0)


async def known_after_all_at_once(batches: list[list[Signal]], random: Random) -> tuple[RiskState, int]:
    """Deliver all, more or less at once; return what is known at the end, and how many signals were news."""
    database = Database(":memory:", {"risk": SCHEMA})
    database.start()
    numbers = count(1)
    state = RiskState(lambda: DeviceId(f"dev_{next(numbers)}"))
    state.join_by(RULES)
    intake = Intake(state, Failing(database, random), clock=lambda: END)
    try:
        await intake.start()
        sending = []
        for moment, batch in enumerate(batches, start=1):
            received_at = END + timedelta(seconds=moment)
            signals = [msgspec.structs.replace(each, received_at=received_at) for each in batch]
            sending.append(asyncio.ensure_future(delivered(intake, signals)))
            for _ in range(random.randint(0, 6)):
                await asyncio.sleep(0)
        results = await asyncio.gather(*sending)
        in_memory = told(state)
        await intake.stop()
        after, intake = await begun(database, lambda: DeviceId(f"dev_{next(numbers)}"))
        assert told(after) == in_memory, "what is in memory is what is durable"
        return after, sum(each.accepted for each in results)
    finally:
        await intake.stop()
        database.close()


@settings(max_examples=100, deadline=None)
@given(histories(), st.integers(0, 2**32))
def test_what_is_under_way_at_once_is_known_as_if_it_came_one_by_one(
    history: list[Signal], seed: int
) -> None:
    random = Random(seed)  # noqa: S311 - no secret
    in_order = asyncio.run(known_after([[each] for each in history]))
    at_once, accepted = asyncio.run(known_after_all_at_once(deliveries(history, random), random))
    assert told(at_once) == told(in_order)
    assert accepted == len(history), "each message is news once"
