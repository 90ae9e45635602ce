"""What has ended is remembered for its time, across a restart, and no more of it than is allowed."""

import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from gateway.sessions import endings as module
from gateway.sessions.endings import EndingKind, Endings
from gateway.sessions.sqlite import SCHEMA
from risk.database import Database

AT = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
TOKEN, OUT = EndingKind.LOGOUT_TOKEN, EndingKind.SIGN_OUT


class Now:
    def __init__(self) -> None:
        self.at = AT

    def __call__(self) -> datetime:
        return self.at

    def advance(self, seconds: float) -> None:
        self.at += timedelta(seconds=seconds)


@pytest.fixture
def now() -> Now:
    return Now()


@asynccontextmanager
async def opened(folder: Path, now: Now) -> AsyncIterator[Endings]:
    database = Database(folder / "state.db", SCHEMA)
    database.start()
    try:
        endings = Endings(database, now=now)
        await endings.load()
        yield endings
    finally:
        database.close()


def rows(folder: Path) -> list[tuple[str, str]]:
    with sqlite3.connect(folder / "state.db") as connection:
        return connection.execute("SELECT kind, value FROM session_ending ORDER BY kind, seq").fetchall()


async def test_kept_counts_after_a_restart_for_the_rest_of_its_time(tmp_path: Path, now: Now) -> None:
    async with opened(tmp_path, now) as endings:
        await endings.keep(endings.remember(TOKEN, "iss", "a", value="1", seconds=100))
        assert endings.find(TOKEN, "iss", "a") == "1"
    now.advance(60)
    async with opened(tmp_path, now) as endings:
        assert endings.find(TOKEN, "iss", "a") == "1"
        now.advance(39)
        assert endings.find(TOKEN, "iss", "a") == "1"
        now.advance(1)
        assert endings.find(TOKEN, "iss", "a") is None


async def test_what_was_only_remembered_is_gone_after_a_restart(tmp_path: Path, now: Now) -> None:
    async with opened(tmp_path, now) as endings:
        endings.remember(TOKEN, "iss", "a", value="1", seconds=100)
        assert endings.find(TOKEN, "iss", "a") == "1"
    async with opened(tmp_path, now) as endings:
        assert endings.find(TOKEN, "iss", "a") is None


async def test_names_and_kinds_are_kept_apart(tmp_path: Path, now: Now) -> None:
    async with opened(tmp_path, now) as endings:
        await endings.keep(endings.remember(TOKEN, "a", "bc", value="1", seconds=100))
        assert [endings.find(TOKEN, *name) for name in (("ab", "c"), ("abc",), ("a", "b", "c"))] == [None] * 3
        assert endings.find(OUT, "a", "bc") is None


async def test_of_one_name_the_latest_counts(tmp_path: Path, now: Now) -> None:
    async with opened(tmp_path, now) as endings:
        for value in ("1", "2"):
            await endings.keep(endings.remember(TOKEN, "a", value=value, seconds=100))
    assert rows(tmp_path) == [("logout-token", "2")]
    async with opened(tmp_path, now) as endings:
        assert endings.find(TOKEN, "a") == "2"


async def test_one_value_of_two_kinds_is_two_records(tmp_path: Path, now: Now) -> None:
    async with opened(tmp_path, now) as endings:
        await endings.keep(
            endings.remember(TOKEN, "a", value="1", seconds=100),
            endings.remember(OUT, "a", value="2", seconds=100),
        )
    async with opened(tmp_path, now) as endings:
        assert (endings.find(TOKEN, "a"), endings.find(OUT, "a")) == ("1", "2")


async def test_what_is_over_leaves_the_file(tmp_path: Path, now: Now) -> None:
    async with opened(tmp_path, now) as endings:
        await endings.keep(endings.remember(TOKEN, "a", value="old", seconds=10))
        now.advance(10)
        await endings.keep(endings.remember(OUT, "b", value="new", seconds=10))
    assert rows(tmp_path) == [("sign-out", "new")]


async def test_memory_and_file_are_bounded_by_kind(
    tmp_path: Path, now: Now, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many of one kind push out nothing of another."""
    monkeypatch.setattr(module, "MOST", {**module.MOST, TOKEN: 3})
    async with opened(tmp_path, now) as endings:
        await endings.keep(endings.remember(OUT, "x", value="other", seconds=100))
        for value in "abcde":
            now.advance(1)
            await endings.keep(endings.remember(TOKEN, value, value=value, seconds=100))
        known = [value for value in "abcde" if endings.find(TOKEN, value)]
    assert known == ["c", "d", "e"]
    kept = [("logout-token", each) for each in "cde"]
    assert rows(tmp_path) == [*kept, ("sign-out", "other")]
    async with opened(tmp_path, now) as endings:
        assert [value for value in "abcde" if endings.find(TOKEN, value)] == ["c", "d", "e"]
