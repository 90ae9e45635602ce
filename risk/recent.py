"""The newest of many messages, by key, in bounded memory and constant time.

Rows lie in tables of bytes, a fifth of what a dict of bytes takes. A table is never emptied row by row: when the newest
is full, another one is begun, and the oldest that are not needed any more go.
"""

from collections.abc import Iterable
from struct import Struct
from typing import Final

KEY_BYTES = 16
VALUE_BYTES = 8
_ROW = KEY_BYTES + VALUE_BYTES
_START_MASK: Final = (1 << 30) - 1
_write: Final = Struct(f"{KEY_BYTES}s{VALUE_BYTES}s").pack_into
_PARTS = (64, 16, 4, 1)
"""What part of half of all rows the first tables have, and then every one: who has few rows has small tables."""


class Recent:
    """Remembers at least the newest half of `most` keys, and at most `most`.

    A key has 16 bytes, a value has 8.
    """

    def __init__(self, most: int) -> None:
        self._half = max(1, most // 2)
        self._parts = list(_PARTS)
        self._tables = [self._table()]
        """The newest first."""
        self.has_forgotten = False
        """Whether a key was ever given up."""

    def __len__(self) -> int:
        return sum(len(table) for table in self._tables)

    def get(self, key: bytes) -> bytes | None:
        """Return what was last put under a key, None when it is not remembered."""
        start, tag = _start(key), key[-1] or 1
        for table in self._tables:
            value = table.get(key, start, tag)
            if value is not None:
                return value
        return None

    def put(self, rows: Iterable[tuple[bytes, bytes]]) -> None:
        """Remember keys with their values, the oldest first."""
        newest = self._tables[0]
        for key, value in rows:
            if newest.is_full:
                newest = self._begin()
            newest.put(key, value, _start(key), key[-1] or 1)

    def _begin(self) -> "_Table":
        """Begin a table; of those that are full keep the newest that have half of all rows together."""
        kept: list[_Table] = []
        for table in self._tables:
            if sum(len(each) for each in kept) >= self._half:
                self.has_forgotten = True
                break
            kept.append(table)
        self._tables = [self._table(), *kept]
        return self._tables[0]

    def _table(self) -> "_Table":
        part = self._parts.pop(0) if len(self._parts) > 1 else self._parts[0]
        return _Table(max(1, self._half // part))


class _Table:
    """Up to `most` rows, found by open addressing. A tag of a byte tells an empty place, and most others apart."""

    def __init__(self, most: int) -> None:
        places = 1 << (most * 5 // 4).bit_length()
        self.most = most
        self._count = 0
        self._mask = places - 1
        self._tags = bytearray(places)
        self._rows = bytearray(places * _ROW)

    def __len__(self) -> int:
        return self._count

    @property
    def is_full(self) -> bool:
        """Whether no further row has a place."""
        return self._count >= self.most

    def get(self, key: bytes, start: int, tag: int) -> bytes | None:
        """Return the value of a key, None without one."""
        place = self._place(key, start, tag)
        if not self._tags[place]:
            return None
        at = place * _ROW + KEY_BYTES
        return bytes(self._rows[at : at + VALUE_BYTES])

    def put(self, key: bytes, value: bytes, start: int, tag: int) -> None:
        """Give a key its value. The table must not be full."""
        place = self._place(key, start, tag)
        if not self._tags[place]:
            self._tags[place] = tag
            self._count += 1
        _write(self._rows, place * _ROW, key, value)

    def _place(self, key: bytes, start: int, tag: int) -> int:
        """Return where a key is, or where it belongs."""
        tags, mask = self._tags, self._mask
        place = start & mask
        while found := tags[place]:
            if found == tag:
                at = place * _ROW
                if self._rows[at : at + KEY_BYTES] == key:
                    break
            place = (place + 1) & mask
        return place


def _start(key: bytes) -> int:
    """Return where to begin to look for a key: nobody can foretell it, and so make many keys begin at one place."""
    return hash(key) & _START_MASK
