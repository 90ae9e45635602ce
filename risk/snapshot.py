"""All posture in memory: what decisions read.

Postures rest as compact bytes and are opened when they are asked for; the newest asked-for stay open.
INVARIANT: `apply` replaces postures and identifiers in one step of the event loop, and raises the epoch.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from risk.devices import Conflict, DeviceIndex, random_device_id
from risk.model import DeviceId, Identifier, Posture
from risk.packing import pack_posture, unpack_posture
from risk.store import DeviceRow

MAX_OPEN = 4096
"""Most postures kept open beside their bytes."""


class RiskState:
    """What is known of every device now: one writer (`risk.intake`), any number of readers on its loop."""

    def __init__(self, make_id: Callable[[], DeviceId] = random_device_id) -> None:
        self.index = DeviceIndex(self._identifiers_of, make_id)
        self._packed: dict[DeviceId, bytes] = {}
        self._open: dict[DeviceId, Posture] = {}
        self._epoch = 0

    @property
    def epoch(self) -> int:
        """Number of changes applied since the start; two equal epochs saw the same posture."""
        return self._epoch

    @property
    def conflicts(self) -> tuple[Conflict, ...]:
        """Identifiers that could not be joined, for a person to look at."""
        return self.index.conflicts

    def __len__(self) -> int:
        return len(self._packed)

    def __contains__(self, device_id: object) -> bool:
        return device_id in self._packed

    def device_ids(self) -> Iterator[DeviceId]:
        """Yield the id of every device, in no order."""
        return iter(self._packed)

    def posture(self, device_id: DeviceId) -> Posture | None:
        """Return the posture of a device, None when there is no such device."""
        posture = self._open.pop(device_id, None)
        if posture is None:
            packed = self._packed.get(device_id)
            if packed is None:
                return None
            posture = unpack_posture(device_id, packed)
        self._keep_open(posture)
        return posture

    def resolve(self, identifiers: Iterable[Identifier]) -> DeviceId | None:
        """Return the device that the identifiers name, None when they name none or not one alone."""
        return self.index.resolve(identifiers)

    def load(self, rows: Sequence[DeviceRow]) -> None:
        """Take over the stored devices; called once, at the start."""
        for row in rows:
            self._packed[row.device_id] = row.posture
            self.index.load(row.device_id, row.keys)
        self._epoch += 1

    def apply(self, postures: Mapping[DeviceId, tuple[Posture, bytes]], draft: DeviceIndex) -> None:
        """Replace these postures, and commit the draft of the index in the same step."""
        draft.commit()
        for device_id, (posture, packed) in postures.items():
            self._packed[device_id] = packed
            self._open.pop(device_id, None)
            self._keep_open(posture)
        self._epoch += 1

    def put(self, posture: Posture) -> None:
        """Replace one posture with its identifiers, without a store: for tests and demonstrations."""
        draft = self.index.draft()
        draft.adopt(posture.device_id, posture.identifiers)
        self.apply({posture.device_id: (posture, pack_posture(posture))}, draft)

    def _keep_open(self, posture: Posture) -> None:
        self._open[posture.device_id] = posture
        if len(self._open) > MAX_OPEN:
            del self._open[next(iter(self._open))]

    def _identifiers_of(self, device_id: DeviceId) -> Sequence[Identifier]:
        posture = self.posture(device_id)
        return () if posture is None else posture.identifiers
