"""What became of a delivery."""

import msgspec

from risk.model import DeviceId, Posture, Rejection
from risk.users import UserId

MAX_EFFECTS = 20
"""Most devices of one delivery whose posture before and after it is told."""


class Effect(msgspec.Struct, frozen=True, gc=False):
    """What one delivery did to one device: its posture before (None: it was not known) and after."""

    device_id: DeviceId
    before: Posture | None
    after: Posture


class IntakeResult(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one delivery, in signals.

    `changed_devices` are all devices whose enforcement the answer must wait for, those of duplicates included; `parked`
    are those that the delivery names and that are known by nothing but a name; `changed_users` are users' records as
    `changed_devices` are devices. `timings` are milliseconds: `waited`, `staged`, `durable`. `effects` are those on
    devices, at most `MAX_EFFECTS`.
    """

    accepted: int = 0
    duplicates: int = 0
    rejected: tuple[Rejection, ...] = ()
    changed_devices: frozenset[DeviceId] = frozenset()
    parked: frozenset[DeviceId] = frozenset()
    changed_users: frozenset[UserId] = frozenset()
    timings: dict[str, float] = {}
    effects: tuple[Effect, ...] = ()

    @property
    def changed(self) -> frozenset[DeviceId]:
        """Every device, and every user's record, whose enforcement the answer must wait for."""
        return self.changed_devices | self.changed_users
