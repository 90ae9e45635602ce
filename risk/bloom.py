"""Tells of most keys that they were never put in, in a byte or two a key. Pure, and compiled.

A Bloom filter of blocks: all bits of a key are in one word, so that a look touches one place of memory. Source: Bloom,
"Space/time trade-offs in hash coding with allowable errors", 1970; Putze, Sanders, Singler, "Cache-, hash- and
space-efficient Bloom filters", 2007.
"""

from collections.abc import Iterable
from struct import Struct

from risk.recent import KEY_BYTES

BITS_A_KEY = 10
"""With four bits set of each key, about one in forty unknown keys is taken for a known one when the filter is full."""

_WORD_BITS = 32
_HALVES = Struct(f"<II{KEY_BYTES - 8}x")


class BloomFilter:
    """Up to about `most` keys of `KEY_BYTES` bytes that are evenly spread, as digests are."""

    def __init__(self, most: int) -> None:
        words = 1 << max(0, (most * BITS_A_KEY // _WORD_BITS - 1).bit_length())
        self._mask = words - 1
        # Pages of it take memory only once they are written.
        self._words = memoryview(bytearray(words * 4)).cast("I")
        self._count = 0

    def __len__(self) -> int:
        """Return how many keys were put in; one that was put in twice counts twice."""
        return self._count

    def put(self, keys: Iterable[bytes]) -> None:
        """Put keys in."""
        words, mask = self._words, self._mask
        for key in keys:
            place, bits = _HALVES.unpack(key)
            words[place & mask] |= _pattern(bits)
            self._count += 1

    def unknown(self, keys: Iterable[bytes]) -> set[bytes]:
        """Return those of the keys that were certainly never put in."""
        words, mask = self._words, self._mask
        found: set[bytes] = set()
        for key in keys:
            place, bits = _HALVES.unpack(key)
            pattern = _pattern(bits)
            if words[place & mask] & pattern != pattern:
                found.add(key)
        return found


def _pattern(bits: int) -> int:
    """Return four bits of a word, chosen by the lowest 20 of these."""
    return 1 << (bits & 31) | 1 << (bits >> 5 & 31) | 1 << (bits >> 10 & 31) | 1 << (bits >> 15 & 31)
