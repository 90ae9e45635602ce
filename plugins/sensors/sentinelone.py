"""Sensor kind `sentinelone`: threats, activities and agents of SentinelOne.

| object | becomes |
|---|---|
| threat, not mitigated | detection; the condition is the threat's id |
| threat, mitigated or benign, endpoint no longer infected | remediation |
| threat, mitigated, endpoint still infected | detection, that expires |
| activity with a confidence level | detection of its `threatId` |
| activity *quarantined* (type 2004) | remediation of its `threatId` |
| activity *status of a threat changed* (type 4008) to mitigated or benign | remediation of its `threatId` |
| activity *alert of a custom rule* (type 3608), alert of `cloud-detection` | detection, that expires |
| unified alert | detection on each of its assets; closed when mitigated, or resolved with nothing left |
| every other activity, telemetry of Cloud Funnel | ignored |
| agent | posture facts; risk level, high while it is infected or has active threats |

An agent object is as old as the last contact with the agent, whenever the console touched its record: what is said of
a laptop that is switched off is not news.

A unified alert that an analyst resolved while its result says that the threat is still there stays for `ttl`.

An alert of `cloud-detection` whose `incidentStatus` is `Resolved` is closed.

A threat has two axes: what an analyst decided (`incidentStatus`) and what is on the device (`mitigationStatus`).
Only the second counts. Source: SentinelOne API 2.1, "Threats", "Activities", "Agents"; the type numbers of activities
are not published, so further ones are an option.
"""

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any, ClassVar

import msgspec

from plugins.contract import Normalized, Sample, after
from plugins.levels import level_of_word
from plugins.payload import digest, list_at, parse_number, text_at, text_of
from plugins.reading import Facts, Frame, ItemFault, Made, Reader, gather, known, look, truth
from plugins.samples.sentinelone import SAMPLES
from plugins.sensors.envelopes import inside, items_of
from risk.model import Severity, SignalType
from risk.values import Duration, Strict

CONFIDENCE: dict[str, Severity] = {"malicious": Severity.HIGH, "suspicious": Severity.MEDIUM}

_PLATFORMS = {"windows": "windows", "macos": "macos", "linux": "linux"}
_VERSION = re.compile(r"\d+(\.\d+)*")
_RUNNING = "na"
"""`operationalState` of an agent that nobody and nothing has disabled."""

_CLEAN = frozenset({"mitigated", "marked_as_benign", "benign"})
_LEFT = frozenset({"unmitigated", "not_mitigated", "partially_mitigated"})
_UNIFIED = ("data.alerts.edges", "alerts.edges", "edges")
_MARKS = (
    *("threatInfo", "alertInfo", "activityType", "networkStatus", "operationalState", "isActive"),
    *("activeThreats", "node"),
)
"""What a threat, an alert, an activity or an agent has; `node` holds a unified alert in a list of GraphQL."""

_FAR = ("asset.name", "detectionTime.attacker.host", "detectionTime.attacker.ip", "detectionSource.product")
MAX_ASSETS = 100
_STATUS_CHANGED, _RULE_ALERT = "4008", "3608"


class SentineloneOptions(Strict, frozen=True):
    """Settings of the kind.

    Field: levels: confidence levels that mean another severity than usual.
    Field: closing_activities: numbers of activity types that mean that a threat is gone from the device.
    Field: infected: severity of a device whose agent is infected or has active threats.
    Field: ttl: how long a mitigated threat counts while the endpoint is still called infected.
    Field: alert_ttl: how long an alert of a custom rule counts.
    """

    levels: dict[str, Severity] = msgspec.field(default_factory=dict)
    closing_activities: tuple[str, ...] = ("2004",)
    infected: Severity = Severity.HIGH
    ttl: Duration = 86400.0
    alert_ttl: Duration = 604800.0


class SentineloneSensor:
    """Reads SentinelOne threats, activities and agents."""

    kind: ClassVar[str] = "sentinelone"
    title: ClassVar[str] = "SentinelOne"
    identity_kinds: ClassVar[tuple[str, ...]] = (
        *("serial", "sensor-device-uuid", "sensor-device-id", "hostname", "upn"),
    )
    options_type: ClassVar[type[Strict]] = SentineloneOptions
    samples: ClassVar[tuple[Sample, ...]] = SAMPLES

    def normalize(
        self,
        payload: Any,
        options: SentineloneOptions,
        *,
        sensor: str,
        received_at: datetime,
        headers: Mapping[str, str],  # noqa: ARG002 - a threat says everything itself
    ) -> Normalized:
        """Return the signals of the threats, activities and agents."""
        items, prefix = items_of(payload, _is_item, "data", "threats", "activities", "agents", *_UNIFIED)
        return gather(Frame(sensor, received_at), items, lambda reader: _item(reader, options), prefix)


def _is_item(value: Any) -> bool:
    """Return whether this is a threat, an alert, an activity or an agent."""
    return any(look(value, path) is not None for path in _MARKS) or _is_unified(value)


def _is_unified(value: Any) -> bool:
    return look(value, "detectedAt") is not None and look(value, "detectionSource") is not None


def _item(outer: Reader, options: SentineloneOptions) -> list[Made]:
    reader = inside(outer, _is_item)
    if look(reader.item, "detectedAt") is None and isinstance(reader.get("node"), dict):
        reader = Reader(reader.frame, reader.get("node"), f"{reader.prefix}node.")
    if _is_unified(reader.item):
        return _unified(reader, options)
    if isinstance(reader.get("threatInfo"), dict):
        return [_threat(reader, options)]
    if isinstance(reader.get("alertInfo"), dict):
        return [_alert(reader, options)]
    if reader.get("activityType") is not None:
        is_alert = reader.text("category", "activityType") == _RULE_ALERT
        reader.used.pop("category", None)
        return [_rule_alert(reader, options)] if is_alert else _activity(reader, options)
    if reader.get("networkStatus", "operationalState", "isActive", "activeThreats") is not None:
        return _agent(reader, options)
    if reader.get("event.category") is not None and reader.get("agent.uuid") is not None:
        # Telemetry of Cloud Funnel.
        return []
    raise ItemFault("not-a-threat", "neither `threatInfo` nor `activityType`, and no agent")


def _threat(reader: Reader, options: SentineloneOptions) -> Made:
    threat = reader.text("external_id", "id", "threatInfo.threatId")
    if not threat:
        raise ItemFault("condition-missing", "`id` and `threatInfo.threatId` are missing")
    reader.device("sensor-device-uuid", "agentRealtimeInfo.agentUuid", "agentDetectionInfo.agentUuid")
    reader.device("sensor-device-id", "agentRealtimeInfo.agentId")
    reader.device("hostname", "agentRealtimeInfo.agentComputerName", "agentDetectionInfo.agentComputerName")
    reader.need_device("`agentRealtimeInfo`, `agentDetectionInfo`")
    reader.user("upn", "agentDetectionInfo.agentLastLoggedInUpn")
    observed_at = reader.time("threatInfo.updatedAt", "threatInfo.identifiedAt", "threatInfo.createdAt")
    is_infected = truth(reader.get("agentRealtimeInfo.agentInfected"))
    is_mitigated = reader.text("resolves", "threatInfo.mitigationStatus").casefold() in _CLEAN
    is_over = is_mitigated and is_infected is not True
    active = parse_number(text_of(reader.get("agentRealtimeInfo.activeThreats")))
    name = reader.text("title", "threatInfo.threatName")
    return reader.signal(
        SignalType.REMEDIATION if is_over else SignalType.DETECTION,
        external_id=f"threat:{threat}",
        observed_at=observed_at,
        level=None if is_over else _level(reader, options, "threatInfo.confidenceLevel"),
        title=f"Threat: {name}" if name else "SentinelOne threat",
        description=reader.text("description", "threatInfo.filePath"),
        rationale=reader.text("rationale", "threatInfo.mitigationStatusDescription"),
        category=reader.text("category", "threatInfo.classification"),
        facts=known(infected=is_infected, active_threats=active),
        resolves=is_over,
        expires_at=after(observed_at, options.ttl) if is_mitigated else None,
        sources={"facts.infected": "agentRealtimeInfo.agentInfected"},
    )


def _level(reader: Reader, options: SentineloneOptions, path: str) -> Severity:
    return level_of_word(reader.text("level", path), options.levels, CONFIDENCE) or Severity.UNKNOWN


def _activity(reader: Reader, options: SentineloneOptions) -> list[Made]:
    kind = reader.text("resolves", "activityType")
    threat = reader.text("external_id", "threatId")
    status = text_of(reader.get("data.newStatus")).strip().casefold().replace(" ", "_")
    is_over = kind in options.closing_activities or (kind == _STATUS_CHANGED and status in _CLEAN)
    if not threat or (not is_over and reader.get("data.confidenceLevel") is None):
        return []
    reader.device("sensor-device-id", "agentId")
    reader.device("hostname", "data.computerName")
    reader.need_device("`agentId`, `data.computerName`")
    name = reader.text("title", "data.fileDisplayName", "data.threatName")
    return [
        reader.signal(
            SignalType.REMEDIATION if is_over else SignalType.DETECTION,
            external_id=f"threat:{threat}",
            event_id=reader.text("event_id", "id"),
            observed_at=reader.time("createdAt", "updatedAt"),
            level=None if is_over else _level(reader, options, "data.confidenceLevel"),
            title=f"Threat: {name}" if name else "SentinelOne threat",
            description=reader.text("description", "primaryDescription"),
            category=reader.text("category", "data.threatClassification"),
            resolves=is_over,
        )
    ]


def _rule_alert(reader: Reader, options: SentineloneOptions) -> Made:
    """Return the alert of a custom rule as the activity tells it."""
    reader.device("sensor-device-uuid", "data.origagentuuid")
    reader.device("sensor-device-id", "agentId")
    reader.device("hostname", "data.origagentname", "data.computerName")
    reader.need_device("`agentId`, `data.origagentuuid`, `data.origagentname`")
    return _alerted(
        reader,
        options,
        alert=reader.text("external_id", "data.alertid", "data.alertId", "id"),
        observed_at=reader.time("createdAt", "updatedAt"),
        level=("data.severity",),
        title=("data.rulename", "data.ruleName"),
        description=("primaryDescription", "data.ruledescription"),
    )


def _alert(reader: Reader, options: SentineloneOptions) -> Made:
    """Return an alert of `cloud-detection`. There is nothing on the device to be mitigated: the analyst ends it."""
    reader.device("sensor-device-uuid", "agentDetectionInfo.uuid", "agentRealtimeInfo.uuid")
    reader.device("sensor-device-id", "agentRealtimeInfo.id", "agentRealtimeInfo.agentId")
    reader.device("hostname", "agentDetectionInfo.name", "agentRealtimeInfo.name")
    reader.need_device("`agentDetectionInfo`, `agentRealtimeInfo`")
    is_over = reader.text("resolves", "alertInfo.incidentStatus").casefold() == "resolved"
    return _alerted(
        reader,
        options,
        alert=reader.text("external_id", "alertInfo.alertId"),
        observed_at=reader.time("alertInfo.updatedAt", "alertInfo.createdAt", "alertInfo.reportedAt"),
        level=("ruleInfo.severity",),
        title=("ruleInfo.name",),
        description=("ruleInfo.description",),
        is_over=is_over,
    )


def _unified(reader: Reader, options: SentineloneOptions) -> list[Made]:
    """Return a unified alert on each of its assets, else about the account that it names."""
    alert = reader.text("external_id", "id", "externalId")
    if not alert:
        raise ItemFault("condition-missing", "`id` is missing")
    assets = _assets(reader)
    if not assets:
        reader.user("upn", "detectionTime.targetUser.emailAddress")
        reader.need_subject("`assets`, `asset`, `detectionTime.targetUser.emailAddress`", *_FAR)
        assets = [reader]
    result = reader.text("resolves", "result").casefold()
    is_resolved = text_of(reader.get("status")).strip().casefold() == "resolved"
    is_left = result in _LEFT and not _is_false(reader)
    is_over = result in _CLEAN or (is_resolved and not is_left)
    observed_at = reader.time("updatedAt", "lastSeenAt", "detectedAt", "createdAt")
    word = reader.text("level", "severity")
    level = level_of_word(word, options.levels)
    if level is None:
        level = _level(reader, options, "confidenceLevel")
    return [
        asset.signal(
            SignalType.REMEDIATION if is_over else SignalType.DETECTION,
            external_id=f"alert:{alert}",
            event_id=digest(alert, (*asset.device_ids, *asset.user_ids)[0].value, reader.item),
            observed_at=observed_at,
            level=None if is_over else level,
            title=reader.text("title", "name") or "SentinelOne alert",
            description=reader.text("description", "description"),
            category=reader.text("category", "classification"),
            resolves=is_over,
            expires_at=after(observed_at, options.ttl) if is_resolved else None,
            sources=reader.used,
        )
        for asset in assets
    ]


def _is_false(reader: Reader) -> bool:
    """Return whether an analyst called it a false alarm, or harmless."""
    verdict = text_of(reader.get("analystVerdict")).strip().casefold()
    return verdict.startswith("false_positive") or verdict == "true_positive_benign"


def _assets(reader: Reader) -> list[Reader]:
    """Return a reader for each device of a unified alert. An asset of the category *Identity* is an account."""
    one = reader.get("asset")
    named = [(each, f"assets[{n}]") for n, each in enumerate(list_at(reader.item, "assets")[:MAX_ASSETS])]
    if not named and isinstance(one, dict):
        named = [(one, "asset")]
    found: list[Reader] = []
    for asset, where in named:
        if text_at(asset, "category").casefold() == "identity":
            continue
        each = Reader(reader.frame, reader.item, reader.prefix)
        for kind, name in (("sensor-device-uuid", "agentUuid"), ("hostname", "name")):
            value = text_at(asset, name)
            if value and value.casefold() != "unknown" and each.add_device(kind, value):
                each.used[f"device.{kind}"] = f"{reader.prefix}{where}.{name}"
        if each.device_ids:
            each.user("upn", "detectionTime.targetUser.emailAddress")
            found.append(each)
    return found


def _alerted(
    reader: Reader,
    options: SentineloneOptions,
    *,
    alert: str,
    observed_at: datetime,
    level: tuple[str, ...],
    title: tuple[str, ...],
    description: tuple[str, ...],
    is_over: bool = False,
) -> Made:
    if not alert:
        raise ItemFault("condition-missing", "the alert has no id")
    word = reader.text("level", *level).casefold().removeprefix("e_")
    severity = level_of_word(word, options.levels) or Severity.UNKNOWN
    name = reader.text("title", *title)
    return reader.signal(
        SignalType.REMEDIATION if is_over else SignalType.DETECTION,
        external_id=f"alert:{alert}",
        observed_at=observed_at,
        level=None if is_over else severity,
        title=f"Rule: {name}" if name else "SentinelOne alert",
        description=reader.text("description", *description),
        resolves=is_over,
        expires_at=after(observed_at, options.alert_ttl),
    )


def _agent(reader: Reader, options: SentineloneOptions) -> list[Made]:
    """Return what an agent object says of its device: facts, and whether there is something on it."""
    reader.device("serial", "serialNumber")
    reader.device("sensor-device-uuid", "uuid")
    reader.device("sensor-device-id", "id")
    reader.device("hostname", "computerName")
    reader.need_device("`id`, `uuid`, `computerName`, `serialNumber`")
    reader.user("upn", "activeDirectory.userPrincipalName")
    observed_at = reader.time("lastActiveDate", "updatedAt", "createdAt")
    facts = _agent_facts(reader)
    made = [
        reader.signal(
            SignalType.POSTURE_FACT if facts else SignalType.HEARTBEAT,
            external_id="agent",
            observed_at=observed_at,
            title="State of the SentinelOne agent",
            facts=facts,
        )
    ]
    is_infected, active = facts.get("infected"), facts.get("active_threats")
    if is_infected is None and active is None:
        return made
    is_bad = bool(is_infected or active)
    level = options.infected if is_bad else Severity.NONE
    health = reader.signal(
        SignalType.RISK_LEVEL,
        external_id="agent-health",
        observed_at=observed_at,
        level=level,
        title="SentinelOne has active threats on this device" if is_bad else "No active threats",
        resolves=level is Severity.NONE,
        sources={"level": "infected, activeThreats"},
    )
    return [*made, health]


def _agent_facts(reader: Reader) -> Facts:
    is_gone = truth(reader.get("isDecommissioned")) or truth(reader.get("isUninstalled"))
    state = reader.text("facts.edr_running", "operationalState").casefold()
    network = reader.text("facts.isolated", "networkStatus").casefold()
    family = reader.text("facts.platform", "osType").casefold()
    version = _VERSION.search(text_of(reader.get("osRevision")))
    number = version.group() if version else ""
    build = parse_number(number) if family == "windows" else None
    missing = reader.get("missingPermissions")
    return known(
        infected=truth(reader.get("infected")),
        active_threats=parse_number(reader.text("facts.active_threats", "activeThreats")),
        edr_running=False if is_gone else state == _RUNNING if state else None,
        edr_onboarded=not is_gone if is_gone is not None else None,
        edr_mode=reader.text("facts.edr_mode", "mitigationMode").casefold(),
        edr_up_to_date=truth(reader.text("facts.edr_up_to_date", "isUpToDate")),
        sensor_degraded=bool(missing) if isinstance(missing, list) else None,
        isolated=network in {"disconnected", "disconnecting"} if network else None,
        firewall_enabled=truth(reader.text("facts.firewall_enabled", "firewallEnabled")),
        disk_encrypted=truth(reader.text("facts.disk_encrypted", "encryptedApplications")),
        platform=_PLATFORMS.get(family),
        os_version=number if family == "macos" else None,
        os_build=int(build) if build is not None else None,
        reporting=truth(reader.text("facts.reporting", "isActive")),
    )
