"""Incidents in the SQLite file. Tables begin with `incident_`; times are microseconds since 1970 in UTC."""

import sqlite3
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec

from gateway.incidents.model import Incident
from risk.database import Database
from risk.sqlite import insert_rows

SCHEMA: tuple[str, ...] = (
    """
    CREATE TABLE incident_incidents (
        id TEXT PRIMARY KEY,
        device_id TEXT NOT NULL,
        opened_us INTEGER NOT NULL,
        is_open INTEGER NOT NULL,
        record BLOB NOT NULL
    ) STRICT;
    CREATE INDEX incident_by_time ON incident_incidents (opened_us);
    CREATE INDEX incident_open ON incident_incidents (is_open) WHERE is_open = 1
    """,
)
"""Migrations, oldest first. Never change one that was released; append."""

_INCIDENTS = ("INSERT OR REPLACE INTO incident_incidents VALUES", "")

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class SqliteIncidentStore:
    """Keeps incidents in a `Database` whose schema contains `SCHEMA`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def put(self, incidents: Sequence[Incident]) -> None:
        """Keep incidents; one with a known id replaces that one. Raises `StoreFault`, `StoreOverloaded`."""
        rows = [
            (each.id, each.device_id, _micros(each.opened_at), int(each.is_open), msgspec.json.encode(each))
            for each in incidents
        ]

        await self._database.write(lambda connection: insert_rows(connection, _INCIDENTS, rows))

    async def open_ones(self, most: int) -> list[Incident]:
        """Return the newest incidents that are not over, oldest first."""

        def run(connection: sqlite3.Connection) -> list[Incident]:
            return _select(connection, "WHERE is_open = 1 ORDER BY opened_us DESC LIMIT ?", (most,))[::-1]

        return await self._database.read(run)

    async def prune(self, before: datetime, most: int) -> int:
        """Remove closed incidents that began before `before`, and the oldest above `most`; return how many went."""

        def run(connection: sqlite3.Connection) -> int:
            gone = connection.execute(
                "DELETE FROM incident_incidents WHERE is_open = 0 AND opened_us < ?", (_micros(before),)
            ).rowcount
            oldest = "SELECT rowid FROM incident_incidents ORDER BY opened_us DESC LIMIT -1 OFFSET ?"
            gone += connection.execute(
                f"DELETE FROM incident_incidents WHERE rowid IN ({oldest})",  # noqa: S608 - our own text
                (most,),
            ).rowcount
            return gone

        return await self._database.write(run)


def read_incidents(path: Path, *, most: int, only_open: bool = False) -> list[Incident]:
    """Return the newest incidents straight from the file, newest first, whether or not the gateway runs.

    Raises `sqlite3.Error`.
    """
    if not path.exists():
        return []
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        table = "SELECT 1 FROM sqlite_master WHERE name = 'incident_incidents'"
        if connection.execute(table).fetchone() is None:
            return []
        where = "WHERE is_open = 1 " if only_open else ""
        return _select(connection, f"{where}ORDER BY opened_us DESC, id DESC LIMIT ?", (most,))
    finally:
        connection.close()


def _select(connection: sqlite3.Connection, rest: str, values: tuple[object, ...]) -> list[Incident]:
    rows = connection.execute(f"SELECT record FROM incident_incidents {rest}", values)  # noqa: S608 - our own text
    return [msgspec.json.decode(record, type=Incident) for (record,) in rows]


def _micros(at: datetime) -> int:
    return (at - _EPOCH) // _MICROSECOND
