"""The store of risk in memory: for tests and for a gateway that need not survive a restart."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TypeVar

import msgspec

from risk.lately import replayed_posture
from risk.model import DeviceId, Signal
from risk.packing import unpack_signal
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
    SignalRow,
    Unwritten,
    UserRow,
)
from risk.users import UserId

_Row = TypeVar("_Row", SeenRow, SignalRow, DeadLetter)


class MemoryRiskStore:
    """`risk.store.RiskStore` that forgets everything when the process ends."""

    def __init__(self) -> None:
        self._devices: dict[DeviceId, DeviceRow] = {}
        self._merged: dict[DeviceId, MergedRow] = {}
        self._users: dict[UserId, UserRow] = {}
        self._signals: list[SignalRow] = []
        self._seen: dict[bytes, SeenRow] = {}
        self._dead_letters: list[DeadLetter] = []
        self._parts: dict[int, PartRow] = {}
        self._promised: list[tuple[int, int]] = []
        self._letters = 0
        self.unwritten: Unwritten = AllWritten()
        self._told: dict[DeviceId, list[bytes]] = {}
        """Signals of devices whose rows do not know them."""

    async def load(self, after: str = "", most: int = LOADED_AT_ONCE) -> list[DeviceRow]:
        """Return the device records whose ids come after `after`, up to `most`, in the order of their ids."""
        for device_id in list(self._told):
            self._replace(
                device_id,
                replayed_posture(device_id, self._devices[device_id].posture, self._told[device_id]),
            )
        return [self._devices[each] for each in sorted(self._devices) if each > after][:most]

    def _replace(self, device_id: DeviceId, posture: bytes) -> None:
        self._devices[device_id] = msgspec.structs.replace(self._devices[device_id], posture=posture)
        self._told.pop(device_id, None)

    async def load_merged(self) -> list[MergedRow]:
        """Return every record that was merged into another, in no order."""
        return list(self._merged.values())

    async def load_users(self) -> list[UserRow]:
        """Return every record of a user, in no order."""
        return list(self._users.values())

    async def load_parts(self) -> list[PartRow]:
        """Return every promised part that is not taken yet, in the order of their ids; forget those never promised."""
        self._parts = {
            part_id: self._parts[part_id]
            for part_id in sorted(self._parts)
            if any(first <= part_id <= last for first, last in self._promised)
        }
        return list(self._parts.values())

    async def recent_seen(self, most: int) -> tuple[list[SeenRow], bool]:
        """Return up to `most` message ids, oldest first, and whether there are no others."""
        return list(self._seen.values())[max(0, len(self._seen) - most) :], len(self._seen) <= most

    async def seen_keys(self, after: int, most: int) -> tuple[list[bytes], int]:
        """Return all message ids at once."""
        return ([], after) if after else (list(self._seen), most)

    async def seen(self, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        """Return the content digests of those message ids that were accepted before."""
        return {key: self._seen[key].digest for key in keys if key in self._seen}

    async def commit(self, batch: Batch) -> None:
        """Keep the batch."""
        for row in batch.devices:
            keys = self._devices[row.device_id].keys if row.keys is None else row.keys
            self._devices[row.device_id] = DeviceRow(row.device_id, keys, row.posture)
            self._told.pop(row.device_id, None)
        for gone in batch.merged:
            self._merged[gone.device_id] = gone
            self._devices.pop(gone.device_id, None)
            self._told.pop(gone.device_id, None)
            self._signals = [
                msgspec.structs.replace(row, device_id=gone.into) if row.device_id == gone.device_id else row
                for row in self._signals
            ]
        self._users.update({row.user_id: row for row in batch.users})
        self._signals.extend(batch.signals)
        written = {row.device_id for row in batch.devices}
        for told in batch.signals:
            if told.device_id in self._devices and told.device_id not in written:
                self._told.setdefault(told.device_id, []).append(told.signal)
        for seen in batch.seen:
            self._seen.pop(seen.key, None)
            self._seen[seen.key] = seen
        for letter in batch.dead_letters:
            self._letters += 1
            self._dead_letters.append(msgspec.structs.replace(letter, id=self._letters))
        self._parts.update({row.id: row for row in batch.parts})
        if batch.promised is not None:
            self._promised.append(batch.promised)
        for part_id in batch.taken:
            self._parts.pop(part_id, None)

    async def tidy(self) -> None:
        """Take over the postures that signals have changed: the signals need not be remembered for them."""
        for device_id, posture in self.unwritten.take_unwritten(self.unwritten.count_unwritten()):
            self._replace(device_id, posture)

    async def settle(self) -> None:
        """Do as `tidy`."""
        await self.tidy()

    async def signals(self, device_id: DeviceId, most: int) -> list[Signal]:
        """Return the newest signals of a device, newest first."""
        rows = [row for row in reversed(self._signals) if row.device_id == device_id]
        return [unpack_signal(row.signal) for row in rows[:most]]

    async def dead_letters(self, sensor: str | None, most: int) -> list[DeadLetter]:
        """Return the newest dead letters of a sensor, or of all, newest first."""
        return [row for row in reversed(self._dead_letters) if sensor in {None, row.sensor}][:most]

    async def discard(self, ids: Sequence[int]) -> int:
        """Remove these dead letters; return how many there were."""
        before = len(self._dead_letters)
        self._dead_letters = [row for row in self._dead_letters if row.id not in ids]
        return before - len(self._dead_letters)

    async def prune(self, now: datetime, retention: Retention, most: int) -> int:
        """Remove what is past its retention, at most `most` rows of each kind; return how many went."""
        seen = list(self._seen.values())
        old = _spent(seen, now, retention.seen_s, len(seen))[:most]
        for row in old:
            del self._seen[row.key]
        signals = _spent(self._signals, now, retention.signals_s, retention.signals_most)[:most]
        self._signals = self._signals[len(signals) :]
        letters = self._spent_letters(now, retention)[:most]
        return len(old) + len(signals) + await self.discard(letters)

    def _spent_letters(self, now: datetime, retention: Retention) -> list[int]:
        """Return the ids of dead letters that are too old, then of those above what is kept of each sensor."""
        old = _spent(self._dead_letters, now, retention.dead_letters_s, len(self._dead_letters))
        of_sensor: dict[str, list[int]] = {}
        for row in self._dead_letters[len(old) :]:
            of_sensor.setdefault(row.sensor, []).append(row.id)
        above = [ids[: max(0, len(ids) - retention.dead_letters_most)] for ids in of_sensor.values()]
        return [row.id for row in old] + [each for ids in above for each in ids]


def _spent(rows: Sequence[_Row], now: datetime, age_s: float, most: int) -> Sequence[_Row]:
    """Return the rows, which are oldest first, that are too old or above the bound."""
    oldest = now - timedelta(seconds=age_s)
    above = len(rows) - most
    count = next(
        (number for number, row in enumerate(rows) if row.received_at >= oldest and number >= above),
        len(rows),
    )
    return rows[:count]
