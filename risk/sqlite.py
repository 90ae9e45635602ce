"""The store of risk in SQLite, on `risk.database.Database`.

Times are stored as unix microseconds. Journals are read and pruned in the order of their row ids, which is
the order of arrival, so no index by time is written for every signal.

What signals and message ids are found by, and the postures of devices, are *filed* later, for many of them at once
(`risk.filing`). Until then they are at the end of their journals: signals behind `risk_filed`, message ids in
`risk_seen_lately`, postures in `risk_devices_lately`, where the newest of a device counts. A posture that only signals
have changed is not even there before the next filing: it follows from the signals (`risk.lately`).
"""

import asyncio
import contextlib
import sqlite3
from collections.abc import Callable, Coroutine, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import chain, islice
from typing import Any, Protocol

from risk.database import PATIENCE_S, Database, StoreFault, StoreOverloaded
from risk.filing import Step, plan
from risk.lately import Lately
from risk.model import DeviceId, Signal
from risk.packing import unpack_signal
from risk.rows import micros, packed_devices, packed_seen, packed_signals
from risk.store import (
    LOADED_AT_ONCE,
    AllWritten,
    Batch,
    DeadLetter,
    DeviceRow,
    MergedRow,
    PartRow,
    Retention,
    SeenRow,
    Unwritten,
    UserRow,
)

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
    """
    CREATE TABLE risk_users (user_id TEXT PRIMARY KEY, posture BLOB NOT NULL) WITHOUT ROWID;
    """,
    """
    CREATE TABLE risk_merged (device_id TEXT PRIMARY KEY, survivor TEXT NOT NULL) WITHOUT ROWID;
    """,
    """
    CREATE TABLE risk_parts (id INTEGER PRIMARY KEY, part BLOB NOT NULL);
    """,
    """
    ALTER TABLE risk_dead_letters ADD COLUMN delivery TEXT NOT NULL DEFAULT '';
    ALTER TABLE risk_dead_letters ADD COLUMN item INTEGER NOT NULL DEFAULT 0;
    """,
    """
    DROP INDEX risk_signals_device;
    CREATE TABLE risk_signals_of (device_id TEXT NOT NULL, id INTEGER NOT NULL, PRIMARY KEY (device_id, id))
        WITHOUT ROWID;
    INSERT INTO risk_signals_of SELECT device_id, id FROM risk_signals WHERE device_id IS NOT NULL
        ORDER BY device_id, id;
    CREATE TABLE risk_filed (through INTEGER NOT NULL);
    INSERT INTO risk_filed SELECT coalesce(max(id), 0) FROM risk_signals;
    CREATE TABLE risk_seen_lately (id INTEGER PRIMARY KEY, key BLOB NOT NULL, digest BLOB NOT NULL,
        received_at INTEGER NOT NULL);
    """,
    """
    CREATE TABLE risk_devices_lately (id INTEGER PRIMARY KEY, device_id TEXT NOT NULL, keys TEXT,
        posture BLOB NOT NULL);
    """,
    """
    CREATE TABLE risk_promises (first INTEGER NOT NULL, last INTEGER NOT NULL);
    INSERT INTO risk_promises SELECT min(id), max(id) FROM risk_parts HAVING count(*) > 0;
    """,
    """
    CREATE TABLE risk_dead_letters_of (sensor TEXT PRIMARY KEY, letters INTEGER NOT NULL) WITHOUT ROWID;
    INSERT INTO risk_dead_letters_of SELECT sensor, count(*) FROM risk_dead_letters GROUP BY sensor;
    CREATE TRIGGER risk_dead_letters_more AFTER INSERT ON risk_dead_letters BEGIN
        INSERT INTO risk_dead_letters_of VALUES (NEW.sensor, 1)
            ON CONFLICT (sensor) DO UPDATE SET letters = letters + 1;
    END;
    CREATE TRIGGER risk_dead_letters_less AFTER DELETE ON risk_dead_letters BEGIN
        UPDATE risk_dead_letters_of SET letters = letters - 1 WHERE sensor = OLD.sensor;
    END;
    """,
    """
    CREATE TABLE risk_lots (newest INTEGER PRIMARY KEY);
    CREATE TABLE risk_lot_signals (lot INTEGER NOT NULL, device_id TEXT NOT NULL, id INTEGER NOT NULL,
        PRIMARY KEY (lot, device_id, id)) WITHOUT ROWID;
    INSERT INTO risk_lots SELECT through FROM risk_filed WHERE through > 0;
    INSERT INTO risk_lot_signals SELECT through, device_id, id FROM risk_filed CROSS JOIN risk_signals_of
        WHERE id <= through ORDER BY device_id, id;
    DROP TABLE risk_signals_of;
    CREATE INDEX risk_merged_survivor ON risk_merged (survivor);
    """,
    """
    ALTER TABLE risk_devices ADD COLUMN through INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE risk_devices_lately ADD COLUMN through INTEGER NOT NULL DEFAULT 0;
    UPDATE risk_devices_lately SET through = id;
    ALTER TABLE risk_filed ADD COLUMN written INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE risk_filed ADD COLUMN numbered INTEGER NOT NULL DEFAULT 0;
    UPDATE risk_filed SET written = max(through, (SELECT coalesce(max(id), 0) FROM risk_signals),
        (SELECT coalesce(max(id), 0) FROM risk_devices_lately));
    CREATE VIEW risk_intake AS SELECT NULL AS first, NULL AS heads, NULL AS signals, NULL AS through, NULL AS devices,
        NULL AS postures, NULL AS times, NULL AS keys;
    CREATE TRIGGER risk_intake_taken INSTEAD OF INSERT ON risk_intake BEGIN
        INSERT INTO risk_signals (id, received_at, sensor, device_id, signal)
            SELECT NEW.first + key, json_extract(value, '$[0]'), json_extract(value, '$[1]'),
                json_extract(value, '$[2]'),
                substr(NEW.signals, json_extract(value, '$[3]'), json_extract(value, '$[4]'))
            FROM json_each(NEW.heads);
        INSERT INTO risk_devices_lately (device_id, keys, posture, through)
            SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]'),
                substr(NEW.postures, json_extract(value, '$[2]'), json_extract(value, '$[3]')), NEW.through
            FROM json_each(NEW.devices);
        INSERT INTO risk_seen_lately (key, digest, received_at)
            SELECT substr(NEW.keys, key * 24 + 1, 16), substr(NEW.keys, key * 24 + 17, 8), value
            FROM json_each(NEW.times);
    END;
    """,
)
"""Migrations of the tables of this package, all named `risk_…`; appended to, never edited."""

_Work = Callable[[sqlite3.Connection], None]


class _Write(Protocol):
    """Has the database do some work; returns once it is done."""

    async def __call__(self, work: _Work, /, *, is_one_statement: bool) -> None: ...


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SOME = 500
"""Host parameters of one query, well under SQLite's limit."""

MAX_KEY = 2**62

_AT_ONCE = (256, 192, 128, 96, 64, 32, 16, 8, 4, 2, 1)
_MOST_PARAMETERS = 999
"""Rows of one statement, and the most parameters that every SQLite takes. INVARIANT: few sizes, so that every statement
stays prepared."""

_INTAKE = "INSERT INTO risk_intake VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
_WRITTEN = "UPDATE risk_filed SET written = max(written, ?)"
_NUMBER = "UPDATE risk_filed SET numbered = ?"
_NUMBERED = (
    "SELECT max(written, numbered, (SELECT coalesce(max(id), 0) FROM risk_signals),"
    " (SELECT coalesce(max(through), 0) FROM risk_devices_lately)) FROM risk_filed"
)
_USERS = ("INSERT OR REPLACE INTO risk_users VALUES", "")
_DEAD_LETTERS = (
    "INSERT INTO risk_dead_letters (received_at, sensor, reason, error, body, delivery, item) VALUES",
    "",
)
_DECISIONS = ("INSERT OR REPLACE INTO risk_decisions VALUES", "")
_PARTS = ("INSERT INTO risk_parts (id, part) VALUES", "")


MIN_UNFILED = 500
QUIET_S = 0.3
"""So many signals, message ids or postures are filed once nothing has been committed for so long."""

MAX_UNFILED = 40_000
"""From so many on, what waits is filed while deliveries go on. The more there are, the more of them share a page."""

MAX_WAITING = 2 * MAX_UNFILED
"""Most that may wait while others are being filed; deliveries wait for those then."""

HURRIED_S = 0.005
"""How long a step of the filing lets others go first once half of what begins the next filing waits again."""


MAX_UNWRITTEN = 16_384
"""From so many postures on that no commit has written, they are written while deliveries go on, so that a start has not
too much to fold. So many may be open (`risk.snapshot`): the postures of a smaller fleet wait for the next filing."""

WRITTEN_AT_ONCE = 256
"""Postures that are written by one transaction, and packed between two turns of the event loop."""

FORGOTTEN_AT_ONCE = 256
"""Message ids that are let go of between two turns of the event loop."""


@lru_cache(maxsize=512)
def _statement(head: str, tail: str, width: int, rows: int) -> str:
    marks = f"({','.join('?' * width)})"
    return f"{head} {','.join([marks] * rows)}{tail}"


_IS_WRITTEN = "WHERE id <= (SELECT written FROM risk_filed)"
"""A signal stays as long as the posture of its device does not know it."""

_EMPTY_LOT = """
DELETE FROM risk_lot_signals WHERE (lot, device_id, id) IN (
    SELECT lot, device_id, id FROM risk_lot_signals
    WHERE lot < (SELECT coalesce(min(id), 9223372036854775807) FROM risk_signals) LIMIT ?
)
"""
_REMOVE_LOTS = """
DELETE FROM risk_lots WHERE newest < (SELECT coalesce(min(id), 9223372036854775807) FROM risk_signals)
    AND NOT EXISTS (SELECT 1 FROM risk_lot_signals WHERE lot = newest)
"""
"""Lots of which no signal is left go. In others there may be some that are gone, or whose id another one has now."""

_SIGNALS_OF = """
WITH RECURSIVE names (name) AS (
    SELECT ?1 WHERE ?1 NOT IN (SELECT device_id FROM risk_merged)
    UNION
    SELECT device_id FROM names CROSS JOIN risk_merged ON survivor = name
)
SELECT signal FROM risk_signals WHERE id IN (
    SELECT id FROM (
        SELECT kept.id FROM risk_lots AS lot CROSS JOIN names
            CROSS JOIN risk_lot_signals AS filed ON filed.lot = lot.newest AND filed.device_id = name
            CROSS JOIN risk_signals AS kept ON kept.id = filed.id AND kept.device_id = name
        ORDER BY lot.newest DESC, filed.id DESC LIMIT ?2
    )
    UNION ALL
    SELECT id FROM risk_signals WHERE id > (SELECT through FROM risk_filed)
        AND device_id IN (SELECT name FROM names)
) ORDER BY id DESC LIMIT ?2
"""
"""The newest signals of a device and of those that became part of it, whose signals stay under their own ids."""


def insert_rows(
    connection: sqlite3.Connection, into: tuple[str, str], rows: Sequence[tuple[Any, ...]]
) -> None:
    """Insert rows, many by one statement.

    The interpreter is let go of, and waited for, once a statement: a busy event loop would hold up every row.
    """
    at = 0
    width = len(rows[0]) if rows else 1
    for size in _AT_ONCE:
        while len(rows) - at >= size and size * width <= _MOST_PARAMETERS:
            some = rows[at : at + size]
            statement = _statement(*into, width, size)
            connection.execute(statement, tuple(chain.from_iterable(some)))
            at += size


def _merge(connection: sqlite3.Connection, gone: MergedRow) -> None:
    """Make a record part of another."""
    connection.execute("INSERT OR REPLACE INTO risk_merged VALUES (?, ?)", (gone.device_id, gone.into))
    connection.execute("DELETE FROM risk_devices WHERE device_id = ?", (gone.device_id,))


def _instant(at: int) -> datetime:
    return _EPOCH + timedelta(microseconds=at)


def _take(connection: sqlite3.Connection, part_ids: Sequence[int]) -> None:
    """Remove parts, and the promises of which all parts are gone."""
    for part_id in part_ids:
        connection.execute("DELETE FROM risk_parts WHERE id = ?", (part_id,))
    connection.execute(
        "DELETE FROM risk_promises WHERE NOT EXISTS (SELECT 1 FROM risk_parts WHERE id BETWEEN first AND last)"
    )


def read_all_devices(connection: sqlite3.Connection) -> Iterator[list[DeviceRow]]:
    """Yield every device record of a file, some at a time; for who only reads it, while another writes it."""
    after = ""
    with _snapshot(connection):
        lately = Lately(connection)
        while rows := lately.page(connection, after, LOADED_AT_ONCE):
            yield rows
            after = rows[-1].device_id


def _catch_up(connection: sqlite3.Connection) -> Lately:
    """Write the postures that an earlier process has not written; return what is not filed."""
    lately = Lately(connection)
    if lately.replayed:
        newest = _newest_number(connection)
        for at in range(0, len(lately.replayed), WRITTEN_AT_ONCE):
            some = lately.replayed[at : at + WRITTEN_AT_ONCE]
            connection.execute(_INTAKE, _postures([(each, lately.posture(each)) for each in some], newest))
        connection.execute(_WRITTEN, (newest,))
    return lately


def _values(batch: Batch, first: int, through: int) -> tuple[object, ...]:
    """Return the parameters of `_INTAKE`: the number of the first signal, and the one up to which postures know all."""
    signals, seen = packed_signals(batch.signals), packed_seen(batch.seen)
    return first, *signals, through, *packed_devices(batch.devices), *seen


def _postures(some: Sequence[tuple[DeviceId, bytes]], through: int) -> tuple[object, ...]:
    """Return the parameters of `_INTAKE` for postures alone, whose keys stay."""
    rows = [DeviceRow(device_id, None, posture) for device_id, posture in some]
    return _values(Batch(devices=rows), 0, through)


def _executing(statement: str, values: Sequence[object]) -> _Work:
    """Return the work of one statement."""

    def run(connection: sqlite3.Connection) -> None:
        connection.execute(statement, values)

    return run


def _going_on(
    running: asyncio.Task[None] | None, work: Callable[[], Coroutine[Any, Any, None]], name: str
) -> asyncio.Task[None]:
    """Return the task that does the work, a new one unless one is running. Of a fault of the store it tells nobody."""

    async def quietly() -> None:
        with contextlib.suppress(StoreFault, StoreOverloaded):
            await work()

    return asyncio.create_task(quietly(), name=name) if running is None or running.done() else running


def _newest_number(connection: sqlite3.Connection) -> int:
    newest: int = connection.execute(_NUMBERED).fetchone()[0]
    return newest


def _planned(connection: sqlite3.Connection) -> list[Step]:
    with _snapshot(connection):
        return plan(connection)


@contextlib.contextmanager
def _snapshot(connection: sqlite3.Connection) -> Iterator[None]:
    """Have several queries see the same."""
    connection.execute("SAVEPOINT reading")
    try:
        yield
    finally:
        connection.execute("RELEASE reading")


def read_users(connection: sqlite3.Connection) -> list[UserRow]:
    """Return every record of a user of a file, in no order."""
    return [UserRow(*row) for row in connection.execute("SELECT user_id, posture FROM risk_users")]


class SqliteRiskStore:
    """`risk.store.RiskStore` in SQLite. The database is started and closed by its owner."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._filing = asyncio.Lock()
        self._writing_postures = asyncio.Lock()
        self._unfiled = 0
        self._lately: dict[bytes, bytes] = {}
        """Message ids that may not be filed yet, with their digests."""
        self._being_filed: dict[bytes, bytes] = {}
        """Those of before, while they are being filed."""
        self._tidying: asyncio.Task[None] | None = None
        self._writing: asyncio.Task[None] | None = None
        self._quiet: asyncio.TimerHandle | None = None
        self._has_all_unfiled = False
        """Whether `_lately` has all of them."""
        self._loading: Lately | None = None
        """Kept while `load` goes through the devices."""
        self.unwritten: Unwritten = AllWritten()
        self._next = 0
        """The number of the next signal; 0 as long as nobody has looked."""
        self._landed = 0
        """All that has up to this number is known to whoever has `unwritten` postures."""

    async def load(self, after: str = "", most: int = LOADED_AT_ONCE) -> list[DeviceRow]:
        """Return the device records whose ids come after `after`, up to `most`, in the order of their ids."""
        if not after or self._loading is None:
            self._loading = await self._database.write(_catch_up)
        lately = self._loading
        rows = await self._database.read(lambda connection: lately.page(connection, after, most))
        if not rows:
            self._loading = None
        return rows

    async def load_merged(self) -> list[MergedRow]:
        """Return every record that was merged into another, in no order."""

        def run(connection: sqlite3.Connection) -> list[MergedRow]:
            return [
                MergedRow(*row) for row in connection.execute("SELECT device_id, survivor FROM risk_merged")
            ]

        return await self._database.read(run)

    async def load_users(self) -> list[UserRow]:
        """Return every record of a user, in no order."""
        return await self._database.read(read_users)

    async def load_parts(self) -> list[PartRow]:
        """Return every promised part that is not taken yet, in the order of their ids; forget those never promised."""

        def run(connection: sqlite3.Connection) -> list[PartRow]:
            connection.execute(
                "DELETE FROM risk_parts WHERE NOT EXISTS"
                " (SELECT 1 FROM risk_promises WHERE risk_parts.id BETWEEN first AND last)"
            )
            rows = connection.execute("SELECT id, part FROM risk_parts ORDER BY id")
            return [PartRow(*row) for row in rows]

        return await self._database.write(run)

    async def recent_seen(self, most: int) -> tuple[list[SeenRow], bool]:
        """Return up to `most` message ids, and whether there are no others; those filed together are in no order."""
        await self._learn()

        def run(connection: sqlite3.Connection) -> dict[bytes, SeenRow]:
            found: dict[bytes, SeenRow] = {}
            newest = "SELECT key, digest, received_at FROM {} ORDER BY id DESC LIMIT ?"
            with _snapshot(connection):
                rows = connection.execute(newest.format("risk_seen_lately"), (-1,)).fetchall()
                rows += connection.execute(newest.format("risk_seen"), (most + 1 + len(rows),)).fetchall()
            for key, digest, at in rows:
                # A key may be there again, older.
                found.setdefault(key, SeenRow(key, digest, _instant(at)))
            return found

        found = await self._database.read(run)
        return list(islice(found.values(), most))[::-1], len(found) <= most

    async def seen_keys(self, after: int, most: int) -> tuple[list[bytes], int]:
        """Return up to `most` message ids after a place, 0 for the start, and the place after them; none at the end.

        Those that are not filed yet come first, all at once.
        """
        await self._learn()
        unfiled = [] if after else [*self._being_filed, *self._lately]

        def run(connection: sqlite3.Connection) -> list[tuple[int, bytes]]:
            query = "SELECT id, key FROM risk_seen WHERE id > ? ORDER BY id LIMIT ?"
            return connection.execute(query, (after, most)).fetchall()

        rows = await self._database.read(run)
        return unfiled + [key for _, key in rows], rows[-1][0] if rows else after

    async def seen(self, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        """Return the content digests of those message ids that were accepted before."""
        await self._learn()
        filing = self._being_filed
        lately = {key: digest for key in keys if (digest := filing.get(key)) is not None} if filing else {}
        lately.update((key, digest) for key in keys if (digest := self._lately.get(key)) is not None)
        older = [key for key in keys if key not in lately]

        def run(connection: sqlite3.Connection) -> dict[bytes, bytes]:
            found: dict[bytes, bytes] = {}
            for start in range(0, len(older), _SOME):
                some = older[start : start + _SOME]
                marks = ",".join("?" * len(some))
                query = f"SELECT key, digest FROM risk_seen WHERE key IN ({marks})"  # noqa: S608 - only marks
                found.update(connection.execute(query, some).fetchall())
            return found

        return {**(await self._database.read(run)), **lately} if older else lately

    async def commit(self, batch: Batch) -> None:
        """Make the batch durable, or change nothing."""
        await self._count()
        first = self._next
        # Without a signal postures have a number of their own.
        self._next += len(batch.signals) or bool(batch.devices)
        through = self._next - 1
        values = _values(batch, first, through)
        users = [(row.user_id, row.posture) for row in batch.users]
        letters = [
            (micros(row.received_at), row.sensor, row.reason, row.error, row.body, row.delivery, row.item)
            for row in batch.dead_letters
        ]
        parts = [(row.id, row.part) for row in batch.parts]

        def run(connection: sqlite3.Connection) -> None:
            connection.execute(_INTAKE, values)
            for gone in batch.merged:
                _merge(connection, gone)
            insert_rows(connection, _USERS, users)
            insert_rows(connection, _DEAD_LETTERS, letters)
            insert_rows(connection, _PARTS, parts)
            if batch.promised is not None:
                connection.execute("INSERT INTO risk_promises VALUES (?, ?)", batch.promised)
            if batch.taken:
                _take(connection, batch.taken)
            if is_numbered:
                connection.execute(_NUMBER, (through,))

        is_numbered = bool(batch.devices and not batch.signals)
        is_one = not (
            batch.merged or users or letters or parts or batch.promised or batch.taken or is_numbered
        )
        try:
            await self._database.write(run, is_one_statement=is_one)
        except asyncio.CancelledError:
            self._has_all_unfiled = False
            raise
        self._landed = through
        self._lately.update((row.key, row.digest) for row in batch.seen)
        self._unfiled += max(len(batch.signals), len(batch.seen), len(batch.devices))

    async def tidy(self) -> None:
        """File what waits once it is worth it: in a quiet moment, or beside deliveries. Raises as `commit`."""
        if self._quiet is not None:
            self._quiet.cancel()
            self._quiet = None
        if self.unwritten.count_unwritten() >= MAX_UNWRITTEN:
            self._writing = _going_on(self._writing, self._write_postures, "postures-written")
        if self._unfiled >= MAX_WAITING and self._tidying is not None and not self._tidying.done():
            await asyncio.wait([self._tidying])
        elif self._unfiled >= MAX_UNFILED:
            self._begin_filing()
        elif self._unfiled >= MIN_UNFILED:
            self._quiet = asyncio.get_running_loop().call_later(QUIET_S, self._begin_filing)

    def _begin_filing(self) -> None:
        self._tidying = _going_on(self._tidying, self.file_all, "signals-filed")

    async def file_all(self) -> None:
        """File what waits, however little it is. Raises `StoreFault`, `StoreOverloaded`."""
        async with self._filing:
            self._being_filed, self._lately = self._lately, {}
            self._unfiled = 0
            try:
                await self._write_postures()
                for step in await self._database.read_aside(_planned):
                    await self._when_quiet(step.run, is_one_statement=len(step.statements) == 1)
            except BaseException:
                self._lately = {**self._being_filed, **self._lately}
                self._being_filed = {}
                raise
            # What was committed meanwhile may be filed or not, and is found here in either case.
            await self._forget_filed()

    @property
    def _patience_s(self) -> float:
        """How long the filing lets others go first."""
        is_hurried = self._unfiled > MAX_UNFILED // 2 or self.unwritten.count_unwritten() >= MAX_UNWRITTEN
        return HURRIED_S if is_hurried else PATIENCE_S

    async def settle(self) -> None:
        """Write the postures that no commit has written, at once: the next start has nothing to fold then."""
        await self._write_postures(self._database.write)

    async def _write_postures(self, write: _Write | None = None) -> None:
        """Write the postures that signals have changed up to now. What changes meanwhile is written the next time."""
        write = self._when_quiet if write is None else write
        async with self._writing_postures:
            through = self._landed
            left = self.unwritten.count_unwritten()
            while left > 0 and (some := self.unwritten.take_unwritten(min(left, WRITTEN_AT_ONCE))):
                left -= len(some)
                try:
                    given = _postures(some, self._landed)
                    await write(_executing(_INTAKE, given), is_one_statement=True)
                except BaseException:
                    self.unwritten.put_back(device_id for device_id, _ in some)
                    raise
            await write(_executing(_WRITTEN, (through,)), is_one_statement=True)

    async def _when_quiet(self, work: _Work, *, is_one_statement: bool) -> None:
        """Do a part of the filing once nobody else waits, or after its patience."""
        await self._database.put_off(work, self._patience_s, is_lazy=True, is_one_statement=is_one_statement)

    async def _count(self) -> None:
        """Go on with the numbers where an earlier process has ended."""
        if self._next:
            return
        newest = await self._database.write(_newest_number)
        if self._next == 0:
            self._next, self._landed = newest + 1, newest

    async def _forget_filed(self) -> None:
        """Let go of what is filed, some at a time: all of it at once would hold up everybody for milliseconds."""
        filed, self._being_filed = self._being_filed, {}
        while filed:
            for _ in range(min(len(filed), FORGOTTEN_AT_ONCE)):
                filed.popitem()
            await asyncio.sleep(0)

    async def _learn(self) -> None:
        """Know what an earlier process, or a commit that nobody waited for, has left to be filed."""
        if self._has_all_unfiled:
            return

        def run(connection: sqlite3.Connection) -> list[tuple[bytes, bytes]]:
            return connection.execute("SELECT key, digest FROM risk_seen_lately ORDER BY id").fetchall()

        await self._count()
        # Behind every commit that has begun.
        rows = await self._database.write(run)
        self._lately.update(rows)
        self._unfiled = max(self._unfiled, len(rows))
        self._has_all_unfiled = True

    async def signals(self, device_id: DeviceId, most: int) -> list[Signal]:
        """Return the newest signals of a device, newest first."""

        def run(connection: sqlite3.Connection) -> list[Signal]:
            return [unpack_signal(packed) for (packed,) in connection.execute(_SIGNALS_OF, (device_id, most))]

        return await self._database.read(run)

    async def dead_letters(self, sensor: str | None, most: int) -> list[DeadLetter]:
        """Return the newest dead letters of a sensor, or of all, newest first."""

        def run(connection: sqlite3.Connection) -> list[DeadLetter]:
            query = (
                "SELECT received_at, sensor, reason, error, body, delivery, item, id FROM risk_dead_letters"
                " WHERE sensor = coalesce(?, sensor) ORDER BY id DESC LIMIT ?"
            )
            return [
                DeadLetter(_instant(at), *rest) for at, *rest in connection.execute(query, (sensor, most))
            ]

        return await self._database.read(run)

    async def discard(self, ids: Sequence[int]) -> int:
        """Remove these dead letters; return how many there were."""

        def run(connection: sqlite3.Connection) -> int:
            query = "DELETE FROM risk_dead_letters WHERE id = ?"
            return sum(connection.execute(query, (each,)).rowcount for each in ids)

        return await self._database.write(run)

    async def prune(self, now: datetime, retention: Retention, most: int) -> int:
        """Remove what is past its retention, at most `most` rows of each kind; return how many went."""
        if self._unfiled < MIN_UNFILED and not self._filing.locked():
            # Else it is filed soon, or is being filed, and goes the next time.
            await self.file_all()
        tables = (
            ("risk_seen", retention.seen_s, MAX_KEY, ""),
            ("risk_signals", retention.signals_s, retention.signals_most, _IS_WRITTEN),
        )

        def run(connection: sqlite3.Connection) -> int:
            gone = 0
            for table, age_s, rows, bound in tables:
                (newest,) = connection.execute(f"SELECT coalesce(max(id), 0) FROM {table}").fetchone()  # noqa: S608
                oldest = f"SELECT id, received_at FROM {table} {bound} ORDER BY id LIMIT ?"  # noqa: S608 - our own names
                past = f"SELECT id FROM ({oldest}) WHERE (received_at < ? OR id <= ?)"  # noqa: S608 - as above
                given = (most, micros(now - timedelta(seconds=age_s)), newest - rows)
                gone += connection.execute(f"DELETE FROM {table} WHERE id IN ({past})", given).rowcount  # noqa: S608
            gone += _prune_letters(connection, retention, now, most)
            connection.execute(_EMPTY_LOT, (most,))
            connection.execute(_REMOVE_LOTS)
            return gone

        return await self._database.write(run)


def _prune_letters(connection: sqlite3.Connection, retention: Retention, now: datetime, most: int) -> int:
    """Remove dead letters that are too old, then the oldest of each sensor that has too many; return how many went.

    At most `most` in all. What is looked at is what goes, and one row for each sensor: triggers count its letters.
    """
    oldest = "SELECT id, received_at FROM risk_dead_letters ORDER BY id LIMIT ?"
    gone = connection.execute(
        f"DELETE FROM risk_dead_letters WHERE id IN (SELECT id FROM ({oldest}) WHERE received_at < ?)",  # noqa: S608 - as above
        (most, micros(now - timedelta(seconds=retention.dead_letters_s))),
    ).rowcount
    too_many = connection.execute(
        "SELECT sensor, letters - ?1 FROM risk_dead_letters_of WHERE letters > ?1 ORDER BY letters DESC",
        (retention.dead_letters_most,),
    ).fetchall()
    for sensor, above in too_many:
        gone += connection.execute(
            "DELETE FROM risk_dead_letters WHERE id IN"
            " (SELECT id FROM risk_dead_letters WHERE sensor = ? ORDER BY id LIMIT ?)",
            (sensor, min(above, most - gone)),
        ).rowcount
    return gone


class SqliteDecisionStore:
    """`risk.store.DecisionStore` in SQLite."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def put(self, code: str, created_at: datetime, record: bytes) -> None:
        """Keep one record; the same code again replaces it."""
        await self.put_many([(code, created_at, record)])

    async def put_many(
        self, records: Sequence[tuple[str, datetime, bytes]], *, is_waited_for: bool = True
    ) -> None:
        """Keep several records in one transaction; others go first where nobody waits for it."""
        rows = [(code, micros(created_at), record) for code, created_at, record in records]

        def run(connection: sqlite3.Connection) -> None:
            insert_rows(connection, _DECISIONS, rows)

        await (self._database.write if is_waited_for else self._database.put_off)(run)

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
                "DELETE FROM risk_decisions WHERE created_at < ?", (micros(before),)
            ).rowcount
            gone += connection.execute(
                "DELETE FROM risk_decisions WHERE rowid IN"
                " (SELECT rowid FROM risk_decisions ORDER BY created_at DESC, rowid DESC LIMIT -1 OFFSET ?)",
                (most,),
            ).rowcount
            return gone

        return await self._database.write(run)
