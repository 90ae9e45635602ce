"""Delivery records and bodies in the SQLite file. Tables begin with `delivery_`.

Verified and unverified records have tables of their own: strangers cannot push out what sensors really sent.
"""

import sqlite3
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import msgspec

from gateway.deliveries.model import HEARD, DeliveryRecord
from risk.database import Database
from risk.sqlite import insert_rows

SCHEMA: tuple[str, ...] = (
    """
    CREATE TABLE delivery_verified (row INTEGER PRIMARY KEY, id TEXT NOT NULL, message_id TEXT NOT NULL,
        sensor TEXT NOT NULL, at INTEGER NOT NULL, record BLOB NOT NULL) STRICT;
    CREATE INDEX delivery_verified_sensor ON delivery_verified (sensor, row);
    CREATE INDEX delivery_verified_id ON delivery_verified (id);
    CREATE INDEX delivery_verified_message ON delivery_verified (message_id);
    CREATE TABLE delivery_unverified (row INTEGER PRIMARY KEY, id TEXT NOT NULL, message_id TEXT NOT NULL,
        sensor TEXT NOT NULL, at INTEGER NOT NULL, record BLOB NOT NULL) STRICT;
    CREATE INDEX delivery_unverified_sensor ON delivery_unverified (sensor, row);
    CREATE INDEX delivery_unverified_id ON delivery_unverified (id);
    CREATE TABLE delivery_body (row INTEGER PRIMARY KEY, id TEXT NOT NULL, sensor TEXT NOT NULL,
        at INTEGER NOT NULL, bytes INTEGER NOT NULL, headers BLOB NOT NULL, body BLOB NOT NULL) STRICT;
    CREATE INDEX delivery_body_id ON delivery_body (id);
    CREATE INDEX delivery_body_sensor ON delivery_body (sensor, at);
    """,
)
"""Migrations of the tables of this package; appended to, never edited."""

TABLES = ("delivery_verified", "delivery_unverified")
LOOKED_BACK = 100
PRUNE_MOST = 500
"""Most rows of each table that one transaction removes: signals get their turn at the store between two."""

_BODIES = ("INSERT INTO delivery_body (id, sensor, at, bytes, headers, body) VALUES", "")

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class Body(msgspec.Struct, frozen=True, kw_only=True):
    """What a delivery contained: all that is needed to read it again."""

    id: str
    sensor: str
    at: datetime
    headers: dict[str, str]
    body: bytes


class Kept(msgspec.Struct, frozen=True):
    """A record to be written, with its body when that is kept."""

    record: DeliveryRecord
    is_verified: bool
    body: Body | None = None


class Totals(msgspec.Struct):
    """How much is kept, so that nothing has to be counted."""

    verified: int = 0
    unverified: int = 0
    bodies_bytes: int = 0


class Bounds(msgspec.Struct, frozen=True, kw_only=True):
    """How much may be kept."""

    keep: timedelta
    most: int
    keep_bodies: timedelta
    bodies_bytes: int


class DeliveryStore:
    """Keeps delivery records and bodies. `load` before anything else."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.totals = Totals()

    async def load(self) -> None:
        """Count once what is kept."""

        def run(connection: sqlite3.Connection) -> Totals:
            counts = [
                connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]  # noqa: S608 - our own names
                for table in TABLES
            ]
            total = connection.execute("SELECT coalesce(sum(bytes), 0) FROM delivery_body").fetchone()[0]
            return Totals(counts[0], counts[1], total)

        self.totals = await self._database.read(run)

    async def put(self, rows: Sequence[Kept]) -> None:
        """Write records in one transaction. Raises `StoreFault`, `StoreOverloaded`."""
        records = [(_row(each.record), each.is_verified) for each in rows]
        bodies = [_body_row(each.body) for each in rows if each.body is not None]

        def run(connection: sqlite3.Connection) -> None:
            for table, is_verified in zip(TABLES, (True, False), strict=True):
                into = (f"INSERT INTO {table} (id, message_id, sensor, at, record) VALUES", "")
                insert_rows(connection, into, [row for row, verified in records if verified is is_verified])
            insert_rows(connection, _BODIES, bodies)

        await self._database.put_off(run)
        self.totals.verified += sum(each.is_verified for each in rows)
        self.totals.unverified += sum(not each.is_verified for each in rows)
        self.totals.bodies_bytes += sum(size for _, _, _, size, _, _ in bodies)

    async def listed(
        self, sensor: str, most: int, *, since: datetime | None = None, until: datetime | None = None
    ) -> list[DeliveryRecord]:
        """Return the newest records of a sensor ("" for all), newest first."""
        low = 0 if since is None else _us(since)
        high = 2**62 if until is None else _us(until)
        named = "sensor = ? AND" if sensor else "? = '' AND"

        def run(connection: sqlite3.Connection) -> list[DeliveryRecord]:
            found: list[DeliveryRecord] = []
            for table in TABLES:
                query = (
                    f"SELECT record FROM {table} WHERE {named} at >= ? AND at <= ? ORDER BY row DESC LIMIT ?"  # noqa: S608
                )
                rows = connection.execute(query, (sensor, low, high, most))
                found += [msgspec.json.decode(row[0], type=DeliveryRecord) for row in rows]
            return sorted(found, key=lambda each: each.at, reverse=True)[:most]

        return await self._database.read(run)

    async def find(self, delivery_id: str) -> DeliveryRecord | None:
        """Return the newest record with this id, ours or the sender's; None without one."""

        def run(connection: sqlite3.Connection) -> DeliveryRecord | None:
            for table, column in (
                (TABLES[0], "id"),
                (TABLES[1], "id"),
                (TABLES[0], "message_id"),
            ):
                query = f"SELECT record FROM {table} WHERE {column} = ? ORDER BY row DESC LIMIT 1"  # noqa: S608
                row = connection.execute(query, (delivery_id,)).fetchone()
                if row is not None:
                    return msgspec.json.decode(row[0], type=DeliveryRecord)
            return None

        return await self._database.read(run)

    async def body(self, delivery_id: str) -> Body | None:
        """Return the body of a delivery by our id, None when it is not kept."""

        def run(connection: sqlite3.Connection) -> Body | None:
            query = "SELECT id, sensor, at, headers, body FROM delivery_body WHERE id = ? LIMIT 1"
            row = connection.execute(query, (delivery_id,)).fetchone()
            return None if row is None else _body(*row)

        return await self._database.read(run)

    async def body_ids(self, sensor: str, since: datetime, until: datetime, most: int) -> list[str]:
        """Return the ids of a sensor's kept bodies of a span, in the order in which they came."""

        def run(connection: sqlite3.Connection) -> list[str]:
            query = "SELECT id FROM delivery_body WHERE sensor = ? AND at >= ? AND at <= ? ORDER BY at, row LIMIT ?"
            return [row[0] for row in connection.execute(query, (sensor, _us(since), _us(until), most))]

        return await self._database.read(run)

    async def last_heard(self) -> dict[str, datetime]:
        """Return when each sensor last spoke itself, as far as that is among its `LOOKED_BACK` newest records."""

        def run(connection: sqlite3.Connection) -> dict[str, datetime]:
            names = [row[0] for row in connection.execute("SELECT DISTINCT sensor FROM delivery_verified")]
            query = "SELECT record FROM delivery_verified WHERE sensor = ? ORDER BY row DESC LIMIT ?"
            found: dict[str, datetime] = {}
            for name in names:
                rows = connection.execute(query, (name, LOOKED_BACK))
                records = (msgspec.json.decode(row[0], type=DeliveryRecord) for row in rows)
                at = next((each.at for each in records if each.verdict in HEARD and not each.again), None)
                if at is not None:
                    found[name] = at
            return found

        return await self._database.read(run)

    async def prune(self, now: datetime, bounds: Bounds) -> int:
        """Remove what is past its time or above a bound, at most `PRUNE_MOST` rows of each table; return how many."""
        over = {
            TABLES[0]: self.totals.verified - bounds.most,
            TABLES[1]: self.totals.unverified - max(1, bounds.most // 10),
        }
        old, old_body = _us(now - bounds.keep), _us(now - bounds.keep_bodies)
        excess = self.totals.bodies_bytes - bounds.bodies_bytes

        def run(connection: sqlite3.Connection) -> tuple[list[int], list[int]]:
            gone = []
            for table in TABLES:
                oldest = f"SELECT row, at FROM {table} ORDER BY row LIMIT {PRUNE_MOST}"  # noqa: S608
                rows = connection.execute(oldest).fetchall()
                dead = [row for place, (row, at) in enumerate(rows) if at < old or place < over[table]]
                _delete(connection, table, dead)
                gone.append(len(dead))
            return gone, _prune_bodies(connection, old_body, excess)

        counts, sizes = await self._database.put_off(run)
        self.totals.verified -= counts[0]
        self.totals.unverified -= counts[1]
        self.totals.bodies_bytes -= sum(sizes)
        return max(*counts, len(sizes))


def _prune_bodies(connection: sqlite3.Connection, old: int, excess: int) -> list[int]:
    """Remove the oldest bodies that are too old or too much; return their sizes."""
    dead: list[int] = []
    sizes: list[int] = []
    for row, at, size in connection.execute(
        f"SELECT row, at, bytes FROM delivery_body ORDER BY row LIMIT {PRUNE_MOST}"  # noqa: S608 - a number
    ).fetchall():
        if at >= old and excess <= 0:
            break
        dead.append(row)
        sizes.append(size)
        excess -= size
    _delete(connection, "delivery_body", dead)
    return sizes


def _delete(connection: sqlite3.Connection, table: str, rows: Sequence[int]) -> None:
    """Remove rows by one statement: as with those that are inserted, the interpreter is waited for once."""
    marks = "SELECT value FROM json_each(?)"
    connection.execute(f"DELETE FROM {table} WHERE row IN ({marks})", (msgspec.json.encode(rows).decode(),))  # noqa: S608 - our own names


def _row(record: DeliveryRecord) -> tuple[str, str, str, int, bytes]:
    return record.id, record.message_id, record.sensor, _us(record.at), msgspec.json.encode(record)


def _body_row(body: Body) -> tuple[str, str, int, int, bytes, bytes]:
    headers = msgspec.json.encode(body.headers)
    return body.id, body.sensor, _us(body.at), len(body.body) + len(headers), headers, body.body


def _body(id_: str, sensor: str, at: int, headers: bytes, body: bytes) -> Body:
    named = msgspec.json.decode(headers, type=dict[str, str])
    return Body(id=id_, sensor=sensor, at=_instant(at), headers=named, body=body)


def _us(at: datetime) -> int:
    return (at - _EPOCH) // _MICROSECOND


def _instant(us: int) -> datetime:
    return _EPOCH + timedelta(microseconds=us)
