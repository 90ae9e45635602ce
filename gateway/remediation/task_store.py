"""Tasks and what is to be told of them, in the SQLite file. Tables begin with `remediation_`.

INVARIANT: a task's change and the events that tell of it are one transaction: what is stored is told, once it can be.
"""

import sqlite3
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path

import msgspec

from gateway.remediation.tasks import SecurityTask
from risk.database import Database
from risk.sqlite import insert_rows

SCHEMA: tuple[str, ...] = (
    """
    CREATE TABLE remediation_task (
        id TEXT PRIMARY KEY,
        device_id TEXT NOT NULL,
        cause TEXT NOT NULL,
        state TEXT NOT NULL,
        opened_us INTEGER NOT NULL,
        resolved_us INTEGER,
        record BLOB NOT NULL
    ) STRICT;
    CREATE INDEX remediation_task_by_device ON remediation_task (device_id);
    CREATE INDEX remediation_task_by_time ON remediation_task (opened_us);
    CREATE INDEX remediation_task_open ON remediation_task (state) WHERE state != 'resolved';
    CREATE TABLE remediation_outbox (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        id TEXT NOT NULL UNIQUE,
        target TEXT NOT NULL,
        task_id TEXT NOT NULL,
        event TEXT NOT NULL,
        body BLOB NOT NULL,
        made_us INTEGER NOT NULL,
        next_us INTEGER NOT NULL,
        attempts INTEGER NOT NULL DEFAULT 0,
        state TEXT NOT NULL DEFAULT 'waiting',
        error TEXT NOT NULL DEFAULT ''
    ) STRICT;
    CREATE INDEX remediation_outbox_due ON remediation_outbox (next_us) WHERE state = 'waiting';
    CREATE INDEX remediation_outbox_order ON remediation_outbox (target, task_id, number) WHERE state = 'waiting'
    """,
)
"""Migrations, oldest first. Never change one that was released; append."""

MAX_OUTBOX = 100_000
"""Most events that wait; above it the oldest of all go as failed."""

_TASKS = ("INSERT OR REPLACE INTO remediation_task VALUES", "")
_LETTERS = (
    "INSERT INTO remediation_outbox (id, target, task_id, event, body, made_us, next_us) VALUES",
    "",
)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class LetterState(StrEnum):
    """What became of an event for a target."""

    WAITING = "waiting"
    DELIVERED = "delivered"
    FAILED = "failed"


class Letter(msgspec.Struct, frozen=True, kw_only=True):
    """One event for one target. `id` is the `webhook-id`, the same at every attempt."""

    id: str
    target: str
    task_id: str
    event: str
    body: bytes
    made_at: datetime
    attempts: int = 0
    state: LetterState = LetterState.WAITING
    error: str = ""


class SqliteTaskStore:
    """Keeps tasks and letters in a `Database` whose schema contains `SCHEMA`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def put(self, tasks: Sequence[SecurityTask], letters: Sequence[Letter]) -> None:
        """Keep tasks, in place of earlier ones with their ids, and letters. Raises `StoreFault`, `StoreOverloaded`."""
        rows = [
            (
                each.id,
                each.device_id,
                each.cause,
                each.state.value,
                _us(each.opened_at),
                None if each.resolved_at is None else _us(each.resolved_at),
                msgspec.json.encode(each),
            )
            for each in tasks
        ]
        posted = [
            (each.id, each.target, each.task_id, each.event, each.body, _us(each.made_at), _us(each.made_at))
            for each in letters
        ]

        def run(connection: sqlite3.Connection) -> None:
            insert_rows(connection, _TASKS, rows)
            insert_rows(connection, _LETTERS, posted)

        await self._database.write(run)

    async def live(self, most: int) -> list[SecurityTask]:
        """Return the newest tasks that are not resolved, oldest first."""

        def run(connection: sqlite3.Connection) -> list[SecurityTask]:
            return _select(connection, "WHERE state != 'resolved' ORDER BY opened_us DESC LIMIT ?", (most,))[
                ::-1
            ]

        return await self._database.read(run)

    async def of_devices(self, device_ids: Sequence[str]) -> dict[str, list[SecurityTask]]:
        """Return every task of some devices, by device, oldest first. Raises `StoreFault`."""
        wanted = msgspec.json.encode(device_ids).decode()
        where = "WHERE device_id IN (SELECT value FROM json_each(?)) ORDER BY opened_us"
        found: dict[str, list[SecurityTask]] = {}
        for task in await self._database.read(lambda connection: _select(connection, where, (wanted,))):
            found.setdefault(task.device_id, []).append(task)
        return found

    async def find(self, task_id: str) -> SecurityTask | None:
        """Return a task, or None."""
        found = await self._database.read(lambda connection: _select(connection, "WHERE id = ?", (task_id,)))
        return found[0] if found else None

    # --- the outbox ------------------------------------------------------------------------------------------

    async def due(self, now: datetime, most: int) -> list[Letter]:
        """Return letters that may be tried now: of each target and task only the oldest, so that none overtakes."""

        def run(connection: sqlite3.Connection) -> list[Letter]:
            rows = connection.execute(
                "SELECT id, target, task_id, event, body, made_us, attempts, state, error"
                " FROM remediation_outbox AS letter WHERE state = 'waiting' AND next_us <= ?"
                " AND NOT EXISTS (SELECT 1 FROM remediation_outbox AS earlier WHERE earlier.state = 'waiting'"
                " AND earlier.target = letter.target AND earlier.task_id = letter.task_id"
                " AND earlier.number < letter.number) ORDER BY next_us LIMIT ?",
                (_us(now), most),
            )
            return [_letter(row) for row in rows]

        return await self._database.read(run)

    async def next_due(self) -> datetime | None:
        """Return when the next letter may be tried, None while none waits."""

        def run(connection: sqlite3.Connection) -> datetime | None:
            row = connection.execute("SELECT min(next_us) FROM remediation_outbox WHERE state = 'waiting'")
            (found,) = row.fetchone()
            return None if found is None else _at(found)

        return await self._database.read(run)

    async def settle(self, letter_id: str, state: LetterState, error: str, next_at: datetime) -> None:
        """Note an attempt: its result, and when to try again if it waits."""
        values = (state.value, error, _us(next_at), letter_id)
        await self._database.write(
            lambda connection: connection.execute(
                "UPDATE remediation_outbox SET attempts = attempts + 1, state = ?, error = ?, next_us = ?"
                " WHERE id = ?",
                values,
            )
        )

    async def retry_failed(self, now: datetime) -> int:
        """Let every failed letter be tried again from the beginning; return how many."""
        values = (_us(now), _us(now))
        return await self._database.write(
            lambda connection: (
                connection.execute(
                    "UPDATE remediation_outbox SET state = 'waiting', attempts = 0, next_us = ?, made_us = ?"
                    " WHERE state = 'failed'",
                    values,
                ).rowcount
            )
        )

    async def prune(self, before: datetime, most: int) -> int:
        """Remove tasks that were resolved before `before` and the oldest above `most`; settled letters with them."""

        def run(connection: sqlite3.Connection) -> int:
            limit = _us(before)
            gone = connection.execute(
                "DELETE FROM remediation_task WHERE state = 'resolved' AND resolved_us < ?", (limit,)
            ).rowcount
            oldest = "SELECT id FROM remediation_task ORDER BY opened_us DESC LIMIT -1 OFFSET ?"
            gone += connection.execute(
                f"DELETE FROM remediation_task WHERE id IN ({oldest})",  # noqa: S608 - our own text
                (most,),
            ).rowcount
            connection.execute(
                "DELETE FROM remediation_outbox WHERE state = 'delivered' AND made_us < ?", (limit,)
            )
            surplus = "SELECT number FROM remediation_outbox ORDER BY number DESC LIMIT -1 OFFSET ?"
            connection.execute(
                f"DELETE FROM remediation_outbox WHERE number IN ({surplus})",  # noqa: S608 - our own text
                (MAX_OUTBOX,),
            )
            return gone

        return await self._database.write(run)


class TaskQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which tasks are asked for; "" asks for all. `device` is an id or a name."""

    state: str = ""
    device: str = ""
    assignee: str = ""
    only_overdue: bool = False
    most: int = 50

    def matches(self, task: SecurityTask, now: datetime) -> bool:
        """Return whether a task is asked for."""
        if self.state and task.state.value != self.state:
            return False
        if self.device and self.device not in (task.device_id, task.device):
            return False
        if self.assignee and task.assignee != self.assignee:
            return False
        return not self.only_overdue or task.is_overdue(now)


def read_tasks(path: Path, query: TaskQuery, now: datetime) -> list[SecurityTask]:
    """Return tasks straight from the file, newest first, whether or not the gateway runs. Raises `sqlite3.Error`."""
    found: list[SecurityTask] = []
    with _reading(path) as connection:
        if connection is None:
            return []
        rows = connection.execute("SELECT record FROM remediation_task ORDER BY opened_us DESC, id DESC")
        for (record,) in rows:
            task = msgspec.json.decode(record, type=SecurityTask)
            if query.matches(task, now):
                found.append(task)
            if len(found) >= query.most:
                break
    return found


def read_letters(path: Path, task_id: str) -> list[Letter]:
    """Return what was to be told of a task, oldest first. Raises `sqlite3.Error`."""
    with _reading(path) as connection:
        if connection is None:
            return []
        rows = connection.execute(
            "SELECT id, target, task_id, event, body, made_us, attempts, state, error"
            " FROM remediation_outbox WHERE task_id = ? ORDER BY number",
            (task_id,),
        )
        return [_letter(row) for row in rows]


class _reading:  # noqa: N801 - used as a function
    """Gives a read-only connection, None when there is no such file or table yet."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection: sqlite3.Connection | None = None

    def __enter__(self) -> sqlite3.Connection | None:
        if not self._path.exists():
            return None
        self._connection = sqlite3.connect(f"file:{self._path}?mode=ro", uri=True)
        table = "SELECT 1 FROM sqlite_master WHERE name = 'remediation_task'"
        return self._connection if self._connection.execute(table).fetchone() else None

    def __exit__(self, *_: object) -> None:
        if self._connection is not None:
            self._connection.close()


def _select(connection: sqlite3.Connection, rest: str, values: tuple[object, ...]) -> list[SecurityTask]:
    rows = connection.execute(f"SELECT record FROM remediation_task {rest}", values)  # noqa: S608 - our own text
    return [msgspec.json.decode(record, type=SecurityTask) for (record,) in rows]


def _letter(row: tuple[str, str, str, str, bytes, int, int, str, str]) -> Letter:
    return Letter(
        id=row[0],
        target=row[1],
        task_id=row[2],
        event=row[3],
        body=bytes(row[4]),
        made_at=_at(row[5]),
        attempts=row[6],
        state=LetterState(row[7]),
        error=row[8],
    )


def _us(at: datetime) -> int:
    return (at - _EPOCH) // _MICROSECOND


def _at(microseconds: int) -> datetime:
    return _EPOCH + timedelta(microseconds=microseconds)
