"""Filing: what the journals of `risk.sqlite` hold, put where it is found by device or by message id.

A row that is filed changes a page of an index, and a whole page is written for it. So many rows are filed together, in
the order of that index: they share pages. They are taken in lots, each in a transaction of its own, so that nobody
waits for more than one. The order is worked out on a reading connection, and a lot is filed by one statement: neither
needs the interpreter.

Signals are not even filed among those of before: each lot is sorted by device and kept beside the others, so its pages
are full and are written once. Whoever asks for a device's signals looks into each lot, the newest first.

INVARIANT: filing twice is filing once, and what is filed stays in its journal until all of it is filed. Whoever reads
both finds everything at any moment, after a crash too.
"""

import sqlite3
from collections.abc import Iterator
from typing import NamedTuple

import msgspec

FILED_AT_ONCE = 500
"""Most rows that one transaction files: a few milliseconds."""

REMOVED_AT_ONCE = 2500
"""Most rows that one transaction removes from a journal."""

LOT = 1000
LEAST_LOT = 500
"""Signals of one lot. Fewer than the least are left in the journal: who asks would look into too many lots."""


class Step(NamedTuple):
    """A transaction of the filing: statements, each with the value as its one parameter."""

    statements: tuple[str, ...]
    value: int | str

    def run(self, connection: sqlite3.Connection) -> None:
        """Do it, inside of a transaction."""
        for statement in self.statements:
            connection.execute(statement, (self.value,))


class _Journal(NamedTuple):
    """`order` asks for the rows up to an id in their order, as JSON texts, one for each of the statements in `file`.

    So the interpreter has one row to take, not one each.
    """

    table: str
    order: str
    file: tuple[str, ...]


_DEVICE = (
    "INSERT INTO risk_devices (device_id, keys, posture, through)"
    " SELECT device_id, coalesce(keys, ''), posture, through FROM json_each(?) AS each"
    " CROSS JOIN risk_devices_lately AS lately ON lately.id = each.value"
    " WHERE device_id NOT IN (SELECT device_id FROM risk_merged)"
    " ON CONFLICT (device_id) DO UPDATE SET posture = excluded.posture, through = excluded.through"
)
_IF_NEWER = " WHERE excluded.through > risk_devices.through"

_SEEN = (
    "INSERT OR REPLACE INTO risk_seen (key, digest, received_at)"
    " SELECT lately.key, digest, received_at FROM json_each(?) AS each"
    " CROSS JOIN risk_seen_lately AS lately ON lately.id = each.value"
)
SEEN = _Journal(
    table="risk_seen_lately",
    order=(
        "SELECT json_group_array(id) FROM"
        " (SELECT max(id) AS id FROM risk_seen_lately WHERE id <= ? GROUP BY key ORDER BY key)"
    ),
    file=(_SEEN,),
)
_IDS = (
    "SELECT json_group_array(id) FROM (SELECT id, max(through) FROM risk_devices_lately"
    " WHERE id <= ?1 AND keys {} GROUP BY device_id ORDER BY device_id)"
)
DEVICES = _Journal(
    table="risk_devices_lately",
    order=f"SELECT ({_IDS.format('IS NOT NULL')}), ({_IDS.format('IS NULL')})",
    file=(f"{_DEVICE}, keys = excluded.keys{_IF_NEWER}", f"{_DEVICE}{_IF_NEWER}"),
)
"""First the newest row with keys of each device, then the newest without: its keys stay."""

_SIGNALS_SPAN = "SELECT through, (SELECT coalesce(max(id), 0) FROM risk_signals) FROM risk_filed"
_SORTED = (
    "INSERT OR IGNORE INTO risk_lot_signals SELECT ?1, device_id, id FROM risk_signals"
    " WHERE id > (SELECT through FROM risk_filed) AND id <= ?1 AND device_id IS NOT NULL ORDER BY device_id, id"
)
_LOT = (
    _SORTED,
    "INSERT OR IGNORE INTO risk_lots SELECT ?1 FROM risk_filed WHERE through < ?1",
    "UPDATE risk_filed SET through = max(through, ?1)",
)
"""The number of a lot is the id of its newest signal."""


def plan(connection: sqlite3.Connection) -> list[Step]:
    """Return the transactions that file what is not filed yet: to be run in their order, and no others meanwhile."""
    return [*_lots(connection), *_filing(SEEN, connection), *_filing(DEVICES, connection)]


def _lots(connection: sqlite3.Connection) -> Iterator[Step]:
    through, newest = connection.execute(_SIGNALS_SPAN).fetchone()
    if newest - through >= LEAST_LOT:
        lots = -(-(newest - through) // LOT)
        yield from (Step(_LOT, through + (newest - through) * each // lots) for each in range(1, lots + 1))


def _filing(journal: _Journal, connection: sqlite3.Connection) -> Iterator[Step]:
    table = journal.table
    span = f"SELECT coalesce(min(id), 0), coalesce(max(id), 0) FROM {table}"  # noqa: S608 - our own names
    oldest, newest = connection.execute(span).fetchone()
    texts = connection.execute(journal.order, (newest,)).fetchone()
    for statement, ids in zip(journal.file, texts, strict=True):
        for some in _some(msgspec.json.decode(ids, type=list[int])):
            yield Step((statement,), msgspec.json.encode(some).decode())
    for at in range(oldest, newest + 1 if oldest else 0, REMOVED_AT_ONCE):
        upto = min(at + REMOVED_AT_ONCE - 1, newest)
        yield Step((f"DELETE FROM {table} WHERE id <= ?",), upto)  # noqa: S608 - as above


def _some(ids: list[int]) -> Iterator[list[int]]:
    return (ids[at : at + FILED_AT_ONCE] for at in range(0, len(ids), FILED_AT_ONCE))
