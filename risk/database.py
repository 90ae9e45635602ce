"""One SQLite file behind one writer thread with group commit; reads on a thread of their own.

What nobody waits for (`put_off`) has transactions of its own, between those of others; reads that take long
(`read_aside`) have a thread of their own.

INVARIANT: `await write(...)` returns only after the transaction that holds the job's changes is on disk
(`journal_mode=WAL`, `synchronous=FULL`). Jobs that wait together share one transaction and one fsync; a job
that raises is rolled back alone by a savepoint and its error goes to its own caller.
"""

import asyncio
import contextlib
import fcntl
import os
import queue
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")

MAX_GROUP = 512
"""Most jobs of one transaction: bounds how long the first of them waits for the last."""

MAX_WAITING = 20_000
"""Most jobs that may wait; above it `write` raises `StoreOverloaded`."""


PATIENCE_S = 0.05
"""How long a job that is put off lets others go first."""

LOOK_EVERY_S = 0.25
QUIET_COMMITS = 50
LATEST_S = 2.0
"""The journal is copied into the file beside the writer: in a quiet moment once so many transactions are in it, else
after `LATEST_S`. Both flush the same disk, so the writer is slow meanwhile; a page that changes often is copied once.
"""

LONG_PAGES = 4_000
LEFT_PAGES = 500
COPIES = 3
"""The journal begins anew only once all of it is copied, which never is so while it grows. Once it has `LONG_PAGES`,
what came meanwhile is copied again, up to so many times, and the writer copies what is left then.
"""

CHECKPOINT_PAGES = 32_000
"""Pages of the journal, 4 KiB each, from which on the writer itself copies all of it and others wait."""


class StoreFault(Exception):
    """The store cannot be used: unreadable file, full disk, newer schema. The operator is at fault."""


class StoreOverloaded(Exception):
    """More work waits than the store may hold; the caller should ask its client to retry."""


class _Job:
    __slots__ = ("error", "future", "is_lazy", "is_one_statement", "loop", "patient_until", "result", "run")

    def __init__(
        self,
        run: Callable[[sqlite3.Connection], Any],
        loop: asyncio.AbstractEventLoop,
        patience_s: float = 0.0,
        *,
        is_lazy: bool = False,
        is_one_statement: bool = False,
    ) -> None:
        self.run = run
        self.is_lazy = is_lazy
        self.is_one_statement = is_one_statement
        self.loop = loop
        self.patient_until = time.monotonic() + patience_s
        self.future: asyncio.Future[Any] = loop.create_future()
        self.result: Any = None
        self.error: BaseException | None = None

    def apply(self) -> None:
        """Hand the outcome to the waiting coroutine."""
        if self.future.done():
            return
        if self.error is not None:
            self.future.set_exception(self.error)
        else:
            self.future.set_result(self.result)


class _Look:
    """Tells the writer that something was put off."""


_LOOK = _Look()


def _settle(jobs: Sequence[_Job]) -> None:
    """Hand every outcome over, with one call of the loop for all; a loop that is gone has nobody waiting."""

    def apply(some: Sequence[_Job]) -> None:
        for job in some:
            job.apply()

    of_loop: dict[asyncio.AbstractEventLoop, list[_Job]] = {}
    for job in jobs:
        of_loop.setdefault(job.loop, []).append(job)
    for loop, some in of_loop.items():
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(apply, some)


class Database:
    """A SQLite file.

    `schema` holds, by component, an ordered sequence of migrations that is only ever appended to;
    the table `schema_versions` counts those applied. A bare sequence is the component `main`.

    `path` may be `:memory:` in tests; then reads share the writer's thread and connection.
    """

    def __init__(self, path: Path | str, schema: Mapping[str, Sequence[str]] | Sequence[str]) -> None:
        self._path = str(path)
        self._schema = dict(schema) if isinstance(schema, Mapping) else {"main": tuple(schema)}
        self._jobs: queue.SimpleQueue[_Job | _Look | None] = queue.SimpleQueue()
        self._put_off: deque[_Job] = deque()
        self._reads: queue.SimpleQueue[_Job | _Look | None] = queue.SimpleQueue()
        self._long_reads: queue.SimpleQueue[_Job | _Look | None] = queue.SimpleQueue()
        self._is_rest_to_copy = False
        self._threads: list[threading.Thread] = []
        self._is_closing = threading.Event()
        self._lock: int | None = None
        self.commits = 0
        self.write_fault = ""
        """Why the last transaction could not be written; empty while all is well."""

    def start(self) -> None:
        """Open the file, apply missing migrations, start the threads. Raises `StoreFault`.

        One process at a time: what a second one wrote would be on disk, but not enforced by the first.
        """
        in_memory = self._path == ":memory:"
        try:
            if not in_memory:
                self._hold()
            writer = self._open()
            self._migrate(writer)
            others = [] if in_memory else [self._open() for _ in range(3)]
        except StoreFault:
            self._release()
            raise
        except (sqlite3.Error, OSError) as error:
            self._release()
            raise StoreFault(f"store `{self._path}`: {error}") from error
        self._threads.append(
            threading.Thread(target=self._write_loop, args=(writer,), daemon=True, name="store-writer")
        )
        if others:
            reader, aside, copier = others
            self._threads += [
                self._reading(reader, self._reads, "store-reader"),
                self._reading(aside, self._long_reads, "store-aside"),
                threading.Thread(target=self._copy_loop, args=(copier,), daemon=True, name="store-copier"),
            ]
        else:
            self._reads = self._long_reads = self._jobs
        self._is_closing.clear()
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Finish what waits, then close the file. Safe to call twice."""
        self._is_closing.set()
        self._jobs.put(None)
        if self._reads is not self._jobs:
            self._reads.put(None)
            self._long_reads.put(None)
        for thread in self._threads:
            thread.join()
        self._threads.clear()
        self._release()

    @property
    def is_running(self) -> bool:
        """Whether the store is open and its threads live."""
        return bool(self._threads) and all(thread.is_alive() for thread in self._threads)

    async def write(self, run: Callable[[sqlite3.Connection], T], *, is_one_statement: bool = False) -> T:
        """Run `run` inside a transaction and return its result once that is on disk.

        One statement is a transaction by itself where no others wait: that saves turns at the interpreter.

        Raises what `run` raises, `StoreOverloaded` when too much waits, `StoreFault` when the commit fails.
        """
        if self._jobs.qsize() >= MAX_WAITING:
            raise StoreOverloaded(f"{MAX_WAITING} writes are waiting")
        job = _Job(run, asyncio.get_running_loop(), is_one_statement=is_one_statement)
        self._jobs.put(job)
        result: T = await job.future
        return result

    async def put_off(
        self,
        run: Callable[[sqlite3.Connection], T],
        patience_s: float = PATIENCE_S,
        *,
        is_lazy: bool = False,
        is_one_statement: bool = False,
    ) -> T:
        """Do as `write` in a transaction of its own, for which nobody else waits; others go first for `patience_s`.

        One that `is_lazy` is on disk with the next that is not: for what can be done again after a loss of power.
        """
        if len(self._put_off) >= MAX_WAITING:
            raise StoreOverloaded(f"{MAX_WAITING} writes are put off")
        loop = asyncio.get_running_loop()
        job = _Job(run, loop, patience_s, is_lazy=is_lazy, is_one_statement=is_one_statement)
        self._put_off.append(job)
        self._jobs.put(_LOOK)
        result: T = await job.future
        return result

    async def read(self, run: Callable[[sqlite3.Connection], T]) -> T:
        """Run `run` on the reading connection and return its result; it sees every finished write."""
        job = _Job(run, asyncio.get_running_loop())
        self._reads.put(job)
        result: T = await job.future
        return result

    async def read_aside(self, run: Callable[[sqlite3.Connection], T]) -> T:
        """Do as `read` with what takes long: no other read waits for it."""
        job = _Job(run, asyncio.get_running_loop())
        self._long_reads.put(job)
        result: T = await job.future
        return result

    def _reading(
        self,
        connection: sqlite3.Connection,
        jobs: "queue.SimpleQueue[_Job | _Look | None]",
        name: str,
    ) -> threading.Thread:
        return threading.Thread(target=self._read_loop, args=(connection, jobs), daemon=True, name=name)

    def _hold(self) -> None:
        """Take the lock beside the file, and make the file readable for its owner alone when it is new."""
        self._lock = os.open(f"{self._path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self._release()
            raise StoreFault(f"store `{self._path}`: another gateway uses it") from error
        os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))

    def _release(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _open(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self._path, isolation_level=None, check_same_thread=False, timeout=10, cached_statements=512
        )
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute(f"PRAGMA wal_autocheckpoint={CHECKPOINT_PAGES}")
        connection.execute("PRAGMA foreign_keys=ON")
        return connection

    def _migrate(self, connection: sqlite3.Connection) -> None:
        connection.execute(
            "CREATE TABLE IF NOT EXISTS schema_versions (component TEXT PRIMARY KEY, version INTEGER NOT NULL)",
        )
        applied = dict(connection.execute("SELECT component, version FROM schema_versions"))
        for component, scripts in self._schema.items():
            version = applied.get(component, 0)
            if version > len(scripts):
                raise StoreFault(
                    f"store `{self._path}`: {component} schema {version} is newer than this program's {len(scripts)}"
                )
            for number, script in enumerate(scripts[version:], start=version + 1):
                # Components are our own constants, and executescript takes no parameters.
                note = f"INSERT OR REPLACE INTO schema_versions VALUES ('{component}', {number});"  # noqa: S608
                connection.executescript(f"BEGIN;{script};{note}COMMIT;")

    def _write_loop(self, connection: sqlite3.Connection) -> None:
        is_stopping = False
        while not is_stopping or self._put_off:
            jobs, is_last = self._next_jobs(is_waiting=not self._put_off)
            is_stopping = is_stopping or is_last
            if jobs:
                self._commit(connection, jobs)
            if self._put_off and (not jobs or time.monotonic() > self._put_off[0].patient_until):
                self._commit_alone(connection, self._put_off.popleft())
            if self._is_rest_to_copy:
                self._is_rest_to_copy = False
                _copy(connection)
            jobs.clear()  # what they hold may be large, and the next ones may be long in coming
        connection.close()

    def _next_jobs(self, *, is_waiting: bool) -> tuple[list[_Job], bool]:
        """Return the jobs of the next transaction, and whether they are the last; `is_waiting` waits for something."""
        group = [self._jobs.get()] if is_waiting else []
        while len(group) < MAX_GROUP and not self._jobs.empty():
            group.append(self._jobs.get_nowait())
        return [each for each in group if isinstance(each, _Job)], None in group

    def _commit_alone(self, connection: sqlite3.Connection, job: _Job) -> None:
        if not job.is_lazy:
            self._commit(connection, [job])
            return
        # In a journal the later ones can only be on disk with all that are before them.
        connection.execute("PRAGMA synchronous=NORMAL")
        try:
            self._commit(connection, [job])
        finally:
            connection.execute("PRAGMA synchronous=FULL")

    def _commit(self, connection: sqlite3.Connection, jobs: list[_Job]) -> None:
        try:
            if len(jobs) == 1 and jobs[0].is_one_statement:
                self._run_one(connection, jobs[0])
            else:
                connection.execute("BEGIN IMMEDIATE")
                for job in jobs:
                    self._attempt(connection, job, is_alone=len(jobs) == 1)
                connection.execute("COMMIT")
            self.commits += 1
            self.write_fault = ""
        except sqlite3.Error as error:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            self.write_fault = str(error)
            for job in jobs:
                job.error = StoreFault(f"store `{self._path}`: {error}")
        _settle(jobs)

    @staticmethod
    def _run_one(connection: sqlite3.Connection, job: _Job) -> None:
        """Run a job whose statement is a transaction by itself. Raises `sqlite3.Error`, and then nothing is changed."""
        try:
            job.result = job.run(connection)
        except sqlite3.Error:
            raise
        except Exception as error:  # noqa: BLE001 - it goes to the caller, whose job it is
            job.error = error

    @staticmethod
    def _attempt(connection: sqlite3.Connection, job: _Job, *, is_alone: bool) -> None:
        """Run a job; what it changed before it raised is undone, what others have changed is not."""
        if not is_alone:
            connection.execute("SAVEPOINT job")
        try:
            job.result = job.run(connection)
        except Exception as error:  # noqa: BLE001 - it goes to the caller, whose job it is
            job.error = error
            for undo in ("ROLLBACK", "BEGIN IMMEDIATE") if is_alone else ("ROLLBACK TO job",):
                connection.execute(undo)
        if not is_alone:
            connection.execute("RELEASE job")

    @staticmethod
    def _read_loop(connection: sqlite3.Connection, jobs: "queue.SimpleQueue[_Job | _Look | None]") -> None:
        while isinstance(job := jobs.get(), _Job):
            try:
                job.result = job.run(connection)
            except Exception as error:  # noqa: BLE001 - it goes to the caller, whose job it is
                job.error = error
            _settle([job])
            del job  # with what it found: the next one may be long in coming
        connection.close()

    def _copy_loop(self, connection: sqlite3.Connection) -> None:
        """Copy the journal into the file now and then, without holding up the writer (SQLite: a passive checkpoint)."""
        copied = seen = self.commits
        waits_since = time.monotonic()
        while not self._is_closing.wait(LOOK_EVERY_S):
            is_quiet, seen = self.commits == seen, self.commits
            if seen == copied:
                waits_since = time.monotonic()
            is_late = time.monotonic() - waits_since > LATEST_S
            if seen == copied or not (is_late or (is_quiet and seen - copied >= QUIET_COMMITS)):
                continue
            copied = seen
            pages, left = _copy(connection)
            if pages >= LONG_PAGES:
                self._begin_anew(connection, left)
            waits_since = time.monotonic()
        connection.close()

    def _begin_anew(self, connection: sqlite3.Connection, left: int) -> None:
        """Have the journal written from its beginning again; `left` pages of it are not copied yet."""
        for _ in range(COPIES):
            if left <= LEFT_PAGES:
                break
            _, left = _copy(connection)
        self._is_rest_to_copy = True
        self._jobs.put(_LOOK)


def _copy(connection: sqlite3.Connection) -> tuple[int, int]:
    """Copy the journal into the file as far as that goes now; return its pages, and how many of them are left."""
    # What cannot be copied now is copied the next time; whether the file can be written, the writer says.
    with contextlib.suppress(sqlite3.Error):
        _, pages, copied = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        return pages, pages - copied
    return 0, 0
