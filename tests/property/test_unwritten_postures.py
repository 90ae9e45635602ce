"""Postures that no commit has written: whatever the moment of a death, the next process knows what this one knew.

Deliveries, an operator who takes statements back (which no signal says), records that become one, filings that come to
their end or not; after each step the files are copied as a death would leave them, and another process begins there.
"""

import asyncio
import shutil
import sqlite3
from collections.abc import Callable
from itertools import chain, count
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import TypeVar

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import risk.sqlite as sqlite_module
from risk.database import Database, StoreFault
from risk.intake import Amendment, Intake
from risk.model import DeviceId, Posture, Signal
from risk.snapshot import RiskState
from risk.sqlite import SCHEMA, SqliteRiskStore, read_all_devices
from risk.store import Retention
from tests.property.test_intake_orders import END, RULES, deliveries, histories, timedelta

T = TypeVar("T")
FEW = Retention(signals_most=1)


class Stalling(Database):
    """A database that refuses what is put off, now and then."""

    refuses: Callable[[], bool] = staticmethod(lambda: False)

    async def put_off(
        self,
        run: Callable[..., T],
        patience_s: float = 0.0,
        *,
        is_lazy: bool = False,
        is_one_statement: bool = False,
    ) -> T:
        if self.refuses():
            raise StoreFault("disk full")
        return await super().put_off(run, 0.0, is_lazy=is_lazy, is_one_statement=is_one_statement)


def opened(path: Path) -> Stalling:
    database = Stalling(path / "state.db", {"risk": SCHEMA})
    database.start()
    return database


def postures(state: RiskState) -> dict[DeviceId, Posture | None]:
    return {each: state.posture(each) for each in state.device_ids()}


async def begun(database: Database) -> tuple[RiskState, Intake]:
    numbers = count(1)
    state = RiskState(lambda: DeviceId(f"dev_{next(numbers)}"))
    state.join_by(RULES)
    intake = Intake(state, SqliteRiskStore(database), clock=lambda: END, retention=FEW)
    await intake.start()
    return state, intake


async def known_after_death(path: Path, dying: Database) -> dict[DeviceId, Posture | None]:
    """Return what the next process knows, were this one to die now; who only reads the file knows the same."""
    with TemporaryDirectory() as copy:

        def leave(_connection: sqlite3.Connection) -> None:
            for name in ("state.db", "state.db-wal"):
                shutil.copy(path / name, copy)

        await dying.write(leave)  # between two transactions: two files are not copied in one step
        database = opened(Path(copy))
        try:
            reader = RiskState()
            rows = await database.read(lambda connection: list(chain(*read_all_devices(connection))))
            reader.load(rows)
            state, intake = await begun(database)
            await intake.stop()
            assert postures(reader) == postures(state)
            again, intake = await begun(database)
            await intake.stop()
            assert postures(again) == postures(state), "and the one after that"
            return postures(state)
        finally:
            database.close()


def forget(state: RiskState, random: Random) -> Callable[[Amendment], None]:
    """Return what an operator does who takes back all that is known of a device."""
    device_id = random.choice(sorted(state.device_ids()))

    def work(amendment: Amendment) -> None:
        known = amendment.posture(device_id)
        amendment.replace(msgspec.structs.replace(known, findings={}, facts={}, heard={}))

    return work


async def live(path: Path, history: list[Signal], random: Random) -> None:
    database = opened(path)
    database.refuses = lambda: random.random() < 0.1
    state, intake = await begun(database)
    store: SqliteRiskStore = intake._store  # type: ignore[assignment]
    try:
        for moment, batch in enumerate(deliveries(history, random), start=1):
            received_at = END + timedelta(seconds=moment)
            signals = [msgspec.structs.replace(each, received_at=received_at) for each in batch]
            filing = asyncio.ensure_future(store.file_all()) if random.random() < 0.3 else None
            for _ in range(random.randint(0, 5)):
                await asyncio.sleep(0)
            await intake.submit(signals[0].sensor, signals)
            if len(state) and random.random() < 0.2:
                await intake.amend(forget(state, random))
            if filing is not None and random.random() < 0.5:
                await asyncio.wait([filing])
            if random.random() < 0.2:
                await asyncio.gather(store.prune(END, FEW, 3), return_exceptions=True)
            assert await known_after_death(path, database) == postures(state)
            if filing is not None:
                await asyncio.gather(filing, return_exceptions=True)
        database.refuses = lambda: False
        await store.file_all()
        assert state.count_unwritten() == 0
        assert await known_after_death(path, database) == postures(state)
    finally:
        await intake.stop()
        database.close()


@settings(max_examples=60, deadline=None)
@given(histories(), st.integers(0, 2**32))
def test_whoever_comes_after_a_death_knows_what_was_known(history: list[Signal], seed: int) -> None:
    with TemporaryDirectory() as path, pytest.MonkeyPatch.context() as patched:
        patched.setattr(sqlite_module, "WRITTEN_AT_ONCE", 1)
        asyncio.run(live(Path(path), history, Random(seed)))  # noqa: S311 - no secret
