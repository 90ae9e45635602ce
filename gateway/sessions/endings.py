"""What has ended, remembered for minutes and across a restart.

A logout token counts once; a provider session that has ended makes no session here by itself; a browser whose session
was signed out elsewhere learns of it. All of it is asked of memory; the SQLite file has it too, so that none of this is
forgotten with the process. Names are kept as SHA-256 alone.
"""

import hashlib
import sqlite3
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from enum import StrEnum

import msgspec
from cachetools import TLRUCache

from risk.database import Database, StoreFault


class EndingKind(StrEnum):
    """What is remembered."""

    LOGOUT_TOKEN = "logout-token"  # noqa: S105 - the kind of a record
    PROVIDER_SESSION = "provider-session"
    SIGN_OUT = "sign-out"


MOST = {EndingKind.LOGOUT_TOKEN: 50_000, EndingKind.PROVIDER_SESSION: 50_000, EndingKind.SIGN_OUT: 20_000}
"""Most records of each kind, in memory and in the file; the oldest make way."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

_PUT = """
INSERT INTO session_ending (kind, seq, name, value, until_us)
VALUES (?1, (SELECT coalesce(max(seq), 0) + 1 FROM session_ending WHERE kind = ?1), ?2, ?3, ?4)
"""
_SURPLUS = """
DELETE FROM session_ending
WHERE kind = ?1 AND seq <= (SELECT max(seq) FROM session_ending WHERE kind = ?1) - ?2
"""


class Ending(msgspec.Struct, frozen=True):
    """One record: `name` is a digest, `until` when it is forgotten."""

    kind: EndingKind
    name: bytes
    value: str
    until: datetime


class Endings:
    """The memory of what has ended, in a `Database` with the schema of the sessions. `await load()` before use.

    `now` is the wall clock: it has to count on across a restart, as the times in the tokens do.
    """

    def __init__(self, database: Database, *, now: Callable[[], datetime]) -> None:
        self._database = database
        self._now = now
        self._known: dict[EndingKind, TLRUCache[bytes, Ending]] = {
            kind: TLRUCache(most, _until, timer=lambda: now().timestamp()) for kind, most in MOST.items()
        }

    async def load(self) -> None:
        """Take from the file what still counts. Raises `StoreFault`."""
        now_us = _us(self._now())

        def run(connection: sqlite3.Connection) -> list[tuple[str, bytes, str, int]]:
            return connection.execute(
                "SELECT kind, name, value, until_us FROM session_ending WHERE until_us > ? ORDER BY seq",
                (now_us,),
            ).fetchall()

        try:
            for kind, name, value, until_us in await self._database.read(run):
                self._note(Ending(EndingKind(kind), name, value, _EPOCH + until_us * _MICROSECOND))
        except (ValueError, sqlite3.Error) as error:
            raise StoreFault(f"what has ended cannot be read: {error}") from error

    def find(self, kind: EndingKind, *name: str) -> str | None:
        """Return what was remembered under a name, None when nothing was or its time is over."""
        ending = self._known[kind].get(_digest(name))
        return None if ending is None else ending.value

    def remember(self, kind: EndingKind, *name: str, value: str, seconds: float) -> Ending:
        """Remember at once, in memory alone; `keep` what is returned."""
        ending = Ending(kind, _digest(name), value, self._now() + timedelta(seconds=seconds))
        self._note(ending)
        return ending

    async def keep(self, *endings: Ending) -> None:
        """Return when what was remembered is on disk. Raises `StoreFault`, `StoreOverloaded`."""
        now_us = _us(self._now())

        def run(connection: sqlite3.Connection) -> None:
            connection.execute("DELETE FROM session_ending WHERE until_us <= ?", (now_us,))
            for each in endings:
                connection.execute(
                    "DELETE FROM session_ending WHERE kind = ? AND name = ?", (each.kind, each.name)
                )
                connection.execute(_PUT, (each.kind, each.name, each.value, _us(each.until)))
                connection.execute(_SURPLUS, (each.kind, MOST[each.kind]))

        try:
            await self._database.write(run)
        except sqlite3.Error as error:
            raise StoreFault(f"what has ended cannot be written: {error}") from error

    def forget(self, ending: Ending) -> None:
        """Take back what was remembered and not kept."""
        self._known[ending.kind].pop(ending.name, None)

    def _note(self, ending: Ending) -> None:
        self._known[ending.kind][ending.name] = ending


def _until(_name: bytes, ending: Ending, _now: float) -> float:
    return ending.until.timestamp()


def _digest(name: tuple[str, ...]) -> bytes:
    return hashlib.sha256(msgspec.json.encode(name)).digest()


def _us(at: datetime) -> int:
    return (at - _EPOCH) // _MICROSECOND
