"""Sensor kind `wazuh`: alerts of a Wazuh manager, bare or in the envelope of its Shuffle integration.

| alert | becomes |
|---|---|
| SCA check `failed` / `passed` | posture fact with a condition / its remediation |
| SCA summary | posture fact `sca_score` |
| vulnerability `Active` / `Solved` | exposure / its remediation |
| agent started / stopped or disconnected | posture fact `reporting` |
| everything else (FIM, rootcheck, rules on logs) | detection, one per alert, that expires |

Documents of the indexer (`_source`, `@timestamp`) are read as well, and findings of Wazuh 5 (`wazuh.rule`,
`wazuh.agent`), whose levels are words.

The device is the agent. Agent `000` is the manager itself: its number says nothing, so it goes by its
hostname. Addresses and accounts in an alert (`data.srcip`, `data.dstuser`) are the attacker's or local; they
name no subject. Source: Wazuh documentation, alerts.json; ruleset 0015 (agents), 0490 (SCA), 0520
(vulnerability detector).
"""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, ClassVar

import msgspec

from plugins.contract import Normalized, Sample, after
from plugins.levels import level_of_word
from plugins.payload import digest, list_at, object_at, parse_number, parse_time, text_at
from plugins.reading import Frame, ItemFault, Made, Reader, gather, is_junk
from plugins.samples.wazuh import SAMPLES
from plugins.sensors.envelopes import inside, items_of
from risk.model import Identifier, Severity, Signal, SignalType
from risk.values import Duration, Strict

MANAGER = "000"

VULNERABILITY_SOLVED = "23502"
AGENT_REPORTS: dict[str, bool] = {"501": True, "503": True, "504": False, "506": False}
"""Rules by which the manager itself tells that an agent connected, started, disconnected or stopped."""

_VULNERABILITY_WORDS = {
    "critical": Severity.CRITICAL,
    "high": Severity.HIGH,
    "medium": Severity.MEDIUM,
    "low": Severity.LOW,
    "none": Severity.INFORMATIONAL,
}


class WazuhLevels(Strict, frozen=True):
    """The lowest `rule.level` (0-15) of each severity; below `low` an alert is informational."""

    low: int = 4
    medium: int = 7
    high: int = 12
    critical: int = 15


class WazuhOptions(Strict, frozen=True):
    """Settings of the kind.

    Field: levels: the lowest `rule.level` of each severity.
    Field: vulnerability_levels: the same for vulnerabilities that carry no severity word.
    Field: ttl: how long a detection counts; Wazuh never says that one is over.
    Field: facts: SCA check ids and the posture fact that each states (`true` passed, `false` failed).
    Field: ignore_rules: ids of rules whose alerts are no news of a device.
    """

    levels: WazuhLevels = WazuhLevels()
    vulnerability_levels: WazuhLevels = WazuhLevels(low=1, medium=7, high=10, critical=13)
    ttl: Duration = 86400.0
    facts: dict[str, str] = msgspec.field(default_factory=dict)
    ignore_rules: tuple[str, ...] = ()


class WazuhSensor:
    """Reads Wazuh alerts."""

    kind: ClassVar[str] = "wazuh"
    title: ClassVar[str] = "Wazuh"
    identity_kinds: ClassVar[tuple[str, ...]] = ("sensor-device-id", "hostname")
    options_type: ClassVar[type[Strict]] = WazuhOptions
    samples: ClassVar[tuple[Sample, ...]] = SAMPLES

    def normalize(
        self,
        payload: Any,
        options: WazuhOptions,
        *,
        sensor: str,
        received_at: datetime,
        headers: Mapping[str, str],  # noqa: ARG002 - an alert says everything itself
    ) -> Normalized:
        """Return the signal of each alert."""
        items, prefix = items_of(payload, _is_alert)
        frame = Frame(sensor, received_at)
        return gather(frame, items, lambda reader: _item(reader, options), prefix)


def _item(outer: Reader, options: WazuhOptions) -> list[Made]:
    """Return what one alert says, nothing for a rule that is ignored."""
    number = text_at(outer.item, "_id")
    reader = inside(outer, _is_alert)
    alert, places = _alert(reader.item)
    if not alert:
        raise ItemFault("not-an-alert", "neither the payload nor `all_fields` has a `rule`")
    if text_at(alert, "rule", "id") in options.ignore_rules:
        return []
    alert = alert if text_at(alert, "id") or not number else {**alert, "id": number}
    stamp, sensor, received_at = _stamp(alert), reader.frame.sensor, reader.frame.received_at
    observed_at = parse_time(stamp) if stamp else received_at
    if observed_at is None:
        raise ItemFault("time-unreadable", f"`timestamp`: `{stamp[:64]}` is no time")
    signal, sources = _signal(alert, options, _frame(alert, sensor, observed_at, received_at))
    if not signal.device_ids:
        raise ItemFault("no-device", "`agent` has neither an id nor a name that says something")
    placed = {field: places(path) for field, path in (_COMMON | sources).items()}
    return [(signal, {field: reader.prefix + path for field, path in placed.items()})]


def _is_alert(value: Any) -> bool:
    return bool(_alert(value)[0])


def _stamp(alert: dict[str, Any]) -> str:
    return text_at(alert, "timestamp") or text_at(alert, "@timestamp")


_COMMON: dict[str, str] = {
    "event_id": "id",
    "observed_at": "timestamp",
    "device.sensor-device-id": "agent.id",
    "device.hostname": "agent.name",
}


def _alert(item: Any) -> tuple[dict[str, Any], Callable[[str], str]]:
    """Return the alert of an item, an empty one when there is none, and where its fields stand in the item."""
    for prefix, alert in (("all_fields.", object_at(item, "all_fields")), ("", item)):
        if object_at(alert, "rule"):
            return alert, prefix.__add__
    rule = object_at(item, "wazuh", "rule")
    if not rule:
        return {}, str
    return {
        "id": text_at(item, "wazuh", "event", "id"),
        "timestamp": text_at(item, "@timestamp"),
        "agent": object_at(item, "wazuh", "agent"),
        "rule": {
            "id": text_at(rule, "id"),
            "level": text_at(rule, "level"),
            "description": text_at(rule, "title"),
            "groups": list_at(rule, "tags"),
        },
    }, _finding_place


def _finding_place(path: str) -> str:
    """Return where a field of an alert stands in a finding of Wazuh 5."""
    moved = {"timestamp": "@timestamp", "id": "wazuh.event.id", "rule.description": "wazuh.rule.title"}
    return moved.get(path, f"wazuh.{path}")


def _frame(alert: dict[str, Any], sensor: str, observed_at: datetime, received_at: datetime) -> Signal:
    """Return the signal with what every alert has."""
    return Signal(
        sensor=sensor,
        type=SignalType.DETECTION,
        observed_at=observed_at,
        received_at=received_at,
        external_id=f"alert:{_event_id(alert, received_at)}",
        event_id=_event_id(alert, received_at),
        device_ids=_device_ids(alert, sensor),
        title=text_at(alert, "rule", "description") or f"Wazuh rule {text_at(alert, 'rule', 'id')}",
        category=text_at(alert, "rule", "groups")
        or ", ".join(map(str, list_at(alert, "rule", "groups")[:8])),
    )


def _event_id(alert: dict[str, Any], received_at: datetime) -> str:
    """Return the alert's id, which is unique per line of alerts.json; else one made of its content."""
    event_id = text_at(alert, "id")
    if event_id:
        return event_id
    return digest(alert) if _stamp(alert) else digest(alert, received_at.isoformat())


def _device_ids(alert: dict[str, Any], sensor: str) -> tuple[Identifier, ...]:
    number, name = text_at(alert, "agent", "id"), text_at(alert, "agent", "name")
    found = []
    if number and number.strip("0"):
        found.append(Identifier("sensor-device-id", number, sensor))
    if name and not is_junk("hostname", name):
        found.append(Identifier("hostname", name))
    return tuple(found)


def _signal(alert: dict[str, Any], options: WazuhOptions, frame: Signal) -> tuple[Signal, dict[str, str]]:
    """Return the finished signal, and where its fields stand in the alert."""
    check = object_at(alert, "data", "sca", "check")
    if check:
        return _sca_check(alert, check, options, frame)
    if text_at(alert, "data", "sca", "score"):
        return _sca_summary(alert, frame)
    if object_at(alert, "data", "vulnerability"):
        return _vulnerability(alert, options, frame)
    rule = text_at(alert, "rule", "id")
    if rule in AGENT_REPORTS:
        return _agent_state(frame, is_reporting=AGENT_REPORTS[rule])
    return _detection(alert, options, frame)


def _sca_check(
    alert: dict[str, Any], check: dict[str, Any], options: WazuhOptions, frame: Signal
) -> tuple[Signal, dict[str, str]]:
    """Return the signal of an SCA check; the condition is (agent, policy, check)."""
    result = text_at(check, "result").casefold() or text_at(check, "status").casefold()
    agent, policy = text_at(alert, "agent", "id"), text_at(alert, "data", "sca", "policy")
    check_id = text_at(check, "id")
    state = {"failed": "fail", "passed": "pass"}.get(result, result or "unknown")
    facts: dict[str, str | int | float | bool | None] = {"state": state}
    if (fact := options.facts.get(check_id)) is not None:
        facts[fact] = {"fail": False, "pass": True}.get(state)
    is_passed, is_failed = state == "pass", state == "fail"
    signal = msgspec.structs.replace(
        frame,
        type=SignalType.REMEDIATION if is_passed else SignalType.POSTURE_FACT,
        external_id=f"sca:{agent}:{policy}:{check_id}",
        level=_rule_level(alert, options.levels) if is_failed else None,
        title=text_at(check, "title") or frame.title,
        description=text_at(check, "description"),
        rationale=text_at(check, "rationale"),
        recommended_actions=_texts(text_at(check, "remediation")),
        facts=facts,
        resolves=is_passed,
    )
    at = "data.sca.check"
    sources = {"external_id": f"agent.id, data.sca.policy, {at}.id", "facts.state": f"{at}.result"}
    sources |= {name: f"{at}.{name}" for name in ("title", "description", "rationale")}
    return signal, sources | {"actions": f"{at}.remediation", "level": "rule.level"}


def _sca_summary(alert: dict[str, Any], frame: Signal) -> tuple[Signal, dict[str, str]]:
    """Return the score of a scan, 0 to 100, higher is better, as a fact: it judges nothing by itself."""
    score = parse_number(text_at(alert, "data", "sca", "score"))
    signal = msgspec.structs.replace(
        frame,
        type=SignalType.POSTURE_FACT,
        external_id=f"sca:{text_at(alert, 'agent', 'id')}:{text_at(alert, 'data', 'sca', 'policy')}",
        facts={"sca_score": score},
    )
    return signal, {"facts.sca_score": "data.sca.score", "external_id": "agent.id, data.sca.policy"}


def _vulnerability(
    alert: dict[str, Any], options: WazuhOptions, frame: Signal
) -> tuple[Signal, dict[str, str]]:
    """Return the signal of a vulnerable package; the condition is (agent, CVE, package)."""
    found = object_at(alert, "data", "vulnerability")
    cve, package = text_at(found, "cve"), text_at(found, "package", "name")
    version = text_at(found, "package", "version")
    is_solved = text_at(found, "status").casefold() in {"solved", "fixed"} or (
        text_at(alert, "rule", "id") == VULNERABILITY_SOLVED
    )
    word = _VULNERABILITY_WORDS.get(text_at(found, "severity").casefold())
    affected = f"{package} {version}".strip()
    signal = msgspec.structs.replace(
        frame,
        type=SignalType.REMEDIATION if is_solved else SignalType.EXPOSURE,
        external_id=f"vulnerability:{text_at(alert, 'agent', 'id')}:{cve}:{package}",
        level=None if is_solved else (word or _rule_level(alert, options.vulnerability_levels)),
        title=f"{cve} in {affected}" if cve and affected else frame.title,
        description=text_at(found, "title") or frame.title,
        rationale=text_at(found, "rationale"),
        recommended_actions=_texts(f"Update or remove {package}: {affected} is affected by {cve}.")
        if package and not is_solved
        else (),
        resolves=is_solved,
    )
    at = "data.vulnerability"
    return signal, {
        "external_id": f"agent.id, {at}.cve, {at}.package.name",
        "title": f"{at}.cve, {at}.package",
        "level": f"{at}.severity" if word else "rule.level",
        "resolves": f"{at}.status",
        "rationale": f"{at}.rationale",
    }


def _agent_state(frame: Signal, *, is_reporting: bool) -> tuple[Signal, dict[str, str]]:
    signal = msgspec.structs.replace(
        frame, type=SignalType.POSTURE_FACT, external_id="agent", facts={"reporting": is_reporting}
    )
    return signal, {"facts.reporting": "rule.id", "title": "rule.description"}


def _detection(alert: dict[str, Any], options: WazuhOptions, frame: Signal) -> tuple[Signal, dict[str, str]]:
    """Return the signal of anything else. Each alert is its own condition, and counts until it expires."""
    path = text_at(alert, "syscheck", "path")
    log = text_at(alert, "full_log")
    signal = msgspec.structs.replace(
        frame,
        level=_rule_level(alert, options.levels),
        description=log or path,
        expires_at=after(frame.observed_at, options.ttl),
    )
    return signal, {
        "title": "rule.description",
        "level": "rule.level",
        "external_id": "id",
        "description": "full_log" if log else "syscheck.path",
        "category": "rule.groups",
    }


def _rule_level(alert: dict[str, Any], levels: WazuhLevels) -> Severity:
    """Return the severity of the rule's level: a number, from Wazuh 5 on a word."""
    word = text_at(alert, "rule", "level")
    level = parse_number(word)
    if level is None:
        return level_of_word(word, {}) or Severity.UNKNOWN
    ranked = (
        (levels.critical, Severity.CRITICAL),
        (levels.high, Severity.HIGH),
        (levels.medium, Severity.MEDIUM),
        (levels.low, Severity.LOW),
    )
    return next((severity for lowest, severity in ranked if level >= lowest), Severity.INFORMATIONAL)


def _texts(text: str) -> tuple[str, ...]:
    return (text,) if text else ()
