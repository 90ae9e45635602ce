"""Sensor kind `crowdstrike`: CrowdStrike Falcon.

| payload | becomes |
|---|---|
| webhook of a Fusion workflow, alert (API v2) | detection; the condition is `composite_id`; `closed` closes it |
| event stream, `…DetectionSummaryEvent` | detection, that expires |
| event stream, `UserActivityAuditEvent` of operation `detection_update` | closes that detection, or opens it again |
| event stream, `IncidentSummaryEvent`, `AutomatedLeadSummaryEvent` | detection on each host of it; `closed` closes it |
| event stream, `IdentityProtectionEvent` | detection on the endpoint; `RESOLVED` closes it |
| Zero Trust Assessment | posture facts, and a risk level from the score, of which 100 is the BEST |
| host of the API | posture facts of its sensor |
| every other event of the stream, telemetry of the Data Replicator | ignored |

An incident is scored from 0 to 10 in steps of a tenth, everything else from 0 to 100. The id of an incident names its
first host, where nothing else does. So does the id of a detection whose state somebody changed: the event that tells
of it names no other. It has no severity either, so only a state that means *over* or *open again* says something; the
others leave the detection as it was. The body of a Fusion webhook is a template that the administrator writes; the one
in `docs/sensors.md` is read.
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
from plugins.payload import list_at, object_at, parse_number, text_at, text_of
from plugins.reading import Facts, Frame, ItemFault, Made, Reader, gather, known, look, truth
from plugins.samples.crowdstrike import SAMPLES
from plugins.sensors.envelopes import inside, items_of
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
    (re.compile(r"(\b|_)rfm\b|reduced functionality|in_full_functionality", re.IGNORECASE), "edr_running"),
    (re.compile(r"system integrity protection|(\b|_)sip\b", re.IGNORECASE), "sip_enabled"),
)

_LEGACY = "detectionsummaryevent"
_INCIDENT, _LEAD, _IDENTITY = "incidentsummaryevent", "automatedleadsummaryevent", "identityprotectionevent"
_INCIDENT_ID = re.compile(r"inc:(?P<host>[0-9A-Za-z-]{1,64}):[0-9A-Za-z-]{1,64}")
_AGENT = re.compile(r"[0-9a-fA-F]{32}")
_AUDIT, _UPDATE = "useractivityauditevent", "detection_update"
_DETECTION_ID = re.compile(r"(ldt:|[0-9a-zA-Z]{1,64}:ind:)(?P<host>[0-9a-fA-F]{32}):[0-9a-zA-Z-]{1,128}")
_INCIDENT_SCALE = 10
_CREATED = ("metadata.eventCreationTime", "event.UTCTimestamp", "event.timestamp")
_CONTEXT = "automated-lead-context"
_TELEMETRY = "event_simpleName"
_ALERTED = frozenset({"composite_id", "detection_id", "alert_id", "ExternalApiType", _TELEMETRY})
_MARKS = ("metadata.eventType", "assessment.overall", "scores.overall", "event.ExternalApiType")
_REPLICATED = {
    "assessment.overall": "scores.overall",
    "assessment_items": "assessments",
    "modified_time": "scores.modified_time",
}
"""Where the Data Replicator puts what an assessment of the API says."""

"""What an assessment, an event or an alert has."""

OTHERS = (
    *("source_hosts", "source_ips", "source_account_name", "user_name", "resource_id", "cloud_account_id"),
)
"""What an alert names instead of a host: of the logs of another product the far end, of a cloud its resource."""

_HOST_STATES = frozenset({"reduced_functionality_mode", "provision_status", "agent_load_flags"})
_CONTAINED = frozenset({"contained", "containment_pending"})
_PLATFORMS = {"windows": "windows", "mac": "macos", "linux": "linux"}
_VERSION = re.compile(r"\d+(\.\d+)*")
MAX_HOSTS = 100
MAX_AUDITED = 64


class CrowdstrikeOptions(Strict, frozen=True):
    """Settings of the kind.

    Field: levels: severity words that mean another severity than usual.
    Field: scores: severity by a score of 0 to 100, for alerts without a word.
    Field: assessments: risk by the overall score of the Zero Trust Assessment, of which 100 is the best.
    Field: facts: ids of signals of the assessment, and the posture fact that each states.
    Field: closed: statuses of an alert that mean that it is over.
    Field: reopened: states in a `detection_update` that mean that a detection is open again. Such an event has no
        severity: the detection then counts as the sensor's `unknown_level`.
    Field: ttl: how long an alert of the event stream counts.
    """

    levels: dict[str, Severity] = msgspec.field(default_factory=dict)
    scores: tuple[Range, ...] = SCORES
    assessments: tuple[Range, ...] = ASSESSMENTS
    facts: dict[str, str] = msgspec.field(default_factory=dict)
    closed: tuple[str, ...] = ("closed", "false_positive")
    reopened: tuple[str, ...] = ("reopened",)
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
        items, prefix = items_of(payload, _is_item, "resources", "alerts", "events")
        return gather(Frame(sensor, received_at), items, lambda reader: _item(reader, options), prefix)


def _is_item(value: Any) -> bool:
    """Return whether this is an assessment, an event of the stream, an alert or a host."""
    if not isinstance(value, dict):
        return False
    if value.keys() & _ALERTED or _is_host(value):
        return True
    return any(look(value, path) is not None for path in _MARKS)


def _is_host(value: Any) -> bool:
    return isinstance(value, dict) and "device_id" in value and bool(value.keys() & _HOST_STATES)


def _item(outer: Reader, options: CrowdstrikeOptions) -> list[Made]:
    reader = inside(outer, _is_item)
    if reader.get("assessment.overall") is not None:
        return _assessment(reader, options)
    if reader.get("scores.overall") is not None:
        return _replicated_assessment(reader, options)
    event_type = text_of(reader.get("metadata.eventType")).strip().casefold()
    if event_type:
        return _streamed(reader, event_type, options)
    if event_type := text_of(reader.get("ExternalApiType", "event.ExternalApiType")).strip().casefold():
        return _replicated(reader, event_type, options)
    return _of_the_api(reader, options)


def _of_the_api(reader: Reader, options: CrowdstrikeOptions) -> list[Made]:
    """Return what an alert or a host says; nothing for telemetry."""
    if reader.get("composite_id", "detection_id", "alert_id") is not None:
        return _alerts(reader, options)
    if _is_host(reader.item):
        return [_state_of_host(reader)]
    if reader.get(_TELEMETRY) is None:
        raise ItemFault("not-an-alert", "`composite_id`, `metadata.eventType` and `assessment` are missing")
    return []


def _replicated(reader: Reader, event_type: str, options: CrowdstrikeOptions) -> list[Made]:
    """Return what a record of the Falcon Data Replicator says that repeats an event of the stream.

    Its fields stand at the top or under `event`; the number of the stream is missing, the time is a field.
    """
    if isinstance(reader.get("event"), dict):
        return _streamed(reader, event_type.removeprefix("event_"), options)
    inner = Reader(reader.frame, {"event": reader.item}, reader.prefix)
    made = _streamed(inner, event_type.removeprefix("event_"), options)
    return [
        (signal, {field: path.replace("event.", "", 1) for field, path in sources.items()})
        for signal, sources in made
    ]


def _replicated_assessment(reader: Reader, options: CrowdstrikeOptions) -> list[Made]:
    """Return an assessment as the Data Replicator tells it: scores, and a word for each check."""
    checks = [
        {"signal_id": name, "signal_name": name.replace("_", " "), "meets_criteria": word}
        for name, word in object_at(reader.item, "assessments").items()
    ]
    told = {
        "aid": reader.get("aid"),
        "modified_time": reader.get("scores.modified_time"),
        "assessment": reader.get("scores"),
        "assessment_items": {"os_signals": checks},
    }
    made = _assessment(Reader(reader.frame, told, reader.prefix), options)
    return [
        (signal, {field: _REPLICATED.get(path, path) for field, path in sources.items()})
        for signal, sources in made
    ]


def _alerts(reader: Reader, options: CrowdstrikeOptions) -> list[Made]:
    """Return the alert on its host, or on each that it lists."""
    if text_of(reader.get("product")).strip().casefold() == _CONTEXT:
        # What a lead was made of has no severity of its own; the lead tells of it.
        return []
    alert = reader.text("external_id", "composite_id", "detection_id", "alert_id")
    if not alert:
        raise ItemFault("condition-missing", "`composite_id` is no text")
    hosts = _named_hosts(reader)
    made = [_alert(host, alert, options) for host in hosts]
    if len(hosts) == 1:
        return made
    return [
        (msgspec.structs.replace(signal, event_id=f"{signal.event_id}:{host.device_ids[0].value}"), sources)
        for (signal, sources), host in zip(made, hosts, strict=True)
    ]


def _named_hosts(reader: Reader) -> list[Reader]:
    """Return a reader for each host of an alert, else for its account. Raises `ItemFault`."""
    reader.device("serial", "serial_number", "device.serial_number", "device.system_serial_number")
    reader.device(
        "sensor-device-id",
        *("device_id", "device.device_id", "agent_id", "aid", "sensor_id", "source_endpoint_sensor_id"),
    )
    reader.device("hostname", "host", "hostname", "device.hostname", "host_name", "source_endpoint_host_name")
    reader.user("upn", "source_account_upn")
    names = [text_of(each) for each in list_at(reader.item, "host_names")]
    indicators = list_at(reader.item, "threatgraph_indicators")
    listed = [(text_at(each, "host_id"), text_at(each, "hostname")) for each in indicators]
    hosts = [reader] if reader.device_ids else []
    if any(agent or name for agent, name in listed):
        hosts = _hosts(reader, [(*each, "threatgraph_indicators") for each in listed]) or hosts
    elif names and not hosts:
        hosts = _hosts(reader, [("", name, "host_names") for name in names])
    if not hosts:
        # An identity alert is about the account when it knows no endpoint.
        reader.need_subject("`device_id`, `host`, `serial_number`, `device`", *OTHERS)
        hosts = [reader]
    for host in hosts:
        for path in ("user_principal", "user", "user_name"):
            host.user("upn", path)
    return hosts


def _alert(reader: Reader, alert: str, options: CrowdstrikeOptions) -> Made:
    observed_at = reader.time("updated_timestamp", "timestamp", "created_timestamp")
    is_over = _state_of(reader.text("resolves", "status")) in {_state_of(each) for each in options.closed}
    if truth(reader.get("is_closed")):
        is_over, reader.used["resolves"] = True, f"{reader.prefix}is_closed"
    execution = reader.text("event_id", "workflow_execution_id")
    return reader.signal(
        SignalType.REMEDIATION if is_over else SignalType.DETECTION,
        external_id=f"alert:{alert}",
        event_id=f"{execution}:{alert}" if execution else "",
        observed_at=observed_at,
        level=None
        if is_over
        else _level(reader, options, ("severity_name",), ("severity", "score"), options.scores),
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


def _streamed(reader: Reader, event_type: str, options: CrowdstrikeOptions) -> list[Made]:
    if event_type == _INCIDENT:
        return _incident(reader, options)
    if event_type == _LEAD:
        return _lead(reader, options)
    if event_type == _IDENTITY:
        return _identity(reader, options)
    if event_type == _AUDIT:
        return _update(reader, options)
    return _event(reader, event_type, options) if event_type.endswith(_LEGACY) else []


def _event(reader: Reader, event_type: str, options: CrowdstrikeOptions) -> list[Made]:
    alert = reader.text("external_id", "event.CompositeId", "event.DetectId", "event.DetectionId")
    if not alert and (offset := reader.text("external_id", "metadata.offset")):
        # Those that people at CrowdStrike raise may come without an id: then each is a condition of its own.
        alert = f"offset-{offset}"
    if not alert:
        raise ItemFault("condition-missing", "`event.CompositeId` and `metadata.offset` are missing")
    reader.device(
        "sensor-device-id",
        *("event.AgentId", "event.SensorId", "event.AgentIdString", "event.SourceEndpointSensorId"),
    )
    reader.device("hostname", "event.Hostname", "event.ComputerName", "event.SourceEndpointHostName")
    _account(reader)
    hosts = [reader]
    if not reader.device_ids:
        hosts = _listed(reader)
    if not hosts and reader.user_ids:
        # A detection of an identity is about the account when it knows no endpoint.
        hosts = [reader]
    if not hosts:
        reader.need_device("`event.AgentId`, `event.Hostname`, `event.HostNames`")
    ranges = LEGACY_SCORES if event_type == _LEGACY else options.scores
    return [_found(host, f"alert:{alert}", options, ("event.Severity",), ranges) for host in hosts]


def _update(reader: Reader, options: CrowdstrikeOptions) -> list[Made]:
    """Return what a change of the state of a detection means; nothing for other activities of people."""
    if text_of(reader.get("event.OperationName")).strip().casefold() != _UPDATE:
        return []
    told = {text_at(each, "Key"): text_at(each, "ValueString") for each in _audited(reader)}
    state = _state_of(told.get("new_state", "") or text_of(reader.get("event.Attributes.new_state")))
    is_over = state in {_state_of(each) for each in options.closed}
    if not is_over and state not in {_state_of(each) for each in options.reopened}:
        return []
    detection = told.get("detection_id", "") or text_of(reader.get("event.Attributes.detection_id"))
    named = _DETECTION_ID.fullmatch(detection.strip())
    if named is None:
        raise ItemFault(
            "condition-missing", f"`detection_id`: `{detection[:64]}` is no id of a detection on a host"
        )
    reader.used |= dict.fromkeys(("external_id", "device.sensor-device-id", "resolves"), _place_of(reader))
    reader.add_device("sensor-device-id", named["host"])
    reader.need_device("`event.AuditKeyValues`")
    observed_at = reader.time("metadata.eventCreationTime", "event.UTCTimestamp")
    condition, offset = f"alert:{named.group()}", reader.text("event_id", "metadata.offset")
    return [
        reader.signal(
            SignalType.REMEDIATION if is_over else SignalType.DETECTION,
            external_id=condition,
            event_id=f"{condition}@{offset}" if offset else "",
            observed_at=observed_at,
            level=None if is_over else Severity.UNKNOWN,
            title=f"Falcon detection, {state.replace('_', ' ')}",
            resolves=is_over,
            expires_at=after(observed_at, options.ttl),
        )
    ]


def _audited(reader: Reader) -> list[Any]:
    return list_at(reader.item, "event", "AuditKeyValues")[:MAX_AUDITED]


def _place_of(reader: Reader) -> str:
    return f"{reader.prefix}event.{'AuditKeyValues' if _audited(reader) else 'Attributes'}"


def _state_of(word: str) -> str:
    return word.strip().casefold().replace(" ", "_")


def _incident(reader: Reader, options: CrowdstrikeOptions) -> list[Made]:
    """Return the incident on its host and on each that it has moved to."""
    incident = reader.text("external_id", "event.IncidentID", "event.IncidentId")
    link = text_of(reader.get("event.FalconHostLink"))[:1024]
    named = _INCIDENT_ID.search(incident or link)
    if not incident and named is not None:
        incident = named.group()
        reader.used["external_id"] = f"{reader.prefix}event.FalconHostLink"
    if not incident:
        raise ItemFault("condition-missing", "`event.IncidentID` and `event.FalconHostLink` name no incident")
    ids = [(text_of(reader.get("event.HostID")), "event.HostID")]
    ids += [(text_of(each), "event.LMHostIDs") for each in list_at(reader.item, "event", "LMHostIDs")]
    if not any(host for host, _ in ids) and named is not None and _AGENT.fullmatch(named["host"]):
        ids = [(named["host"], "event.FalconHostLink")]
    hosts = _hosts(reader, [(host, "", path) for host, path in ids])
    if not hosts:
        reader.need_device("`event.HostID`")
    score = parse_number(text_of(reader.get("event.FineScore")))
    if score is not None and score <= _INCIDENT_SCALE:
        score *= _INCIDENT_SCALE
    level = None if score is None else level_of_score(str(score), options.scores)
    condition, placed = f"incident:{incident}", {"level": "event.FineScore"}
    return [
        _found(host, condition, options, (), (), level=level, title="Falcon incident", sources=placed)
        for host in hosts
    ]


def _lead(reader: Reader, options: CrowdstrikeOptions) -> list[Made]:
    """Return the lead, which took the place of incidents, on each host of its indicators."""
    lead = reader.text("external_id", "event.CompositeId", "event.LeadId")
    if not lead:
        raise ItemFault("condition-missing", "`event.CompositeId` is missing")
    indicators = list_at(reader.item, "event", "ThreatgraphIndicators")
    hosts = _hosts(
        reader,
        [
            (text_at(each, "HostId"), text_at(each, "Hostname"), "event.ThreatgraphIndicators")
            for each in indicators
        ],
    )
    if not hosts:
        reader.need_device("`event.ThreatgraphIndicators`")
    return [_found(host, f"alert:{lead}", options, ("event.Score",), options.scores) for host in hosts]


def _identity(reader: Reader, options: CrowdstrikeOptions) -> list[Made]:
    incident = reader.text("external_id", "event.IdentityProtectionIncidentId")
    if not incident:
        raise ItemFault("condition-missing", "`event.IdentityProtectionIncidentId` is missing")
    reader.device("hostname", "event.EndpointName")
    _account(reader)
    if not reader.user_ids:
        reader.need_device("`event.EndpointName`, `event.UserName`")
    return [_found(reader, f"identity:{incident}", options, (), ())]


def _account(reader: Reader) -> None:
    """Take the account of an identity event. In a domain with a DNS name `name@domain` is a name of it by itself."""
    reader.user("upn", "event.SourceAccountUpn")
    domain, _, name = reader.text("user.account", "event.UserName").rpartition("\\")
    if not domain and (given := text_of(reader.get("event.SourceAccountDomain")).strip()):
        domain, name = given, reader.text("user.account", "event.SourceAccountName")
    path = reader.used.pop("user.account", "")
    if not reader.user_ids and name and "." in domain and reader.add_user("upn", f"{name}@{domain}".lower()):
        reader.used["user.upn"] = path


def _listed(reader: Reader) -> list[Reader]:
    """Return the hosts of a detection over several products, which names them by lists in texts."""
    agents, names = (
        [each.strip() for each in text_of(reader.get(path)).split(",") if each.strip()]
        for path in ("event.SensorIds", "event.HostNames")
    )
    if len(agents) == len(names) == 1:
        return _hosts(reader, [(agents[0], names[0], "event.SensorIds, event.HostNames")])
    return _hosts(
        reader,
        [(each, "", "event.SensorIds") for each in agents]
        or [("", each, "event.HostNames") for each in names],
    )


def _hosts(reader: Reader, named: list[tuple[str, str, str]]) -> list[Reader]:
    """Return a reader for each host: agent id, hostname and the path where they stand. Nobody is named twice."""
    found: dict[tuple[str, str], Reader] = {}
    for agent, hostname, path in named[:MAX_HOSTS]:
        host = Reader(reader.frame, reader.item, reader.prefix)
        host.used = dict(reader.used)
        host.user_ids = list(reader.user_ids)
        for kind, value in (("sensor-device-id", agent.strip()), ("hostname", hostname.strip())):
            if value and host.add_device(kind, value):
                host.used[f"device.{kind}"] = reader.prefix + path
        if host.device_ids:
            found.setdefault((agent, hostname), host)
    return list(found.values())


def _found(
    reader: Reader,
    condition: str,
    options: CrowdstrikeOptions,
    numbers: tuple[str, ...],
    ranges: tuple[Range, ...],
    *,
    level: Severity | None = None,
    title: str = "",
    sources: Mapping[str, str] | None = None,
) -> Made:
    """Return what an event of the stream says of one host or account."""
    observed_at = reader.time(*_CREATED, "event.ProcessStartTime")
    state = _state_of(reader.text("resolves", "event.State"))
    is_over = state in {*(_state_of(each) for each in options.closed), "resolved"}
    offset = reader.text("event_id", "metadata.offset")
    about = (*reader.device_ids, *reader.user_ids)[0].value
    level = level or _level(reader, options, ("event.SeverityName",), numbers, ranges)
    return reader.signal(
        SignalType.REMEDIATION if is_over else SignalType.DETECTION,
        external_id=condition,
        event_id=f"{condition}@{offset}:{about}" if offset else "",
        observed_at=observed_at,
        level=None if is_over else level,
        title=title
        or reader.text("title", "event.Name", "event.DetectName", "event.IncidentType")
        or "Falcon detection",
        description=reader.text(
            "description", "event.Description", "event.DetectDescription", "event.IncidentDescription"
        ),
        rationale=reader.text("rationale", "event.PatternDispositionDescription"),
        category=reader.text("category", "event.Tactic", "event.Tactics", "event.Category"),
        resolves=is_over,
        expires_at=after(observed_at, options.ttl),
        sources=sources,
    )


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


def _state_of_host(reader: Reader) -> Made:
    """Return what the hosts API says of the sensor on a host."""
    reader.device("serial", "serial_number")
    reader.device("sensor-device-id", "device_id")
    reader.device("hostname", "hostname")
    reader.need_device("`device_id`, `serial_number`, `hostname`")
    reduced = truth(reader.text("facts.edr_running", "reduced_functionality_mode"))
    status = _state_of(reader.text("facts.isolated", "status"))
    provision = reader.text("facts.edr_onboarded", "provision_status").casefold()
    platform = _PLATFORMS.get(reader.text("facts.platform", "platform_name").casefold())
    build = parse_number(text_of(reader.get("os_build"))) if platform == "windows" else None
    version = _VERSION.search(text_of(reader.get("os_version")))
    facts = known(
        edr_running=None if reduced is None else not reduced,
        edr_onboarded=provision == "provisioned" if provision else None,
        isolated=status in _CONTAINED if status else None,
        platform=platform,
        os_build=None if build is None else int(build),
        os_version=version.group() if version is not None and platform == "macos" else None,
    )
    return reader.signal(
        SignalType.POSTURE_FACT if facts else SignalType.HEARTBEAT,
        external_id="sensor",
        observed_at=reader.time("last_seen", "modified_timestamp"),
        title="State of the Falcon sensor",
        facts=facts,
    )


def _fact(check: dict[str, Any], options: CrowdstrikeOptions) -> str:
    number, name = text_at(check, "signal_id"), text_at(check, "signal_name")
    if number in options.facts:
        return options.facts[number]
    return next((fact for pattern, fact in _FACTS if pattern.search(f"{number} {name}"[:200])), "")
