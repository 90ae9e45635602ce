"""Sensor kind `crowdstrike`: CrowdStrike Falcon.

| payload | becomes |
|---|---|
| webhook of a Fusion workflow, alert (API v2) | detection; the condition is `composite_id`; `closed` closes it |
| event stream, `…DetectionSummaryEvent` | detection, that expires: the stream never closes one |
| Zero Trust Assessment | posture facts, and a risk level from the score, of which 100 is the BEST |
| every other event of the stream | ignored |

The body of a Fusion webhook is a template that the administrator writes; the one in `docs/sensors.md` is read.
Accounts without a domain are local and name nobody. Source: gofalcon API models; Falcon documentation, "Event
streams", "Zero Trust Assessment".
"""

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any, ClassVar

import msgspec

from plugins.asking.crowdstrike import AsksCrowdstrike
from plugins.contract import Normalized, Sample, after
from plugins.levels import Range, level_of_score, level_of_word
from plugins.payload import list_at, parse_number, text_at, text_of
from plugins.reading import Facts, Frame, ItemFault, Made, Reader, gather, rows, truth
from plugins.samples.crowdstrike import SAMPLES
from risk.model import Severity, SignalType
from risk.values import Duration, Strict

SCORES = (
    Range(at_least=0, level=Severity.INFORMATIONAL),
    Range(at_least=20, level=Severity.LOW),
    Range(at_least=40, level=Severity.MEDIUM),
    Range(at_least=60, level=Severity.HIGH),
    Range(at_least=80, level=Severity.CRITICAL),
)
LEGACY_SCORES = (
    Range(at_least=1, level=Severity.INFORMATIONAL),
    Range(at_least=2, level=Severity.LOW),
    Range(at_least=3, level=Severity.MEDIUM),
    Range(at_least=4, level=Severity.HIGH),
    Range(at_least=5, level=Severity.CRITICAL),
)
"""Severities of `DetectionSummaryEvent`, 1 to 5."""

ASSESSMENTS = (
    Range(at_least=0, level=Severity.HIGH),
    Range(at_least=40, level=Severity.MEDIUM),
    Range(at_least=65, level=Severity.LOW),
    Range(at_least=80, level=Severity.NONE),
)
"""Zero Trust Assessment, 0 to 100: higher is better."""

_FACTS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"bitlocker|filevault|disk.?encrypt|full.?disk", re.IGNORECASE), "disk_encrypted"),
    (re.compile(r"firewall", re.IGNORECASE), "firewall_enabled"),
    (re.compile(r"secure.?boot", re.IGNORECASE), "secure_boot"),
    (re.compile(r"(\b|_)rfm\b|reduced functionality", re.IGNORECASE), "edr_running"),
    (re.compile(r"system integrity protection|(\b|_)sip\b", re.IGNORECASE), "sip_enabled"),
)

_LEGACY = "detectionsummaryevent"


class CrowdstrikeOptions(Strict, frozen=True):
    """Settings of the kind.

    Field: levels: severity words that mean another severity than usual.
    Field: scores: severity by a score of 0 to 100, for alerts without a word.
    Field: assessments: risk by the overall score of the Zero Trust Assessment, of which 100 is the best.
    Field: facts: ids of signals of the assessment, and the posture fact that each states.
    Field: closed: statuses of an alert that mean that it is over.
    Field: ttl: how long an alert of the event stream counts; the stream never says that one is over.
    """

    levels: dict[str, Severity] = msgspec.field(default_factory=dict)
    scores: tuple[Range, ...] = SCORES
    assessments: tuple[Range, ...] = ASSESSMENTS
    facts: dict[str, str] = msgspec.field(default_factory=dict)
    closed: tuple[str, ...] = ("closed", "false_positive")
    ttl: Duration = 604800.0


class CrowdstrikeSensor(AsksCrowdstrike):
    """Reads CrowdStrike Falcon alerts and assessments."""

    kind: ClassVar[str] = "crowdstrike"
    title: ClassVar[str] = "CrowdStrike Falcon"
    identity_kinds: ClassVar[tuple[str, ...]] = ("serial", "sensor-device-id", "hostname", "upn")
    options_type: ClassVar[type[Strict]] = CrowdstrikeOptions
    samples: ClassVar[tuple[Sample, ...]] = SAMPLES

    def normalize(
        self,
        payload: Any,
        options: CrowdstrikeOptions,
        *,
        sensor: str,
        received_at: datetime,
        headers: Mapping[str, str],  # noqa: ARG002 - an alert says everything itself
    ) -> Normalized:
        """Return the signals of the alerts, events or assessments."""
        items, prefix = rows(payload, "resources", "alerts", "events")
        return gather(Frame(sensor, received_at), items, lambda reader: _item(reader, options), prefix)


def _item(reader: Reader, options: CrowdstrikeOptions) -> list[Made]:
    if reader.get("assessment.overall") is not None:
        return _assessment(reader, options)
    event_type = text_of(reader.get("metadata.eventType")).strip().casefold()
    if event_type:
        return _event(reader, event_type, options) if event_type.endswith(_LEGACY) else []
    if reader.get("composite_id", "detection_id", "alert_id") is None:
        raise ItemFault("not-an-alert", "`composite_id`, `metadata.eventType` and `assessment` are missing")
    return [_alert(reader, options)]


def _alert(reader: Reader, options: CrowdstrikeOptions) -> Made:
    alert = reader.text("external_id", "composite_id", "detection_id", "alert_id")
    if not alert:
        raise ItemFault("condition-missing", "`composite_id` is no text")
    reader.device("serial", "serial_number", "device.serial_number", "device.system_serial_number")
    reader.device(
        "sensor-device-id",
        *("device_id", "device.device_id", "agent_id", "aid", "sensor_id", "source_endpoint_sensor_id"),
    )
    reader.device("hostname", "host", "hostname", "device.hostname", "host_name", "source_endpoint_host_name")
    reader.user("upn", "source_account_upn")
    if not reader.user_ids:
        # An identity alert is about the account when it knows no endpoint.
        reader.need_device("`device_id`, `host`, `serial_number`, `device`")
    reader.user("upn", "user_principal")
    reader.user("upn", "user")
    reader.user("upn", "user_name")
    observed_at = reader.time("updated_timestamp", "timestamp", "created_timestamp")
    status = reader.text("resolves", "status").casefold().replace(" ", "_")
    is_over = status in {each.casefold() for each in options.closed}
    execution = reader.text("event_id", "workflow_execution_id")
    return reader.signal(
        SignalType.REMEDIATION if is_over else SignalType.DETECTION,
        external_id=f"alert:{alert}",
        event_id=f"{execution}:{alert}" if execution else "",
        observed_at=observed_at,
        level=None if is_over else _level(reader, options, ("severity_name",), ("severity",), options.scores),
        title=reader.text("title", "title", "display_name", "name") or "Falcon alert",
        description=reader.text("description", "description"),
        rationale=reader.text("rationale", "pattern_disposition_description"),
        category=reader.text("category", "tactic"),
        resolves=is_over,
    )


def _level(
    reader: Reader,
    options: CrowdstrikeOptions,
    words: tuple[str, ...],
    numbers: tuple[str, ...],
    ranges: tuple[Range, ...],
) -> Severity:
    level = level_of_word(reader.text("level", *words, *numbers), options.levels)
    return level or level_of_score(text_of(reader.get(*numbers)), ranges) or Severity.UNKNOWN


def _event(reader: Reader, event_type: str, options: CrowdstrikeOptions) -> list[Made]:
    alert = reader.text("external_id", "event.CompositeId", "event.DetectId", "event.DetectionId")
    if not alert:
        raise ItemFault("condition-missing", "`event.CompositeId` is missing")
    reader.device("sensor-device-id", "event.AgentId", "event.SensorId", "event.AgentIdString")
    reader.device("hostname", "event.Hostname", "event.ComputerName", "event.SourceEndpointHostName")
    reader.need_device("`event.AgentId`, `event.Hostname`")
    reader.user("upn", "event.SourceAccountUpn")
    observed_at = reader.time("metadata.eventCreationTime", "event.ProcessStartTime")
    ranges = LEGACY_SCORES if event_type == _LEGACY else options.scores
    offset = reader.text("event_id", "metadata.offset")
    return [
        reader.signal(
            SignalType.DETECTION,
            external_id=f"alert:{alert}",
            event_id=f"{alert}@{offset}" if offset else "",
            observed_at=observed_at,
            level=_level(reader, options, ("event.SeverityName",), ("event.Severity",), ranges),
            title=reader.text("title", "event.Name", "event.DetectName") or "Falcon detection",
            description=reader.text("description", "event.Description", "event.DetectDescription"),
            rationale=reader.text("rationale", "event.PatternDispositionDescription"),
            category=reader.text("category", "event.Tactic"),
            expires_at=after(observed_at, options.ttl),
        )
    ]


def _assessment(reader: Reader, options: CrowdstrikeOptions) -> list[Made]:
    reader.device("serial", "system_serial_number")
    agent = reader.device("sensor-device-id", "aid")
    reader.need_device("`aid`, `system_serial_number`")
    observed_at = reader.time("modified_time")
    text = reader.text("facts.score", "assessment.overall")
    facts: Facts = {"score": parse_number(text), "score_higher_is_better": True}
    failed: list[dict[str, Any]] = []
    for group in ("os_signals", "sensor_signals"):
        for check in list_at(reader.item, "assessment_items", group)[:100]:
            is_met = truth(check.get("meets_criteria")) if isinstance(check, dict) else None
            if is_met is None:
                continue
            if not is_met:
                failed.append(check)
            if fact := _fact(check, options):
                facts[fact] = bool(facts.get(fact, True)) and is_met
    level = level_of_score(text, options.assessments) or Severity.UNKNOWN
    title = f"Zero Trust Assessment: {text} of 100"
    names = ", ".join(text_at(each, "signal_name") for each in failed[:20])
    return [
        reader.signal(
            SignalType.POSTURE_FACT,
            external_id=f"zta:{agent or reader.device_ids[0].value}",
            observed_at=observed_at,
            title=title,
            facts=facts,
            sources={"facts": "assessment_items"},
        ),
        reader.signal(
            SignalType.RISK_LEVEL,
            external_id=f"zta-score:{agent or reader.device_ids[0].value}",
            observed_at=observed_at,
            level=level,
            title=title,
            description=f"Not met: {names}." if names else "",
            actions=[
                f"{text_at(each, 'signal_name')}: {text_at(each, 'criteria')}"
                for each in failed
                if text_at(each, "criteria")
            ],
            resolves=level is Severity.NONE,
            sources={"level": "assessment.overall", "actions": "assessment_items"},
        ),
    ]


def _fact(check: dict[str, Any], options: CrowdstrikeOptions) -> str:
    number, name = text_at(check, "signal_id"), text_at(check, "signal_name")
    if number in options.facts:
        return options.facts[number]
    return next((fact for pattern, fact in _FACTS if pattern.search(f"{number} {name}"[:200])), "")
