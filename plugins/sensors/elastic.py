"""Sensor kind `elastic`: detection alerts of Elastic Security, by Kibana's webhook connector or as documents.

| alert | becomes |
|---|---|
| open, acknowledged | detection; the condition is `kibana.alert.uuid` |
| workflow status `closed`, status `recovered` | remediation |
| building block of another alert, alert that is `untracked` | ignored |
| alert over several hosts (`host.name` a list) | the same on each of them |

The body of the connector is a template that the administrator writes; the one in `docs/sensors.md` sends
`{"alerts": [...]}`. Documents as Elasticsearch returns them (`hits.hits`, `_source` or `fields`) are read as well.
Keys may be nested, dotted, or mixed. Rule actions never push a close, so what is open expires. Source: Elastic Security
documentation, "Alert schema"; Kibana, "Webhook connector".
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, ClassVar

import msgspec

from plugins.contract import NO_SUBJECT, Normalized, Sample, after
from plugins.levels import Range, level_of_score, level_of_word
from plugins.payload import object_at, text_of
from plugins.reading import Frame, ItemFault, Made, Reader, first_of, gather, look
from plugins.samples.elastic import SAMPLES
from plugins.sensors.envelopes import inside, items_of
from risk.model import Severity, SignalType
from risk.values import Duration, Strict

SCORES = (
    Range(at_least=0, level=Severity.INFORMATIONAL),
    Range(at_least=21, level=Severity.LOW),
    Range(at_least=47, level=Severity.MEDIUM),
    Range(at_least=73, level=Severity.HIGH),
    Range(at_least=99, level=Severity.CRITICAL),
)

HOST_AGENTS = frozenset({"", "endpoint", "auditbeat", "winlogbeat"})
"""Agents that speak of the host they run on; others may forward the logs of a whole network."""

OTHERS = (
    *("cloud.instance.id", "orchestrator.resource.name", "user.name", "source.ip", "service.name"),
    *("kibana.alert.instance.id", "kibana.alert.attack_discovery.title"),
)
"""What an alert may be about instead of a host or a person."""


PERSONS = (
    *("user.email", "user.name", "user.id", "okta.actor.alternate_id", "o365.audit.UserId"),
    "azure.signinlogs.properties.user_principal_name",
)
"""Fields that name a person, where their value is an address."""

MAX_HOSTS = 100
"""Most hosts of one alert."""

_BUILDING_BLOCK = ("kibana.alert.building_block_type", "signal.rule.building_block_type")
_SEVERITIES = (
    *("kibana.alert.severity", "kibana.alert.rule.severity", "kibana.alert.rule.parameters.severity"),
    "signal.rule.severity",
)
_IDS = ("kibana.alert.uuid", "_id")
_SIGNS = (
    *("kibana.alert.uuid", "kibana.alert.status", "kibana.alert.workflow_status", "kibana.alert.severity"),
    *(
        "kibana.alert.rule.name",
        "kibana.alert.rule.uuid",
        "kibana.alert.rule.rule_type_id",
        "kibana.alert.reason",
    ),
    *("signal.rule.name", "signal.rule.id", "signal.status"),
)
"""What an alert has and another document of a search has not."""

_PARTS = ("_source", "fields")
_NAMES = ("kibana.alert.rule.name", "signal.rule.name", "rule.name", "kibana.alert.reason", "message")
_RATIONALES = (
    *("kibana.alert.rule.description", "kibana.alert.rule.parameters.description"),
    *("signal.rule.description", "rule.description"),
)
_SCORES = (
    *("kibana.alert.risk_score", "kibana.alert.rule.risk_score", "kibana.alert.rule.parameters.risk_score"),
    *("signal.rule.risk_score", "event.risk_score", "event.severity"),
)
"""Before Kibana 8 the fields stood under `signal`; an alert of Elastic Defend has those of its event."""


class ElasticOptions(Strict, frozen=True):
    """Settings of the kind.

    Field: levels: severity words that mean another severity than usual.
    Field: scores: severity by risk score, for alerts without a word.
    Field: ttl: how long an open alert counts without another word; rule actions never say that one was closed.
    """

    levels: dict[str, Severity] = msgspec.field(default_factory=dict)
    scores: tuple[Range, ...] = SCORES
    ttl: Duration = 604800.0


class ElasticSensor:
    """Reads Elastic Security alerts."""

    kind: ClassVar[str] = "elastic"
    title: ClassVar[str] = "Elastic Security"
    identity_kinds: ClassVar[tuple[str, ...]] = ("hostname", "sensor-device-id", "upn")
    options_type: ClassVar[type[Strict]] = ElasticOptions
    samples: ClassVar[tuple[Sample, ...]] = SAMPLES

    def normalize(
        self,
        payload: Any,
        options: ElasticOptions,
        *,
        sensor: str,
        received_at: datetime,
        headers: Mapping[str, str],  # noqa: ARG002 - an alert says everything itself
    ) -> Normalized:
        """Return one signal per alert."""
        items, prefix = items_of(payload, _is_alert, "alerts", "hits.hits", "context.alerts")
        return gather(Frame(sensor, received_at), items, lambda reader: _alert(reader, options), prefix)


def _is_alert(value: Any) -> bool:
    """Return whether this is an alert, bare or as Elasticsearch returns documents."""
    inner = next((each for part in _PARTS if (each := object_at(value, part))), value)
    return any(look(inner, path) is not None for path in _IDS) or _is_endpoint_alert(inner)


def _is_endpoint_alert(value: Any) -> bool:
    return "alert" in _kinds(value) and look(value, "event.id") is not None


def _kinds(value: Any) -> list[Any]:
    kinds = look(value, "event.kind")
    return kinds if isinstance(kinds, list) else [kinds]


def _is_told(value: Any) -> bool:
    """Return whether a document speaks of an alert: any event that was searched for has an `_id` as well."""
    kinds = _kinds(value)
    return "alert" in kinds or "signal" in kinds or any(look(value, path) is not None for path in _SIGNS)


def _alert(boxed: Reader, options: ElasticOptions) -> list[Made]:
    if boxed.item == {}:
        # Ends the list of a template that cannot leave out its last comma.
        return []
    outer = inside(boxed, _is_alert)
    part = next((each for each in _PARTS if object_at(outer.item, each)), "")
    reader = Reader(outer.frame, object_at(outer.item, part), f"{outer.prefix}{part}.") if part else outer
    state = text_of(first_of(reader.get("kibana.alert.status"))).casefold()
    if state == "untracked" or text_of(first_of(reader.get(*_BUILDING_BLOCK))):
        # What an alert of a sequence was made of, and what is looked after no more: Kibana counts neither.
        return []
    alert_id = reader.text("external_id", *_IDS) or text_of(look(outer.item, "_id"))
    if not alert_id and _is_endpoint_alert(reader.item):
        alert_id = reader.text("external_id", "event.id")
    if not alert_id:
        raise ItemFault("not-an-alert", "`kibana.alert.uuid` and `_id` are missing")
    if not _is_told(reader.item):
        raise ItemFault(
            "not-an-alert", "a document without `kibana.alert`, `signal` and the `event.kind` of an alert"
        )
    hosts = _hosts(reader.get("host.name"))
    if len(hosts) > 1:
        return [_on_one_of(reader, host, alert_id, options) for host in hosts]
    reader.device("hostname", "host.name", "host.hostname")
    if text_of(first_of(reader.get("agent.type"))).casefold() in HOST_AGENTS:
        reader.device("sensor-device-id", "agent.id")
    return [_made(reader, alert_id, options)]


def _hosts(names: Any) -> list[str]:
    """Return the names of an alert's hosts, each once."""
    given = names if isinstance(names, list) else []
    return list(dict.fromkeys(name for each in given if (name := text_of(each).strip())))[:MAX_HOSTS]


def _on_one_of(outer: Reader, host: str, alert_id: str, options: ElasticOptions) -> Made:
    """Return what an alert over several hosts says of one of them: its agent could be that of any."""
    reader = Reader(outer.frame, outer.item, outer.prefix)
    reader.used |= outer.used
    if reader.add_device("hostname", host):
        reader.used["device.hostname"] = f"{reader.prefix}host.name"
    return _made(reader, alert_id, options)


def _take_person(reader: Reader) -> None:
    for path in PERSONS:
        value = text_of(first_of(reader.get(path)))
        if value and reader.add_user("upn", value):
            reader.used["user.upn"] = reader.prefix + path
            return


def _need_subject(reader: Reader) -> None:
    wanted = "`host.name`, `agent.id`, `user.email`"
    terms = reader.get("kibana.alert.threshold_result.terms")
    counted = text_of(look(first_of(terms), "field"))
    if counted and not (reader.device_ids or reader.user_ids):
        raise ItemFault(
            NO_SUBJECT, f"names no device and no person ({wanted}): it counts by `{counted[:128]}`"
        )
    reader.need_subject(wanted, *OTHERS)


def _made(reader: Reader, alert_id: str, options: ElasticOptions) -> Made:
    """Return the signal of an alert whose device was read. Raises `ItemFault`."""
    _take_person(reader)
    _need_subject(reader)
    workflow = reader.text("resolves", "kibana.alert.workflow_status", "signal.status").casefold()
    is_recovered = text_of(first_of(reader.get("kibana.alert.status"))).casefold() == "recovered"
    is_over = workflow == "closed" or is_recovered
    changed: tuple[str, ...] = ("kibana.alert.workflow_status_updated_at",)
    if is_recovered and workflow != "closed":
        changed = ("kibana.alert.end", "kibana.alert.last_detected")
    observed_at = reader.time(*changed, "kibana.alert.original_time", "signal.original_time", "@timestamp")
    return reader.signal(
        SignalType.REMEDIATION if is_over else SignalType.DETECTION,
        external_id=f"alert:{alert_id}",
        observed_at=observed_at,
        level=None if is_over else _level(reader, options),
        title=reader.text("title", *_NAMES) or "Elastic alert",
        description=reader.text("description", "kibana.alert.reason", "signal.reason", "message"),
        actions=[reader.text("actions", "kibana.alert.rule.note", "kibana.alert.rule.parameters.note")],
        rationale=reader.text("rationale", *_RATIONALES),
        category=reader.text("category", "event.category"),
        resolves=is_over,
        expires_at=after(observed_at, options.ttl),
    )


def _level(reader: Reader, options: ElasticOptions) -> Severity:
    word = reader.text("level", *_SEVERITIES)
    level = level_of_word(word, options.levels)
    if level is None:
        reader.used.pop("level", None)
        score = reader.text("level", *_SCORES)
        level = level_of_score(score, options.scores)
    return level or Severity.UNKNOWN
