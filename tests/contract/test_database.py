"""The one writer of the store: who goes first, and how the journal gets into the file."""

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from risk import database as module
from risk.database import Database, StoreFault

SCHEMA = ("CREATE TABLE noted (name TEXT NOT NULL)",)


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    made = Database(tmp_path / "store.db", SCHEMA)
    made.start()
    yield made
    made.close()


class Notes:
    """Jobs that note their names in the order in which they are run."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.names: list[str] = []
        self.go = threading.Event()

    def job(self, name: str):
        def run(connection: sqlite3.Connection) -> None:
            self.names.append(name)
            connection.execute("INSERT INTO noted VALUES (?)", (name,))

        return run

    async def held(self) -> asyncio.Task[None]:
        """Keep the writer busy until `go`."""
        begun = threading.Event()

        def run(_connection: sqlite3.Connection) -> None:
            begun.set()
            self.go.wait(10)

        task = asyncio.create_task(self.database.write(run))
        await asyncio.to_thread(begun.wait, 10)
        return task


async def test_what_is_put_off_comes_after_what_somebody_waits_for(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PATIENCE_S", 60.0)
    notes = Notes(database)
    held = await notes.held()
    later = [asyncio.create_task(database.put_off(notes.job(name))) for name in ("later-1", "later-2")]
    await asyncio.sleep(0)
    sooner = asyncio.create_task(database.write(notes.job("sooner")))
    await asyncio.sleep(0)
    commits = database.commits
    notes.go.set()
    await asyncio.gather(held, sooner, *later)
    assert notes.names == ["sooner", "later-1", "later-2"]
    assert database.commits == commits + 4, "each that was put off has a transaction of its own"


async def test_what_is_put_off_has_its_turn_however_much_comes(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PATIENCE_S", 0.0)
    notes = Notes(database)
    held = await notes.held()
    later = asyncio.create_task(database.put_off(notes.job("later")))
    await asyncio.sleep(0)
    sooner = [asyncio.create_task(database.write(notes.job(f"sooner-{number}"))) for number in range(3)]
    await asyncio.sleep(0)
    monkeypatch.setattr(module, "MAX_GROUP", 1)
    notes.go.set()
    await asyncio.gather(held, later, *sooner)
    assert notes.names.index("later") < notes.names.index("sooner-2")


async def test_closing_finishes_what_was_put_off(tmp_path: Path) -> None:
    database = Database(tmp_path / "store.db", SCHEMA)
    database.start()
    notes = Notes(database)
    held = await notes.held()
    later = [asyncio.create_task(database.put_off(notes.job(str(number)))) for number in range(3)]
    await asyncio.sleep(0)
    notes.go.set()
    await asyncio.to_thread(database.close)
    await asyncio.gather(held, *later)
    with sqlite3.connect(tmp_path / "store.db") as reader:
        assert reader.execute("SELECT count(*) FROM noted").fetchone() == (3,)


async def test_a_failing_job_that_was_put_off_tells_its_own_caller_alone(database: Database) -> None:
    def fails(connection: sqlite3.Connection) -> None:
        connection.execute("INSERT INTO noted VALUES ('gone')")
        raise LookupError("no")

    with pytest.raises(LookupError):
        await database.put_off(fails)
    await database.put_off(Notes(database).job("kept"))
    assert await database.read(lambda it: it.execute("SELECT name FROM noted").fetchall()) == [("kept",)]


@pytest.mark.parametrize("setting", [("QUIET_COMMITS", 1), ("LATEST_S", 0.0)])
async def test_the_journal_is_copied_into_the_file_beside_the_writer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, setting: tuple[str, float]
) -> None:
    """The file alone, read without its journal, has what was written, while the store is open."""
    monkeypatch.setattr(module, "LATEST_S", 3600.0)
    monkeypatch.setattr(module, "LOOK_EVERY_S", 0.01)
    monkeypatch.setattr(module, *setting)
    path = tmp_path / "store.db"
    database = Database(path, SCHEMA)
    database.start()
    await database.write(Notes(database).job("copied"))

    def alone() -> list[tuple[str]]:
        connection = sqlite3.connect(f"file:{path}?immutable=1", uri=True)
        try:
            return connection.execute("SELECT name FROM noted").fetchall()
        except sqlite3.DatabaseError:
            return []  # not even the table is in the file yet, or only some of its pages are
        finally:
            connection.close()

    async with asyncio.timeout(60):
        while alone() != [("copied",)]:  # noqa: ASYNC110 - of a thread that knows no events of ours
            await asyncio.sleep(0.01)
    database.close()


@pytest.mark.parametrize("fails", [False, True])
async def test_only_what_is_lazy_is_not_on_disk_when_it_returns(database: Database, *, fails: bool) -> None:
    def flushes(connection: sqlite3.Connection) -> int:
        return int(connection.execute("PRAGMA synchronous").fetchone()[0])

    def lazy(connection: sqlite3.Connection) -> int:
        connection.execute("INSERT INTO noted VALUES (?)", (None if fails else "lazy",))
        return flushes(connection)

    full, normal = 2, 1
    assert await database.write(flushes) == await database.put_off(flushes) == full
    if fails:
        with pytest.raises(sqlite3.IntegrityError):
            await database.put_off(lazy, is_lazy=True)
    else:
        assert await database.put_off(lazy, is_lazy=True) == normal
    assert await database.write(flushes) == await database.put_off(flushes) == full
    assert len(await database.read(lambda it: it.execute("SELECT 1 FROM noted").fetchall())) == (not fails)


async def test_no_read_waits_for_one_aside(database: Database) -> None:
    """A long one is under way until a short one has been answered."""
    go = threading.Event()
    long = asyncio.create_task(database.read_aside(lambda _: go.wait(10)))
    await asyncio.sleep(0)
    assert await database.read(lambda it: it.execute("SELECT 1").fetchone()) == (1,)
    assert not long.done()
    go.set()
    assert await long


async def test_a_journal_that_grows_while_it_is_copied_begins_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So it stays short, and the writer never has to copy all of it."""
    monkeypatch.setattr(module, "LOOK_EVERY_S", 0.01)
    monkeypatch.setattr(module, "LATEST_S", 0.05)
    monkeypatch.setattr(module, "LONG_PAGES", 100)
    path = tmp_path / "store.db"
    database = Database(path, SCHEMA)
    database.start()

    def note(connection: sqlite3.Connection) -> None:
        connection.execute("INSERT INTO noted VALUES (?)", ("x" * 40_000,))

    written = 0
    while written < 2_000:
        await asyncio.gather(*(database.write(note) for _ in range(4)))
        written += 4
    longest = path.with_name("store.db-wal").stat().st_size
    database.close()
    assert longest < 2_000 * 40_000 / 2


async def insert(database: Database, name: str | None) -> None:
    await database.write(
        lambda connection: connection.execute("INSERT INTO noted VALUES (?)", (name,)).rowcount,
        is_one_statement=True,
    )


async def names(database: Database) -> list[str]:
    return await database.read(
        lambda connection: [name for (name,) in connection.execute("SELECT name FROM noted ORDER BY rowid")]
    )


async def test_one_statement_is_a_transaction_alone_and_in_company(database: Database) -> None:
    before = database.commits
    await insert(database, "alone")
    assert database.commits == before + 1
    assert await names(database) == ["alone"]
    notes = Notes(database)
    held = await notes.held()
    together = [asyncio.create_task(insert(database, name)) for name in ("one", None, "other")]
    await asyncio.sleep(0)
    notes.go.set()
    await held
    results = await asyncio.gather(*together, return_exceptions=True)
    assert [type(each) for each in results] == [type(None), sqlite3.IntegrityError, type(None)]
    assert await names(database) == ["alone", "one", "other"]
    assert database.commits == before + 3


@pytest.mark.parametrize(("name", "error"), [(None, StoreFault), ("\udc00", UnicodeEncodeError)])
async def test_one_statement_that_fails_changes_nothing_and_stops_nobody(
    database: Database, name: str | None, error: type[Exception]
) -> None:
    with pytest.raises(error):
        await insert(database, name)
    assert bool(database.write_fault) is (error is StoreFault)
    await insert(database, "next")
    assert database.write_fault == ""
    assert await names(database) == ["next"]
