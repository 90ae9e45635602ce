"""The newest of many messages, by key, in bounded memory and constant time.

A dict that loses its oldest key for each new one is walked over the gaps at its front; two generations have no gaps.
"""

from collections.abc import Iterable


class Recent:
    """Remembers at least the newest half of `most` keys, and at most `most`."""

    def __init__(self, most: int) -> None:
        self._half = max(1, most // 2)
        self._young: dict[bytes, bytes] = {}
        self._old: dict[bytes, bytes] = {}
        self.has_forgotten = False
        """Whether a key was ever given up."""

    def __len__(self) -> int:
        return len(self._young) + sum(key not in self._young for key in self._old)

    def get(self, key: bytes) -> bytes | None:
        """Return what was last put under a key, None when it is not remembered."""
        found = self._young.get(key)
        return self._old.get(key) if found is None else found

    def put(self, rows: Iterable[tuple[bytes, bytes]]) -> None:
        """Remember keys with their values, the oldest first."""
        for key, value in rows:
            if len(self._young) >= self._half:
                self.has_forgotten = self.has_forgotten or bool(self._old)
                self._old, self._young = self._young, {}
            self._young[key] = value
