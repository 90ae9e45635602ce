"""Whose the statements of a recorded delivery are now: records of devices are merged and split after it came. Pure."""

from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from gateway.deliveries.model import DeliveryRecord, SignalLine
from risk.devices import SENSOR_SCOPED
from risk.model import DeviceId, Identifier, Posture


class Devices(msgspec.Struct, frozen=True):
    """What is known of devices now: `posture` follows merges, `resolve` finds whose identifiers these are."""

    posture: Callable[[DeviceId], Posture | None]
    resolve: Callable[[Iterable[Identifier]], DeviceId | None]


def as_now(record: DeliveryRecord, devices: Devices) -> dict[str, Any]:
    """Return a record for people, as JSON values.

    An effect whose device is part of another record by now has a `now` with `device_id` and `device` of that one. So
    has a signal whose identifiers a split gave to a device that the delivery did not speak of.
    """
    answer: dict[str, Any] = msgspec.to_builtins(record)
    held: set[DeviceId] = set()
    for effect, shown in zip(record.effects, answer.get("effects", ()), strict=True):
        posture = devices.posture(DeviceId(effect.device_id))
        if posture is not None:
            held.add(posture.device_id)
            if posture.device_id != effect.device_id:
                shown["now"] = _shown(posture)
    for signal, shown in zip(record.signals, answer.get("signals", ()), strict=True):
        found = _device_of(signal, record.sensor, devices) if held else None
        if found is not None and found.device_id not in held:
            shown["now"] = _shown(found)
    return answer


def _device_of(signal: SignalLine, sensor: str, devices: Devices) -> Posture | None:
    scoped = [
        msgspec.structs.replace(each, issuer=sensor) if each.kind in SENSOR_SCOPED else each
        for each in signal.device_ids
    ]
    device_id = devices.resolve(scoped) if scoped else None
    return None if device_id is None else devices.posture(device_id)


def _shown(posture: Posture) -> dict[str, str]:
    return {"device_id": posture.device_id, "device": posture.name}
