"""Service tokens in the SQLite file. Times are microseconds since 1970 in UTC."""

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta

import msgspec

from gateway.service_tokens.model import ServiceToken, TokenId
from risk.database import Database, StoreFault

SCHEMA: tuple[str, ...] = (
    """
    CREATE TABLE service_token (
        id TEXT PRIMARY KEY,
        created_us INTEGER NOT NULL,
        used_us INTEGER,
        record BLOB NOT NULL
    ) STRICT
    """,
)
"""Migrations, oldest first. Never change one that was released; append."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

_PUT = """
INSERT INTO service_token (id, created_us, used_us, record) VALUES (?, ?, NULL, ?)
ON CONFLICT (id) DO UPDATE SET record = excluded.record
"""


class SqliteTokenStore:
    """Keeps service tokens in a `Database` whose schema contains `SCHEMA`.

    All may raise `StoreFault` and `StoreOverloaded`.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def load(self) -> list[ServiceToken]:
        """Return every token, oldest first."""

        def run(connection: sqlite3.Connection) -> list[ServiceToken]:
            rows = connection.execute("SELECT record, used_us FROM service_token ORDER BY created_us, rowid")
            return [_token(record, used_us) for record, used_us in rows]

        try:
            return await self._database.read(run)
        except (msgspec.MsgspecError, sqlite3.Error) as error:
            raise StoreFault(f"service tokens cannot be read: {error}") from error

    async def put(self, tokens: Iterable[ServiceToken]) -> None:
        """Keep tokens, each in place of an earlier state of it; when they were used is kept apart."""
        rows = [
            (each.id, _us(each.created_at), msgspec.json.encode(msgspec.structs.replace(each, used_at=None)))
            for each in tokens
        ]
        await self._write(_PUT, rows)

    async def touch(self, used: Mapping[TokenId, datetime]) -> None:
        """Note when tokens were last used."""
        rows = [(_us(at), token_id) for token_id, at in used.items()]
        await self._write("UPDATE service_token SET used_us = ? WHERE id = ?", rows)

    async def remove(self, ids: Iterable[TokenId]) -> None:
        """Forget tokens."""
        await self._write("DELETE FROM service_token WHERE id = ?", [(each,) for each in ids])

    async def _write(self, statement: str, rows: Sequence[tuple[object, ...]]) -> None:
        try:
            await self._database.write(lambda connection: connection.executemany(statement, rows))
        except sqlite3.Error as error:
            raise StoreFault(f"service tokens cannot be written: {error}") from error


def _token(record: bytes, used_us: int | None) -> ServiceToken:
    token = msgspec.json.decode(record, type=ServiceToken)
    used_at = None if used_us is None else _EPOCH + timedelta(microseconds=used_us)
    return msgspec.structs.replace(token, used_at=used_at)


def _us(at: datetime) -> int:
    return (at - _EPOCH) // _MICROSECOND
