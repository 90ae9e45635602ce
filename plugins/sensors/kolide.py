"""Sensor kind `kolide`: webhooks of 1Password Device Trust (Kolide).

| event | becomes |
|---|---|
| `issues.new` / `issues.resolved`, of old `failures.…` | condition / its remediation |
| issue or device of the API | the same as the event that would tell of it |
| `device_trust.status_changed` | risk level by the status, fact `device_trust` |
| `devices.created`, `devices.registered` / `devices.destroyed` | posture fact `managed` |
| every other event | ignored |

The field names inside `data` follow the REST API; they are not published for webhooks, so several spellings are
read. Source: Kolide, "Webhooks" and "REST API".
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, ClassVar

import msgspec

from plugins.asking.kolide import AsksKolide, device_event, issue_event
from plugins.contract import Normalized, Sample, after
from plugins.payload import dig, text_of
from plugins.reading import Facts, Frame, ItemFault, Made, Reader, gather, truth
from plugins.samples.kolide import SAMPLES
from plugins.sensors.envelopes import inside, items_of
from risk.model import Severity, SignalType
from risk.values import Duration, Strict

STATUSES: dict[str, Severity] = {
    "good": Severity.NONE,
    "notified": Severity.LOW,
    "will_block": Severity.MEDIUM,
    "blocked": Severity.HIGH,
}
MANAGED: dict[str, bool] = {"devices.created": True, "devices.registered": True, "devices.destroyed": False}

_HOLDERS = ("data.device", "data.device_information", "data")


class KolideOptions(Strict, frozen=True):
    """Settings of the kind.

    Field: level: severity of an issue.
    Field: levels: names or ids of checks whose issues have another severity.
    Field: status_levels: words of the device trust status that mean another severity than usual.
    Field: facts: names or ids of checks, and the posture fact that is `false` while the issue is open.
    Field: ttl: how long an issue counts without another word; `null` until it is resolved.
    """

    level: Severity = Severity.MEDIUM
    levels: dict[str, Severity] = msgspec.field(default_factory=dict)
    status_levels: dict[str, Severity] = msgspec.field(default_factory=dict)
    facts: dict[str, str] = msgspec.field(default_factory=dict)
    ttl: Duration | None = None


class KolideSensor(AsksKolide):
    """Reads Kolide webhooks."""

    kind: ClassVar[str] = "kolide"
    title: ClassVar[str] = "1Password Device Trust (Kolide)"
    identity_kinds: ClassVar[tuple[str, ...]] = ("serial", "sensor-device-id", "hostname", "upn")
    options_type: ClassVar[type[Strict]] = KolideOptions
    samples: ClassVar[tuple[Sample, ...]] = SAMPLES

    def normalize(
        self,
        payload: Any,
        options: KolideOptions,
        *,
        sensor: str,
        received_at: datetime,
        headers: Mapping[str, str],  # noqa: ARG002 - an event says everything itself
    ) -> Normalized:
        """Return the signals of the events, or of devices and issues of the API."""
        items, prefix = items_of(payload, _is_event, "data")
        return gather(Frame(sensor, received_at), items, lambda reader: _item(reader, options), prefix)


def _is_event(value: Any) -> bool:
    return isinstance(dig(value, "event"), str) and isinstance(dig(value, "data"), dict)


def _item(outer: Reader, options: KolideOptions) -> list[Made]:
    """Return what an event says, or an issue or a device of the API as the event that would tell of it."""
    reader = inside(outer, _is_event)
    if reader.get("event") is None:
        is_issue = reader.get("check_id") is not None and reader.get("id") is not None
        is_device = reader.get("auth_state") is not None and reader.get("serial") is not None
        if is_issue or is_device:
            told = issue_event(reader.item) if is_issue else device_event(reader.item)
            return _event(Reader(reader.frame, told, reader.prefix), options)
    return _event(reader, options)


def _event(reader: Reader, options: KolideOptions) -> list[Made]:
    event = reader.text("category", "event")
    if not event:
        raise ItemFault("not-a-kolide-webhook", "`event` is missing")
    event = event.replace("failures.", "issues.")
    is_issue = event in {"issues.new", "issues.resolved"}
    if not is_issue and event not in MANAGED and event != "device_trust.status_changed":
        return []
    _identify(reader, is_issue=is_issue)
    event_id = reader.text("event_id", "id")
    observed_at = reader.time("timestamp")
    if is_issue:
        return [_issue(reader, event, event_id, observed_at, options)]
    if event in MANAGED:
        return [
            reader.signal(
                SignalType.POSTURE_FACT,
                external_id="kolide-device",
                event_id=event_id,
                observed_at=observed_at,
                title=f"Kolide: {event}",
                facts={"managed": MANAGED[event]},
                sources={"facts.managed": "event"},
            )
        ]
    return [_status(reader, event_id, observed_at, options)]


def _identify(reader: Reader, *, is_issue: bool) -> None:
    serials = [f"{at}.{name}" for at in _HOLDERS for name in ("serial", "serial_number", "hardware_serial")]
    reader.device("serial", *serials, "data.device_serial")
    numbers = ["data.device.id", "data.device_id", "data.device.identifier"]
    numbers += ["data.device_information.identifier"]
    reader.device("sensor-device-id", *numbers, *(() if is_issue else ("data.id",)))
    reader.device("hostname", *(f"{at}.hostname" for at in _HOLDERS))
    reader.need_device("`data.device`, `data.device_id`")
    owners = ["data.registered_owner_info", "data.owner", "data.person", "data.device.owner"]
    owners.append("data.device.assigned_owner")
    reader.user("upn", *(f"{at}.email" for at in owners))


def _issue(reader: Reader, event: str, event_id: str, observed_at: datetime, options: KolideOptions) -> Made:
    issue = reader.text("external_id", "data.id", "data.issue_id", "data.issue.id", "data.failure_id")
    if not issue:
        raise ItemFault("condition-missing", "`data.id` is missing")
    title = reader.text("title", "data.title", "data.issue.title", "data.check.name", "data.check_name")
    check = reader.text("level", "data.check_id", "data.check.id", "data.check_information.identifier")
    names = [each for each in (check, title, text_of(reader.get("data.check.name"))) if each]
    is_over = event == "issues.resolved"
    facts: Facts = {"state": "pass" if is_over else "fail"}
    if fact := next((options.facts[each] for each in names if each in options.facts), ""):
        facts[fact] = is_over
    level = next((options.levels[each] for each in names if each in options.levels), options.level)
    is_exempt = truth(reader.get("data.exempted", "data.ignored")) is True
    return reader.signal(
        SignalType.REMEDIATION if is_over else SignalType.POSTURE_FACT,
        external_id=f"issue:{issue}",
        event_id=event_id,
        observed_at=observed_at,
        level=None if is_over else Severity.INFORMATIONAL if is_exempt else level,
        title=title or "Kolide issue",
        actions=["Open the Kolide menu on the device and follow the instructions of this issue."],
        facts=facts,
        resolves=is_over,
        expires_at=after(observed_at, options.ttl),
    )


def _status(reader: Reader, event_id: str, observed_at: datetime, options: KolideOptions) -> Made:
    paths = [f"{at}.{name}" for at in _HOLDERS for name in ("auth_state", "status", "new_status")]
    word = reader.text("level", *paths).casefold().replace(" ", "_")
    own = {name.casefold().replace(" ", "_"): each for name, each in options.status_levels.items()}
    level = own.get(word) or STATUSES.get(word) or Severity.UNKNOWN
    return reader.signal(
        SignalType.RISK_LEVEL,
        external_id="device-trust",
        event_id=event_id,
        observed_at=observed_at,
        level=level,
        title=f"Device trust: {word or 'unknown'}",
        facts={"device_trust": word} if word else {},
        resolves=level is Severity.NONE,
    )
