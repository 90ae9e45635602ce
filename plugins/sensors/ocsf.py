"""Sensor kind `ocsf`: events of the Open Cybersecurity Schema Framework, one, an array, or NDJSON.

| class | becomes |
|---|---|
| 2004 detection, 2001 security, 2006 data security finding | detection; `Close`, `Resolved`, a passed check close it |
| 2005 incident finding | detection; `Close`, `Resolved` or `Closed` closes it |
| 2003 compliance finding | posture fact with `state`; `Pass` closes it |
| 2002 vulnerability finding | exposure; `Close` or `Resolved` closes it |
| 5019 device config state change | risk level by `security_level_id`, facts of the device |
| 5001 device inventory info, 5002 device config state | facts of the device |
| any other class | ignored |

The device is `device`, else those of the evidences, else the resources that are devices, else what the observables call
the device's. A detection that names none is about its actor; a finding that names only what is neither a device nor a
person (a bucket, a cloud account) has no subject here. The condition is `finding_info.uid`; an incident has no id of
its own, so it is known by its correlation, its ticket, its address or the first of its findings, whichever is first.
The message is `metadata.uid`. A suppressed finding is muted, not fixed, and a fix that is available is not installed.
Source: OCSF schema 1.6.0.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, ClassVar

import msgspec

from plugins.contract import NO_SUBJECT, Normalized, Sample, after
from plugins.levels import Range, level_of_score, level_of_word
from plugins.payload import dig, list_at, object_at, parse_number, text_at, text_of
from plugins.reading import Facts, Frame, ItemFault, Made, Reader, gather, known, truth
from plugins.samples.ocsf import SAMPLES
from plugins.sensors.envelopes import inside, items_of
from risk.model import Identifier, Severity, SignalType
from risk.values import Duration, Strict

DETECTIONS = frozenset({2001, 2004, 2005, 2006})
SECURITY, VULNERABILITY, COMPLIANCE, INCIDENT = 2001, 2002, 2003, 2005
INVENTORY, DEVICE_CONFIG, DEVICE_STATE = 5001, 5002, 5019
FINDINGS = DETECTIONS | {VULNERABILITY, COMPLIANCE}
CLASSES = FINDINGS | {INVENTORY, DEVICE_CONFIG, DEVICE_STATE}

SEVERITIES: dict[str, Severity] = {
    "1": Severity.INFORMATIONAL,
    "2": Severity.LOW,
    "3": Severity.MEDIUM,
    "4": Severity.HIGH,
    "5": Severity.CRITICAL,
    "6": Severity.CRITICAL,
}
SECURITY_LEVELS: dict[str, Severity] = {"1": Severity.NONE, "2": Severity.MEDIUM, "3": Severity.HIGH}
CVSS = (
    Range(at_least=0, level=Severity.NONE),
    Range(at_least=0.1, level=Severity.LOW),
    Range(at_least=4, level=Severity.MEDIUM),
    Range(at_least=7, level=Severity.HIGH),
    Range(at_least=9, level=Severity.CRITICAL),
)

ASSESSMENT_FACTS: dict[str, str] = {
    name: name
    for name in (
        *("disk_encrypted", "firewall_enabled", "edr_running", "screen_lock", "secure_boot"),
        *("av_enabled", "os_up_to_date", "jailbroken", "managed"),
    )
} | {"disk_encryption": "disk_encrypted", "firewall": "firewall_enabled", "antivirus": "av_enabled"}
"""Assessments whose result is a posture fact: what meets the criteria is true."""

_INVERTED = frozenset({"jailbroken"})
MAX_DEVICES, MAX_PEOPLE, MAX_OBSERVABLES, MAX_TITLES = 100, 16, 200, 3
_DEVICES = frozenset({"device", "host", "computer", "laptop", "desktop", "server", "endpoint", "workstation"})

_CLOSED, _SUPPRESSED, _RESOLVED = "3", "3", "4"
_OVER_INCIDENT = frozenset({"4", "5"})
_PLATFORMS = {"100": "windows", "200": "linux", "201": "android", "300": "macos", "301": "ios", "302": "ios"}
_INCIDENT_IDS = ("metadata.correlation_uid", "ticket.uid", "src_url")
_COMPLIANCE_STATES = {"1": "pass", "2": "warning", "3": "fail"}
_COMPLIANCE_WORDS = {"pass": "pass", "passed": "pass", "warning": "warning", "fail": "fail", "failed": "fail"}
"""Without a `status_id` there is the word of the product. Source: OCSF `compliance.status`, as AWS fills it."""
_PROTECTION_OFF = "4"
_PASSED = frozenset({"pass", "passed"})


class OcsfOptions(Strict, frozen=True):
    """Settings of the kind.

    Field: levels: `severity_id` as text, and the severity that it means instead of the usual one.
    Field: security_levels: the same for `security_level_id` of a device.
    Field: uid_alt_kind: what `device.uid_alt` is (`entra-device-id`, ...); unset, it names nothing.
    Field: facts: assessment or control ids, and the posture fact that each states.
    Field: resources: types of `resources` that are devices too (`AwsEc2Instance`), and the kind of identifier that
        their `uid` is.
    Field: owners: a finding that names no device and no person is about the owners of its resources.
    Field: ttl: how long a finding counts without another word; `null` until it is closed.
    """

    levels: dict[str, Severity] = msgspec.field(default_factory=dict)
    security_levels: dict[str, Severity] = msgspec.field(default_factory=dict)
    uid_alt_kind: str = ""
    facts: dict[str, str] = msgspec.field(default_factory=dict)
    resources: dict[str, str] = msgspec.field(default_factory=dict)
    owners: bool = False
    ttl: Duration | None = None


class OcsfSensor:
    """Reads OCSF events."""

    kind: ClassVar[str] = "ocsf"
    title: ClassVar[str] = "OCSF events"
    options_type: ClassVar[type[Strict]] = OcsfOptions
    samples: ClassVar[tuple[Sample, ...]] = SAMPLES

    def normalize(
        self,
        payload: Any,
        options: OcsfOptions,
        *,
        sensor: str,
        received_at: datetime,
        headers: Mapping[str, str],  # noqa: ARG002 - an event says everything itself
    ) -> Normalized:
        """Return the signals of the events."""
        items, prefix = items_of(payload, _is_event, "events", "records")
        return gather(Frame(sensor, received_at), items, lambda reader: _event(reader, options), prefix)


def _is_event(value: Any) -> bool:
    return dig(value, "class_uid") is not None


def _event(outer: Reader, options: OcsfOptions) -> list[Made]:
    reader = inside(outer, _is_event)
    class_uid = parse_number(text_at(reader.item, "class_uid"))
    if class_uid is None:
        raise ItemFault("not-an-event", "`class_uid` is missing")
    if class_uid not in CLASSES:
        return []
    observed_at = reader.time("time", "time_dt", "finding_info.modified_time")
    event_uid = reader.text("event_id", "metadata.uid")
    made: list[Made] = []
    for device in _subjects(reader, int(class_uid), options):
        if class_uid == DEVICE_STATE:
            signal, sources = _state(device, options, observed_at)
        elif class_uid == INVENTORY:
            signal, sources = _inventory(device, observed_at)
        elif class_uid == DEVICE_CONFIG:
            signal, sources = _config(device, options, observed_at)
        elif class_uid == COMPLIANCE:
            signal, sources = _compliance(device, options, observed_at)
        else:
            kind = SignalType.EXPOSURE if class_uid == VULNERABILITY else SignalType.DETECTION
            signal, sources = _finding(device, options, observed_at, kind)
        if event_uid:
            event_id = f"{event_uid}:{_first(device)}"
            signal = msgspec.structs.replace(signal, event_id=event_id)
        made.append((signal, {"event_id": "metadata.uid", **sources}))
    return made


def _subjects(reader: Reader, class_uid: int, options: OcsfOptions) -> list[Reader]:
    """Return a reader for each device of the event, else for the people whom it is about. Raises `ItemFault`."""
    found = _devices(reader, options)
    for device in found:
        _take_people(device, [*_actors(reader), *_owners(reader)])
    if found:
        return found
    one = _like(reader)
    if class_uid in DETECTIONS:
        _take_people(one, _actors(reader))
    if options.owners and not one.user_ids and class_uid in FINDINGS:
        _take_people(one, _owners(reader))
    if one.user_ids:
        return [one]
    if named := _others(reader):
        hint = "`options.resources` says which types are devices"
        raise ItemFault(NO_SUBJECT, f"names no device and no person, only {', '.join(named)}; {hint}")
    raise ItemFault("no-device", "neither `device` nor `evidences` nor `resources` name a device")


def _first(reader: Reader) -> str:
    return (*reader.device_ids, *reader.user_ids)[0].value


def _devices(reader: Reader, options: OcsfOptions) -> list[Reader]:
    """Return a reader for each device of the event."""
    one = _like(reader)
    _take(one, object_at(reader.item, "device"), "device", options)
    if one.device_ids:
        return [one]
    named = [
        (object_at(each, "device"), f"evidences[{number}].device")
        for number, each in enumerate(list_at(reader.item, "evidences")[:MAX_DEVICES])
    ]
    return (
        _readers(reader, named, options)
        or _resources(reader, options)
        or _readers(reader, [(_observed(reader), "observables")], options)
    )


def _resources(reader: Reader, options: OcsfOptions) -> list[Reader]:
    """Return a reader for each resource that is a device, by its type or by what the operator says of the type."""
    kinds = {name.casefold(): kind for name, kind in options.resources.items()}
    found: dict[tuple[Identifier, ...], Reader] = {}
    for resource, where in _named_resources(reader):
        each = _like(reader)
        kind = text_at(resource, "type").casefold()
        if kind in kinds:
            if each.add_device(kinds[kind], text_at(resource, "uid")):
                each.used[f"device.{kinds[kind]}"] = f"{reader.prefix}{where}.uid"
        elif kind in _DEVICES:
            named = {name: text_at(resource, name) for name in ("uid", "hostname", "name")}
            _take(each, named, where, options)
        if each.device_ids:
            found.setdefault(tuple(each.device_ids), each)
    return list(found.values())


def _named_resources(reader: Reader) -> list[tuple[Any, str]]:
    """Return the resources with where they stand. Before OCSF 1.3 some findings had one `resource`."""
    listed = list_at(reader.item, "resources")[:MAX_DEVICES]
    if not listed and (one := object_at(reader.item, "resource")):
        return [(one, "resource")]
    return [(each, f"resources[{number}]") for number, each in enumerate(listed)]


def _others(reader: Reader) -> list[str]:
    """Return what an event that names no device and no person names instead, for people."""
    named = [
        f"{text_at(each, 'type') or 'resource'} `{(text_at(each, 'uid') or text_at(each, 'name'))[:128]}`"
        for each, _ in _named_resources(reader)
        if text_at(each, "uid") or text_at(each, "name")
    ]
    account = text_of(reader.get("cloud.account.uid", "cloud.account.name")).strip()
    if account and not named:
        named = [f"cloud account `{account[:128]}`"]
    return list(dict.fromkeys(named))[:MAX_TITLES]


def _readers(reader: Reader, named: list[tuple[dict[str, Any], str]], options: OcsfOptions) -> list[Reader]:
    found: dict[tuple[Identifier, ...], Reader] = {}
    for device, where in named:
        each = _like(reader)
        _take(each, device, where, options)
        if each.device_ids:
            found.setdefault(tuple(each.device_ids), each)
    return list(found.values())


def _take(reader: Reader, device: dict[str, Any], where: str, options: OcsfOptions) -> None:
    """Take the identifiers of a device object that stands at `where`."""
    host = "hostname" if text_at(device, "hostname") else "name"
    places: list[tuple[str, tuple[str, ...]]] = [
        ("serial", ("hw_info", "serial_number")),
        ("udid", ("udid",)),
        (options.uid_alt_kind, ("uid_alt",)),
        ("sensor-device-id", ("uid",)),
        ("hostname", (host,)),
    ]
    for kind, names in places:
        value = text_at(device, *names)
        if kind and value and reader.add_device(kind, value):
            reader.used[f"device.{kind}"] = f"{reader.prefix}{where}.{'.'.join(names)}"


def _observed(reader: Reader) -> dict[str, Any]:
    """Return the device as far as observables name it by where they were found; several of a name are nobody's."""
    values: dict[str, set[str]] = {}
    for each in list_at(reader.item, "observables")[:MAX_OBSERVABLES]:
        values.setdefault(text_at(each, "name"), set()).add(text_at(each, "value"))
    only = {name: found.pop() for name, found in values.items() if len(found) == 1}
    return {
        "hw_info": {"serial_number": only.get("device.hw_info.serial_number", "")},
        "uid": only.get("device.uid", ""),
        "hostname": only.get("device.hostname", "") or only.get("hostname", ""),
    }


def _like(reader: Reader) -> Reader:
    other = Reader(reader.frame, reader.item, reader.prefix)
    other.used = dict(reader.used)
    return other


def _actors(reader: Reader) -> list[tuple[str, str]]:
    """Return the addresses of who did what was detected, with where they stand."""
    named = [(path, text_of(reader.get(path))) for path in ("actor.user.email_addr", "user.email_addr")]
    for number, each in enumerate(list_at(reader.item, "evidences")[:MAX_PEOPLE]):
        for names in (("user",), ("actor", "user")):
            where = f"evidences[{number}].{'.'.join(names)}.email_addr"
            named.append((where, text_at(each, *names, "email_addr")))
    return named


def _owners(reader: Reader) -> list[tuple[str, str]]:
    return [
        (f"{where}.owner.email_addr", text_at(each, "owner", "email_addr"))
        for each, where in _named_resources(reader)[:MAX_PEOPLE]
    ]


def _take_people(reader: Reader, named: list[tuple[str, str]]) -> None:
    for path, address in named:
        if address and reader.add_user("upn", address):
            reader.used.setdefault("user.upn", reader.prefix + path)


def _severity(reader: Reader, options: OcsfOptions) -> Severity:
    """Return the severity by its number, by its word where a product gives no number."""
    word = reader.text("level", "severity_id")
    level = options.levels.get(word) or SEVERITIES.get(word)
    if level is None and not word:
        name = reader.text("level", "severity").casefold()
        level = level_of_word("critical" if name == "fatal" else name, {})
    return level or Severity.UNKNOWN


def _is_closed(reader: Reader) -> bool:
    activity, status = text_of(reader.get("activity_id")), text_of(reader.get("status_id"))
    class_uid = parse_number(text_at(reader.item, "class_uid"))
    if class_uid == SECURITY:
        # Its status is that of the event; what became of the finding is its state.
        status = text_of(reader.get("state_id")) or status
    if class_uid == INCIDENT:
        # Its third status is *on hold*, not *suppressed*.
        return activity == _CLOSED or status in _OVER_INCIDENT
    codes = {text_of(reader.get(path)).strip().casefold() for path in ("status_code", "compliance.status")}
    if codes & _PASSED:
        # A scanner (Prowler) sends one finding per check and resource, met or not, all with the status *new*.
        return True
    return status == _RESOLVED or (activity == _CLOSED and status != _SUPPRESSED)


def _actions(reader: Reader) -> list[str]:
    sources = [object_at(reader.item, "remediation")]
    sources += [object_at(each, "remediation") for each in list_at(reader.item, "vulnerabilities")[:16]]
    texts: list[str] = []
    for source in sources:
        texts.append(text_at(source, "desc"))
        texts += [text_of(each) for each in list_at(source, "references")[:4]]
    if any(texts):
        reader.used.setdefault("actions", f"{reader.prefix}remediation")
    return list(dict.fromkeys(texts))


def _finding(reader: Reader, options: OcsfOptions, observed_at: datetime, kind: SignalType) -> Made:
    is_over = _is_closed(reader)
    cves = [text_at(each, "cve", "uid") for each in list_at(reader.item, "vulnerabilities")]
    cve = next((each for each in cves if each), "")
    uid = reader.text("external_id", "finding_info.uid", "finding.uid") or _incident_id(reader)
    if not uid and kind is SignalType.EXPOSURE and cve:
        uid = f"{cve}:{_first(reader)}"
    if not uid:
        raise ItemFault("condition-missing", "`finding_info.uid` is missing")
    level = None if is_over else _severity(reader, options)
    if level is Severity.UNKNOWN and kind is SignalType.EXPOSURE:
        level = _cvss(reader) or level
    return reader.signal(
        kind=SignalType.REMEDIATION if is_over else kind,
        external_id=f"finding:{uid}",
        observed_at=observed_at,
        level=level,
        title=reader.text("title", "finding_info.title", "finding.title", "message")
        or _titles_of_findings(reader)
        or cve
        or "Finding",
        description=reader.text("description", "finding_info.desc", "finding.desc", "desc", "message"),
        actions=_actions(reader),
        category=reader.text("category", "finding_info.types", "category_name"),
        resolves=is_over,
        expires_at=after(observed_at, options.ttl),
        sources={"resolves": "activity_id, status_id, status_code"},
    )


def _findings(reader: Reader) -> list[Any]:
    return list_at(reader.item, "finding_info_list")[:MAX_DEVICES]


def _incident_id(reader: Reader) -> str:
    """Return what an incident is known by: it has no id of its own."""
    found = reader.text("external_id", *_INCIDENT_IDS)
    first = next((uid for each in _findings(reader) if (uid := text_at(each, "uid"))), "")
    if first and not found:
        reader.used["external_id"] = f"{reader.prefix}finding_info_list"
    return found or first


def _titles_of_findings(reader: Reader) -> str:
    titles = dict.fromkeys(title for each in _findings(reader) if (title := text_at(each, "title")))
    if titles:
        reader.used["title"] = f"{reader.prefix}finding_info_list"
    return ", ".join(list(titles)[:MAX_TITLES])


def _cvss(reader: Reader) -> Severity | None:
    scores = [
        text_at(score, "base_score")
        for each in list_at(reader.item, "vulnerabilities")[:16]
        for score in list_at(each, "cve", "cvss")[:4]
    ]
    levels = [level for score in scores if (level := level_of_score(score, CVSS)) is not None]
    order = list(Severity)
    return max(levels, key=order.index) if levels else None


def _compliance(reader: Reader, options: OcsfOptions, observed_at: datetime) -> Made:
    uid = reader.text("external_id", "finding_info.uid") or reader.text("external_id", "compliance.control")
    if not uid:
        raise ItemFault("condition-missing", "`finding_info.uid` and `compliance.control` are missing")
    word = reader.text("facts.state", "compliance.status_id")
    state = _COMPLIANCE_STATES.get(word, "unknown")
    if not word:
        status = reader.text("facts.state", "compliance.status").casefold()
        state = _COMPLIANCE_WORDS.get(status, "unknown")
    is_over = state == "pass" or (state == "unknown" and _is_closed(reader))
    facts: Facts = {"state": state, **_assessed(list_at(reader.item, "compliance", "assessments"), options)}
    control = reader.text("category", "compliance.control")
    if control in options.facts:
        facts[options.facts[control]] = {"pass": True, "fail": False}.get(state)
    is_judged = state in {"fail", "warning"}
    return reader.signal(
        SignalType.REMEDIATION if is_over else SignalType.POSTURE_FACT,
        external_id=f"finding:{uid}",
        observed_at=observed_at,
        level=_severity(reader, options) if is_judged else None,
        title=reader.text("title", "finding_info.title", "message") or "Compliance finding",
        description=reader.text("description", "finding_info.desc", "message"),
        actions=_actions(reader),
        category=control,
        facts=facts,
        resolves=is_over,
        expires_at=after(observed_at, options.ttl),
    )


def _assessed(assessments: list[Any], options: OcsfOptions) -> Facts:
    """Return the facts that assessments state."""
    facts: Facts = {}
    for assessment in assessments[:32]:
        names = [text_at(assessment, key) for key in ("uid", "name")]
        fact = next((found for name in names if (found := _fact(name, options))), "")
        if fact:
            is_met = truth(assessment.get("meets_criteria"))
            facts[fact] = not is_met if is_met is not None and fact in _INVERTED else is_met
    return facts


def _fact(name: str, options: OcsfOptions) -> str:
    return options.facts.get(name) or ASSESSMENT_FACTS.get(name.casefold().replace(" ", "_"), "")


def _inventory(reader: Reader, observed_at: datetime) -> Made:
    """Return what an inventory says of a device; compliance with whatever the product holds it to is its own fact."""
    facts = known(
        managed=truth(reader.get("device.is_managed")),
        compliant=truth(reader.get("device.is_compliant")),
        platform=_PLATFORMS.get(text_of(reader.get("device.os.type_id"))),
        os_version=text_of(reader.get("device.os.version")).strip(),
    )
    return reader.signal(
        SignalType.POSTURE_FACT,
        external_id="inventory",
        observed_at=observed_at,
        title="Inventory of the device",
        facts=facts,
        sources={"facts": "device"},
    )


def _config(reader: Reader, options: OcsfOptions, observed_at: datetime) -> Made:
    """Return what checks of the configuration of a device state."""
    facts = _assessed(list_at(reader.item, "assessments"), options)
    return reader.signal(
        SignalType.POSTURE_FACT if facts else SignalType.HEARTBEAT,
        external_id="device-config",
        observed_at=observed_at,
        title="Configuration of the device",
        facts=facts,
        expires_at=after(observed_at, options.ttl),
        sources={"facts": "assessments"},
    )


def _state(reader: Reader, options: OcsfOptions, observed_at: datetime) -> Made:
    word = reader.text("level", "security_level_id")
    level = options.security_levels.get(word) or SECURITY_LEVELS.get(word) or Severity.UNKNOWN
    states = {text_at(each, "state_id") for each in list_at(reader.item, "security_states")[:32]}
    protection = "off" if _PROTECTION_OFF in states else "on" if level is Severity.NONE else None
    facts = known(
        protection=protection,
        os_version=reader.text("facts.os_version", "device.os.version"),
        managed=truth(reader.get("device.is_managed")),
        compliant=truth(reader.get("device.is_compliant")),
    )
    return reader.signal(
        SignalType.RISK_LEVEL,
        external_id="device-state",
        observed_at=observed_at,
        level=level,
        title=reader.text("title", "message", "security_level") or "State of the device",
        facts=facts,
        resolves=level is Severity.NONE,
        expires_at=after(observed_at, options.ttl),
    )
