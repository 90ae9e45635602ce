"""What journals of `risk.sqlite` say of devices beyond what is filed of them: for who begins, or only reads the file.

A posture in the file is followed by a number: all signals up to it have been folded into it. INVARIANT: a posture and
the signals of its device with higher numbers, folded in their order, are what the process knew that has written them.
"""

import sqlite3
from bisect import bisect_right
from collections.abc import Sequence
from typing import NamedTuple

from risk.folding import PostureFull, fold
from risk.model import DeviceId, Posture
from risk.packing import pack_posture, unpack_posture, unpack_signal
from risk.store import DeviceRow

_POSTURES = """
SELECT device_id, keys, posture, through FROM risk_devices_lately
WHERE device_id NOT IN (SELECT device_id FROM risk_merged) ORDER BY through, id
"""
_FILED = "SELECT NULL, posture, through FROM risk_devices WHERE device_id = ?"
_SIGNALS = """
SELECT device_id, id, signal FROM risk_signals
WHERE id > (SELECT written FROM risk_filed) AND device_id IS NOT NULL ORDER BY id
"""
_THROUGHS = "SELECT device_id, through FROM risk_devices WHERE device_id > ? AND device_id <= ?"
_PAGE = "SELECT device_id, keys, posture FROM risk_devices WHERE device_id > ? ORDER BY device_id LIMIT ?"


class _Known(NamedTuple):
    """What is known of a device: its keys, None for those that are filed, and its posture through a signal."""

    keys: str | None
    posture: bytes
    through: int


class Lately:
    """Devices of which the file has something newer than what is filed."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._newest: dict[DeviceId, _Known] = {}
        for device_id, keys, posture, through in connection.execute(_POSTURES):
            before = self._newest.get(device_id)
            if keys is None and before is not None:
                keys = before.keys  # noqa: PLW2901
            self._newest[device_id] = _Known(keys, posture, through)
        self.replayed = self._replay(connection)
        """The devices whose newest posture is in no journal: it follows from signals."""
        self._ids = sorted(self._newest)

    def posture(self, device_id: DeviceId) -> bytes:
        """Return the newest posture of such a device. Raises `KeyError`."""
        return self._newest[device_id].posture

    def page(self, connection: sqlite3.Connection, after: str, most: int) -> list[DeviceRow]:
        """Return up to `most` records behind an id as they are now, in the order of their ids."""
        filed = [DeviceRow(*row) for row in connection.execute(_PAGE, (after, most))]
        first = bisect_right(self._ids, after)
        upto = len(self._ids) if len(filed) < most else bisect_right(self._ids, filed[-1].device_id)
        lately = self._ids[first : min(upto, first + most)]
        if not lately:
            return filed
        rows = {row.device_id: row for row in filed}
        throughs: dict[DeviceId, int] = dict(connection.execute(_THROUGHS, (after, lately[-1])))
        for device_id in lately:
            known, before = self._newest[device_id], rows.get(device_id)
            if known.through < throughs.get(device_id, 0):
                continue  # a newer one was filed, and has left the journal before this one
            keys = (before.keys if before else "") if known.keys is None else known.keys
            rows[device_id] = DeviceRow(device_id, keys, known.posture)
        return [rows[device_id] for device_id in sorted(rows)[:most]]

    def _replay(self, connection: sqlite3.Connection) -> list[DeviceId]:
        signals: dict[DeviceId, list[tuple[int, bytes]]] = {}
        for device_id, number, signal in connection.execute(_SIGNALS):
            signals.setdefault(device_id, []).append((number, signal))
        replayed: list[DeviceId] = []
        for device_id in sorted(signals):  # as they lie in the file
            told = signals[device_id]
            known = self._known(connection, device_id)
            later = [] if known is None else [signal for number, signal in told if number > known.through]
            if known is not None and later:
                posture = replayed_posture(device_id, known.posture, later)
                self._newest[device_id] = _Known(known.keys, posture, told[-1][0])
                replayed.append(device_id)
        return replayed

    def _known(self, connection: sqlite3.Connection, device_id: DeviceId) -> _Known | None:
        """Return what is written of a device; None for users, and for records that became part of others."""
        known = self._newest.get(device_id)
        row = connection.execute(_FILED, (device_id,)).fetchone()
        if row is None:
            return known
        filed = _Known(*row)
        if known is None:
            return filed
        return known if known.through > filed.through else filed._replace(keys=known.keys)


def replayed_posture(device_id: DeviceId, packed: bytes, signals: Sequence[bytes]) -> bytes:
    """Return a posture after signals that came after it, in their order; all of them are packed."""
    posture: Posture = unpack_posture(device_id, packed)
    for each in signals:
        try:
            posture = fold(posture, unpack_signal(each))
        except PostureFull:
            # It was accepted by rules that are others now.
            continue
    return pack_posture(posture)
