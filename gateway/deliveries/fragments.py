"""Parts of one statement that come in several messages, put together before a plugin reads them.

A stream may tell in one row what was found and in another on which machine (Defender: `AlertInfo`, `AlertEvidence`).
What the plugin calls a fragment is kept for a day, durable before the delivery is answered, and laid beside whatever
comes later under the same key, in whatever order that is.
"""

import sqlite3
from collections import OrderedDict
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from plugins.catalog import SensorFacade
from plugins.contract import Joining
from risk.database import Database

SCHEMA: tuple[str, ...] = (
    """
    CREATE TABLE delivery_fragment (row INTEGER PRIMARY KEY, sensor TEXT NOT NULL, key TEXT NOT NULL,
        at INTEGER NOT NULL, content BLOB NOT NULL) STRICT;
    CREATE INDEX delivery_fragment_at ON delivery_fragment (at);
    """,
)
"""Migrations of the tables of this module; appended to, never edited."""

KEPT = timedelta(days=1)
MAX_KEYS = 10_000
"""Most statements that wait for more; the oldest is forgotten first."""

MAX_PARTS = 64
"""Most fragments of one statement."""

MAX_PART_BYTES = 16_384
MAX_KEY_CHARS = 200

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_Key = tuple[str, str]


class Fragments:
    """Keeps fragments, and joins payloads with those that came before. `load` before anything else."""

    def __init__(self, database: Database, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._clock = clock
        self._parts: OrderedDict[_Key, tuple[datetime, tuple[bytes, ...]]] = OrderedDict()

    async def load(self) -> None:
        """Take over what is kept, and remove what is too old."""
        oldest = _us(self._clock() - KEPT)

        def run(connection: sqlite3.Connection) -> list[tuple[str, str, int, bytes]]:
            connection.execute("DELETE FROM delivery_fragment WHERE at < ?", (oldest,))
            return connection.execute(
                "SELECT sensor, key, at, content FROM delivery_fragment ORDER BY row"
            ).fetchall()

        for sensor, key, at, content in await self._database.write(run):
            self._add((sensor, key), _EPOCH + timedelta(microseconds=at), content)

    async def joined(self, sensor: str, facade: SensorFacade, payloads: Sequence[Any]) -> list[Any]:
        """Return the payloads with what came before beside it, and keep their own fragments.

        They are durable when this returns. Raises `StoreFault`, `StoreOverloaded`, and then nothing is kept.
        """
        plugin = facade.joining
        if plugin is None:
            return list(payloads)
        now = self._clock()
        known: set[tuple[str, bytes]] = set()
        fresh: list[tuple[str, str, int, bytes]] = []
        parts = [_fragments(plugin, payload) for payload in payloads]
        for own in parts:
            for key, content in own:
                if (key, content) not in known and content not in self._found((sensor, key), now):
                    known.add((key, content))
                    fresh.append((sensor, key, _us(now), content))
        if fresh:
            await self._write(fresh)
            for _, key, _, content in fresh:
                self._add((sensor, key), now, content)
        return [
            self._beside(sensor, plugin, payload, own, now)
            for payload, own in zip(payloads, parts, strict=True)
        ]

    def beside(self, sensor: str, facade: SensorFacade, payloads: Sequence[Any]) -> list[Any]:
        """Return the payloads with what is kept beside it. Keeps nothing."""
        plugin = facade.joining
        if plugin is None:
            return list(payloads)
        now = self._clock()
        return [
            self._beside(sensor, plugin, payload, _fragments(plugin, payload), now) for payload in payloads
        ]

    def _beside(
        self, sensor: str, plugin: Joining, payload: Any, own: Sequence[tuple[str, bytes]], now: datetime
    ) -> Any:
        mine = {content for _, content in own}
        earlier = [
            msgspec.json.decode(content)
            for key in dict.fromkeys(key for key, _ in own)
            for content in self._found((sensor, key), now)
            if content not in mine
        ]
        return plugin.joined(payload, earlier) if earlier else payload

    def _found(self, key: _Key, now: datetime) -> tuple[bytes, ...]:
        at, parts = self._parts.get(key, (now, ()))
        return parts if now - at <= KEPT else ()

    def _add(self, key: _Key, at: datetime, content: bytes) -> None:
        self._parts[key] = (at, (*self._found(key, at), content)[-MAX_PARTS:])
        self._parts.move_to_end(key)
        if len(self._parts) > MAX_KEYS:
            self._parts.popitem(last=False)

    async def _write(self, rows: Sequence[tuple[str, str, int, bytes]]) -> None:
        oldest = _us(self._clock() - KEPT)

        def run(connection: sqlite3.Connection) -> None:
            connection.executemany(
                "INSERT INTO delivery_fragment (sensor, key, at, content) VALUES (?, ?, ?, ?)", rows
            )
            connection.execute(
                "DELETE FROM delivery_fragment WHERE row IN (SELECT row FROM delivery_fragment WHERE at < ? LIMIT 500)",
                (oldest,),
            )
            connection.execute(
                "DELETE FROM delivery_fragment WHERE row <= (SELECT max(row) FROM delivery_fragment) - ?",
                (MAX_KEYS * 4,),
            )

        await self._database.write(run)


def _fragments(plugin: Joining, payload: Any) -> list[tuple[str, bytes]]:
    """Return the fragments of a payload within their bounds; a plugin that raises has none."""
    try:
        found = [(each.key, msgspec.json.encode(each.content)) for each in plugin.fragments(payload)]
    except Exception:  # noqa: BLE001 - `normalize` will tell the same fault of the plugin
        return []
    return [
        (key, content)
        for key, content in found
        if 0 < len(key) <= MAX_KEY_CHARS and len(content) <= MAX_PART_BYTES
    ]


def _us(at: datetime) -> int:
    return (at - _EPOCH) // timedelta(microseconds=1)
