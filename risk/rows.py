"""The rows of a transaction as a few values, which one statement of `risk.sqlite` takes apart. Pure, and compiled.

Who hands SQLite each value of each row needs the interpreter for each, and takes it from the event loop. These are made
on the event loop, at a price below that of handing over, and the rest needs no interpreter at all.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec

from risk.recent import KEY_BYTES, VALUE_BYTES
from risk.store import DeviceRow, SeenRow, SignalRow

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_encode: Final = msgspec.json.Encoder().encode


def micros(at: datetime) -> int:
    """Return a time as unix microseconds, as the store keeps it."""
    return (at - _EPOCH) // _MICROSECOND


class _Micros:
    """Times as unix microseconds, of rows that mostly have the very same time as the one before."""

    def __init__(self) -> None:
        self._last: datetime = _EPOCH
        self._micros: int = 0

    def of(self, at: datetime) -> int:
        if at is not self._last:
            self._last = at
            self._micros = micros(at)
        return self._micros


def packed_devices(rows: Sequence[DeviceRow]) -> tuple[str, bytes]:
    """Return `[[id, keys, place, bytes], …]` as JSON, and the postures one behind the other. Places count from 1."""
    heads: list[tuple[str, str | None, int, int]] = []
    postures: list[bytes] = []
    place: int = 1
    for row in rows:
        posture: bytes = row.posture
        size: int = len(posture)
        heads.append((row.device_id, row.keys, place, size))
        postures.append(posture)
        place += size
    return _encode(heads).decode(), b"".join(postures)


def packed_signals(rows: Sequence[SignalRow]) -> tuple[str, bytes]:
    """Return `[[µs, sensor, device id, place, bytes], …]` as JSON, and the signals one behind the other."""
    heads: list[tuple[int, str, str | None, int, int]] = []
    signals: list[bytes] = []
    place: int = 1
    received = _Micros()
    for row in rows:
        signal: bytes = row.signal
        size: int = len(signal)
        heads.append((received.of(row.received_at), row.sensor, row.device_id, place, size))
        signals.append(signal)
        place += size
    return _encode(heads).decode(), b"".join(signals)


def packed_seen(rows: Sequence[SeenRow]) -> tuple[str, bytes]:
    """Return `[µs, …]` as JSON, and of each message its key and its digest, one behind the other.

    Raises `ValueError` when one of them has not the length that all have.
    """
    times: list[int] = []
    keys: list[bytes] = []
    received = _Micros()
    for row in rows:
        times.append(received.of(row.received_at))
        keys.append(row.key)
        keys.append(row.digest)
    packed = b"".join(keys)
    if len(packed) != len(times) * (KEY_BYTES + VALUE_BYTES):
        raise ValueError("message ids and their digests have one length each")
    return _encode(times).decode(), packed
