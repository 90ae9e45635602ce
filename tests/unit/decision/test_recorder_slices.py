"""Ticket records are made in slices, and none that was queued is lost at the end."""

import asyncio
import time
from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec
import pytest

from gateway.decision import recorder as recorder_module
from gateway.decision.recorder import MAX_ROWS, SLICE, DecisionRecorder
from gateway.turns import TURN_S

NOW = datetime(2026, 11, 23, tzinfo=UTC)


class Kept:
    """Keeps rows, and counts its own turns of the loop while records are made."""

    def __init__(self) -> None:
        self.rows: list[str] = []
        self.batches: list[int] = []

    async def put_many(
        self, records: Sequence[tuple[str, datetime, bytes]], *, is_waited_for: bool = True
    ) -> None:
        self.batches.append(len(records))
        await asyncio.sleep(0)
        self.rows += [code for code, _, _ in records]


class Record(msgspec.Struct):
    code: str


async def test_others_get_their_turn_while_records_are_made() -> None:
    kept, recorder = Kept(), DecisionRecorder(Kept())
    recorder = DecisionRecorder(kept)
    made_at_turn: list[int] = []
    turns = 0

    def make(code: str) -> Record:
        made_at_turn.append(turns)
        return Record(code)

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    for number in range(100):
        recorder.later(str(number), NOW, lambda number=number: make(str(number)))
    counting = asyncio.create_task(count())
    await recorder.stop()
    counting.cancel()
    assert kept.rows == [str(number) for number in range(100)]
    assert max(made_at_turn.count(turn) for turn in made_at_turn) <= SLICE


async def test_a_record_that_takes_long_is_a_turn_of_its_own() -> None:
    recorder = DecisionRecorder(Kept())
    made_at_turn: list[int] = []
    turns = 0

    def make(code: str) -> Record:
        made_at_turn.append(turns)
        time.sleep(TURN_S)
        return Record(code)

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    for number in range(10):
        recorder.later(str(number), NOW, lambda number=number: make(str(number)))
    counting = asyncio.create_task(count())
    await recorder.stop()
    counting.cancel()
    assert len({*made_at_turn}) == 10


async def test_large_queues_are_several_transactions() -> None:
    kept = Kept()
    recorder = DecisionRecorder(kept)
    for number in range(MAX_ROWS + 1):
        recorder.later(str(number), NOW, lambda number=number: Record(str(number)))
    await recorder.stop()
    assert kept.batches == [MAX_ROWS, 1]


async def test_what_is_taken_from_the_queue_is_written_though_we_stop(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(recorder_module, "FLUSH_EVERY_S", 0.0)
    kept = Kept()
    recorder = DecisionRecorder(kept)
    recorder.start()
    for number in range(60):
        recorder.later(str(number), NOW, lambda number=number: Record(str(number)))
        await asyncio.sleep(0)
    await recorder.stop()
    assert sorted(kept.rows, key=int) == [str(number) for number in range(60)]
