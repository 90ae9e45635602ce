"""What is to be transmitted, in the SQLite file: streams, their subjects, events that wait, what was told already."""

import sqlite3
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Literal, NamedTuple

import msgspec

from gateway.shared_signals.received import instant, micros
from gateway.shared_signals.subjects import Member, is_match, parse_subject, subject_keys
from risk.database import Database, StoreFault

Status = Literal["enabled", "paused", "disabled"]

MAX_SUBJECTS = 100_000
"""Most subjects of one stream."""

_INDEX_ORDER = (Member.DEVICE, Member.SESSION, Member.USER, Member.ANY, Member.GROUP, Member.TENANT)


class TooManySubjects(Exception):
    """The stream has as many subjects as are kept."""


class Overtaken(Exception):
    """A stream was changed, made or deleted by somebody else since it was looked at."""


class Stream(msgspec.Struct, frozen=True, kw_only=True):
    """A stream that a party has here. `sealed_authorization` is what its push address wants to see."""

    stream_id: str
    party: str
    method: str
    endpoint_url: str = ""
    sealed_authorization: bytes = b""
    events_requested: tuple[str, ...] = ()
    description: str = ""
    status: Status = "enabled"
    reason: str = ""
    is_held: bool = False
    """Whether an operator has stopped it: then its receiver cannot start it."""

    @property
    def holds(self) -> bool:
        """Whether events are kept for it: a disabled stream neither sends nor keeps any."""
        return self.status != "disabled"


class Waiting(NamedTuple):
    """An event that waits: the claims of its token, which is signed when it leaves."""

    seq: int
    jti: str
    created_at: datetime
    claims: bytes


class Outgoing(msgspec.Struct, frozen=True, kw_only=True):
    """An event for one stream. `keys` are those by which the stream's subjects are compared with it."""

    stream_id: str
    jti: str
    claims: bytes
    keys: Mapping[Member, frozenset[str]]
    about: str = ""
    """The device or user whose change it tells; "" for anything else."""
    is_for_everybody: bool = False
    """Whether it is about the stream itself, which no subject filter concerns."""
    is_sent_always: bool = False
    """Whether it is given to a stream that is stopped, too: it says that it is."""


class Told(NamedTuple):
    """What a stream was last told of a device; the well ones are not kept."""

    level: str = "LOW"
    status: str = "compliant"


WELL = Told()

_Put = tuple[str, str, Told]


class TransmitStore:
    """Keeps what is transmitted, in a `Database` whose schema is that of `received`."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.backlog: Counter[str] = Counter()
        """Events that wait, by stream, as far as this process knows."""

    # --- streams -----------------------------------------------------------------------------------------

    async def streams(self) -> list[Stream]:
        """Return every stream, and count what waits in each. Raises `StoreFault`."""

        def run(connection: sqlite3.Connection) -> tuple[list[Stream], Counter[str]]:
            rows = connection.execute("SELECT record FROM ssf_stream ORDER BY rowid")
            found = [msgspec.json.decode(record, type=Stream) for (record,) in rows]
            counts = connection.execute("SELECT stream_id, count(*) FROM ssf_outbox GROUP BY stream_id")
            return found, Counter(dict(counts.fetchall()))

        try:
            found, self.backlog = await self._database.read(run)
        except (msgspec.MsgspecError, sqlite3.Error) as error:
            raise StoreFault(f"streams cannot be read: {error}") from error
        return found

    async def put_stream(self, stream: Stream) -> None:
        """Keep a stream in place of the one before; of a disabled one nothing that waits is kept."""
        record = msgspec.json.encode(stream)

        def run(connection: sqlite3.Connection) -> None:
            connection.execute(
                "INSERT INTO ssf_stream VALUES (?, ?, ?)"
                " ON CONFLICT (stream_id) DO UPDATE SET record = excluded.record",
                (stream.stream_id, stream.party, record),
            )
            if not stream.holds:
                connection.execute(
                    "DELETE FROM ssf_outbox WHERE stream_id = ? AND NOT is_sent_always", (stream.stream_id,)
                )

        await self._database.write(run)
        if not stream.holds:
            self.backlog[stream.stream_id] = await self.count(stream.stream_id)

    async def delete_stream(self, stream_id: str) -> None:
        """Forget a stream with all that belongs to it."""
        await self._database.write(
            lambda connection: connection.execute("DELETE FROM ssf_stream WHERE stream_id = ?", (stream_id,))
        )
        self.backlog.pop(stream_id, None)

    async def set_subject(self, stream_id: str, subject: Mapping[str, object], *, is_added: bool) -> None:
        """Note that a subject was added to a stream, or removed from it. Raises `SubjectFault`, `TooManySubjects`."""
        keys = subject_keys(parse_subject(subject))
        record = msgspec.json.encode(subject, order="sorted")
        member = next((each for each in _INDEX_ORDER if keys.get(each)), None) or next(iter(keys))
        rows = [(stream_id, key, record, int(is_added)) for key in keys[member]]

        def run(connection: sqlite3.Connection) -> None:
            count = connection.execute(
                "SELECT count(*) FROM ssf_subject WHERE stream_id = ?", (stream_id,)
            ).fetchone()[0]
            if count + len(rows) > MAX_SUBJECTS:
                raise TooManySubjects
            connection.executemany("INSERT OR REPLACE INTO ssf_subject VALUES (?, ?, ?, ?)", rows)

        await self._database.write(run)

    # --- events ------------------------------------------------------------------------------------------

    async def put(
        self,
        events: Sequence[Outgoing],
        *,
        now: datetime,
        most: int,
        is_everybody_in: bool,
        told: Sequence[_Put] = (),
    ) -> dict[str, int]:
        """Keep events that their streams want, and what they then were told of devices, in one transaction.

        `is_everybody_in` is whether a subject that nobody added or removed belongs to a stream. Returns how many of the
        oldest events were dropped by stream, because more than `most` waited. `told` is (stream, device, what).
        """

        def run(connection: sqlite3.Connection) -> tuple[Counter[str], dict[str, int]]:
            streams = {row[0] for row in connection.execute("SELECT stream_id FROM ssf_stream")}
            wanted = [
                each
                for each in events
                if each.stream_id in streams
                and (each.is_for_everybody or _is_wanted(connection, each, is_everybody_in=is_everybody_in))
            ]
            connection.executemany(
                "INSERT INTO ssf_outbox (stream_id, jti, created_us, claims, is_sent_always) VALUES (?, ?, ?, ?, ?)",
                [
                    (each.stream_id, each.jti, micros(now), each.claims, int(each.is_sent_always))
                    for each in wanted
                ],
            )
            # What a stream's subjects kept out was not told: it is, as soon as they let it through.
            heard = {(each.stream_id, each.about) for each in wanted}
            kept_out = {(each.stream_id, each.about) for each in events} - heard
            for stream_id, device_id, what in told:
                if stream_id in streams and (stream_id, device_id) not in kept_out:
                    _note_told(connection, stream_id, device_id, what)
            written = Counter(each.stream_id for each in wanted)
            return written, _dropped(connection, written, most)

        written, dropped = await self._database.write(run)
        self.backlog.update(written)
        self.backlog.subtract(dropped)
        return dropped

    async def waiting(self, stream: Stream, most: int, after: int = 0) -> list[Waiting]:
        """Return the oldest events of a stream whose `seq` is above `after`, in order.

        Of one that is not enabled only those that say so. Raises `StoreFault`.
        """
        is_stopped = int(stream.status != "enabled")

        def run(connection: sqlite3.Connection) -> list[Waiting]:
            rows = connection.execute(
                "SELECT seq, jti, created_us, claims FROM ssf_outbox WHERE stream_id = ? AND seq > ?"
                " AND is_sent_always >= ? ORDER BY seq LIMIT ?",
                (stream.stream_id, after, is_stopped, most),
            )
            return [Waiting(row[0], row[1], instant(row[2]), row[3]) for row in rows]

        try:
            return await self._database.read(run)
        except sqlite3.Error as error:
            raise StoreFault(f"events cannot be read: {error}") from error

    async def count(self, stream_id: str) -> int:
        """Return how many events of a stream wait."""
        query = "SELECT count(*) FROM ssf_outbox WHERE stream_id = ?"
        return await self._database.read(
            lambda connection: int(connection.execute(query, (stream_id,)).fetchone()[0])
        )

    async def done(self, stream_id: str, jtis: Iterable[str]) -> int:
        """Forget events that their receiver has, or never will have; return how many. Raises `StoreFault`."""
        rows = [(stream_id, jti) for jti in jtis]

        def run(connection: sqlite3.Connection) -> int:
            before = connection.total_changes
            connection.executemany("DELETE FROM ssf_outbox WHERE stream_id = ? AND jti = ?", rows)
            return connection.total_changes - before

        try:
            gone = await self._database.write(run) if rows else 0
        except sqlite3.Error as error:
            raise StoreFault(f"events cannot be forgotten: {error}") from error
        self.backlog[stream_id] -= gone
        return gone

    async def expire(self, before: datetime) -> int:
        """Forget events older than `before`; return how many."""
        return await self._database.write(
            lambda connection: (
                connection.execute("DELETE FROM ssf_outbox WHERE created_us < ?", (micros(before),)).rowcount
            )
        )

    async def told(self, devices: Sequence[str]) -> dict[tuple[str, str], Told]:
        """Return what was told of devices, by (stream, device); what is missing is `WELL`."""
        marks = ", ".join("?" * len(devices))

        def run(connection: sqlite3.Connection) -> dict[tuple[str, str], Told]:
            rows = connection.execute(
                f"SELECT stream_id, device_id, level, status FROM ssf_told WHERE device_id IN ({marks})",  # noqa: S608 - only marks
                tuple(devices),
            )
            return {(row[0], row[1]): Told(row[2], row[3]) for row in rows}

        return await self._database.read(run)

    # --- keys --------------------------------------------------------------------------------------------

    async def keys(self) -> list[tuple[str, datetime, bytes]]:
        """Return the signing keys, oldest first: id, when it was made, the sealed key."""

        def run(connection: sqlite3.Connection) -> list[tuple[str, datetime, bytes]]:
            rows = connection.execute("SELECT kid, created_us, sealed FROM ssf_key ORDER BY created_us, kid")
            return [(row[0], instant(row[1]), row[2]) for row in rows]

        return await self._database.read(run)

    async def put_key(
        self, kid: str, created_at: datetime, sealed: bytes, *, forget: Sequence[str] = ()
    ) -> None:
        """Keep a signing key, and forget others."""

        def run(connection: sqlite3.Connection) -> None:
            connection.execute("INSERT INTO ssf_key VALUES (?, ?, ?)", (kid, micros(created_at), sealed))
            connection.executemany("DELETE FROM ssf_key WHERE kid = ?", [(each,) for each in forget])

        await self._database.write(run)


def _is_wanted(connection: sqlite3.Connection, event: Outgoing, *, is_everybody_in: bool) -> bool:
    """Return whether the subjects of a stream let an event through; one that was removed keeps it out."""
    keys = sorted({key for found in event.keys.values() for key in found})
    marks = ", ".join("?" * len(keys))
    rows = connection.execute(
        f"SELECT subject, is_added FROM ssf_subject WHERE stream_id = ? AND key IN ({marks})",  # noqa: S608 - only marks
        (event.stream_id, *keys),
    )
    said = {
        bool(is_added)
        for subject, is_added in rows
        if is_match(subject_keys(parse_subject(msgspec.json.decode(subject))), event.keys)
    }
    return False not in said if said else is_everybody_in


def _note_told(connection: sqlite3.Connection, stream_id: str, device_id: str, what: Told) -> None:
    if what == WELL:
        connection.execute(
            "DELETE FROM ssf_told WHERE device_id = ? AND stream_id = ?", (device_id, stream_id)
        )
    else:
        connection.execute(
            "INSERT OR REPLACE INTO ssf_told (device_id, stream_id, level, status) VALUES (?, ?, ?, ?)",
            (device_id, stream_id, *what),
        )


def _dropped(connection: sqlite3.Connection, streams: Iterable[str], most: int) -> dict[str, int]:
    dropped = {}
    for stream_id in streams:
        gone = connection.execute(
            "DELETE FROM ssf_outbox WHERE stream_id = ? AND seq <= "
            "(SELECT seq FROM ssf_outbox WHERE stream_id = ? ORDER BY seq DESC LIMIT 1 OFFSET ?)",
            (stream_id, stream_id, most),
        ).rowcount
        if gone:
            dropped[stream_id] = gone
    return dropped
