"""Sessions in the SQLite file. Tables begin with `session_`; times are microseconds since 1970 in UTC."""

import sqlite3
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta

import msgspec

from compliance.model import User
from gateway.devices.claim import ClaimedDevice
from gateway.sessions.model import HostCookie, Session, SessionId, shared_text, sharing
from risk.database import Database, StoreFault

SCHEMA: tuple[str, ...] = (
    """
    CREATE TABLE session_session (
        id TEXT PRIMARY KEY,
        created_us INTEGER NOT NULL,
        seen_us INTEGER NOT NULL,
        ends_us INTEGER NOT NULL,
        user TEXT NOT NULL,
        devices TEXT NOT NULL,
        provider_sid TEXT,
        id_token BLOB,
        refresh_token BLOB
    ) STRICT;
    CREATE TABLE session_cookie (
        hash TEXT PRIMARY KEY,
        session_id TEXT NOT NULL REFERENCES session_session (id) ON DELETE CASCADE,
        host TEXT NOT NULL,
        created_us INTEGER NOT NULL
    ) STRICT;
    CREATE INDEX session_cookie_by_session ON session_cookie (session_id)
    """,
    """
    CREATE TABLE session_ending (
        kind TEXT NOT NULL,
        seq INTEGER NOT NULL,
        name BLOB NOT NULL,
        value TEXT NOT NULL,
        until_us INTEGER NOT NULL,
        PRIMARY KEY (kind, seq),
        UNIQUE (kind, name)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX session_ending_by_time ON session_ending (until_us)
    """,
)
"""Migrations, oldest first. Never change one that was released; append."""

_users = msgspec.json.Decoder(User)
_devices = msgspec.json.Decoder(tuple[ClaimedDevice, ...])
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

_PUT = """
INSERT INTO session_session
    (id, created_us, seen_us, ends_us, user, devices, provider_sid, id_token, refresh_token)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (id) DO UPDATE SET
    created_us = excluded.created_us, seen_us = excluded.seen_us, ends_us = excluded.ends_us, user = excluded.user,
    devices = excluded.devices, provider_sid = excluded.provider_sid, id_token = excluded.id_token,
    refresh_token = excluded.refresh_token
"""
_PUT_COOKIE = """
INSERT OR REPLACE INTO session_cookie (hash, session_id, host, created_us)
SELECT ?, ?, ?, ? WHERE EXISTS (SELECT 1 FROM session_session WHERE id = ?)
"""


class SqliteSessionStore:
    """`SessionStore` in a `Database` whose schema contains `SCHEMA`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def load(self) -> tuple[list[Session], list[HostCookie]]:
        """Return every session and cookie. Raises `StoreFault` when a row cannot be read."""

        def run(connection: sqlite3.Connection) -> tuple[list[Session], list[HostCookie]]:
            read = read_sessions(connection)
            cookies = connection.execute(
                "SELECT hash, session_id, host, created_us FROM session_cookie ORDER BY created_us, rowid",
            )
            return read, [_cookie(row) for row in cookies]

        try:
            return await self._database.read(run)
        except (msgspec.MsgspecError, sqlite3.Error) as error:
            raise StoreFault(f"sessions cannot be read: {error}") from error

    async def put(self, session: Session) -> None:
        """Keep a session, in place of an earlier one with its id."""
        row = (
            session.id,
            _us(session.created_at),
            _us(session.last_seen_at),
            _us(session.ends_at),
            msgspec.json.encode(session.user, order="deterministic").decode(),
            msgspec.json.encode(session.devices).decode(),
            session.provider_sid,
            session.sealed_id_token,
            session.sealed_refresh_token,
        )
        await self._write(lambda connection: connection.execute(_PUT, row))

    async def put_cookie(self, cookie: HostCookie, *, replaces: Iterable[str] = ()) -> None:
        """Keep a cookie and forget those with the hashes of `replaces`."""
        row = (cookie.hash, cookie.session_id, cookie.host, _us(cookie.created_at), cookie.session_id)
        old = [(each,) for each in replaces]

        def run(connection: sqlite3.Connection) -> None:
            connection.executemany("DELETE FROM session_cookie WHERE hash = ?", old)
            connection.execute(_PUT_COOKIE, row)

        await self._write(run)

    async def touch(self, seen: Mapping[SessionId, datetime]) -> None:
        """Note when sessions were last used."""
        rows = [(_us(at), session_id, _us(at)) for session_id, at in seen.items()]
        await self._write(
            lambda connection: connection.executemany(
                "UPDATE session_session SET seen_us = ? WHERE id = ? AND seen_us < ?",
                rows,
            ),
        )

    async def remove(self, ids: Iterable[SessionId]) -> None:
        """Forget sessions; foreign keys take their cookies along."""
        rows = [(session_id,) for session_id in ids]
        await self._write(
            lambda connection: connection.executemany("DELETE FROM session_session WHERE id = ?", rows),
        )

    async def _write(self, run: Callable[[sqlite3.Connection], object]) -> None:
        try:
            await self._database.write(run)
        except sqlite3.Error as error:
            raise StoreFault(f"sessions cannot be written: {error}") from error


def read_sessions(connection: sqlite3.Connection) -> list[Session]:
    """Return every session of a file, oldest first; also for who only reads it. Raises `msgspec.MsgspecError`."""
    rows = connection.execute(
        "SELECT id, created_us, seen_us, ends_us, user, devices, provider_sid, id_token, refresh_token"
        " FROM session_session ORDER BY created_us, rowid",
    )
    return [_session(row) for row in rows]


def _session(row: tuple[str, int, int, int, str, str, str | None, bytes | None, bytes | None]) -> Session:
    return Session(
        id=SessionId(row[0]),
        created_at=_at(row[1]),
        last_seen_at=_at(row[2]),
        ends_at=_at(row[3]),
        user=sharing(_users.decode(row[4])),
        devices=_devices.decode(row[5]),
        provider_sid=row[6],
        sealed_id_token=row[7],
        sealed_refresh_token=row[8],
    )


def _cookie(row: tuple[str, str, str, int]) -> HostCookie:
    return HostCookie(
        hash=row[0], session_id=SessionId(row[1]), host=shared_text(row[2]), created_at=_at(row[3])
    )


def _us(at: datetime) -> int:
    return (at - _EPOCH) // _MICROSECOND


def _at(microseconds: int) -> datetime:
    return _EPOCH + timedelta(microseconds=microseconds)
