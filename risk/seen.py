"""Which messages were accepted before: the newest in memory, older ones in the store.

The store is asked only about messages that a filter does not rule out: nearly every message is a new one, and each
question would be a look at a random place of a large table.
"""

import asyncio
import contextlib
from collections.abc import Iterable, Sequence

from risk.bloom import BloomFilter
from risk.database import StoreFault, StoreOverloaded
from risk.recent import Recent
from risk.store import RiskStore, SeenRow

MAX_RECENT = 200_000
"""Most message ids kept in memory with what they were about."""

MAX_FILTERED = 3_000_000
"""Of about so many message ids the filter tells most others apart, in 4 MiB. Of more, the store is asked more often."""

READ_AT_ONCE = 2_000
PAUSE_S = 0.005
"""How many older message ids are read between two pauses while the filter is being filled."""

RETRY_S = 5.0


class SeenMessages:
    """Message ids with the digests of their content. `start` before anything else."""

    def __init__(self, store: RiskStore) -> None:
        self._store = store
        self._recent = Recent(MAX_RECENT)
        self._filter = BloomFilter(MAX_FILTERED)
        self._is_all_recent = False
        """Whether everything in the store is among the recent ones."""
        self._is_filter_complete = False
        self._filling: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Read the newest, and the ids of older ones in the background. Raises `StoreFault`."""
        rows, self._is_all_recent = await self._store.recent_seen(MAX_RECENT)
        self._recent, self._filter = Recent(MAX_RECENT), BloomFilter(MAX_FILTERED)
        self._put(rows)
        self._is_filter_complete = self._is_all_recent
        if not self._is_filter_complete:
            self._filling = asyncio.create_task(self._fill(), name="seen-messages")

    async def stop(self) -> None:
        """End what runs in the background."""
        if self._filling is not None:
            self._filling.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._filling
            self._filling = None

    def remember(self, rows: Iterable[SeenRow]) -> None:
        """Remember messages that are durable now."""
        self._put(list(rows))

    async def known(self, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        """Return the content digests of those messages that were accepted before. Raises `StoreFault`."""
        unknown = self._filter.unknown(keys)
        if self._is_filter_complete and len(unknown) == len(keys):
            return {}
        recent = self._recent
        known = {
            key: digest for key in keys if key not in unknown and (digest := recent.get(key)) is not None
        }
        if self._is_all_recent:
            return known
        ruled_out = unknown if self._is_filter_complete else frozenset()
        older = [key for key in keys if key not in known and key not in ruled_out]
        return {**(await self._store.seen(older)), **known} if older else known

    def _put(self, rows: Sequence[SeenRow]) -> None:
        self._recent.put([(row.key, row.digest) for row in rows])
        self._filter.put([row.key for row in rows])
        self._is_all_recent = self._is_all_recent and not self._recent.has_forgotten

    async def _fill(self) -> None:
        """Put in the ids of all that the store has. What becomes durable meanwhile is put in by `remember`."""
        after, is_last = 0, False
        while not is_last:
            try:
                keys, place = await self._store.seen_keys(after, READ_AT_ONCE)
            except (StoreFault, StoreOverloaded):
                await asyncio.sleep(RETRY_S)
                continue
            self._filter.put(keys)
            after, is_last = place, place == after
            await asyncio.sleep(PAUSE_S)
        self._is_filter_complete = True
