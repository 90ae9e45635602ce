"""What was received, in the SQLite file: the `jti` of every token that took effect, and the streams at transmitters.

Tables begin with `ssf_`; times are microseconds since 1970 in UTC. The schema is that of the whole package.
"""

import sqlite3
from datetime import UTC, datetime, timedelta

import msgspec

from risk.database import Database, StoreFault

SCHEMA: tuple[str, ...] = (
    """
    CREATE TABLE ssf_received (
        receiver TEXT NOT NULL,
        jti TEXT NOT NULL,
        received_us INTEGER NOT NULL,
        outcome TEXT NOT NULL,
        PRIMARY KEY (receiver, jti)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX ssf_received_by_time ON ssf_received (received_us);
    CREATE TABLE ssf_heard_stream (
        receiver TEXT PRIMARY KEY,
        record BLOB NOT NULL
    ) STRICT;
    CREATE TABLE ssf_stream (
        stream_id TEXT PRIMARY KEY,
        party TEXT NOT NULL,
        record BLOB NOT NULL
    ) STRICT;
    CREATE TABLE ssf_subject (
        stream_id TEXT NOT NULL REFERENCES ssf_stream (stream_id) ON DELETE CASCADE,
        key TEXT NOT NULL,
        subject BLOB NOT NULL,
        is_added INTEGER NOT NULL,
        PRIMARY KEY (stream_id, key, subject)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE ssf_outbox (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        stream_id TEXT NOT NULL REFERENCES ssf_stream (stream_id) ON DELETE CASCADE,
        jti TEXT NOT NULL,
        created_us INTEGER NOT NULL,
        claims BLOB NOT NULL,
        UNIQUE (stream_id, jti)
    ) STRICT;
    CREATE INDEX ssf_outbox_by_stream ON ssf_outbox (stream_id, seq);
    CREATE TABLE ssf_told (
        device_id TEXT NOT NULL,
        stream_id TEXT NOT NULL REFERENCES ssf_stream (stream_id) ON DELETE CASCADE,
        level TEXT NOT NULL,
        status TEXT NOT NULL,
        PRIMARY KEY (device_id, stream_id)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX ssf_told_by_stream ON ssf_told (stream_id);
    CREATE TABLE ssf_key (
        kid TEXT PRIMARY KEY,
        created_us INTEGER NOT NULL,
        sealed BLOB NOT NULL
    ) STRICT
    """,
    """
    ALTER TABLE ssf_outbox ADD COLUMN is_sent_always INTEGER NOT NULL DEFAULT 0
    """,
)
"""Migrations, oldest first. Never change one that was released; append."""

KEEP_RECEIVED = timedelta(days=30)
"""How long a `jti` is remembered: longer than any transmitter keeps sending a token again."""

MOST_RECEIVED = 2_000_000

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class HeardStream(msgspec.Struct, frozen=True, kw_only=True):
    """A stream of ours at a transmitter. `added` are the subjects added to it, as canonical JSON.

    `secret_digest` tells whether the transmitter was told the secret that is configured now.
    """

    stream_id: str
    issuer: str
    audience: tuple[str, ...] = ()
    poll_url: str = ""
    status: str = "enabled"
    reason: str = ""
    events_delivered: tuple[str, ...] = ()
    added: tuple[str, ...] = ()
    min_verification_interval_s: float = 0.0
    inactivity_timeout_s: float = 0.0
    secret_digest: str = ""


class ReceivedStore:
    """Keeps what was received, in a `Database` whose schema contains `SCHEMA`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def outcome(self, receiver: str, jti: str) -> str | None:
        """Return what became of a token, None for one that never took effect. Raises `StoreFault`."""

        def run(connection: sqlite3.Connection) -> str | None:
            row = connection.execute(
                "SELECT outcome FROM ssf_received WHERE receiver = ? AND jti = ?", (receiver, jti)
            ).fetchone()
            return None if row is None else str(row[0])

        try:
            return await self._database.read(run)
        except sqlite3.Error as error:
            raise StoreFault(f"received tokens cannot be read: {error}") from error

    async def remember(self, receiver: str, jti: str, outcome: str, now: datetime) -> None:
        """Note that a token took effect: it will not be applied again. Raises `StoreFault`, `StoreOverloaded`."""
        row = (receiver, jti, micros(now), outcome)
        await self._database.write(
            lambda connection: connection.execute(
                "INSERT OR IGNORE INTO ssf_received VALUES (?, ?, ?, ?)", row
            )
        )

    async def prune(self, now: datetime) -> None:
        """Forget what is older than `KEEP_RECEIVED`, and the oldest above `MOST_RECEIVED`."""
        before = micros(now - KEEP_RECEIVED)

        def run(connection: sqlite3.Connection) -> None:
            connection.execute("DELETE FROM ssf_received WHERE received_us < ?", (before,))
            oldest = "SELECT received_us FROM ssf_received ORDER BY received_us DESC LIMIT 1 OFFSET ?"
            border = connection.execute(oldest, (MOST_RECEIVED,)).fetchone()
            if border is not None:
                connection.execute("DELETE FROM ssf_received WHERE received_us <= ?", border)

        await self._database.write(run)

    async def stream(self, receiver: str) -> HeardStream | None:
        """Return the stream that this receiver has at its transmitter, None without one. Raises `StoreFault`."""

        def run(connection: sqlite3.Connection) -> HeardStream | None:
            row = connection.execute(
                "SELECT record FROM ssf_heard_stream WHERE receiver = ?", (receiver,)
            ).fetchone()
            return None if row is None else msgspec.json.decode(row[0], type=HeardStream)

        try:
            return await self._database.read(run)
        except (msgspec.MsgspecError, sqlite3.Error) as error:
            raise StoreFault(f"stream `{receiver}` cannot be read: {error}") from error

    async def keep_stream(self, receiver: str, stream: HeardStream) -> None:
        """Keep a receiver's stream in place of the one before."""
        record = msgspec.json.encode(stream)
        await self._database.write(
            lambda connection: connection.execute(
                "INSERT OR REPLACE INTO ssf_heard_stream VALUES (?, ?)", (receiver, record)
            )
        )

    async def forget_stream(self, receiver: str) -> None:
        """Forget a receiver's stream."""
        await self._database.write(
            lambda connection: connection.execute(
                "DELETE FROM ssf_heard_stream WHERE receiver = ?", (receiver,)
            )
        )


def micros(at: datetime) -> int:
    """Return the instant as microseconds since 1970."""
    return (at - _EPOCH) // _MICROSECOND


def instant(microseconds: int) -> datetime:
    """Return the instant that `micros` gave."""
    return _EPOCH + timedelta(microseconds=microseconds)
