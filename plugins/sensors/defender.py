"""Sensor kind `defender`: Microsoft Defender for Endpoint and Defender XDR.

| object or row | becomes |
|---|---|
| machine | risk level (`riskScore`), exposure (`exposureLevel`), posture facts |
| alert (Graph `alerts_v2`, Defender API) | detection for each device in its evidence; `resolved` closes it |
| incident with its alerts | what each of these alerts says |
| vulnerability of a machine | exposure, that expires; `Fixed` in the list of changes closes it |
| rows `AlertEvidence` with `AlertInfo` | one detection per alert and machine, that expires: rows never close one |
| row `DeviceInfo` | posture facts |
| change notification of Graph | a resource to be fetched |
| every other row | ignored |

Rows are read as they are streamed (`category`, `properties`), and flat as hunting queries and workspaces return them.
An alert of another product than Defender for Endpoint whose rows name no machine is about the person in them.

An `AlertInfo` row alone names nobody and is ignored: the evidence rows carry its title and severity too. Who an
alert is assigned to is the analyst; accounts of the system are nobody. Source: Microsoft Graph, "alert resource
type (microsoft.graph.security)"; Defender for Endpoint, "machine resource type"; "Streaming API"; Graph, "Receive
change notifications through webhooks".
"""

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, ClassVar, Literal

import msgspec

from plugins.asking.defender import AsksDefender
from plugins.contract import NO_SUBJECT, Collector, Fragment, Handshake, Normalized, Sample, after
from plugins.levels import level_of_word
from plugins.payload import MAX_ITEMS, dig, digest, list_at, object_at, text_at, text_of
from plugins.reading import Facts, Frame, ItemFault, Made, Reader, gather, known
from plugins.samples.defender import SAMPLES
from plugins.sensors.envelopes import inside, items_of, opened
from risk.model import Severity, SignalType
from risk.values import Duration, Strict

INFO, EVIDENCE, DEVICE = "alertinfo", "alertevidence", "deviceinfo"

MAX_EVIDENCE = 200
"""Most pieces of evidence of one alert that are looked at."""

MAX_KINDS = 5
"""Most kinds of evidence that a rejection names."""

_BYSTANDERS = frozenset({"contextual", "scanned"})
_SYSTEM_SIDS = frozenset({"S-1-5-18", "S-1-5-19", "S-1-5-20"})
_RESOLVED = "resolved"
_CVES = ("cveId", "CveId")
_ALERT_TIMES = (
    *("lastUpdateDateTime", "lastUpdateTime", "lastUpdatedTime", "lastEventTime"),
    *("createdDateTime", "alertCreationTime", "creationTime"),
)
_ACCOUNTS = (
    *(("upn", "userPrincipalName"), ("entra-user-id", "azureAdUserId"), ("entra-user-id", "aadUserId")),
)
_ROW_COLUMNS = frozenset({"AlertId", "DeviceId", "DeviceName"})
_STATE_COLUMNS = frozenset({"OnboardingStatus", "SensorHealthState"})
_MARKS = frozenset(
    {
        *("evidence", "entities", "alertCreationTime", "incidentId", "computerDnsName", "riskScore"),
        *("exposureLevel", "subscriptionId", "cveId", "CveId"),
    }
)
"""What objects of the APIs and change notifications have."""

MAX_ALERTS = 500
"""Most alerts of one incident that are read."""

_OF_PEOPLE = frozenset({"user", "mailbox"})


class DefenderOptions(Strict, frozen=True):
    """Settings of the kind.

    Field: levels: severity and risk words that mean another severity than usual.
    Field: exposure_levels: the same for the exposure level of a machine.
    Field: ttl: how long a streamed alert counts; the stream never says that one was resolved.
    Field: client_state_sha256: SHA-256 (hex) of the `clientState` values of your Graph subscriptions: items with
        another one are dropped. Unset, every item is taken.
    Field: pull: what a `pull` asks for: `alerts` of Microsoft Graph, or `machines` of Defender for Endpoint, whose
        `url` is `https://api.securitycenter.microsoft.com`.
    """

    levels: dict[str, Severity] = msgspec.field(default_factory=dict)
    exposure_levels: dict[str, Severity] = msgspec.field(default_factory=dict)
    ttl: Duration = 604800.0
    client_state_sha256: tuple[str, ...] = ()
    pull: Literal["alerts", "machines"] = "alerts"


class DefenderSensor(AsksDefender):
    """Reads Defender machines, alerts and streamed rows."""

    kind: ClassVar[str] = "defender"
    title: ClassVar[str] = "Microsoft Defender"
    identity_kinds: ClassVar[tuple[str, ...]] = (
        "mde-machine-id",
        "entra-device-id",
        "hostname",
        "upn",
        "entra-user-id",
    )
    options_type: ClassVar[type[Strict]] = DefenderOptions
    samples: ClassVar[tuple[Sample, ...]] = SAMPLES
    handshakes: ClassVar[tuple[Handshake, ...]] = (Handshake.GRAPH,)

    def normalize(
        self,
        payload: Any,
        options: DefenderOptions,
        *,
        sensor: str,
        received_at: datetime,
        headers: Mapping[str, str],  # noqa: ARG002 - an alert says everything itself
    ) -> Normalized:
        """Return the signals of the machines, alerts or rows."""
        frame = Frame(sensor, received_at)
        items, prefix = items_of(payload, _is_item, "records", "value", "results", "Results")
        unboxed = [opened(each, _is_item) or (each, "") for each in items]
        is_known = any(_is_item(each) for each, _ in unboxed)
        if any(_is_row(each) for each, _ in unboxed) or (prefix.startswith("records") and not is_known):
            return _streamed(frame, [_row_of(each) for each, _ in unboxed], prefix, options)
        if items and all(text_at(each, "subscriptionId") for each in items):
            return _notified(items, options)
        return gather(frame, items, lambda reader: _object(inside(reader, _is_item), options), prefix)

    def fragments(self, payload: Any) -> list[Fragment]:
        """Return the rows of alerts: what was found and on which machine come in messages of their own."""
        found = (_row_of(row) for row in _rows_of(payload)[:MAX_ITEMS])
        alerts = ((text_at(row, "properties", "AlertId"), row) for row in found)
        return [Fragment(alert, row) for alert, row in alerts if alert and _table(row) in {INFO, EVIDENCE}]

    def joined(self, payload: Any, earlier: Sequence[Any]) -> Any:
        """Return the rows with those of the same alerts that came before."""
        return {"records": [*_rows_of(payload), *earlier][:MAX_ITEMS]}


def _rows_of(payload: Any) -> list[Any]:
    """Return the streamed rows of a payload, none for any other object."""
    found, _ = items_of(payload, _is_item, "records", "results", "Results")
    return [each for each in found if _is_row(each)]


def _is_streamed(value: Any) -> bool:
    return isinstance(dig(value, "properties"), dict) and dig(value, "category") is not None


def _is_row(value: Any) -> bool:
    """Return whether this is a row: as it is streamed, or flat as a hunting query or a workspace returns it."""
    return _is_streamed(value) or bool(_flat_table(value))


def _flat_table(value: Any) -> str:
    """Return the table of a flat row by what it says itself or by its columns, "" for what is no row."""
    if not isinstance(value, dict) or not (value.keys() & _ROW_COLUMNS):
        return ""
    named = text_at(value, "Type").casefold()
    if named in {INFO, EVIDENCE, DEVICE}:
        return named
    if text_at(value, "AlertId"):
        is_of_device = text_at(value, "DeviceId") or text_at(value, "DeviceName")
        return EVIDENCE if is_of_device or text_at(value, "EntityType") else INFO
    return DEVICE if value.keys() & _STATE_COLUMNS else ""


def _row_of(value: Any) -> Any:
    """Return a row as it is streamed; a flat one that names a machine and no type of entity is about that."""
    table = "" if _is_streamed(value) else _flat_table(value)
    if not table:
        return value
    columns = {"EntityType": "Machine", **value} if table == EVIDENCE else value
    return {"category": table, "properties": columns, "flat": True}


def _is_item(value: Any) -> bool:
    """Return whether this is a row, an object of the APIs or a change notification."""
    if _is_row(value):
        return True
    return isinstance(value, dict) and bool(value.keys() & _MARKS or "@odata.type" in value)


def _object(reader: Reader, options: DefenderOptions) -> list[Made]:
    kind = text_of(reader.get("@odata.type")).casefold()
    if kind.endswith("incident") or isinstance(reader.get("alerts"), list | dict):
        return _incident(reader, options)
    if reader.get("evidence", "alertCreationTime", "incidentId") is not None or kind.endswith("alert"):
        return _alert(reader, options)
    if reader.get("computerDnsName", "riskScore", "exposureLevel") is not None:
        return _machine(reader, options)
    if reader.get(*_CVES) is not None:
        return [_vulnerability(reader, options)]
    raise ItemFault("not-a-defender-object", "neither a machine, an alert, a row nor a change notification")


# --- machines ------------------------------------------------------------------------------------


def _machine(reader: Reader, options: DefenderOptions) -> list[Made]:
    machine = reader.device("mde-machine-id", "id")
    reader.device("entra-device-id", "aadDeviceId")
    reader.device("hostname", "computerDnsName")
    reader.need_device("`id`, `aadDeviceId`, `computerDnsName`")
    name = machine or reader.device_ids[0].value
    observed_at = reader.time("lastSeen")
    facts = _machine_facts(reader, "healthStatus", "onboardingStatus", "osBuild", "osPlatform")
    made: list[Made] = []
    word = reader.text("level", "riskScore")
    if word:
        level = level_of_word(word, options.levels) or Severity.UNKNOWN
        made.append(
            reader.signal(
                SignalType.RISK_LEVEL,
                external_id=f"machine-risk:{name}",
                observed_at=observed_at,
                level=level,
                title=f"Defender rates the risk of this device {word.lower()}",
                facts=facts,
                resolves=level is Severity.NONE,
            )
        )
    elif facts:
        made.append(
            reader.signal(
                SignalType.POSTURE_FACT,
                external_id=f"machine:{name}",
                observed_at=observed_at,
                title="State of the Defender sensor",
                facts=facts,
            )
        )
    word = text_of(reader.get("exposureLevel")).strip()
    if word:
        level = level_of_word(word, options.exposure_levels) or Severity.UNKNOWN
        made.append(
            reader.signal(
                SignalType.EXPOSURE,
                external_id=f"machine-exposure:{name}",
                observed_at=observed_at,
                level=level,
                title=f"Defender rates the exposure of this device {word.lower()}",
                resolves=level is Severity.NONE,
                sources={"level": "exposureLevel"},
            )
        )
    return made


def _machine_facts(reader: Reader, health: str, onboarding: str, build: str, platform: str) -> Facts:
    state, status = text_of(reader.get(health)).casefold(), text_of(reader.get(onboarding)).casefold()
    number = reader.get(build)
    return known(
        edr_running=state == "active" if state else None,
        edr_onboarded=status == "onboarded" if status else None,
        platform=text_of(reader.get(platform)).strip(),
        os_build=number if isinstance(number, int) else None,
    )


# --- vulnerabilities -----------------------------------------------------------------------------


def _vulnerability(reader: Reader, options: DefenderOptions) -> Made:
    """Return a CVE in the software of a machine. The list of what changed says when it is fixed, the full one never."""
    cve = reader.text("external_id", *_CVES)
    machine = reader.device("mde-machine-id", "deviceId", "DeviceId")
    name = reader.device("hostname", "deviceName", "DeviceName")
    reader.need_device("`deviceId`, `deviceName`")
    software = reader.text("category", "softwareName", "SoftwareName")
    version = text_of(reader.get("softwareVersion", "SoftwareVersion")).strip()
    word = reader.text("level", "vulnerabilitySeverityLevel", "VulnerabilitySeverityLevel")
    is_over = reader.text("resolves", "status", "Status").casefold() == "fixed"
    observed_at = reader.time("eventTimestamp", "EventTimestamp", "lastSeenTimestamp", "LastSeenTimestamp")
    update = reader.text("actions", "recommendedSecurityUpdate", "RecommendedSecurityUpdate")
    return reader.signal(
        SignalType.REMEDIATION if is_over else SignalType.EXPOSURE,
        external_id=f"vulnerability:{machine or name}:{cve}:{software}",
        observed_at=observed_at,
        level=None if is_over else level_of_word(word, options.levels) or Severity.UNKNOWN,
        title=f"{cve} in {software} {version}".strip() if software else cve,
        actions=[f"Install {update}." if update else ""],
        category=software,
        resolves=is_over,
        expires_at=after(observed_at, options.ttl),
    )


# --- incidents -----------------------------------------------------------------------------------


def _incident(reader: Reader, options: DefenderOptions) -> list[Made]:
    """Return what the alerts of an incident say. One that names nobody costs the others nothing."""
    made: list[Made] = []
    fault: ItemFault | None = None
    one_alone = reader.get("alerts")
    alerts = [one_alone] if isinstance(one_alone, dict) else list_at(reader.item, "alerts")
    for number, alert in enumerate(alerts[:MAX_ALERTS]):
        one = Reader(reader.frame, alert, f"{reader.prefix}alerts[{number}].")
        try:
            made += _alert(one, options)
        except ItemFault as found:
            fault = fault or found
    if made:
        return made
    raise fault or ItemFault(
        NO_SUBJECT, "an incident without its `alerts` names nobody: ask for it with `$expand=alerts`"
    )


# --- alerts --------------------------------------------------------------------------------------


def _alert(reader: Reader, options: DefenderOptions) -> list[Made]:
    alert = reader.text("external_id", "id", "alertId")
    if not alert:
        raise ItemFault("condition-missing", "`id` is missing")
    observed_at = reader.time(*_ALERT_TIMES)
    is_over = reader.text("resolves", "status").casefold() == _RESOLVED
    level = level_of_word(reader.text("level", "severity"), options.levels) or Severity.UNKNOWN
    title = reader.text("title", "title") or "Defender alert"
    description = reader.text("description", "description")
    actions = [reader.text("actions", "recommendedActions", "recommendedAction")]
    category = reader.text("category", "category")
    made = [
        device.signal(
            SignalType.REMEDIATION if is_over else SignalType.DETECTION,
            external_id=f"alert:{alert}",
            event_id=digest(alert, (device.device_ids or device.user_ids)[0].value, reader.item),
            observed_at=observed_at,
            level=None if is_over else level,
            title=title,
            description=description,
            actions=actions,
            category=category,
            resolves=is_over,
        )
        for device in _devices(reader) or _person(reader)
    ]
    if not made:
        raise _nobody(reader)
    return made


def _nobody(reader: Reader) -> ItemFault:
    """Return what is wrong with an alert that is about no device and no person."""
    evidence = _evidence_of(reader)
    types = (text_at(piece, "@odata.type").rpartition(".")[2] for piece in evidence)
    kinds = dict.fromkeys([*types, *(text_at(piece, "entityType") for piece in evidence)])
    named = ", ".join(f"`{each[:64]}`" for each in list(kinds)[:MAX_KINDS] if each)
    if named:
        return ItemFault(NO_SUBJECT, f"names no device and no person in `evidence`, only {named}")
    return ItemFault("no-device", "no device and no user in `evidence`, and no `machineId`")


def _person(reader: Reader) -> list[Reader]:
    """Return a reader for the people of an alert that knows no device (of an identity, of a mailbox), if any."""
    one = Reader(reader.frame, reader.item, reader.prefix)
    one.used = dict(reader.used)
    for kind, value in _users(_evidence_of(reader)):
        if one.add_user(kind, value):
            one.used.setdefault(f"user.{kind}", f"{reader.prefix}evidence")
    return [one] if one.user_ids else []


def _devices(reader: Reader) -> list[Reader]:
    """Return a reader for each device that the alert is about, with the people of the alert."""
    evidence = _evidence_of(reader)
    found = _evident(reader, evidence) or _listed(reader)
    if not found:
        one = Reader(reader.frame, reader.item, reader.prefix)
        one.device("mde-machine-id", "machineId")
        one.device("entra-device-id", "aadDeviceId")
        one.device("hostname", "computerDnsName")
        found = [one] if one.device_ids else []
    users = _users(evidence)
    for one in found:
        one.used = reader.used | one.used
        for kind, value in users:
            if one.add_user(kind, value):
                one.used.setdefault(f"user.{kind}", f"{reader.prefix}evidence")
    return found


def _evidence_of(reader: Reader) -> list[Any]:
    """Return the pieces of evidence; an alert within an incident of Defender XDR calls them entities."""
    return (list_at(reader.item, "evidence") or list_at(reader.item, "entities"))[:MAX_EVIDENCE]


def _listed(reader: Reader) -> list[Reader]:
    """Return a reader for each of the `devices` that an alert within an incident lists."""
    found: list[Reader] = []
    for number, device in enumerate(list_at(reader.item, "devices")[:MAX_EVIDENCE]):
        one = Reader(reader.frame, device, f"{reader.prefix}devices[{number}].")
        one.device("mde-machine-id", "mdatpDeviceId")
        one.device("entra-device-id", "aadDeviceId")
        one.device("hostname", "deviceDnsName")
        if one.device_ids:
            found.append(one)
    return found


def _evident(reader: Reader, evidence: list[Any]) -> list[Reader]:
    """Return a reader for each device in the evidence; bystanders only when there is nobody else."""
    found: dict[str, Reader] = {}
    bystanders: set[str] = set()
    for number, piece in enumerate(evidence):
        if not text_at(piece, "@odata.type").casefold().endswith("deviceevidence"):
            continue
        one = Reader(reader.frame, piece, f"{reader.prefix}evidence[{number}].")
        one.device("mde-machine-id", "mdeDeviceId")
        one.device("entra-device-id", "azureAdDeviceId")
        one.device("hostname", "deviceDnsName")
        if (name := text_at(piece, "hostName")) and "." not in name:
            one.add_device("hostname", name)
        if one.device_ids:
            key = one.device_ids[0].value.casefold()
            found.setdefault(key, one)
            roles = {text_of(each).casefold() for each in list_at(piece, "roles")}
            if roles and roles <= _BYSTANDERS:
                bystanders.add(key)
    affected = [one for key, one in found.items() if key not in bystanders]
    return affected or list(found.values())


def _users(evidence: list[Any]) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for piece in evidence:
        account = object_at(piece, "userAccount") or object_at({"piece": piece}, "piece")
        if text_at(account, "userSid") in _SYSTEM_SIDS or (
            text_at(account, "domainName").casefold() == "nt authority"
        ):
            continue
        for kind, name in _ACCOUNTS:
            if value := text_at(account, name):
                found.append((kind, value))
    return list(dict.fromkeys(found))


# --- streamed rows -------------------------------------------------------------------------------


def _table(row: Any) -> str:
    return text_at(row, "category").casefold().removeprefix("advancedhunting-")


def _streamed(frame: Frame, records: list[Any], prefix: str, options: DefenderOptions) -> Normalized:
    """Join the rows of each alert, in whatever order they stand; one signal per alert and machine."""
    gathered = Collector()
    infos = {
        text_at(row, "properties", "AlertId"): object_at(row, "properties")
        for row in records
        if _table(row) == INFO
    }
    people: dict[str, list[dict[str, Any]]] = {}
    for row in records:
        if _table(row) == EVIDENCE and text_at(row, "properties", "EntityType").casefold() == "user":
            alert = text_at(row, "properties", "AlertId")
            people.setdefault(alert, []).append(object_at(row, "properties"))
    machines = {text_at(row, "properties", "AlertId") for row in records if _is_of_machine(row)}
    used: set[str] = set()
    seen: set[tuple[str, str]] = set()
    for number, row in enumerate(records):
        at = prefix.replace("{n}", str(number)) + ("" if dig(row, "flat") else "properties.")
        reader = Reader(frame, object_at(row, "properties"), at)
        try:
            made = _row(reader, _table(row), infos, people, options) or (
                _person_row(reader, infos, options)
                if _table(row) == EVIDENCE and text_at(row, "properties", "AlertId") not in machines
                else None
            )
        except ItemFault as fault:
            gathered.reject(number, fault.code, str(fault), row)
            continue
        if made is None:
            continue
        used.add(text_at(row, "properties", "AlertId"))
        key = (made[0].external_id, (*made[0].device_ids, *made[0].user_ids)[0].value)
        if key not in seen or _table(row) == DEVICE:
            seen.add(key)
            gathered.add(number, *made)
    gathered.ignore(sum(_is_ignored(row, used) for row in records) if records else 1)
    return gathered.done(max(1, len(records)))


def _is_of_machine(row: Any) -> bool:
    return _table(row) == EVIDENCE and text_at(row, "properties", "EntityType").casefold() == "machine"


def _person_row(reader: Reader, infos: Mapping[str, dict[str, Any]], options: DefenderOptions) -> Made | None:
    """Return what a row says of a person whom an alert is about that no machine comes with.

    Those of Defender for Endpoint are about a machine, whose row is still to come.
    """
    info = infos.get(text_of(reader.get("AlertId")).strip(), {})
    service = (text_of(reader.get("ServiceSource")) or text_at(info, "ServiceSource")).casefold()
    is_of_person = text_of(reader.get("EntityType")).casefold() in _OF_PEOPLE
    if not is_of_person or not service or "endpoint" in service:
        return None
    if text_of(reader.get("AccountSid")) in _SYSTEM_SIDS:
        return None
    reader.user("upn", "AccountUpn")
    reader.user("entra-user-id", "AccountObjectId")
    return _evidence(reader, info, [], options) if reader.user_ids else None


def _row(
    reader: Reader,
    table: str,
    infos: Mapping[str, dict[str, Any]],
    people: Mapping[str, list[dict[str, Any]]],
    options: DefenderOptions,
) -> Made | None:
    """Return what one row makes, None when it makes nothing by itself."""
    if table == EVIDENCE and text_of(reader.get("EntityType")).casefold() == "machine":
        alert = text_of(reader.get("AlertId")).strip()
        return _evidence(reader, infos.get(alert, {}), people.get(alert, []), options)
    if table == DEVICE:
        return _device_row(reader)
    if not table:
        raise ItemFault("not-a-row", "`category` is missing")
    return None


def _is_ignored(row: Any, used: set[str]) -> bool:
    """Return whether a row made nothing, and added nothing to what another made."""
    table = _table(row)
    if not table or table == DEVICE:
        return False
    if table == EVIDENCE and text_at(row, "properties", "EntityType").casefold() == "machine":
        return False
    return table not in {INFO, EVIDENCE} or text_at(row, "properties", "AlertId") not in used


def _evidence(
    reader: Reader, info: dict[str, Any], people: list[dict[str, Any]], options: DefenderOptions
) -> Made:
    alert = reader.text("external_id", "AlertId")
    if not alert:
        raise ItemFault("condition-missing", "`AlertId` is missing")
    if not reader.user_ids:
        reader.device("mde-machine-id", "DeviceId")
        reader.device("hostname", "DeviceName")
        reader.need_device("`DeviceId`, `DeviceName`")
    for person in people:
        if text_at(person, "AccountSid") not in _SYSTEM_SIDS:
            for kind, name in (("upn", "AccountUpn"), ("entra-user-id", "AccountObjectId")):
                if (value := text_at(person, name)) and reader.add_user(kind, value):
                    reader.used.setdefault(f"user.{kind}", f"AlertEvidence.{name}")
    observed_at = reader.time("Timestamp", "TimeGenerated")
    word = text_at(info, "Severity") or reader.text("level", "Severity")
    return reader.signal(
        SignalType.DETECTION,
        external_id=f"alert:{alert}",
        event_id=digest(alert, (*reader.device_ids, *reader.user_ids)[0].value, reader.item, info, people),
        observed_at=observed_at,
        level=level_of_word(word, options.levels) or Severity.UNKNOWN,
        title=text_at(info, "Title") or reader.text("title", "Title") or "Defender alert",
        category=text_at(info, "Category"),
        expires_at=after(observed_at, options.ttl),
        sources={"level": "Severity", "title": "Title"},
    )


def _device_row(reader: Reader) -> Made:
    reader.device("mde-machine-id", "DeviceId")
    reader.device("entra-device-id", "AadDeviceId")
    reader.device("hostname", "DeviceName")
    reader.need_device("`DeviceId`, `AadDeviceId`, `DeviceName`")
    return reader.signal(
        SignalType.POSTURE_FACT,
        external_id="machine",
        observed_at=reader.time("Timestamp", "TimeGenerated"),
        title="State of the Defender sensor",
        facts=_machine_facts(reader, "SensorHealthState", "OnboardingStatus", "OSBuild", "OSPlatform"),
    )


# --- change notifications ------------------------------------------------------------------------


def _notified(items: list[Any], options: DefenderOptions) -> Normalized:
    """Take note of what has to be fetched. A notification says nothing by itself."""
    gathered = Collector()
    wanted = [each.casefold() for each in options.client_state_sha256]
    for item in items:
        gathered.ignore()
        state = hashlib.sha256(text_of(dig(item, "clientState")).encode()).hexdigest()
        if wanted and not any(hmac.compare_digest(state.encode(), each.encode()) for each in wanted):
            continue
        resource = text_at(item, "resource") or text_at(item, "lifecycleEvent")
        if resource:
            gathered.pull(resource)
    return gathered.done(max(1, len(items)))
