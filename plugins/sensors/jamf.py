"""Sensor kind `jamf`: webhooks of Jamf Pro, alerts of Jamf Protect.

| event | becomes |
|---|---|
| `SmartGroup…MembershipChange` of a group in `groups` | condition for each device added, closed for each removed |
| `ComputerAdded`, `MobileDeviceEnrolled` | posture fact `managed: true` |
| `MobileDeviceUnEnrolled` | posture fact `managed: false` |
| `ComputerCheckIn`, `ComputerInventoryCompleted`, and their like | posture fact `os_version`, or a sign of life |
| computers of the API | posture facts |
| alert of Jamf Protect | detection by its severity, one per alert, that expires |
| event of its Threat Events Stream | detection by its severity; *Resolved* closes it |
| telemetry of Jamf Protect | ignored |
| every other event | ignored |

Jamf numbers computers and mobile devices apart, so its number is kept with its family: `computer:52`. A smart
group says which devices came and went by number only, which names a device once a check-in has told of it.
Source: Jamf Pro documentation, "Webhooks"; Jamf Protect documentation, "Alert data".
"""

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any, ClassVar

import msgspec

from plugins.asking.jamf import AsksJamf
from plugins.contract import Collector, Normalized, Sample, after
from plugins.levels import Range, level_of_score
from plugins.payload import MAX_ITEMS, dig, digest, list_at, object_at, text_at, text_of
from plugins.reading import Facts, Frame, ItemFault, Made, Reader, gather, known, truth
from plugins.samples.jamf import SAMPLES
from plugins.sensors.envelopes import inside, items_of, opened
from risk.model import Severity, SignalType
from risk.values import Duration, Strict

MANAGED: dict[str, bool] = {
    "ComputerAdded": True,
    "MobileDeviceEnrolled": True,
    "MobileDeviceUnEnrolled": False,
}
SEEN = frozenset(
    {
        *("ComputerCheckIn", "ComputerInventoryCompleted", "ComputerPushCapabilityChanged"),
        *("MobileDeviceCheckIn", "MobileDeviceInventoryCompleted"),
    }
)


PROTECT_LEVELS: dict[str, Severity] = {
    "0": Severity.INFORMATIONAL,
    "1": Severity.LOW,
    "2": Severity.MEDIUM,
    "3": Severity.HIGH,
}


THREAT_SCORES = (
    Range(at_least=0, level=Severity.INFORMATIONAL),
    Range(at_least=2, level=Severity.LOW),
    Range(at_least=4, level=Severity.MEDIUM),
    Range(at_least=7, level=Severity.HIGH),
    Range(at_least=9, level=Severity.CRITICAL),
)
"""Severities of the Threat Events Stream, 0 to 10."""

_HOSTNAME = re.compile(r"[\w-]+(\.[\w-]+)*")


class JamfGroup(Strict, frozen=True):
    """What it means to be a member of a smart group.

    Field: level: severity of the condition.
    Field: fact: posture fact that is `false` for members and `true` for who left.
    Field: why: text for people; default: the name of the group.
    Field: action: what to do about it.
    """

    level: Severity = Severity.HIGH
    fact: str = ""
    why: str = ""
    action: str = ""


class JamfOptions(Strict, frozen=True):
    """Settings of the kind.

    Field: groups: names of smart groups that collect devices with a problem; other groups are ignored.
    Field: protect_levels: severities of Jamf Protect (`0` to `3`) that mean another severity than usual.
    Field: protect_ttl: how long an alert of Jamf Protect counts: it never says that one is over.
    """

    groups: dict[str, JamfGroup] = msgspec.field(default_factory=dict)
    protect_levels: dict[str, Severity] = msgspec.field(default_factory=dict)
    protect_ttl: Duration = 604800.0


class JamfSensor(AsksJamf):
    """Reads Jamf Pro webhooks and Jamf Protect alerts."""

    kind: ClassVar[str] = "jamf"
    title: ClassVar[str] = "Jamf Pro, Jamf Protect"
    identity_kinds: ClassVar[tuple[str, ...]] = (
        *("serial", "udid", "sensor-device-uuid", "sensor-device-id", "hostname", "upn"),
    )
    options_type: ClassVar[type[Strict]] = JamfOptions
    samples: ClassVar[tuple[Sample, ...]] = SAMPLES

    def normalize(
        self,
        payload: Any,
        options: JamfOptions,
        *,
        sensor: str,
        received_at: datetime,
        headers: Mapping[str, str],  # noqa: ARG002 - an event says everything itself
    ) -> Normalized:
        """Return the signals of one event."""
        frame = Frame(sensor, received_at)
        if list_at(payload, "computers"):
            return gather(frame, list_at(payload, "computers"), _computer, "computers[{n}].")
        boxed = opened(payload, _is_webhook)
        content = boxed[0] if boxed is not None else payload
        event = text_at(content, "webhook", "webhookEvent")
        if event.startswith("SmartGroup") and event.endswith("MembershipChange"):
            return _group(frame, content, event, options)
        items, prefix = items_of(payload, _is_item)
        return gather(frame, items, lambda reader: _item(reader, options), prefix)


def _is_webhook(value: Any) -> bool:
    return isinstance(dig(value, "webhook", "webhookEvent"), str)


def _is_protect_alert(value: Any) -> bool:
    """Return whether this is an alert of Jamf Protect; older agents put it under `input`."""
    held = object_at(value, "input") or value
    return isinstance(dig(held, "host"), dict) and isinstance(dig(held, "match", "facts"), list)


def _is_threat(value: Any) -> bool:
    """Return whether this is an event of the Threat Events Stream of Jamf Protect."""
    return isinstance(dig(value, "event", "alertId"), str) and isinstance(dig(value, "event", "device"), dict)


def _is_telemetry(value: Any) -> bool:
    return isinstance(dig(value, "host_info"), dict) and isinstance(dig(value, "header"), dict)


def _is_item(value: Any) -> bool:
    return any(is_one(value) for is_one in (_is_webhook, _is_protect_alert, _is_threat, _is_telemetry))


def _item(outer: Reader, options: JamfOptions) -> list[Made]:
    reader = inside(outer, _is_item)
    if _is_protect_alert(reader.item):
        return [_protect_alert(reader, options)]
    if _is_threat(reader.item):
        return [_threat(reader, options)]
    if _is_telemetry(reader.item):
        return []
    return _event(reader, text_of(reader.get("webhook.webhookEvent")))


def _protect_alert(outer: Reader, options: JamfOptions) -> Made:
    """Return the detection of an alert of Jamf Protect. It never says that one is over."""
    held = object_at(outer.item, "input")
    reader = Reader(outer.frame, held, f"{outer.prefix}input.") if held else outer
    reader.device("serial", "host.serial")
    reader.device("udid", "host.provisioningUDID")
    name = text_of(reader.get("host.hostname")).strip()
    if _HOSTNAME.fullmatch(name):
        reader.device("hostname", "host.hostname")
    reader.need_device("`host.serial`, `host.provisioningUDID`, `host.hostname`")
    alert = reader.text("external_id", "match.uuid", "uuid")
    if not alert:
        raise ItemFault("condition-missing", "`match.uuid` is missing")
    word = reader.text("level", "match.severity")
    level = options.protect_levels.get(word) or PROTECT_LEVELS.get(word) or Severity.UNKNOWN
    facts = list_at(reader.item, "match", "facts")
    observed_at = reader.time("time", "timestamp", "match.event.timestamp")
    return reader.signal(
        SignalType.DETECTION,
        external_id=f"alert:{alert}",
        event_id=alert,
        observed_at=observed_at,
        level=level,
        title=next((human for each in facts if (human := text_at(each, "human"))), "Jamf Protect alert"),
        description=next((why for each in facts if (why := text_at(each, "match_reason"))), ""),
        category=next((name for each in facts if (name := text_at(each, "name"))), ""),
        expires_at=after(observed_at, options.protect_ttl),
        sources={"title": "match.facts"},
    )


def _threat(reader: Reader, options: JamfOptions) -> Made:
    """Return the detection of an event of the Threat Events Stream, on a phone or a computer."""
    reader.device("sensor-device-uuid", "event.device.deviceId")
    reader.need_device("`event.device.deviceId`")
    reader.user("upn", "event.user.email")
    alert = reader.text("external_id", "event.alertId")
    observed_at = reader.time("event.timestamp")
    is_over = reader.text("resolves", "event.action").casefold() == "resolved"
    score = reader.text("level", "event.severity")
    return reader.signal(
        SignalType.REMEDIATION if is_over else SignalType.DETECTION,
        external_id=f"threat:{alert}",
        observed_at=observed_at,
        level=None if is_over else level_of_score(score, THREAT_SCORES) or Severity.UNKNOWN,
        title=reader.text("title", "event.eventType.description", "event.eventType.name") or "Jamf threat",
        category=reader.text("category", "event.eventType.name"),
        resolves=is_over,
        expires_at=after(observed_at, options.protect_ttl),
    )


def _event(reader: Reader, event: str) -> list[Made]:
    if not event or not isinstance(reader.get("event"), dict):
        raise ItemFault("not-a-jamf-webhook", "`webhook.webhookEvent` or `event` is missing")
    if event not in MANAGED and event not in SEEN:
        return []
    at = "event.computer" if isinstance(reader.get("event.computer"), dict) else "event"
    reader.device("serial", f"{at}.serialNumber")
    reader.device("udid", f"{at}.udid")
    number = text_of(reader.get(f"{at}.jssID")).strip()
    if number and reader.add_device("sensor-device-id", f"{_family(event)}:{number}"):
        reader.used["device.sensor-device-id"] = f"{at}.jssID"
    reader.need_device(f"`{at}.serialNumber`, `{at}.udid`, `{at}.jssID`")
    reader.user("upn", f"{at}.emailAddress")
    reader.user("upn", f"{at}.username")
    version = reader.text("facts.os_version", f"{at}.osVersion")
    is_tv = "tv" in text_of(reader.get(f"{at}.modelDisplay", f"{at}.model")).casefold()
    family = None if is_tv or not version else "iOS" if _family(event) == "mobile" else "macOS"
    facts: Facts = known(platform=family, os_version=version)
    if event in MANAGED:
        facts |= {"managed": MANAGED[event]}
    return [
        reader.signal(
            SignalType.POSTURE_FACT if facts else SignalType.HEARTBEAT,
            external_id="jamf-device",
            observed_at=reader.time("webhook.eventTimestamp"),
            title=f"Jamf: {event}",
            facts=facts,
            sources={"facts.managed": "webhook.webhookEvent"} if event in MANAGED else {},
        )
    ]


def _computer(reader: Reader) -> list[Made]:
    """Return what the inventory of the API says of a computer."""
    reader.device("serial", "hardware.serialNumber")
    reader.device("udid", "udid")
    number = text_of(reader.get("id")).strip()
    if number and reader.add_device("sensor-device-id", f"computer:{number}"):
        reader.used["device.sensor-device-id"] = "id"
    reader.need_device("`hardware.serialNumber`, `udid`, `id`")
    reader.user("upn", "userAndLocation.email")
    vault = text_of(
        reader.get("diskEncryption.bootPartitionEncryptionDetails.partitionFileVault2State")
    ).casefold()
    facts = known(
        os_version=reader.text("facts.os_version", "operatingSystem.version"),
        platform=reader.text("facts.platform", "general.platform"),
        managed=truth(reader.get("general.remoteManagement.managed")),
        disk_encrypted=vault == "encrypted" if vault and vault != "unknown" else None,
    )
    return [
        reader.signal(
            SignalType.POSTURE_FACT if facts else SignalType.HEARTBEAT,
            external_id="jamf-device",
            observed_at=reader.time("general.lastContactTime", "general.reportDate"),
            title="Jamf: inventory",
            facts=facts,
        )
    ]


def _family(event: str) -> str:
    return "mobile" if "MobileDevice" in event else "computer"


def _group(frame: Frame, payload: Any, event: str, options: JamfOptions) -> Normalized:
    gathered = Collector()
    name = text_at(payload, "event", "name")
    meaning = options.groups.get(name)
    if meaning is None:
        gathered.ignore()
        return gathered.done()
    members = _members(payload, event)
    for number, (where, device, is_added) in enumerate(members):
        reader = Reader(frame, payload)
        for kind, value in device:
            if reader.add_device(kind, value):
                reader.used[f"device.{kind}"] = where
        try:
            reader.need_device(f"`{where}`")
            observed_at = reader.time("webhook.eventTimestamp")
        except ItemFault as fault:
            gathered.reject(number, fault.code, str(fault), dig(payload, "event"))
            continue
        condition = f"group:{text_at(payload, 'event', 'jssid') or name}"
        facts: Facts = {"state": "fail" if is_added else "pass"}
        if meaning.fact:
            facts[meaning.fact] = not is_added
        made = reader.signal(
            SignalType.POSTURE_FACT if is_added else SignalType.REMEDIATION,
            external_id=condition,
            event_id=digest(condition, device, is_added, dig(payload, "webhook", "eventTimestamp"))
            if "observed_at" in reader.used
            else "",
            observed_at=observed_at,
            level=meaning.level if is_added else None,
            title=meaning.why or name,
            actions=[meaning.action],
            facts=facts,
            resolves=not is_added,
            sources={"external_id": "event.jssid", "title": "event.name", "facts.state": where},
        )
        gathered.add(number, *made)
    if not members:
        gathered.ignore()
    return gathered.done(max(1, len(members)))


def _members(payload: Any, event: str) -> list[tuple[str, tuple[tuple[str, str], ...], bool]]:
    """Return where each device stands, its identifiers, and whether it came or went."""
    found: list[tuple[str, tuple[tuple[str, str], ...], bool]] = []
    content = object_at(payload, "event")
    for word, is_added in (("Added", True), ("Removed", False)):
        for number, value in enumerate(list_at(content, f"group{word}DevicesIds")[: MAX_ITEMS + 1]):
            where = f"event.group{word}DevicesIds[{number}]"
            text = text_of(value).strip()
            ids: tuple[tuple[str, str], ...] = ()
            if text:
                ids = (("sensor-device-id", f"{_family(event)}:{text}"),)
            found.append((where, ids, is_added))
        if list_at(content, f"group{word}DevicesIds"):
            continue
        for number, value in enumerate(list_at(content, f"group{word}Devices")[: MAX_ITEMS + 1]):
            pairs = (("serial", text_at(value, "serialNumber")), ("udid", text_at(value, "udid")))
            ids = tuple((kind, text) for kind, text in pairs if text)
            found.append((f"event.group{word}Devices[{number}]", ids, is_added))
    return found
