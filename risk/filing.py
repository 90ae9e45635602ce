"""Filing: what the journals of `risk.sqlite` hold, put where it is found by device or by message id.

A row that is filed changes a page of an index, and a whole page is written for it. So many rows are filed together, in
the order of that index: they share pages. They are taken in lots, each in a transaction of its own, so that nobody
waits for more than one. The order is worked out on the reading connection, and a lot is filed by one statement: neither
needs the interpreter.

INVARIANT: filing twice is filing once, and what is filed stays in its journal until all of it is filed. Whoever reads
both finds everything at any moment, after a crash too.
"""

import sqlite3
from collections.abc import Iterator
from typing import NamedTuple

import msgspec

FILED_AT_ONCE = 1000
"""Most rows that one transaction files: some milliseconds."""

REMOVED_AT_ONCE = 10_000
"""Most rows that one transaction removes from a journal."""


class Step(NamedTuple):
    """A transaction of the filing."""

    statement: str
    value: int | str

    def run(self, connection: sqlite3.Connection) -> None:
        """Do it, inside of a transaction."""
        connection.execute(self.statement, (self.value,))


class _Journal(NamedTuple):
    """`span` asks for the oldest and the newest row that are not filed; `order` for all up to there, as one JSON text.

    So the interpreter has one row to take, not one each.
    """

    span: str
    order: str
    file: str


def _ordered(rows: str, by: str) -> str:
    return f"SELECT json_group_array(id) FROM (SELECT id FROM ({rows}) ORDER BY {by})"  # noqa: S608 - our own text


_DEVICES_SPAN = "SELECT coalesce(min(id), 0), coalesce(max(id), 0) FROM risk_devices_lately"
_DEVICE = (
    "INSERT INTO risk_devices SELECT device_id, coalesce(keys, ''), posture FROM json_each(?) AS each"
    " CROSS JOIN risk_devices_lately AS lately ON lately.id = each.value"
    " WHERE device_id NOT IN (SELECT device_id FROM risk_merged)"
    " ON CONFLICT (device_id) DO UPDATE SET posture = excluded.posture"
)

SIGNALS = _Journal(
    span="SELECT through + 1, (SELECT coalesce(max(id), 0) FROM risk_signals) FROM risk_filed",
    order=_ordered(
        "SELECT id, device_id FROM risk_signals WHERE id > (SELECT through FROM risk_filed) AND id <= ?"
        " AND device_id IS NOT NULL",
        "device_id, id",
    ),
    file=(
        "INSERT OR IGNORE INTO risk_signals_of SELECT device_id, risk_signals.id FROM json_each(?) AS each"
        " CROSS JOIN risk_signals ON risk_signals.id = each.value"
    ),
)
SEEN = _Journal(
    span="SELECT coalesce(min(id), 0), coalesce(max(id), 0) FROM risk_seen_lately",
    order=_ordered("SELECT max(id) AS id, key FROM risk_seen_lately WHERE id <= ? GROUP BY key", "key"),
    file=(
        "INSERT OR REPLACE INTO risk_seen (key, digest, received_at)"
        " SELECT lately.key, digest, received_at FROM json_each(?) AS each"
        " CROSS JOIN risk_seen_lately AS lately ON lately.id = each.value"
    ),
)
KEYED_DEVICES = _Journal(
    span=_DEVICES_SPAN,
    order=_ordered(
        "SELECT max(id) AS id, device_id FROM risk_devices_lately WHERE id <= ? AND keys IS NOT NULL"
        " GROUP BY device_id",
        "device_id",
    ),
    file=f"{_DEVICE}, keys = excluded.keys",
)
"""Devices whose keys are new; those of others stay as they are."""

DEVICES = _Journal(
    span=_DEVICES_SPAN,
    # Beside `max` the other columns are of its row. Source: SQLite, SELECT, "bare columns in an aggregate query".
    order=_ordered(
        "SELECT id, device_id FROM (SELECT max(id) AS id, device_id, keys FROM risk_devices_lately WHERE id <= ?"
        " GROUP BY device_id) WHERE keys IS NULL",
        "device_id",
    ),
    file=_DEVICE,
)

_ARE_FILED = "UPDATE risk_filed SET through = max(through, ?)"


def plan(connection: sqlite3.Connection) -> list[Step]:
    """Return the transactions that file what is not filed yet: to be run in their order, and no others meanwhile."""
    steps: list[Step] = list(_signals(connection))
    steps += _lots_of(SEEN, connection)
    steps += _removing("risk_seen_lately", SEEN, connection)
    steps += (*_lots_of(KEYED_DEVICES, connection), *_lots_of(DEVICES, connection))
    steps += _removing("risk_devices_lately", DEVICES, connection)
    return steps


def file_signals(connection: sqlite3.Connection) -> None:
    """File all signals now."""
    for step in list(_signals(connection)):
        step.run(connection)


def _signals(connection: sqlite3.Connection) -> Iterator[Step]:
    lots = list(_lots_of(SIGNALS, connection))
    yield from lots
    if lots:
        yield Step(_ARE_FILED, _end(SIGNALS, connection))


def _lots_of(journal: _Journal, connection: sqlite3.Connection) -> Iterator[Step]:
    (ids,) = connection.execute(journal.order, (_end(journal, connection),)).fetchone()
    for some in _some(msgspec.json.decode(ids, type=list[int])):
        yield Step(journal.file, msgspec.json.encode(some).decode())


def _some(ids: list[int]) -> Iterator[list[int]]:
    return (ids[at : at + FILED_AT_ONCE] for at in range(0, len(ids), FILED_AT_ONCE))


def _end(journal: _Journal, connection: sqlite3.Connection) -> int:
    _, newest = connection.execute(journal.span).fetchone()
    return int(newest)


def _removing(table: str, journal: _Journal, connection: sqlite3.Connection) -> Iterator[Step]:
    oldest, newest = connection.execute(journal.span).fetchone()
    for at in range(oldest, newest + 1 if oldest else 0, REMOVED_AT_ONCE):
        upto = min(at + REMOVED_AT_ONCE - 1, newest)
        yield Step(f"DELETE FROM {table} WHERE id <= ?", upto)  # noqa: S608 - our own names
