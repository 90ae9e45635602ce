"""Staging: what one transaction would change, worked out delivery by delivery on a draft. Pure, and compiled.

Nothing of it is seen by anybody before the intake has made it durable (`risk.intake`).
"""

import hashlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Final

import msgspec

from risk.devices import SENSOR_SCOPED, DeviceIndex, ParkingFull, name_of
from risk.folding import PostureFull, fold, join
from risk.model import DeviceId, Identifier, Posture, Rejection, Signal, SignalType
from risk.outcome import MAX_EFFECTS, Effect, IntakeResult
from risk.packing import pack_signal
from risk.parts import Delivered
from risk.snapshot import RiskState
from risk.store import Batch, DeadLetter, DeviceRow, MergedRow, SeenRow, SignalRow, UserRow
from risk.subjects import NotAllowed, Subjects, allowed, check_names
from risk.users import USER_KINDS, UserId, linked, new_record, spelled

MAX_IDENTIFIERS = 16
"""Most identifiers of one signal that are looked at."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_blake2b: Final = hashlib.blake2b
_replace: Final = msgspec.structs.replace


class _Unusable(Exception):
    """A signal that can be attributed to nobody, or kept nowhere; `code` is stable."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


class Stage:
    """One transaction in the making: what it would change.

    `under` is the one that is being committed before it, of which the index of devices is untouched.
    """

    def __init__(
        self,
        state: RiskState,
        seen: dict[bytes, bytes],
        subjects: Mapping[str, Subjects] | None = None,
        *,
        under: "Stage | None" = None,
    ) -> None:
        self.under = under
        self.subjects = subjects or {}
        self.state = state
        self.known = seen
        self.draft: DeviceIndex = state.index.draft()
        self.postures: dict[DeviceId, Posture] = {}
        self.users: dict[UserId, Posture] = {}
        self.signals: list[SignalRow] = []
        self.seen: dict[bytes, SeenRow] = {}
        self.dead_letters: list[DeadLetter] = []
        self.taken: list[int] = []
        self.merged = 0

    def posture(self, device_id: DeviceId) -> Posture:
        """Return the device's posture as this transaction sees it, an empty one for a new device."""
        return self.known_posture(device_id) or Posture(device_id=device_id)

    def known_posture(self, device_id: DeviceId) -> Posture | None:
        """Return the device's posture as this transaction sees it, None for a new device."""
        found = self.postures.get(device_id)
        if found is None and self.under is not None:
            found = self.under.postures.get(device_id)
        return found or self.state.posture(device_id)

    def _user_record(self, user_id: UserId) -> Posture | None:
        found = self.users.get(user_id)
        if found is None and self.under is not None:
            found = self.under.users.get(user_id)
        return found or self.state.user_record(user_id)

    def user_records(self, identifiers: Sequence[Identifier]) -> dict[UserId, Posture]:
        """Return the records that the identifiers name as this transaction sees them, each linked with the others."""
        named = spelled(identifiers)
        return {
            user_id: linked(self._user_record(user_id) or new_record(user_id, identifier), named.values())
            for user_id, identifier in named.items()
        }

    def has_seen(self, key: bytes, digest: bytes) -> bool:
        """Return whether this very message was accepted before, or earlier in this transaction."""
        staged = self.seen.get(key)
        if staged is None and self.under is not None:
            staged = self.under.seen.get(key)
        return (self.known.get(key) if staged is None else staged.digest) == digest

    def name_changed(self) -> None:
        """Bring identifiers and cases that this transaction changed into the postures."""
        for device_id, identifiers in self.draft.changed.items():
            posture = self.posture(device_id)
            self.postures[device_id] = msgspec.structs.replace(
                posture,
                identifiers=identifiers,
                name=name_of(identifiers),
                contested=self.draft.contested(device_id),
            )

    def merge_postures(self) -> None:
        """Put together what is known of records that turned out to be one; to be called after every resolution."""
        if len(self.draft.merged) == self.merged:
            return
        for dropped in list(self.draft.merged)[self.merged :]:
            kept = self.draft.survivor(dropped)
            before = self.known_posture(dropped)
            self.postures.pop(dropped, None)
            if before is not None:
                self.postures[kept] = join(self.posture(kept), before)
        self.merged = len(self.draft.merged)


def stage_delivery(
    stage: Stage,
    delivered: Delivered,
    signals: Sequence[Signal],
    digests: Sequence[tuple[bytes, bytes]],
    *,
    is_part: bool = False,
) -> IntakeResult:
    """Apply the signals of one delivery to the stage, as they are folded, with their digests; return its result.

    Of a part of a delivery, which has no body, rejections have what the item became.
    """
    if not len(signals) == len(digests) == len(delivered.items):
        raise ValueError("each signal needs its digests and its item")
    accepted = duplicates = 0
    devices: set[DeviceId] = set()
    users: set[UserId] = set()
    rejected: list[Rejection] = list(delivered.rejections)
    affected = len(stage.draft.affected)
    befores: dict[DeviceId, Posture | None] = {}
    subject: DeviceId | None
    for at, told in enumerate(signals):
        key, digest = digests[at]
        is_known = stage.has_seen(key, digest)
        try:
            signal = _allowed(stage, told) if stage.subjects else told
            if signal.device_ids or not signal.user_ids:
                subject = _stage_device(stage, signal, befores, is_known=is_known)
                if subject is not None:
                    devices.add(subject)
            else:
                named = _stage_user(stage, signal, is_known=is_known)
                subject = named[0]
                users.update(named)
        except NotAllowed as refused:
            item = delivered.items[at]
            rejected.append(_rejection(item, "not-allowed", str(refused), told, is_part=is_part))
            continue
        except _Unusable as unusable:
            item = delivered.items[at]
            rejected.append(_rejection(item, unusable.code, str(unusable), told, is_part=is_part))
            continue
        if is_known:
            duplicates += 1
            continue
        accepted += 1
        received_at = signal.received_at
        stage.signals.append(SignalRow(received_at, signal.sensor, subject, pack_signal(signal)))
        stage.seen[key] = SeenRow(key, digest, received_at)
    parked = stage.draft.waiting(devices)
    # What rests on a record that was merged, or whose cases changed, rests on something else now.
    devices.update(stage.draft.affected[affected:])
    return IntakeResult(
        accepted=accepted,
        duplicates=duplicates,
        rejected=tuple(sorted(rejected, key=lambda each: each.index)),
        changed_devices=frozenset(devices),
        parked=parked,
        changed_users=frozenset(users),
        effects=tuple(_effect(stage, device_id, before) for device_id, before in befores.items()),
    )


def _effect(stage: Stage, device_id: DeviceId, before: Posture | None) -> Effect:
    """Return the effect on a device, with the identifiers and cases that it has at this point of the transaction."""
    kept = stage.draft.survivor(device_id)
    after = stage.posture(kept)
    identifiers = stage.draft.changed.get(kept)
    if identifiers is not None:
        contested = stage.draft.contested(kept)
        after = msgspec.structs.replace(
            after, identifiers=identifiers, name=name_of(identifiers), contested=contested
        )
    return Effect(kept, before, after)


def _allowed(stage: Stage, signal: Signal) -> Signal:
    """Return the signal as far as its sensor may speak about its subject. Raises `NotAllowed`."""
    subjects = stage.subjects.get(signal.sensor)
    if subjects is None:
        return signal
    signal = allowed(signal, subjects)
    if subjects.names and signal.device_ids:
        known = stage.draft.attributed(_scoped(signal))
        named = () if known is None else stage.draft.identifiers_of(known)
        check_names(signal.sensor, subjects, (*signal.device_ids, *named))
    return signal


def _stage_device(
    stage: Stage, signal: Signal, befores: dict[DeviceId, Posture | None], *, is_known: bool
) -> DeviceId | None:
    """Fold the signal into the device that it names, and return that; None for the heartbeat of nobody.

    `befores` takes what was known of the device before the delivery. A message that is known changes nothing. Raises
    `_Unusable`.
    """
    device_ids = _scoped(signal)
    if is_known:
        return stage.draft.attributed(device_ids)
    try:
        device_id = stage.draft.resolve_or_create(device_ids)
    except ParkingFull as parking:
        raise _Unusable("parking-full", str(parking)) from parking
    stage.merge_postures()
    if device_id is None:
        if signal.type is SignalType.HEARTBEAT and not signal.device_ids:
            return None
        raise _Unusable("no-device", _no_device(signal))
    before = stage.known_posture(device_id)
    try:
        stage.postures[device_id] = fold(before or Posture(device_id=device_id), signal)
    except PostureFull as error:
        raise _Unusable("posture-full", str(error)) from error
    if len(befores) < MAX_EFFECTS:
        befores.setdefault(device_id, before)
    return device_id


def _stage_user(stage: Stage, signal: Signal, *, is_known: bool) -> tuple[UserId, ...]:
    """Fold the signal into the records of the user that it names, and return them, at least one.

    A message that is known changes nothing. Raises `_Unusable`.
    """
    records = stage.user_records(_users(signal))
    if not records:
        sent = ", ".join(f"{each.kind} `{each.value[:64]}`" for each in signal.user_ids[:MAX_IDENTIFIERS])
        raise _Unusable("no-user", f"no identifier names a user: {sent}")
    if not is_known:
        try:
            folded = {user_id: fold(record, signal) for user_id, record in records.items()}
        except PostureFull as error:
            raise _Unusable("posture-full", str(error)) from error
        stage.users.update(folded)
    return tuple(records)


def batch_of(
    stage: Stage,
    packed: Mapping[DeviceId, tuple[Posture, bytes | None]],
    users: dict[UserId, tuple[Posture, bytes]],
) -> Batch:
    """Return the stage as what the store makes durable; postures and records of users with their bytes.

    Postures without bytes are not written: they follow from the signals.
    """
    devices = [
        DeviceRow(id_, _keys(stage, posture), data)
        for id_, (posture, data) in packed.items()
        if data is not None
    ]
    return Batch(
        devices=devices,
        merged=[MergedRow(gone, stage.draft.survivor(gone)) for gone in stage.draft.merged],
        users=[UserRow(user_id, data) for user_id, (_, data) in users.items()],
        signals=[_of_survivor(stage, row) for row in stage.signals] if stage.merged else stage.signals,
        seen=list(stage.seen.values()),
        dead_letters=stage.dead_letters,
        taken=stage.taken,
    )


def _keys(stage: Stage, posture: Posture) -> str | None:
    """Return the index keys of a record, None when they are stored as they are."""
    device_id = posture.device_id
    if device_id in stage.state and device_id not in stage.draft.changed:
        return None
    return stage.draft.record_keys(device_id, posture.identifiers)


def _of_survivor(stage: Stage, row: SignalRow) -> SignalRow:
    """Return the row under the record that its device became part of within this transaction."""
    if row.device_id is None or row.device_id not in stage.draft.merged:
        return row
    return msgspec.structs.replace(row, device_id=stage.draft.survivor(row.device_id))


def _rejection(item: int, code: str, error: str, signal: Signal, *, is_part: bool) -> Rejection:
    """Return why an item is not taken."""
    content = msgspec.to_builtins(signal) if is_part else None
    return Rejection(index=item, code=code, error=error, item=content)


def _scoped(signal: Signal) -> Sequence[Identifier]:
    """Return the signal's identifiers, those that a sensor hands out under this sensor's own name.

    Whatever issuer the signal claims for them, a sensor can only speak of its own numbers.
    """
    sent = signal.device_ids
    if len(sent) == 1 and sent[0].kind not in SENSOR_SCOPED:
        return sent
    return [
        Identifier(each.kind, each.value, signal.sensor) if each.kind in SENSOR_SCOPED else each
        for each in sent[:MAX_IDENTIFIERS]
    ]


def _users(signal: Signal) -> list[Identifier]:
    """Return the signal's identifiers of a user; a name that means nothing elsewhere is this sensor's own."""
    return [
        each if each.kind in USER_KINDS else Identifier(each.kind, each.value, signal.sensor)
        for each in signal.user_ids[:MAX_IDENTIFIERS]
    ]


def _no_device(signal: Signal) -> str:
    sent = ", ".join(f"{each.kind} `{each.value[:64]}`" for each in signal.device_ids[:MAX_IDENTIFIERS])
    return f"no identifier names a device: {sent}" if sent else "the item names no device"


def digests_of(signal: Signal) -> tuple[bytes, bytes]:
    """Return the keys of the message and of its content.

    Our own times are no content: a message without a time of its own is the same when it is sent again.
    """
    received_at, observed_at = signal.received_at, signal.observed_at
    if observed_at is received_at or observed_at == received_at:
        observed_at = _EPOCH
    key = _blake2b(f"{signal.sensor}\x1f{signal.event_id}".encode(), digest_size=16)
    content = _replace(signal, received_at=_EPOCH, observed_at=observed_at, expires_at=None)
    return key.digest(), _blake2b(pack_signal(content), digest_size=8).digest()
