"""How much each limited session has asked for and got lately, counted over all workers of a machine.

Every worker counts in a file of its own, which it maps into memory, and reads those of the others: nobody waits for
anybody. What a worker counts it writes down before it adds up, and takes back when the sum is too much; so of two
workers that count at once neither, but never both, may go over. The files lie in the run folder and outlive a worker.
"""

import hashlib
import mmap
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import structlog

from gateway.controls.effective import Effective

log = structlog.get_logger("meter")

SLOTS = 4096
"""Most sessions that one worker counts; of those that share a place the one idle longest is forgotten first."""
PLACES = 8
"""In how many slots a session may be."""
BUCKETS = 60
"""In how many parts a span of time is cut; a part counts until all of it has left the span."""
_RING = 64
"""Parts that are kept: those of a whole span, the one that has begun, and a power of two."""
_USED = 2
_SLOT_WORDS = 3 + 4 * _RING
_FILE_BYTES = 8 * SLOTS * _SLOT_WORDS


class _Span(NamedTuple):
    """What is counted over how long, and where in a slot."""

    offset: int
    seconds: float

    def bucket(self, now_mono_s: float) -> int:
        """Return the number of the part that has begun."""
        return int(now_mono_s * BUCKETS / self.seconds)


_REQUESTS = _Span(3, 60.0)
_BYTES = _Span(3 + 2 * _RING, 3600.0)


class _Table:
    """The counts of one worker: a map of 64-bit words. Only its owner writes."""

    def __init__(self, memory: mmap.mmap) -> None:
        self._words = memoryview(memory).cast("Q")

    def find(self, key: tuple[int, int]) -> int | None:
        """Return where the slot of a session begins, None when it has none."""
        words = self._words
        for at in _places(key):
            if words[at] == key[0] and words[at + 1] == key[1]:
                return at
        return None

    def slot(self, key: tuple[int, int], now_mono_s: float) -> int:
        """Return where the slot of a session begins; it is made, in the place of the one idle longest, if need be."""
        words = self._words
        found = self.find(key)
        if found is None:
            found = min(_places(key), key=lambda at: words[at + _USED])
            words[found : found + _SLOT_WORDS] = memoryview(bytes(8 * _SLOT_WORDS)).cast("Q")
            words[found], words[found + 1] = key
        words[found + _USED] = int(now_mono_s)
        return found

    def add(self, at: int, bucket: int, amount: int) -> None:
        """Add to one part of the counts that begin at `at`."""
        words, place = self._words, at + 2 * (bucket % _RING)
        if words[place] != bucket:
            words[place + 1] = 0
            words[place] = bucket
        words[place + 1] = max(0, words[place + 1] + amount)

    def counts(self, at: int, now: int) -> Iterator[tuple[int, int]]:
        """Yield the parts of the span that ends with the part `now`: number and count."""
        words = self._words[at : at + 2 * _RING].tolist()
        for bucket, count in zip(words[::2], words[1::2], strict=True):
            if count and now - BUCKETS <= bucket <= now:
                yield bucket, count


def _places(key: tuple[int, int]) -> Iterator[int]:
    return (((key[0] + step) % SLOTS) * _SLOT_WORDS for step in range(PLACES))


class Meters:
    """The counts of all limited sessions, as one worker sees them."""

    def __init__(self, folder: Path | None = None, name: str = "") -> None:
        """`folder` is where the workers of a machine meet; without one this worker counts for itself, its share."""
        self.workers = 1
        self._folder = folder
        self._name = name
        self._own: _Table | None = None
        self._others: dict[str, _Table] = {}
        self._seen_ns = -1

    def admit(self, session: str, effective: Effective, now_mono_s: float) -> float:
        """Count a request and return 0, or return the seconds after which to try again."""
        allowed = effective.bytes_per_hour
        if allowed is not None:
            total, frees_in_s = self._total(session, _BYTES, now_mono_s)
            if total >= self._share(allowed):
                return frees_in_s
        allowed = effective.requests_per_minute
        if allowed is None or self._counts(session, _REQUESTS, 1, allowed, now_mono_s):
            return 0.0
        return self._total(session, _REQUESTS, now_mono_s)[1]

    def count_bytes(self, session: str, amount: int, allowed: int, now_mono_s: float) -> bool:
        """Count bytes on the way to a session; return whether so many may still go. If not, they are not counted."""
        return self._counts(session, _BYTES, amount, allowed, now_mono_s)

    def _counts(self, session: str, span: _Span, amount: int, allowed: int, now_mono_s: float) -> bool:
        own = self._table()
        at = own.slot(_key(session), now_mono_s) + span.offset
        own.add(at, span.bucket(now_mono_s), amount)
        if self._total(session, span, now_mono_s)[0] <= self._share(allowed):
            return True
        own.add(at, span.bucket(now_mono_s), -amount)
        return False

    def _total(self, session: str, span: _Span, now_mono_s: float) -> tuple[int, float]:
        """Return what was counted in the span that ends now, and the seconds until the oldest of it has left."""
        key, now = _key(session), span.bucket(now_mono_s)
        own = self._table()
        total, oldest = 0, now
        for table in (own, *self._others.values()):
            at = table.find(key)
            for bucket, count in table.counts(at + span.offset, now) if at is not None else ():
                total += count
                oldest = min(oldest, bucket)
        return total, max(1.0, (oldest + BUCKETS + 1) * span.seconds / BUCKETS - now_mono_s)

    def _share(self, limit: int) -> int:
        """Return how much of a limit is this worker's: all, where it sees what the others count."""
        return limit if self._folder is not None else max(1, limit // self.workers)

    def _table(self) -> _Table:
        """Return this worker's own counts, and have a look at who else counts."""
        if self._own is None:
            self._own = self._opened()
        if self._folder is not None:
            changed_ns = os.stat(self._folder).st_mtime_ns  # noqa: PTH116 - on the way of a request
            # Within one tick of the file system's clock a second change does not show.
            if changed_ns != self._seen_ns or len(self._others) + 1 < self.workers:
                self._seen_ns = changed_ns
                self._meet()
        return self._own

    def _opened(self) -> _Table:
        if self._folder is not None:
            try:
                self._folder.mkdir(mode=0o700, exist_ok=True)
                return _Table(_mapped(self._folder / self._name, is_own=True))
            except OSError as error:
                log.error("meter-not-shared", error=str(error))
                self._folder = None
        return _Table(mmap.mmap(-1, _FILE_BYTES))

    def _meet(self) -> None:
        assert self._folder is not None  # noqa: S101 - the caller has looked
        for path in self._folder.iterdir():
            is_other = path.name != self._name and path.name not in self._others
            if is_other and not path.name.startswith("."):
                try:
                    self._others[path.name] = _Table(_mapped(path, is_own=False))
                except (OSError, ValueError):
                    # It is being made: its owner counts nothing before it is whole, which changes the folder again.
                    continue


def _mapped(path: Path, *, is_own: bool) -> mmap.mmap:
    """Return a file as memory; one's own is made, whole, where there is none. Raises `OSError`, `ValueError`."""
    if is_own and not (path.exists() and path.stat().st_size == _FILE_BYTES):
        new = path.with_name(f".{path.name}")
        descriptor = os.open(new, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            # All of it: what is missing on a full disk would end the process when it is written.
            os.posix_fallocate(descriptor, 0, _FILE_BYTES)
        finally:
            os.close(descriptor)
        new.rename(path)
    with path.open("r+b" if is_own else "rb") as file:
        access = mmap.ACCESS_WRITE if is_own else mmap.ACCESS_READ
        return mmap.mmap(file.fileno(), _FILE_BYTES, access=access)


def _key(session: str) -> tuple[int, int]:
    first, second = struct.unpack(">QQ", hashlib.blake2b(session.encode(), digest_size=16).digest())
    return first, second
