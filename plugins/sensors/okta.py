"""Sensor kind `okta`: event hooks of Okta.

| event | becomes |
|---|---|
| with a `device` object, such as a sign-in | posture facts as Okta Verify saw them |
| `device.lifecycle.…`, `device.enrollment.…` | posture facts `registered`, `device_status` |
| `user.risk.detect`, `user.risk.change` | risk level of the user |
| `user.account.report_suspicious_activity_by_enduser` | detection about the user, for `detection_ttl` |
| `security.breached_credential.detected` | detection about the user, for `detection_ttl`; one condition |
| `user.lifecycle.…`, `user.account.lock…`, `…unlock…` | condition of the user by `lifecycle`, closed by its opposite |
| others about people alone | ignored |

The device is the id of its record at Okta; the display name that people give it is no hostname. The actor of a
lifecycle event is the administrator, of any other the person at the device. Source: Okta, "Event Hooks", "System
Log", "Identity Threat Protection Event Types".
"""

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any, ClassVar, Literal

import msgspec

from plugins.contract import Handshake, Normalized, Sample, after
from plugins.payload import dig, list_at, text_at, text_of
from plugins.reading import Facts, Frame, ItemFault, Made, Reader, gather, known, truth
from plugins.samples.okta import SAMPLES
from plugins.sensors.envelopes import inside, items_of
from risk.model import Severity, SignalType
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

RISK_EVENTS = frozenset({"user.risk.detect", "user.risk.change"})
REPORTED = "user.account.report_suspicious_activity_by_enduser"
BREACHED = "security.breached_credential.detected"
LOCKS = frozenset({"user.account.lock", "user.account.lock.limit"})
ABOUT_ACTOR = frozenset({REPORTED, BREACHED})
"""Events whose actor is the person that they are about."""

STATES: dict[str, tuple[str, bool]] = {
    "user.lifecycle.suspend": ("suspended", True),
    "user.lifecycle.unsuspend": ("suspended", False),
    "user.lifecycle.deactivate": ("deactivated", True),
    "user.lifecycle.activate": ("deactivated", False),
    "user.lifecycle.reactivate": ("deactivated", False),
    "user.lifecycle.delete.initiated": ("deactivated", True),
    "user.account.lock": ("locked", True),
    "user.account.lock.limit": ("locked", True),
    "user.account.unlock": ("locked", False),
    "user.account.unlock_by_admin": ("locked", False),
}
"""Which state of an account an event begins or ends."""

LEVELS: dict[str, Severity] = {
    "high": Severity.HIGH,
    "medium": Severity.MEDIUM,
    "low": Severity.LOW,
    "none": Severity.NONE,
}
_LEVEL = re.compile(r"(?:^|[{,\s])level=([A-Za-z]+)")


class OktaOptions(Strict, frozen=True):
    """Settings of the kind.

    Field: ttl: how long what a sign-in told of a device counts; `null` until another one tells otherwise.
    Field: detection_ttl: how long what a person reported, or a breached password, counts: Okta never says that it is
        settled.
    Field: lifecycle: what an account that is in a state carries; a state that is not named is ignored.
    """

    ttl: Duration | None = 604800.0
    detection_ttl: Duration | None = 604800.0
    lifecycle: dict[Literal["suspended", "deactivated", "locked"], Severity] = msgspec.field(
        default_factory=lambda: {
            "suspended": Severity.HIGH,
            "deactivated": Severity.HIGH,
            "locked": Severity.MEDIUM,
        }
    )


class OktaSensor:
    """Reads Okta event hooks."""

    kind: ClassVar[str] = "okta"
    title: ClassVar[str] = "Okta event hooks"
    identity_kinds: ClassVar[tuple[str, ...]] = ("serial", "sensor-device-id", "okta-user-id", "upn")
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
        items, prefix = items_of(payload, _is_event, "data.events", "events")
        return gather(Frame(sensor, received_at), items, lambda reader: _event(reader, options), prefix)


def _is_event(value: Any) -> bool:
    """Return whether this is an event of the log; the envelope of a hook has an `eventType` of its own."""
    return isinstance(dig(value, "eventType"), str) and dig(value, "published") is not None


def _event(outer: Reader, options: OktaOptions) -> list[Made]:
    reader = inside(outer, _is_event)
    kind = reader.text("category", "eventType")
    if not kind:
        raise ItemFault("not-an-event", "`eventType` is missing")
    if kind in RISK_EVENTS or kind in STATES or kind in ABOUT_ACTOR:
        return _about_user(reader, kind, options)
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


def _about_user(reader: Reader, kind: str, options: OktaOptions) -> list[Made]:
    """Return what an event says of a person."""
    _identify_user(reader, is_of_actor=kind in ABOUT_ACTOR, is_own=kind in LOCKS)
    rest: dict[str, Any] = {
        "event_id": reader.text("event_id", "uuid"),
        "observed_at": reader.time("published"),
        "title": reader.text("title", "displayMessage") or kind,
        "category": kind,
    }
    if kind in RISK_EVENTS:
        level = _risk_level(reader)
        return [
            reader.signal(
                SignalType.RISK_LEVEL,
                external_id="okta-user-risk",
                level=level,
                resolves=level is Severity.NONE,
                sources={"level": "debugContext.debugData.risk"},
                **rest,
            )
        ]
    if kind in ABOUT_ACTOR:
        expires_at = after(rest["observed_at"], options.detection_ttl)
        condition = "okta-breached" if kind == BREACHED else f"okta-reported:{rest['event_id']}"
        return [
            reader.signal(
                SignalType.DETECTION,
                external_id=condition,
                level=Severity.HIGH,
                expires_at=expires_at,
                sources={"level": "eventType"},
                **rest,
            )
        ]
    state, is_open = STATES[kind]
    if state not in options.lifecycle:
        return []
    return [
        reader.signal(
            SignalType.DETECTION if is_open else SignalType.REMEDIATION,
            external_id=f"okta-account:{state}",
            level=options.lifecycle[state] if is_open else None,
            resolves=not is_open,
            sources={"level": "eventType"},
            **rest,
        )
    ]


def _identify_user(reader: Reader, *, is_of_actor: bool, is_own: bool) -> None:
    """Take the person that the event is about. Raises `ItemFault` when it names nobody.

    Who locks an account by signing in is its owner, so without a target (`is_own`) the actor is meant.
    """
    people = [] if is_of_actor else [each for each in list_at(reader.item, "target")[:32] if _is_user(each)]
    person = people[0] if people else reader.get("actor") if is_of_actor or is_own else None
    if person is not None and _is_user(person):
        if identifier := text_at(person, "id"):
            reader.add_user("okta-user-id", identifier)
        reader.add_user("upn", text_at(person, "alternateId"))
    if not reader.user_ids:
        raise ItemFault("no-user", "no person at `target` of type `User`, `actor` of type `User`")


def _is_user(value: Any) -> bool:
    return text_at(value, "type").casefold() in {"user", "appuser"}


def _risk_level(reader: Reader) -> Severity:
    """Return the level of a risk event: a member, or `level=…` in the text that Okta writes there."""
    risk = reader.get("debugContext.debugData.risk")
    found = text_at(risk, "level") if isinstance(risk, dict) else ""
    text = text_of(risk)
    if not found and (match := _LEVEL.search(text)) is not None:
        found = match[1]
    if not found:
        found = (
            text_of(reader.get("debugContext.debugData.riskLevel", "debugContext.debugData.level")) or text
        )
    return LEVELS.get(found.strip().casefold(), Severity.UNKNOWN)


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
        platform=text_of(reader.get("device.os_platform")).strip(),
        os_version=text_of(reader.get("device.os_version")),
        disk_encrypted=encryption != "none" if encryption else None,
        screen_lock=lock != "none" if lock else None,
    )
