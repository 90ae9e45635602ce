"""The store of risk in memory: for tests and for a gateway that need not survive a restart."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TypeVar

from risk.model import DeviceId, Signal
from risk.packing import unpack_signal
from risk.store import Batch, DeadLetter, DeviceRow, Retention, SeenRow, SignalRow

_Row = TypeVar("_Row", SeenRow, SignalRow, DeadLetter)


class MemoryRiskStore:
    """`risk.store.RiskStore` that forgets everything when the process ends."""

    def __init__(self) -> None:
        self._devices: dict[DeviceId, DeviceRow] = {}
        self._signals: list[SignalRow] = []
        self._seen: dict[bytes, SeenRow] = {}
        self._dead_letters: list[DeadLetter] = []

    async def load(self) -> list[DeviceRow]:
        """Return every device record, in no order."""
        return list(self._devices.values())

    async def recent_seen(self, most: int) -> tuple[list[SeenRow], bool]:
        """Return up to `most` message ids, oldest first, and whether there are no others."""
        return list(self._seen.values())[max(0, len(self._seen) - most) :], len(self._seen) <= most

    async def seen(self, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        """Return the content digests of those message ids that were accepted before."""
        return {key: self._seen[key].digest for key in keys if key in self._seen}

    async def commit(self, batch: Batch) -> None:
        """Keep the batch."""
        self._devices.update({row.device_id: row for row in batch.devices})
        self._signals.extend(batch.signals)
        for row in batch.seen:
            self._seen.pop(row.key, None)
            self._seen[row.key] = row
        self._dead_letters.extend(batch.dead_letters)

    async def signals(self, device_id: DeviceId, most: int) -> list[Signal]:
        """Return the newest signals of a device, newest first."""
        rows = [row for row in reversed(self._signals) if row.device_id == device_id]
        return [unpack_signal(row.signal) for row in rows[:most]]

    async def dead_letters(self, sensor: str | None, most: int) -> list[DeadLetter]:
        """Return the newest dead letters of a sensor, or of all, newest first."""
        return [row for row in reversed(self._dead_letters) if sensor in {None, row.sensor}][:most]

    async def prune(self, now: datetime, retention: Retention, most: int) -> int:
        """Remove what is past its retention, at most `most` rows of each kind; return how many went."""
        seen = list(self._seen.values())
        old = _spent(seen, now, retention.seen_s, len(seen))[:most]
        for row in old:
            del self._seen[row.key]
        signals = _spent(self._signals, now, retention.signals_s, retention.signals_most)[:most]
        self._signals = self._signals[len(signals) :]
        letters = _spent(self._dead_letters, now, retention.dead_letters_s, retention.dead_letters_most)[
            :most
        ]
        self._dead_letters = self._dead_letters[len(letters) :]
        return len(old) + len(signals) + len(letters)


def _spent(rows: Sequence[_Row], now: datetime, age_s: float, most: int) -> Sequence[_Row]:
    """Return the rows, which are oldest first, that are too old or above the bound."""
    oldest = now - timedelta(seconds=age_s)
    above = len(rows) - most
    count = next(
        (number for number, row in enumerate(rows) if row.received_at >= oldest and number >= above),
        len(rows),
    )
    return rows[:count]
