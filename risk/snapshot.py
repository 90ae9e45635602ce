"""All posture in memory: what decisions read.

Postures rest as compact bytes and are opened when they are asked for; those opened last stay open.
INVARIANT: `apply` replaces postures and identifiers in one step of the event loop, and raises the epoch.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from operator import attrgetter

import msgspec

from risk.devices import DeviceIndex, random_device_id
from risk.joining import Case, Conflict, JoinRules
from risk.model import DeviceId, Identifier, Posture
from risk.packing import pack_posture, unpack_posture
from risk.store import DeviceRow, MergedRow, UserRow
from risk.users import UserId, linked, new_record, reach, spelled, together

MAX_OPEN = 16_384
"""Most postures kept open beside their bytes, some 2 kB each. A delivery about more devices in turn opens every one
again each time that it is looked at: when folded, when enforced, and for incidents.
"""


class _Open:
    """A posture that is open, beside its bytes, which are made when they are needed."""

    __slots__ = ("packed", "posture")

    def __init__(self, posture: Posture, packed: bytes | None) -> None:
        self.posture = posture
        self.packed = packed


class Records:
    """Postures by the id of their subject: as bytes, or open."""

    def __init__(self) -> None:
        self._kept: dict[DeviceId, bytes | _Open] = {}
        self._opened: deque[DeviceId] = deque()
        """Those that are open, in the order in which they were opened, and some that are gone."""

    def __len__(self) -> int:
        return len(self._kept)

    def __contains__(self, subject_id: object) -> bool:
        return subject_id in self._kept

    def __iter__(self) -> Iterator[DeviceId]:
        return iter(self._kept)

    def get(self, subject_id: DeviceId) -> Posture | None:
        """Return the posture of a subject, None when there is no such subject."""
        kept = self._kept.get(subject_id)
        if kept is None:
            return None
        if isinstance(kept, _Open):
            return kept.posture
        posture = unpack_posture(subject_id, kept)
        self._keep_open(posture, kept)
        return posture

    def load(self, stored: Iterable[tuple[DeviceId, bytes]]) -> None:
        """Take over stored postures."""
        self._kept.update(stored)

    def packed(self, subject_id: DeviceId) -> bytes | None:
        """Return the posture of a subject as bytes, None when there is no such subject."""
        kept = self._kept.get(subject_id)
        return _bytes_of(kept) if isinstance(kept, _Open) else kept

    def replace(self, subject_id: DeviceId, posture: Posture, packed: bytes | None) -> None:
        """Replace the posture of a subject by this one, which is `packed` as bytes where those were made."""
        kept = self._kept.get(subject_id)
        if isinstance(kept, _Open):
            kept.posture = posture
            kept.packed = packed
        else:
            self._keep_open(posture, packed)

    def remove(self, subject_id: DeviceId) -> None:
        """Forget a subject."""
        self._kept.pop(subject_id, None)

    def _keep_open(self, posture: Posture, packed: bytes | None) -> None:
        self._kept[posture.device_id] = _Open(posture, packed)
        self._opened.append(posture.device_id)
        if len(self._opened) > MAX_OPEN:
            first = self._opened.popleft()
            closing = self._kept.get(first)
            if isinstance(closing, _Open):
                self._kept[first] = _bytes_of(closing)


def _bytes_of(opened: _Open) -> bytes:
    if opened.packed is None:
        opened.packed = pack_posture(opened.posture)
    return opened.packed


class RiskState:
    """What is known of every device and user now: one writer (`risk.intake`), any number of readers on its loop."""

    def __init__(self, make_id: Callable[[], DeviceId] = random_device_id) -> None:
        self.index = DeviceIndex(self._identifiers_of, make_id)
        self._devices = Records()
        self._users = Records()
        self._unwritten: dict[DeviceId, None] = {}
        """Devices whose posture is not in the store but follows from it, the longest so first."""
        self._epoch = 0

    @property
    def epoch(self) -> int:
        """Number of changes applied since the start; two equal epochs saw the same posture."""
        return self._epoch

    @property
    def conflicts(self) -> tuple[Conflict, ...]:
        """Identifiers that could not be joined, for a person to look at."""
        return self.index.conflicts

    @property
    def cases(self) -> tuple[Case, ...]:
        """Identifiers that several devices claim, for an operator to settle."""
        return self.index.cases

    def __len__(self) -> int:
        return len(self._devices)

    def __contains__(self, device_id: object) -> bool:
        return device_id in self._devices

    def join_by(self, rules: JoinRules) -> None:
        """Join by these rules from now on; other domains of hostnames only while nothing is known yet."""
        domains = self.index.rules.domains if len(self) else rules.domains
        self.index.rules = msgspec.structs.replace(rules, domains=domains)

    def device_ids(self) -> Iterator[DeviceId]:
        """Yield the id of every device, in no order."""
        return iter(self._devices)

    def posture(self, device_id: DeviceId) -> Posture | None:
        """Return the posture of a device, None when there is no such device.

        A record that was merged into another is that other one.
        """
        return self._devices.get(device_id) or self._devices.get(self.index.survivor(device_id))

    def resolve(self, identifiers: Iterable[Identifier]) -> DeviceId | None:
        """Return the device that the identifiers name, None when they name none or not one alone."""
        return self.index.resolve(identifiers)

    def user_record(self, user_id: UserId) -> Posture | None:
        """Return the record of one identifier of a user, None when nobody has told of it."""
        return self._users.get(user_id)

    def user_ids(self) -> Iterator[DeviceId]:
        """Yield the id of every record of a user, in no order."""
        return iter(self._users)

    def user(self, identifiers: Iterable[Identifier]) -> tuple[tuple[UserId, ...], Posture | None]:
        """Return the records that decide about the user with these identifiers, and what they say together.

        The ids are those of existing records and of those that may just become known.
        """
        ids, found = reach(identifiers, self._users.get)
        return ids, together(found)

    def load(
        self,
        rows: Sequence[DeviceRow],
        users: Sequence[UserRow] = (),
        merged: Sequence[MergedRow] = (),
    ) -> None:
        """Take over stored devices and users, at the start: as often as there are more of them."""
        # Compiled, a generator would be a list of a million pairs first.
        self.index.load_merged(map(attrgetter("device_id", "into"), merged))
        self._devices.load(map(attrgetter("device_id", "posture"), rows))
        self.index.load(map(attrgetter("device_id", "keys"), rows))
        self._users.load(map(attrgetter("user_id", "posture"), users))
        self._epoch += 1

    def apply(
        self,
        postures: Mapping[DeviceId, tuple[Posture, bytes | None]],
        draft: DeviceIndex,
        users: Mapping[UserId, tuple[Posture, bytes]] | None = None,
    ) -> None:
        """Replace these postures, and commit the draft of the index in the same step.

        What has no bytes has not been written.
        """
        draft.commit()
        for device_id in draft.merged:
            self._devices.remove(device_id)
            self._unwritten.pop(device_id, None)
        for device_id, (posture, packed) in postures.items():
            self._devices.replace(device_id, posture, packed)
            if packed is None:
                self._unwritten[device_id] = None
            else:
                self._unwritten.pop(device_id, None)
        for user_id, (record, packed) in (users or {}).items():
            self._users.replace(user_id, record, packed)
        self._epoch += 1

    def count_unwritten(self) -> int:
        """Return how many devices have a posture that only signals have changed, and that was not written since."""
        return len(self._unwritten)

    def take_unwritten(self, most: int) -> list[tuple[DeviceId, bytes]]:
        """Return the postures of up to `most` of them, those first that have waited longest; they count as written."""
        found: list[tuple[DeviceId, bytes]] = []
        for device_id in list(islice(self._unwritten, most)):
            del self._unwritten[device_id]
            packed = self._devices.packed(device_id)
            if packed is not None:  # it is there: what became part of another does not wait
                found.append((device_id, packed))
        return found

    def put_back(self, device_ids: Iterable[DeviceId]) -> None:
        """Count these as not written: they could not be. One that has become part of another was written with that."""
        self._unwritten.update((each, None) for each in device_ids if each in self._devices)

    def put(self, posture: Posture) -> None:
        """Replace one posture with its identifiers, without a store: for tests and demonstrations."""
        draft = self.index.draft()
        draft.adopt(posture.device_id, posture.identifiers)
        self.apply({posture.device_id: (posture, pack_posture(posture))}, draft)

    def put_user(self, posture: Posture) -> None:
        """Give what is said of the user whom the posture's identifiers name, without a store: as `put`."""
        records: dict[UserId, tuple[Posture, bytes]] = {}
        found = spelled(posture.identifiers)
        for user_id, identifier in found.items():
            record = linked(new_record(user_id, identifier), found.values())
            record = Posture(
                device_id=user_id,
                name=record.name,
                identifiers=record.identifiers,
                findings=posture.findings,
                facts=posture.facts,
                heard=posture.heard,
            )
            records[user_id] = (record, pack_posture(record))
        self.apply({}, self.index.draft(), records)

    def _identifiers_of(self, device_id: DeviceId) -> Sequence[Identifier]:
        posture = self.posture(device_id)
        return () if posture is None else posture.identifiers
