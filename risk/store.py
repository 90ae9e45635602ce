"""What the store of risk keeps, as protocols. `risk.sqlite` and `risk.memory` implement them.

INVARIANT: `RiskStore.commit` returns only when the whole batch is durable; on an error nothing of it is.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Protocol

import msgspec

from risk.model import DeviceId, Signal
from risk.users import UserId


class DeviceRow(msgspec.Struct, frozen=True, gc=False):
    """A device record as stored: index keys one a line, posture as `risk.packing` writes it.

    In a batch `keys` may be None for a record that is stored already: they stay as they are.
    """

    device_id: DeviceId
    keys: str | None
    posture: bytes


class UserRow(msgspec.Struct, frozen=True, gc=False):
    """The record of one identifier of a user as stored."""

    user_id: UserId
    posture: bytes


class MergedRow(msgspec.Struct, frozen=True):
    """A device record that is one with another from now on, which has all of its signals."""

    device_id: DeviceId
    into: DeviceId


class SignalRow(msgspec.Struct, frozen=True, gc=False):
    """One line of the journal of accepted signals. `device_id` is that of the device, or of the user's first record."""

    received_at: datetime
    sensor: str
    device_id: DeviceId | None
    signal: bytes


class SeenRow(msgspec.Struct, frozen=True, gc=False):
    """A message id that was accepted: `key` is a digest of (sensor, event id), `digest` of the content."""

    key: bytes
    digest: bytes
    received_at: datetime


class DeadLetter(msgspec.Struct, frozen=True):
    """Something authentic but unusable: `reason` is a code, `error` a text, `body` what was sent.

    `delivery` is the id of the delivery that it came with ("" when that had none), `item` the item of it, counted from
    0. `id` is the store's.
    """

    received_at: datetime
    sensor: str
    reason: str
    error: str
    body: bytes
    delivery: str = ""
    item: int = 0
    id: int = 0


class PartRow(msgspec.Struct, frozen=True):
    """A part of a large delivery, certain to be taken once all are promised; as `risk.parts` packs it. Ids rise."""

    id: int
    part: bytes


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that one durable transaction changes.

    A device without a row in `devices` knows what its row said before, and the signals that were committed after that.

    `promised` are the ids of the first and the last part of a delivery of which all parts are durable now: from then on
    they are certain to be taken. `taken` are the ids of parts that are done with.
    """

    devices: Sequence[DeviceRow] = ()
    users: Sequence[UserRow] = ()
    merged: Sequence[MergedRow] = ()
    signals: Sequence[SignalRow] = ()
    seen: Sequence[SeenRow] = ()
    dead_letters: Sequence[DeadLetter] = ()
    parts: Sequence[PartRow] = ()
    promised: tuple[int, int] | None = None
    taken: Sequence[int] = ()


class Retention(msgspec.Struct, frozen=True, kw_only=True):
    """How long what is kept; `_most` bounds rows whatever their age, dead letters those of each sensor.

    Message ids are kept by age alone, at least as long as senders retry.
    """

    seen_s: float = 72 * 3600.0
    signals_s: float = 30 * 86400.0
    signals_most: int = 1_000_000
    dead_letters_s: float = 30 * 86400.0
    dead_letters_most: int = 10_000


LOADED_AT_ONCE = 5_000
"""Device records that are read in one go. All at once, their rows would leave gaps between what stays in memory, that
nothing fills: 160 bytes a device."""


class Unwritten(Protocol):
    """Postures of devices that have changed by signals alone, and that no commit has written since."""

    def count_unwritten(self) -> int:
        """Return how many there are."""

    def take_unwritten(self, most: int) -> list[tuple[DeviceId, bytes]]:
        """Return up to `most` of them as they are now, to be written."""

    def put_back(self, device_ids: Iterable[DeviceId]) -> None:
        """Count these again as such: they could not be written."""


class AllWritten:
    """Who writes the posture of every device with every signal."""

    def count_unwritten(self) -> int:
        """Return 0."""
        return 0

    def take_unwritten(self, most: int) -> list[tuple[DeviceId, bytes]]:  # noqa: ARG002 - a protocol
        """Return none."""
        return []

    def put_back(self, device_ids: Iterable[DeviceId]) -> None:
        """Do nothing."""


class RiskStore(Protocol):
    """Keeps devices with their posture, the journal of signals, message ids and dead letters."""

    unwritten: Unwritten
    """Asked, now and then, for postures that no commit has written. `load` knows of them in any case."""

    async def load(self, after: str = "", most: int = LOADED_AT_ONCE) -> list[DeviceRow]:
        """Return the device records whose ids come after `after`, up to `most`, in the order of their ids."""

    async def load_merged(self) -> list[MergedRow]:
        """Return every record that was merged into another, in no order."""

    async def load_users(self) -> list[UserRow]:
        """Return every record of a user, in no order."""

    async def load_parts(self) -> list[PartRow]:
        """Return every promised part that is not taken yet, in the order of their ids; forget those never promised.

        To be called at the start.
        """

    async def recent_seen(self, most: int) -> tuple[list[SeenRow], bool]:
        """Return up to `most` message ids, oldest first, and whether there are no others.

        Those that came soon after one another may be in another order.
        """

    async def seen_keys(self, after: int, most: int) -> tuple[list[bytes], int]:
        """Return about `most` message ids after a place, 0 for the start, and the place after them; none at the end."""

    async def seen(self, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        """Return the content digests of those message ids that were accepted before."""

    async def commit(self, batch: Batch) -> None:
        """Make the batch durable. Raises `StoreOverloaded` or `StoreFault`, and then nothing is changed."""

    async def tidy(self) -> None:
        """Do what commits have put off, where that has become much. To be called between them. Raises as `commit`."""

    async def settle(self) -> None:
        """Write what is `unwritten`: to be called before the end. Raises as `commit`."""

    async def signals(self, device_id: DeviceId, most: int) -> list[Signal]:
        """Return the newest signals of a device, newest first."""

    async def dead_letters(self, sensor: str | None, most: int) -> list[DeadLetter]:
        """Return the newest dead letters of a sensor, or of all, newest first."""

    async def discard(self, ids: Sequence[int]) -> int:
        """Remove these dead letters; return how many there were."""

    async def prune(self, now: datetime, retention: Retention, most: int) -> int:
        """Remove what is past its retention, at most `most` rows of each kind; return how many went."""


class DecisionStore(Protocol):
    """Keeps decision records by their reference code."""

    async def put(self, code: str, created_at: datetime, record: bytes) -> None:
        """Keep one record; the same code again replaces it."""

    async def put_many(
        self, records: Sequence[tuple[str, datetime, bytes]], *, is_waited_for: bool = True
    ) -> None:
        """Keep several records in one transaction."""

    async def get(self, code: str) -> bytes | None:
        """Return the record, None when there is none."""

    async def prune(self, before: datetime, most: int) -> int:
        """Remove records created before `before`, and the oldest above `most`; return how many went."""
