"""Sensor kind `okta`: event hooks of Okta.

| event | becomes |
|---|---|
| with a `device` object, such as a sign-in | posture facts as Okta Verify saw them |
| `device.lifecycle.…`, `device.enrollment.…` | posture facts `registered`, `device_status` |
| about people alone | ignored: risk of people is not acted on yet |

The device is the id of its record at Okta; the display name that people give it is no hostname. The actor of a
lifecycle event is the administrator, of any other the person at the device. Source: Okta, "Event Hooks", "System
Log".
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, ClassVar

from plugins.contract import Handshake, Normalized, Sample, after
from plugins.payload import list_at, text_at, text_of
from plugins.reading import Facts, Frame, ItemFault, Made, Reader, gather, known, rows, truth
from plugins.samples.okta import SAMPLES
from risk.model import SignalType
from risk.values import Duration, Strict

STATUSES: dict[str, tuple[bool, str]] = {
    "device.enrollment.create": (True, "active"),
    "device.lifecycle.create": (True, "active"),
    "device.lifecycle.activate": (True, "active"),
    "device.lifecycle.unsuspend": (True, "active"),
    "device.lifecycle.suspend": (False, "suspended"),
    "device.lifecycle.deactivate": (False, "deactivated"),
    "device.lifecycle.delete": (False, "deleted"),
}


class OktaOptions(Strict, frozen=True):
    """Settings of the kind.

    Field: ttl: how long what a sign-in told of a device counts; `null` until another one tells otherwise.
    """

    ttl: Duration | None = 604800.0


class OktaSensor:
    """Reads Okta event hooks."""

    kind: ClassVar[str] = "okta"
    title: ClassVar[str] = "Okta event hooks"
    options_type: ClassVar[type[Strict]] = OktaOptions
    samples: ClassVar[tuple[Sample, ...]] = SAMPLES
    handshakes: ClassVar[tuple[Handshake, ...]] = (Handshake.OKTA,)

    def normalize(
        self,
        payload: Any,
        options: OktaOptions,
        *,
        sensor: str,
        received_at: datetime,
        headers: Mapping[str, str],  # noqa: ARG002 - an event says everything itself
    ) -> Normalized:
        """Return one signal per event about a device."""
        items, prefix = rows(payload, "data.events", "events")
        return gather(Frame(sensor, received_at), items, lambda reader: _event(reader, options), prefix)


def _event(reader: Reader, options: OktaOptions) -> list[Made]:
    kind = reader.text("category", "eventType")
    if not kind:
        raise ItemFault("not-an-event", "`eventType` is missing")
    is_of_device = kind in STATUSES
    if not is_of_device and not isinstance(reader.get("device"), dict):
        return []
    if is_of_device:
        _identify_target(reader)
    else:
        reader.device("sensor-device-id", "device.id")
        if text_of(reader.get("actor.type")).casefold() == "user":
            reader.user("upn", "actor.alternateId")
    reader.device("serial", "device.serial_number", "device.serialNumber")
    reader.need_device("`device.id`, `target` of type `Device`")
    observed_at = reader.time("published")
    facts: Facts = _facts(reader)
    if is_of_device:
        registered, status = STATUSES[kind]
        facts |= {"registered": registered, "device_status": status}
    if not facts:
        return []
    return [
        reader.signal(
            SignalType.POSTURE_FACT,
            external_id="okta-device",
            event_id=reader.text("event_id", "uuid"),
            observed_at=observed_at,
            title=reader.text("title", "displayMessage") or kind,
            facts=facts,
            expires_at=None if is_of_device else after(observed_at, options.ttl),
            sources={"facts": "eventType" if is_of_device else "device"},
        )
    ]


def _identify_target(reader: Reader) -> None:
    """Take the first device that an administrator's action aims at, and the people beside it."""
    for number, target in enumerate(list_at(reader.item, "target")[:32]):
        kind = text_at(target, "type").casefold()
        if kind == "user":
            reader.add_user("upn", text_at(target, "alternateId"))
        elif kind == "device" and not reader.device_ids:
            reader.add_device("sensor-device-id", text_at(target, "id"))
            reader.used["device.sensor-device-id"] = f"{reader.prefix}target[{number}].id"


def _facts(reader: Reader) -> Facts:
    encryption = text_of(reader.get("device.disk_encryption_type")).casefold()
    lock = text_of(reader.get("device.screen_lock_type")).casefold()
    return known(
        managed=truth(reader.get("device.managed")),
        registered=truth(reader.get("device.registered")),
        jailbroken=truth(reader.get("device.jailbreak")),
        secure_hardware=truth(reader.get("device.secure_hardware_present")),
        os_version=text_of(reader.get("device.os_version")),
        disk_encrypted=encryption != "none" if encryption else None,
        screen_lock=lock != "none" if lock else None,
    )
