"""Sensor kind `intune`: managed devices of Microsoft Intune, and rows of its diagnostic settings.

| object or row | becomes |
|---|---|
| `managedDevice` (Graph), row `Devices` | posture facts, *not compliant*, *jailbroken*; risk of the partner |
| row `DeviceComplianceOrg` | posture fact `compliant` and the same condition |
| row `OperationalLogs`, `DeviceCompliance` | *not compliant*, that expires: Intune never logs the recovery |
| every other row | ignored |

A device in its grace period is NOT compliant: `compliant` is false, `grace_until` says until when. All of them
speak of one condition *not compliant* per device, so that whatever is newest counts. Years 1 and 9999 mean *not
set*. Source: Microsoft Graph, "managedDevice resource type"; Intune, "Send log data to Azure Monitor".
"""

import re
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from typing import Any, ClassVar

import msgspec

from plugins.asking.intune import AsksIntune
from plugins.contract import Normalized, Sample, after
from plugins.levels import level_of_word
from plugins.payload import PayloadFault, parse_payloads, parse_time, text_at, text_of
from plugins.reading import Facts, Frame, ItemFault, Made, Reader, gather, known, truth
from plugins.samples.intune import SAMPLES
from plugins.sensors.envelopes import inside, items_of
from risk.model import Severity, SignalType
from risk.values import Duration, Strict

COMPLIANCE: dict[str, tuple[bool | None, Severity | None]] = {
    "compliant": (True, Severity.NONE),
    "noncompliant": (False, Severity.HIGH),
    "notcompliant": (False, Severity.HIGH),
    "ingraceperiod": (False, Severity.MEDIUM),
    "conflict": (False, Severity.HIGH),
    "error": (None, Severity.UNKNOWN),
    "notapplicable": (None, None),
    "configmanager": (None, None),
    "notevaluated": (None, None),
    "unknown": (None, None),
}
"""Compliance state without case and punctuation: the fact, and the severity of the condition."""

_NUMBERS = {
    "0": "unknown",
    "1": "compliant",
    "2": "noncompliant",
    "3": "conflict",
    "4": "error",
    "254": "ingraceperiod",
    "255": "configmanager",
}
"""Compliance states as rows of `DeviceComplianceOrg` number them. Source: Intune Data Warehouse, `complianceStates`."""

_OWNERS = {"company": "corporate", "corporate": "corporate", "personal": "personal"}

THREATS: dict[str, Severity] = {
    "secured": Severity.NONE,
    "activated": Severity.NONE,
    "lowseverity": Severity.LOW,
    "mediumseverity": Severity.MEDIUM,
    "highseverity": Severity.HIGH,
    "compromised": Severity.HIGH,
    "misconfigured": Severity.MEDIUM,
}
"""What a mobile-threat-defence or EDR partner reported; other states say nothing."""

_ORDER = list(Severity)
_LEAVING = ("retire", "wipe", "delete")


class IntuneOptions(Strict, frozen=True):
    """Settings of the kind.

    Field: levels: compliance states that mean another severity than usual (`inGracePeriod: low`).
    Field: threat_levels: states that a partner reports, and the severity each means instead of the usual one.
    Field: jailbroken: severity of a device that is jailbroken or rooted.
    Field: ttl: how long a row of the operational log counts; Intune never logs that a device recovered.
    """

    levels: dict[str, Severity] = msgspec.field(default_factory=dict)
    threat_levels: dict[str, Severity] = msgspec.field(default_factory=dict)
    jailbroken: Severity = Severity.CRITICAL
    ttl: Duration = 259200.0


class IntuneSensor(AsksIntune):
    """Reads Intune devices and log rows."""

    kind: ClassVar[str] = "intune"
    title: ClassVar[str] = "Microsoft Intune"
    identity_kinds: ClassVar[tuple[str, ...]] = (
        "serial",
        "intune-device-id",
        "entra-device-id",
        "udid",
        "hostname",
        "upn",
        "entra-user-id",
    )
    options_type: ClassVar[type[Strict]] = IntuneOptions
    samples: ClassVar[tuple[Sample, ...]] = SAMPLES

    def normalize(
        self,
        payload: Any,
        options: IntuneOptions,
        *,
        sensor: str,
        received_at: datetime,
        headers: Mapping[str, str],  # noqa: ARG002 - a device says everything itself
    ) -> Normalized:
        """Return the signals of the devices or rows."""
        items, prefix = items_of(payload, _is_item, "records", "value")
        return gather(Frame(sensor, received_at), items, lambda reader: _item(reader, options), prefix)


def _is_item(value: Any) -> bool:
    return isinstance(value, dict) and bool(_table(value) or "complianceState" in value)


def _table(value: Any) -> str:
    """Return the table of a row of the diagnostic settings, as it is streamed or as a workspace returns it."""
    category = text_at(value, "category") or text_at(value, "Type")
    is_of_intune = category.casefold().startswith("intune") or "properties" in value or "Properties" in value
    return category.casefold().removeprefix("intune") if is_of_intune else ""


def _columns(reader: Reader) -> Reader:
    """Return a reader of the columns of a row: an object, JSON in a text, or the row itself in a workspace."""
    for name in ("properties", "Properties"):
        value = reader.get(name)
        if isinstance(value, str) and value.lstrip()[:1] == "{":
            with suppress(PayloadFault):
                value = parse_payloads(value.encode("utf-8", "replace"))[0]
        if isinstance(value, dict):
            return Reader(reader.frame, value, f"{reader.prefix}{name}.")
    return reader


def _item(outer: Reader, options: IntuneOptions) -> list[Made]:
    reader = inside(outer, _is_item)
    category = _table(reader.item) if isinstance(reader.item, dict) else ""
    if category:
        inner = _columns(reader)
        row_time = parse_time(reader.get("time", "TimeGenerated"))
        if category == "operationallogs":
            return _operational(inner, row_time, options)
        if category == "devicecomplianceorg":
            return _compliance_row(inner, row_time, options)
        if category == "devices":
            return _device(inner, row_time, options)
        return []
    if reader.get("complianceState") is None:
        raise ItemFault("not-a-device", "neither a `managedDevice` nor a row with `category`")
    return _device(reader, None, options)


def _identify(reader: Reader) -> str:
    """Take the device's identifiers; return the one that its condition is named by."""
    number = reader.device("intune-device-id", "id", "IntuneDeviceId", "DeviceId")
    entra = reader.device("entra-device-id", "azureADDeviceId", "AADDeviceId", "ReferenceId")
    serial = reader.device("serial", "serialNumber", "SerialNumber")
    reader.device("udid", "udid")
    name = reader.text("device.hostname", "deviceName", "DeviceHostName", "DeviceNetBiosName", "DeviceName")
    if not re.fullmatch(r"[\w-]+(\.[\w-]+)*", name) or not reader.add_device("hostname", name):
        reader.used.pop("device.hostname", None)
    reader.need_device("`id`, `azureADDeviceId`, `serialNumber`, `IntuneDeviceId`")
    return number or entra or serial or reader.device_ids[0].value


def _observed_at(reader: Reader, row_time: datetime | None, *paths: str) -> datetime:
    at = reader.time(*paths)
    if "observed_at" not in reader.used and row_time is not None:
        reader.used["observed_at"] = "time"
        return row_time
    return at


def _state(word: str, options: IntuneOptions) -> tuple[bool | None, Severity | None]:
    plain = _NUMBERS.get(word.strip()) or re.sub(r"[^a-z]", "", word.casefold())
    if word.strip().isdigit() and word.strip() not in _NUMBERS:
        return None, Severity.UNKNOWN
    fact, level = COMPLIANCE.get(plain, (None, Severity.UNKNOWN if plain else None))
    own = {re.sub(r"[^a-z]", "", name.casefold()): each for name, each in options.levels.items()}
    return fact, own.get(plain, level)


def _device(reader: Reader, row_time: datetime | None, options: IntuneOptions) -> list[Made]:
    name = _identify(reader)
    for path in ("userPrincipalName", "UPN", "UserEmail", "emailAddress"):
        reader.user("upn", path)
    reader.user("entra-user-id", "userId", "PrimaryUser", "UserId")
    observed_at = _observed_at(reader, row_time, "lastSyncDateTime", "LastContact")
    state = reader.text("facts.compliant", "complianceState", "CompliantState", "ComplianceState")
    compliant, level = _state(state, options)
    reader.used["level"] = reader.used.get("facts.compliant", "")
    jailbroken = truth(reader.text("facts.jailbroken", "jailBroken", "JailBroken"))
    if jailbroken:
        reader.used["level"] = reader.used["facts.jailbroken"]
        level = max(level or Severity.NONE, options.jailbroken, key=_ORDER.index)
    grace = reader.text("facts.grace_until", "complianceGracePeriodExpirationDateTime", "InGracePeriodUntil")
    leaving = text_of(reader.get("managementState")).casefold().startswith(_LEAVING)
    encrypted = truth(reader.text("facts.disk_encrypted", "isEncrypted", "EncryptionStatusString"))
    facts = known(
        compliant=compliant,
        managed=not leaving,
        disk_encrypted=encrypted,
        jailbroken=jailbroken,
        platform=reader.text("facts.platform", "operatingSystem", "OS_loc", "OS"),
        os_version=reader.text("facts.os_version", "osVersion", "OSVersion"),
        ownership=_ownership(reader),
        grace_until=grace if compliant is False and parse_time(grace) else None,
        owner=next((each.value for each in reader.user_ids if each.kind == "upn"), None),
    )
    made = [_compliance(reader, name, observed_at, level, facts, jailbroken=bool(jailbroken))]
    if jailbroken is not None:
        made.append(_jailbreak(reader, name, observed_at, options, is_broken=jailbroken))
    threat = _threat(reader, name, observed_at, options)
    return made if threat is None else [*made, threat]


def _jailbreak(
    reader: Reader, name: str, observed_at: datetime, options: IntuneOptions, *, is_broken: bool
) -> Made:
    """Return the condition of its own: a later row that tells of compliance alone does not end it."""
    return reader.signal(
        SignalType.POSTURE_FACT,
        external_id=f"jailbroken:{name}",
        observed_at=observed_at,
        level=options.jailbroken if is_broken else Severity.NONE,
        title="The device is jailbroken or rooted" if is_broken else "The device is not jailbroken",
        actions=["Reset the device, or use another one."] if is_broken else [],
        facts={"jailbroken": is_broken},
        sources={"level": "jailBroken"},
    )


def _compliance(
    reader: Reader,
    name: str,
    observed_at: datetime,
    level: Severity | None,
    facts: Facts,
    *,
    jailbroken: bool = False,
) -> Made:
    is_bad = level not in {None, Severity.NONE}
    title = "The device meets its compliance policies"
    if jailbroken:
        title = "The device is jailbroken or rooted"
    elif is_bad:
        title = "The device does not meet its compliance policies"
    elif level is None:
        title = "Intune does not say whether the device meets its compliance policies"
    return reader.signal(
        SignalType.POSTURE_FACT,
        external_id=f"compliance:{name}",
        observed_at=observed_at,
        level=level,
        title=title,
        actions=["Open the Company Portal and follow what it asks for."] if is_bad else [],
        facts=facts,
    )


def _threat(reader: Reader, name: str, observed_at: datetime, options: IntuneOptions) -> Made | None:
    state = reader.text("level", "partnerReportedThreatState", "DeviceHealthThreatLevel")
    word = text_of(reader.get("partnerReportedThreatState", "DeviceHealthThreatLevel")).strip()
    level = level_of_word(word, options.threat_levels, THREATS)
    if not state or level is None:
        return None
    is_over = level is Severity.NONE
    return reader.signal(
        SignalType.RISK_LEVEL,
        external_id=f"partner-threat:{name}",
        observed_at=observed_at,
        level=level,
        title="A partner reported a threat on this device" if not is_over else "No threat is reported",
        resolves=is_over,
        sources={"level": "partnerReportedThreatState"},
    )


def _compliance_row(reader: Reader, row_time: datetime | None, options: IntuneOptions) -> list[Made]:
    name = _identify(reader)
    reader.user("upn", "UPN")
    reader.user("upn", "UserEmail")
    observed_at = _observed_at(reader, row_time, "LastContact")
    compliant, level = _state(reader.text("level", "ComplianceState"), options)
    grace = reader.text("facts.grace_until", "InGracePeriodUntil")
    facts = known(
        compliant=compliant,
        platform=reader.text("facts.platform", "OS_loc", "OS", "OSDescription"),
        os_version=reader.text("facts.os_version", "OSVersion"),
        ownership=_ownership(reader),
        grace_until=grace if compliant is False and parse_time(grace) else None,
    )
    return [_compliance(reader, name, observed_at, level, facts)]


def _ownership(reader: Reader) -> str | None:
    word = reader.text("facts.ownership", "managedDeviceOwnerType", "Ownership", "OwnerType_loc")
    return _OWNERS.get(word.casefold())


def _operational(reader: Reader, row_time: datetime | None, options: IntuneOptions) -> list[Made]:
    kind = text_of(reader.get("OperationalLogCategory")).casefold()
    alert = text_of(reader.get("AlertType")).casefold()
    if kind != "devicecompliance" or "not compliant" not in alert:
        return []
    name = _identify(reader)
    account, suffix = text_of(reader.get("UserName")), text_of(reader.get("UPNSuffix"))
    if account and suffix and reader.add_user("upn", f"{account}@{suffix}"):
        reader.used["user.upn"] = f"{reader.prefix}UserName, {reader.prefix}UPNSuffix"
    reader.user("entra-user-id", "IntuneUserId")
    observed_at = _observed_at(reader, row_time, "StartTimeUtc")
    parts = [each.strip() for each in text_of(reader.get("Description")).split("||")]
    policy, reason = parts[0], parts[-1] if len(parts) > 1 else ""
    setting = policy.rpartition(".")[2]
    _, level = _state("noncompliant", options)
    return [
        reader.signal(
            SignalType.POSTURE_FACT,
            external_id=f"compliance:{name}",
            observed_at=observed_at,
            level=level,
            title=f"Not compliant: {setting}"
            if setting
            else "The device does not meet its compliance policies",
            description=reason,
            rationale=policy,
            actions=["Open the Company Portal and follow what it asks for."],
            facts={"compliant": False},
            expires_at=after(observed_at, options.ttl),
            sources={"title": "Description", "description": "Description", "facts.compliant": "AlertType"},
        )
    ]
