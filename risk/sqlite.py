"""The store of risk in SQLite, on `risk.database.Database`.

Times are stored as unix microseconds. Journals are read and pruned in the order of their row ids, which is
the order of arrival, so no index by time is written for every signal.
"""

import sqlite3
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from risk.database import Database
from risk.model import DeviceId, Signal
from risk.packing import unpack_signal
from risk.store import Batch, DeadLetter, DeviceRow, Retention, SeenRow

SCHEMA: tuple[str, ...] = (
    """
    CREATE TABLE risk_devices (device_id TEXT PRIMARY KEY, keys TEXT NOT NULL, posture BLOB NOT NULL)
        WITHOUT ROWID;
    CREATE TABLE risk_signals (id INTEGER PRIMARY KEY, received_at INTEGER NOT NULL, sensor TEXT NOT NULL,
        device_id TEXT, signal BLOB NOT NULL);
    CREATE INDEX risk_signals_device ON risk_signals (device_id);
    CREATE TABLE risk_seen (id INTEGER PRIMARY KEY, key BLOB NOT NULL UNIQUE, digest BLOB NOT NULL,
        received_at INTEGER NOT NULL);
    CREATE TABLE risk_dead_letters (id INTEGER PRIMARY KEY, received_at INTEGER NOT NULL,
        sensor TEXT NOT NULL, reason TEXT NOT NULL, error TEXT NOT NULL, body BLOB NOT NULL);
    CREATE INDEX risk_dead_letters_sensor ON risk_dead_letters (sensor);
    CREATE TABLE risk_decisions (code TEXT PRIMARY KEY, created_at INTEGER NOT NULL, record BLOB NOT NULL);
    CREATE INDEX risk_decisions_created ON risk_decisions (created_at);
    """,
)
"""Migrations of the tables of this package, all named `risk_…`; appended to, never edited."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_SOME = 500
"""Host parameters of one query, well under SQLite's limit."""

MAX_KEY = 2**62


def _micros(at: datetime) -> int:
    return (at - _EPOCH) // _MICROSECOND


def _instant(micros: int) -> datetime:
    return _EPOCH + timedelta(microseconds=micros)


class SqliteRiskStore:
    """`risk.store.RiskStore` in SQLite. The database is started and closed by its owner."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def load(self) -> list[DeviceRow]:
        """Return every device record, in no order."""

        def run(connection: sqlite3.Connection) -> list[DeviceRow]:
            rows = connection.execute("SELECT device_id, keys, posture FROM risk_devices")
            return [DeviceRow(*row) for row in rows]

        return await self._database.read(run)

    async def recent_seen(self, most: int) -> tuple[list[SeenRow], bool]:
        """Return up to `most` message ids, oldest first, and whether there are no others."""

        def run(connection: sqlite3.Connection) -> tuple[list[SeenRow], bool]:
            newest = "SELECT key, digest, received_at FROM risk_seen ORDER BY id DESC LIMIT ?"
            rows = connection.execute(newest, (most + 1,)).fetchall()
            kept = [SeenRow(key, digest, _instant(at)) for key, digest, at in reversed(rows[:most])]
            return kept, len(rows) <= most

        return await self._database.read(run)

    async def seen(self, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        """Return the content digests of those message ids that were accepted before."""

        def run(connection: sqlite3.Connection) -> dict[bytes, bytes]:
            found: dict[bytes, bytes] = {}
            for start in range(0, len(keys), _SOME):
                some = keys[start : start + _SOME]
                marks = ",".join("?" * len(some))
                query = f"SELECT key, digest FROM risk_seen WHERE key IN ({marks})"  # noqa: S608 - only marks
                found.update(connection.execute(query, some).fetchall())
            return found

        return await self._database.read(run)

    async def commit(self, batch: Batch) -> None:
        """Make the batch durable, or change nothing."""

        def run(connection: sqlite3.Connection) -> None:
            connection.executemany(
                "INSERT INTO risk_devices VALUES (?, ?, ?) ON CONFLICT (device_id) DO UPDATE SET"
                " keys = excluded.keys, posture = excluded.posture",
                [(row.device_id, row.keys, row.posture) for row in batch.devices],
            )
            connection.executemany(
                "INSERT INTO risk_signals (received_at, sensor, device_id, signal) VALUES (?, ?, ?, ?)",
                [(_micros(row.received_at), row.sensor, row.device_id, row.signal) for row in batch.signals],
            )
            connection.executemany(
                "INSERT OR REPLACE INTO risk_seen (key, digest, received_at) VALUES (?, ?, ?)",
                [(row.key, row.digest, _micros(row.received_at)) for row in batch.seen],
            )
            connection.executemany(
                "INSERT INTO risk_dead_letters (received_at, sensor, reason, error, body)"
                " VALUES (?, ?, ?, ?, ?)",
                [
                    (_micros(row.received_at), row.sensor, row.reason, row.error, row.body)
                    for row in batch.dead_letters
                ],
            )

        await self._database.write(run)

    async def signals(self, device_id: DeviceId, most: int) -> list[Signal]:
        """Return the newest signals of a device, newest first."""

        def run(connection: sqlite3.Connection) -> list[Signal]:
            query = "SELECT signal FROM risk_signals WHERE device_id = ? ORDER BY id DESC LIMIT ?"
            return [unpack_signal(packed) for (packed,) in connection.execute(query, (device_id, most))]

        return await self._database.read(run)

    async def dead_letters(self, sensor: str | None, most: int) -> list[DeadLetter]:
        """Return the newest dead letters of a sensor, or of all, newest first."""

        def run(connection: sqlite3.Connection) -> list[DeadLetter]:
            query = (
                "SELECT received_at, sensor, reason, error, body FROM risk_dead_letters"
                " WHERE sensor = coalesce(?, sensor) ORDER BY id DESC LIMIT ?"
            )
            return [
                DeadLetter(_instant(at), *rest) for at, *rest in connection.execute(query, (sensor, most))
            ]

        return await self._database.read(run)

    async def prune(self, now: datetime, retention: Retention, most: int) -> int:
        """Remove what is past its retention, at most `most` rows of each kind; return how many went."""
        tables = (
            ("risk_seen", retention.seen_s, MAX_KEY),
            ("risk_signals", retention.signals_s, retention.signals_most),
            ("risk_dead_letters", retention.dead_letters_s, retention.dead_letters_most),
        )

        def run(connection: sqlite3.Connection) -> int:
            gone = 0
            for table, age_s, rows in tables:
                (newest,) = connection.execute(f"SELECT coalesce(max(id), 0) FROM {table}").fetchone()  # noqa: S608
                oldest = f"SELECT id, received_at FROM {table} ORDER BY id LIMIT ?"  # noqa: S608 - our own names
                gone += connection.execute(
                    f"DELETE FROM {table} WHERE id IN"  # noqa: S608 - our own names
                    f" (SELECT id FROM ({oldest}) WHERE received_at < ? OR id <= ?)",
                    (most, _micros(now - timedelta(seconds=age_s)), newest - rows),
                ).rowcount
            return gone

        return await self._database.write(run)


class SqliteDecisionStore:
    """`risk.store.DecisionStore` in SQLite."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def put(self, code: str, created_at: datetime, record: bytes) -> None:
        """Keep one record; the same code again replaces it."""
        await self.put_many([(code, created_at, record)])

    async def put_many(self, records: Sequence[tuple[str, datetime, bytes]]) -> None:
        """Keep several records in one transaction."""
        rows = [(code, _micros(created_at), record) for code, created_at, record in records]

        def run(connection: sqlite3.Connection) -> None:
            connection.executemany("INSERT OR REPLACE INTO risk_decisions VALUES (?, ?, ?)", rows)

        await self._database.write(run)

    async def get(self, code: str) -> bytes | None:
        """Return the record, None when there is none."""

        def run(connection: sqlite3.Connection) -> bytes | None:
            row = connection.execute("SELECT record FROM risk_decisions WHERE code = ?", (code,)).fetchone()
            return None if row is None else bytes(row[0])

        return await self._database.read(run)

    async def prune(self, before: datetime, most: int) -> int:
        """Remove records created before `before`, and the oldest above `most`; return how many went."""

        def run(connection: sqlite3.Connection) -> int:
            gone = connection.execute(
                "DELETE FROM risk_decisions WHERE created_at < ?", (_micros(before),)
            ).rowcount
            gone += connection.execute(
                "DELETE FROM risk_decisions WHERE rowid IN"
                " (SELECT rowid FROM risk_decisions ORDER BY created_at DESC, rowid DESC LIMIT -1 OFFSET ?)",
                (most,),
            ).rowcount
            return gone

        return await self._database.write(run)
