"""Where the next round of each sensor begins, kept over restarts."""

import sqlite3

import msgspec

from risk.database import Database

SCHEMA: tuple[str, ...] = (
    """
    CREATE TABLE pull_cursors (sensor TEXT PRIMARY KEY, source TEXT NOT NULL, cursor TEXT NOT NULL) WITHOUT ROWID;
    """,
)
"""Migrations of the tables of this package; appended to, never edited."""


class Cursor(msgspec.Struct, frozen=True):
    """Where a sensor's next page begins. `source` tells what was asked: another one begins at the beginning."""

    source: str
    cursor: str


class CursorStore:
    """Keeps cursors in the gateway's database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def load(self, sensor: str, source: str) -> str:
        """Return the cursor of a sensor, "" when there is none for this source."""

        def run(connection: sqlite3.Connection) -> str:
            row = connection.execute(
                "SELECT cursor FROM pull_cursors WHERE sensor = ? AND source = ?", (sensor, source)
            ).fetchone()
            return "" if row is None else str(row[0])

        return await self._database.read(run)

    async def save(self, sensor: str, source: str, cursor: str) -> None:
        """Keep the cursor of a sensor; it is durable when this returns."""

        def run(connection: sqlite3.Connection) -> None:
            connection.execute(
                "INSERT OR REPLACE INTO pull_cursors VALUES (?, ?, ?)", (sensor, source, cursor)
            )

        await self._database.write(run)
