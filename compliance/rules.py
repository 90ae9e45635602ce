"""What one compliance rule makes of one device. Pure; what holds for all rules stands in `compliance.state`."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import assert_never

from compliance.comparison import FAILED, Verdict, compare, date_moment
from compliance.model import (
    ComplianceRule,
    ComplianceState,
    FactRule,
    FindingRule,
    RiskRule,
    RuleResult,
    SensorRule,
)
from compliance.reasons import ComplianceReason
from compliance.texts import cut, duration_text, heading, shown_value, wanted_text
from risk.model import RISK_ORDER, Fact, Finding, Posture, RiskAssessment, RiskLevel, SensorRules, Severity
from risk.scoring import FactValue, assess, fact_value


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that a rule may look at. Facts are looked up once for all rules."""

    posture: Posture
    risk: RiskAssessment
    sensors: Mapping[str, SensorRules]
    now: datetime
    _facts: dict[str, FactValue | None] = field(default_factory=dict, compare=False)

    def fact(self, name: str) -> FactValue | None:
        """Return what is known of a fact, None when no live source states it."""
        if name not in self._facts:
            self._facts[name] = fact_value(self.posture, name, self.sensors, self.now)
        return self._facts[name]


def judge_rule(policy: str, rule: ComplianceRule, evidence: Evidence) -> tuple[RuleResult, datetime | None]:
    """Return the rule's result, and when time alone next changes it."""
    match rule:
        case RiskRule():
            return _judge_risk(policy, rule, evidence)
        case FactRule():
            return _judge_fact(policy, rule, evidence)
        case SensorRule():
            return _judge_sensor(policy, rule, evidence)
        case FindingRule():
            return _judge_finding(policy, rule, evidence)
    assert_never(rule)


# --- risk ----------------------------------------------------------------------------------------------


def _judge_risk(policy: str, rule: RiskRule, evidence: Evidence) -> tuple[RuleResult, datetime | None]:
    posture, now = evidence.posture, evidence.now
    risk = evidence.risk if not rule.sensor else _risk_of(rule.sensor, evidence)
    title = rule.title or "Device risk"
    wanted = "no risk" if rule.max is RiskLevel.NONE else f"at most {rule.max}"
    top = risk.contributions[0] if risk.contributions else None
    source = top.sensor if top else ""
    observed_at = top.observed_at if top else None
    since = deadline = None
    if risk.level not in RISK_ORDER or rule.max not in RISK_ORDER:
        state, reason, seen = (
            ComplianceState.UNKNOWN,
            ComplianceReason.RISK_UNKNOWN,
            "no sensor has told of it",
        )
    elif RISK_ORDER[risk.level] > RISK_ORDER[rule.max]:
        since = _risky_since(rule.max, posture, risk)
        state, deadline = _grace(since, rule.grace, now)
        reason = ComplianceReason.RISK_TOO_HIGH
        seen = f"{risk.level}: {cut(top.title)}" if top and top.title else f"{risk.level}"
    elif not risk.is_known:
        state, reason = ComplianceState.UNKNOWN, ComplianceReason.SENSOR_SILENT
        source = ", ".join(risk.silent_sensors)
        seen = f"{risk.level}, but `{source}` is silent"
    else:
        state, reason, seen = ComplianceState.COMPLIANT, ComplianceReason.MET, f"{risk.level}"
    result = RuleResult(
        policy=policy,
        rule=rule.name,
        state=state,
        reason=reason,
        title=title,
        seen=seen,
        wanted=wanted,
        source=source,
        observed_at=observed_at,
        since=since,
        deadline=deadline,
        why=rule.why,
        fix=rule.fix,
    )
    return result, deadline if not rule.sensor else nearest((deadline, risk.changes_at), now)


def _risk_of(sensor: str, evidence: Evidence) -> RiskAssessment:
    """Return the risk as one sensor alone tells it."""
    alone = {name: rules for name, rules in evidence.sensors.items() if name == sensor}
    return assess(evidence.posture, alone, evidence.now)


def _risky_since(highest: RiskLevel, posture: Posture, risk: RiskAssessment) -> datetime | None:
    """Return when the oldest of the findings above `highest` was first observed, None without any."""
    moments = []
    for contribution in risk.contributions:
        if RISK_ORDER.get(contribution.level, len(RISK_ORDER)) > RISK_ORDER[highest]:
            finding = posture.findings.get((contribution.sensor, contribution.external_id))
            moments.append(finding.first_observed_at if finding else contribution.observed_at)
    return min(moments, default=None)


# --- facts ---------------------------------------------------------------------------------------------


def _judge_fact(policy: str, rule: FactRule, evidence: Evidence) -> tuple[RuleResult, datetime | None]:
    posture, now = evidence.posture, evidence.now
    fact = evidence.fact(rule.fact)
    since = deadline = None
    stale_at = None
    if fact is None:
        reason, seen, last = _why_no_fact(rule.fact, evidence)
        state, source = ComplianceState.UNKNOWN, last.sensor if last else ""
        observed_at = last.observed_at if last else None
    else:
        source, observed_at, seen = fact.source, fact.observed_at, shown_value(fact.value)
        moments = [fact.changes_at, _after(fact.observed_at, rule.max_age), date_moment(rule, fact.value)]
        stale_at = nearest(moments, now)
        reason = _compare(rule, fact, now)
        if reason is ComplianceReason.MET:
            state = ComplianceState.COMPLIANT
        elif reason in _FAILED_FACTS:
            since = _failing_since(fact, posture)
            state, deadline = _grace(since, rule.grace, now)
        else:
            state = ComplianceState.UNKNOWN
    result = RuleResult(
        policy=policy,
        rule=rule.name,
        state=state,
        reason=reason,
        title=rule.title or heading(rule.fact),
        seen=seen,
        wanted=wanted_text(rule),
        source=source,
        observed_at=observed_at,
        since=since,
        deadline=deadline,
        why=rule.why,
        fix=rule.fix,
    )
    return result, nearest((stale_at, deadline), now)


_REASONS: dict[Verdict, ComplianceReason] = {
    Verdict.MET: ComplianceReason.MET,
    Verdict.DIFFERS: ComplianceReason.FACT_DIFFERS,
    Verdict.NOT_ACCEPTED: ComplianceReason.FACT_NOT_ACCEPTED,
    Verdict.TOO_LOW: ComplianceReason.VERSION_TOO_LOW,
    Verdict.TOO_HIGH: ComplianceReason.VERSION_TOO_HIGH,
    Verdict.OUT_OF_RANGE: ComplianceReason.NUMBER_OUT_OF_RANGE,
    Verdict.TOO_OLD_DATE: ComplianceReason.DATE_TOO_OLD,
    Verdict.TYPE_DIFFERS: ComplianceReason.FACT_TYPE_DIFFERS,
    Verdict.UNREADABLE: ComplianceReason.VERSION_UNREADABLE,
}

_FAILED_FACTS = frozenset(_REASONS[verdict] for verdict in FAILED)
"""Reasons by which a fact speaks against the device; every other one but `MET` only fails to speak for it."""


def _compare(rule: FactRule, fact: FactValue, now: datetime) -> ComplianceReason:
    """Return `MET`, one of `_FAILED_FACTS`, or why the fact says nothing."""
    too_old_at = _after(fact.observed_at, rule.max_age)
    if too_old_at is not None and too_old_at <= now:
        return ComplianceReason.FACT_TOO_OLD
    if fact.value is None:
        return ComplianceReason.FACT_NEVER_REPORTED
    verdict = compare(rule, fact.value, now)
    return ComplianceReason.RULE_UNUSABLE if verdict is None else _REASONS[verdict]


_NoFact = tuple[ComplianceReason, str, Fact | None]


def _why_no_fact(name: str, evidence: Evidence) -> _NoFact:
    """Return why no live source states the fact, a text, and the last word that we have of it."""
    facts = evidence.posture.facts.values()
    stated = [fact for fact in facts if fact.name == name and fact.sensor in evidence.sensors]
    last = max(stated, key=lambda fact: (fact.observed_at, fact.sensor), default=None)
    if last is None:
        return ComplianceReason.FACT_NEVER_REPORTED, "never reported", None
    if last.expires_at is not None and last.expires_at <= evidence.now:
        return ComplianceReason.FACT_EXPIRED, f"{shown_value(last.value)}, expired", last
    return ComplianceReason.SENSOR_SILENT, f"{shown_value(last.value)}, but `{last.sensor}` is silent", last


def _failing_since(fact: FactValue, posture: Posture) -> datetime:
    """Return since when the source has stated the failing value.

    Re-reporting moves `observed_at` on, so the stored fact's `since` (first observation of this value)
    counts.
    """
    stored = posture.facts.get((fact.source, fact.name))
    return fact.observed_at if stored is None else stored.since


# --- sensors -------------------------------------------------------------------------------------------


def _judge_sensor(policy: str, rule: SensorRule, evidence: Evidence) -> tuple[RuleResult, datetime | None]:
    posture, sensors, now = evidence.posture, evidence.sensors, evidence.now
    heard = posture.heard.get(rule.sensor) if rule.sensor in sensors else None
    since = deadline = moment = None
    if heard is None:
        state, reason, seen = ComplianceState.UNKNOWN, ComplianceReason.SENSOR_NEVER_HEARD, "never"
    else:
        seen = f"last {duration_text((now - heard).total_seconds())} ago"
        silent_at = heard + timedelta(seconds=rule.seen_within)
        if silent_at > now:
            state, reason, moment = ComplianceState.COMPLIANT, ComplianceReason.MET, silent_at
        else:
            since = silent_at
            state, deadline = _grace(since, rule.grace, now)
            reason, moment = ComplianceReason.SENSOR_NOT_SEEN_LATELY, deadline
    result = RuleResult(
        policy=policy,
        rule=rule.name,
        state=state,
        reason=reason,
        title=rule.title or f"Seen by {rule.sensor}",
        seen=seen,
        wanted=f"within {duration_text(rule.seen_within)}",
        source=rule.sensor,
        observed_at=heard,
        since=since,
        deadline=deadline,
        why=rule.why,
        fix=rule.fix,
    )
    return result, moment


# --- findings ------------------------------------------------------------------------------------------


def _judge_finding(policy: str, rule: FindingRule, evidence: Evidence) -> tuple[RuleResult, datetime | None]:
    posture, now = evidence.posture, evidence.now
    found = [finding for finding in posture.findings.values() if _is_meant(rule, finding, evidence)]
    counted = sorted(found, key=lambda finding: (finding.first_observed_at, finding.external_id))
    since = deadline = None
    moments = [finding.expires_at for finding in posture.findings.values() if finding.is_open]
    if rule.older_than is not None:
        moments += [
            _after(finding.first_observed_at, rule.older_than) for finding in posture.findings.values()
        ]
    if len(counted) > rule.max:
        since = (
            _after(counted[rule.max].first_observed_at, rule.older_than)
            or counted[rule.max].first_observed_at
        )
        state, deadline = _grace(since, rule.grace, now)
        reason = ComplianceReason.FINDING_OPEN
        shown = counted[rule.max].title or counted[rule.max].external_id
        seen = f"{len(counted)} open: {cut(shown)}"
    elif not evidence.risk.is_known or not posture.heard:
        state, reason = ComplianceState.UNKNOWN, ComplianceReason.SENSOR_SILENT
        seen = (
            f"{len(counted)} open, but {', '.join(evidence.risk.silent_sensors) or 'every sensor'} is silent"
        )
    else:
        state, reason, seen = ComplianceState.COMPLIANT, ComplianceReason.MET, f"{len(counted)} open"
    newest = counted[-1] if counted else None
    result = RuleResult(
        policy=policy,
        rule=rule.name,
        state=state,
        reason=reason,
        title=rule.title or "Open findings",
        seen=seen,
        wanted=f"at most {rule.max}" if rule.max else "none",
        source=newest.sensor if newest else "",
        observed_at=newest.observed_at if newest else None,
        since=since,
        deadline=deadline,
        why=rule.why,
        fix=rule.fix,
    )
    return result, nearest([deadline, *moments], now)


_SEVERITIES = (
    Severity.NONE,
    Severity.INFORMATIONAL,
    Severity.LOW,
    Severity.MEDIUM,
    Severity.HIGH,
    Severity.CRITICAL,
)


def _is_meant(rule: FindingRule, finding: Finding, evidence: Evidence) -> bool:
    """Return whether a finding is open and one of those that the rule counts."""
    now = evidence.now
    if not finding.is_open or (finding.expires_at is not None and finding.expires_at <= now):
        return False
    if rule.sensor and finding.sensor != rule.sensor:
        return False
    categories = {part.strip().casefold() for part in finding.category.split(",")}
    if rule.category and rule.category.casefold() not in categories:
        return False
    level = finding.level
    if level is Severity.UNKNOWN:
        rules = evidence.sensors.get(finding.sensor)
        level = Severity.HIGH if rules is None else rules.unknown_level
    is_severe = level not in _SEVERITIES or _SEVERITIES.index(level) >= _SEVERITIES.index(rule.at_least)
    return is_severe and (
        rule.older_than is None or finding.first_observed_at + timedelta(seconds=rule.older_than) <= now
    )


# --- supposed ------------------------------------------------------------------------------------------


def failed_rule(policy: str, rule: ComplianceRule, since: datetime, now: datetime) -> RuleResult:
    """Return the result of a rule that is supposed to have failed since an instant."""
    state, deadline = _grace(since, rule.grace, now)
    reasons = {
        RiskRule: ComplianceReason.RISK_TOO_HIGH,
        FactRule: ComplianceReason.FACT_DIFFERS,
        SensorRule: ComplianceReason.SENSOR_NOT_SEEN_LATELY,
        FindingRule: ComplianceReason.FINDING_OPEN,
    }
    return RuleResult(
        policy=policy,
        rule=rule.name,
        state=state,
        reason=reasons[type(rule)],
        title=rule.title or heading(rule.name),
        seen=f"failing for {duration_text((now - since).total_seconds())}",
        wanted="met",
        since=since,
        deadline=deadline,
        why=rule.why,
        fix=rule.fix,
        severity=rule.severity,
        link=rule.link,
    )


# --- shared --------------------------------------------------------------------------------------------


def _grace(since: datetime | None, grace: float, now: datetime) -> tuple[ComplianceState, datetime | None]:
    """Return the state of a failed rule and when its grace ends; no grace without evidence of its start."""
    if grace <= 0 or since is None:
        return ComplianceState.NONCOMPLIANT, None
    deadline = since + timedelta(seconds=grace)
    return (ComplianceState.IN_GRACE_PERIOD if now < deadline else ComplianceState.NONCOMPLIANT), deadline


def _after(moment: datetime, seconds: float | None) -> datetime | None:
    return None if seconds is None else moment + timedelta(seconds=seconds)


def nearest(moments: Iterable[datetime | None], now: datetime) -> datetime | None:
    """Return the nearest moment after `now`, None without one."""
    return min((moment for moment in moments if moment is not None and moment > now), default=None)
