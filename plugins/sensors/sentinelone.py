"""Sensor kind `sentinelone`: threats and activities of SentinelOne.

| object | becomes |
|---|---|
| threat, not mitigated | detection; the condition is the threat's id |
| threat, mitigated or benign, endpoint no longer infected | remediation |
| threat, mitigated, endpoint still infected | detection, that expires |
| activity with a confidence level | detection of its `threatId` |
| activity *quarantined* (type 2004) | remediation of its `threatId` |
| every other activity | ignored |

A threat has two axes: what an analyst decided (`incidentStatus`) and what is on the device (`mitigationStatus`).
Only the second counts. Source: SentinelOne API 2.1, "Threats", "Activities"; the type numbers of activities are
not published, so further ones are an option.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, ClassVar

import msgspec

from plugins.contract import Normalized, Sample, after
from plugins.levels import level_of_word
from plugins.payload import parse_number, text_of
from plugins.reading import Frame, ItemFault, Made, Reader, gather, known, rows, truth
from plugins.samples.sentinelone import SAMPLES
from risk.model import Severity, SignalType
from risk.values import Duration, Strict

CONFIDENCE: dict[str, Severity] = {"malicious": Severity.HIGH, "suspicious": Severity.MEDIUM}

_CLEAN = frozenset({"mitigated", "marked_as_benign", "benign"})


class SentineloneOptions(Strict, frozen=True):
    """Settings of the kind.

    Field: levels: confidence levels that mean another severity than usual.
    Field: closing_activities: numbers of activity types that mean that a threat is gone from the device.
    Field: ttl: how long a mitigated threat counts while the endpoint is still called infected.
    """

    levels: dict[str, Severity] = msgspec.field(default_factory=dict)
    closing_activities: tuple[str, ...] = ("2004",)
    ttl: Duration = 86400.0


class SentineloneSensor:
    """Reads SentinelOne threats and activities."""

    kind: ClassVar[str] = "sentinelone"
    title: ClassVar[str] = "SentinelOne"
    identity_kinds: ClassVar[tuple[str, ...]] = ("sensor-device-uuid", "sensor-device-id", "hostname", "upn")
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
        """Return one signal per threat or activity."""
        items, prefix = rows(payload, "data", "threats", "activities")
        return gather(Frame(sensor, received_at), items, lambda reader: _item(reader, options), prefix)


def _item(reader: Reader, options: SentineloneOptions) -> list[Made]:
    if isinstance(reader.get("threatInfo"), dict):
        return [_threat(reader, options)]
    if reader.get("activityType") is not None:
        return _activity(reader, options)
    raise ItemFault("not-a-threat", "neither `threatInfo` nor `activityType`")


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
    is_over = kind in options.closing_activities
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
