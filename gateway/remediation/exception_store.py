"""Exceptions and requests for them in the SQLite file. Tables begin with `remediation_`."""

import sqlite3
from datetime import UTC, datetime, timedelta

import msgspec

from gateway.remediation.exceptions import Ask, Granted
from risk.database import Database

SCHEMA: tuple[str, ...] = (
    """
    CREATE TABLE remediation_exception (
        id TEXT PRIMARY KEY,
        device_id TEXT NOT NULL,
        granted_us INTEGER NOT NULL,
        expires_us INTEGER NOT NULL,
        record BLOB NOT NULL
    ) STRICT;
    CREATE INDEX remediation_exception_by_device ON remediation_exception (device_id, granted_us);
    CREATE INDEX remediation_exception_by_end ON remediation_exception (expires_us);
    CREATE TABLE remediation_ask (
        id TEXT PRIMARY KEY,
        person TEXT NOT NULL,
        asked_us INTEGER NOT NULL,
        record BLOB NOT NULL
    ) STRICT;
    CREATE INDEX remediation_ask_by_person ON remediation_ask (person, asked_us)
    """,
)
"""Migrations, oldest first. Never change one that was released; append."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class SqliteExceptionStore:
    """Keeps exceptions and requests in a `Database` whose schema contains `SCHEMA`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def grant(self, granted: Granted, ask: Ask | None = None) -> None:
        """Keep an exception, and the answered request that led to it. Raises `StoreFault`, `StoreOverloaded`."""
        row = (
            granted.id,
            granted.device_id,
            _us(granted.granted_at),
            _us(granted.expires_at),
            msgspec.json.encode(granted),
        )

        def run(connection: sqlite3.Connection) -> None:
            connection.execute("INSERT INTO remediation_exception VALUES (?, ?, ?, ?, ?)", row)
            if ask is not None:
                _put_ask(connection, ask)

        await self._database.write(run)

    async def put_ask(self, ask: Ask) -> None:
        """Keep a request, in place of an earlier state of it."""
        await self._database.write(lambda connection: _put_ask(connection, ask))

    async def find_ask(self, ask_id: str) -> Ask | None:
        """Return a request, or None."""

        def run(connection: sqlite3.Connection) -> Ask | None:
            row = connection.execute("SELECT record FROM remediation_ask WHERE id = ?", (ask_id,)).fetchone()
            return None if row is None else msgspec.json.decode(row[0], type=Ask)

        return await self._database.read(run)

    async def asks_of(self, person: str, since: datetime) -> list[Ask]:
        """Return the requests of a person since an instant, newest first."""

        def run(connection: sqlite3.Connection) -> list[Ask]:
            rows = connection.execute(
                "SELECT record FROM remediation_ask WHERE person = ? AND asked_us >= ? ORDER BY asked_us DESC",
                (person, _us(since)),
            )
            return [msgspec.json.decode(record, type=Ask) for (record,) in rows]

        return await self._database.read(run)

    async def in_force(self, now: datetime) -> list[Granted]:
        """Return the exceptions that have not expired."""
        return await self._select("expires_us > ?", (_us(now),))

    async def of_device(self, device_id: str, since: datetime) -> list[Granted]:
        """Return the exceptions of a device since an instant, oldest first."""
        return await self._select("device_id = ? AND granted_us >= ?", (device_id, _us(since)))

    async def prune(self, before: datetime) -> None:
        """Remove what expired, or was asked, before an instant."""

        def run(connection: sqlite3.Connection) -> None:
            connection.execute("DELETE FROM remediation_exception WHERE expires_us < ?", (_us(before),))
            connection.execute("DELETE FROM remediation_ask WHERE asked_us < ?", (_us(before),))

        await self._database.write(run)

    async def _select(self, where: str, values: tuple[object, ...]) -> list[Granted]:
        def run(connection: sqlite3.Connection) -> list[Granted]:
            rows = connection.execute(
                f"SELECT record FROM remediation_exception WHERE {where} ORDER BY granted_us",  # noqa: S608 - our own text
                values,
            )
            return [msgspec.json.decode(record, type=Granted) for (record,) in rows]

        return await self._database.read(run)


def _put_ask(connection: sqlite3.Connection, ask: Ask) -> None:
    connection.execute(
        "INSERT OR REPLACE INTO remediation_ask VALUES (?, ?, ?, ?)",
        (ask.id, ask.person, _us(ask.asked_at), msgspec.json.encode(ask)),
    )


def _us(at: datetime) -> int:
    return (at - _EPOCH) // _MICROSECOND
