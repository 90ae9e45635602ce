"""From posture to compliance state: every rule of every policy gives a result, the worst one wins. Pure.

Rules of this module, which the tests hold it to:

* A rule is *met* (`compliant`), *failed* by evidence (`noncompliant`, or `in-grace-period` while its grace
  runs), or *unknown*: nothing live says enough. `unknown` has no grace and satisfies nothing.
* Grace counts from when the evidence first showed the failure, never from when we first looked, so that
  asking again moves no deadline. An instant that is reached is over: at its deadline a rule is
  noncompliant.
* Silence never helps: what a silent sensor said against the device stands (risk), what it said for it is
  unknown.
* Comparisons are of like with like. A text never equals a number; a truth value is never a number.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import assert_never

from compliance.model import (
    CompliancePolicy,
    ComplianceResult,
    ComplianceRule,
    ComplianceState,
    FactRule,
    RiskRule,
    RuleResult,
    SensorRule,
)
from compliance.versions import parse_version
from risk.model import RISK_ORDER, Fact, Posture, RiskAssessment, RiskLevel, SensorRules
from risk.scoring import FactValue, fact_value

WORST_FIRST: tuple[ComplianceState, ...] = (
    ComplianceState.NONCOMPLIANT,
    ComplianceState.UNKNOWN,
    ComplianceState.IN_GRACE_PERIOD,
    ComplianceState.COMPLIANT,
)
"""The order in which the worst wins.

Noncompliant is worse than unknown because it is certain; neither satisfies.
"""

_BADNESS = {state: len(WORST_FIRST) - rank for rank, state in enumerate(WORST_FIRST)}

MAX_SHOWN_CHARACTERS = 80
"""A fact's value is cut to this length where it is shown; sensors write what they like."""


class ComplianceReason(StrEnum):
    """Why a rule has its state. Closed: pages and metrics name nothing else."""

    MET = "met"
    DEVICE_UNKNOWN = "device-unknown"
    NOT_COVERED = "not-covered"
    RISK_UNKNOWN = "risk-unknown"
    RISK_TOO_HIGH = "risk-too-high"
    SENSOR_SILENT = "sensor-silent"
    SENSOR_NEVER_HEARD = "sensor-never-heard"
    SENSOR_NOT_SEEN_LATELY = "sensor-not-seen-lately"
    FACT_NEVER_REPORTED = "fact-never-reported"
    FACT_EXPIRED = "fact-expired"
    FACT_TOO_OLD = "fact-too-old"
    FACT_TYPE_DIFFERS = "fact-type-differs"
    FACT_DIFFERS = "fact-differs"
    FACT_NOT_ACCEPTED = "fact-not-accepted"
    VERSION_TOO_LOW = "version-too-low"
    VERSION_UNREADABLE = "version-unreadable"
    RULE_UNUSABLE = "rule-unusable"


def evaluate_compliance(
    posture: Posture | None,
    policies: Iterable[CompliancePolicy],
    *,
    risk: RiskAssessment,
    sensors: Mapping[str, SensorRules],
    now: datetime,
    uncovered: ComplianceState = ComplianceState.NONCOMPLIANT,
) -> ComplianceResult:
    """Return the compliance of a device at `now`.

    `posture` None means that we do not know which device it is: `UNKNOWN`, whatever the policies say. A
    known device that no rule covers has the state `uncovered`. `results` are in the order of the policies.
    Never raises.
    """
    if posture is None:
        return _one(ComplianceState.UNKNOWN, ComplianceReason.DEVICE_UNKNOWN, "Known device")
    rules = [(policy.name, rule) for policy in policies for rule in policy.rules]
    if not rules:
        return _one(uncovered, ComplianceReason.NOT_COVERED, "Covered by a compliance policy")
    evidence = _Evidence(posture, risk, sensors, now)
    judged = [_judge(policy, rule, evidence) for policy, rule in rules]
    results = tuple(result for result, _ in judged)
    moments = [moment for _, moment in judged]
    return ComplianceResult(
        state=worst(result.state for result in results),
        results=results,
        changes_at=_next([*moments, risk.changes_at], now),
        deadline=_next(
            (result.deadline for result in results if result.state is ComplianceState.IN_GRACE_PERIOD), now
        ),
    )


def worst(states: Iterable[ComplianceState]) -> ComplianceState:
    """Return the worst of some states; `UNKNOWN` for none at all, since nothing was shown."""
    return max(states, key=_BADNESS.__getitem__, default=ComplianceState.UNKNOWN)


def _one(state: ComplianceState, reason: ComplianceReason, title: str) -> ComplianceResult:
    result = RuleResult(
        policy="", rule="", state=state, reason=reason, title=title, seen="none", wanted="yes"
    )
    return ComplianceResult(state=state, results=(result,))


@dataclass(frozen=True, slots=True)
class _Evidence:
    """All that a rule may look at."""

    posture: Posture
    risk: RiskAssessment
    sensors: Mapping[str, SensorRules]
    now: datetime


def _judge(policy: str, rule: ComplianceRule, evidence: _Evidence) -> tuple[RuleResult, datetime | None]:
    """Return the rule's result, and when time alone next changes it."""
    match rule:
        case RiskRule():
            return _judge_risk(policy, rule, evidence)
        case FactRule():
            return _judge_fact(policy, rule, evidence)
        case SensorRule():
            return _judge_sensor(policy, rule, evidence)
    assert_never(rule)


# --- risk ----------------------------------------------------------------------------------------------


def _judge_risk(policy: str, rule: RiskRule, evidence: _Evidence) -> tuple[RuleResult, datetime | None]:
    posture, risk, now = evidence.posture, evidence.risk, evidence.now
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
        seen = f"{risk.level}: {_shown(top.title)}" if top and top.title else f"{risk.level}"
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
    return result, deadline


def _risky_since(highest: RiskLevel, posture: Posture, risk: RiskAssessment) -> datetime | None:
    """Return when the oldest of the findings above `highest` was first observed, None without any."""
    moments = []
    for contribution in risk.contributions:
        if RISK_ORDER.get(contribution.level, len(RISK_ORDER)) > RISK_ORDER[highest]:
            finding = posture.findings.get((contribution.sensor, contribution.external_id))
            moments.append(finding.first_observed_at if finding else contribution.observed_at)
    return min(moments, default=None)


# --- facts ---------------------------------------------------------------------------------------------


def _judge_fact(policy: str, rule: FactRule, evidence: _Evidence) -> tuple[RuleResult, datetime | None]:
    posture, sensors, now = evidence.posture, evidence.sensors, evidence.now
    fact = fact_value(posture, rule.fact, sensors, now)
    since = deadline = None
    stale_at = None
    if fact is None:
        reason, seen, last = _why_no_fact(rule.fact, evidence)
        state, source = ComplianceState.UNKNOWN, last.sensor if last else ""
        observed_at = last.observed_at if last else None
    else:
        source, observed_at, seen = fact.source, fact.observed_at, shown_value(fact.value)
        moments = [fact.changes_at, _after(fact.observed_at, rule.max_age)]
        stale_at = _next(moments, now)
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
        title=rule.title or _title(rule.fact),
        seen=seen,
        wanted=wanted_text(rule),
        source=source,
        observed_at=observed_at,
        since=since,
        deadline=deadline,
        why=rule.why,
        fix=rule.fix,
    )
    return result, _next((stale_at, deadline), now)


_FAILED_FACTS = frozenset(
    {ComplianceReason.FACT_DIFFERS, ComplianceReason.FACT_NOT_ACCEPTED, ComplianceReason.VERSION_TOO_LOW}
)
"""Reasons by which a fact speaks against the device; every other one but `MET` only fails to speak for it."""


def _compare(rule: FactRule, fact: FactValue, now: datetime) -> ComplianceReason:
    """Return `MET`, one of `_FAILED_FACTS`, or why the fact says nothing."""
    too_old_at = _after(fact.observed_at, rule.max_age)
    if too_old_at is not None and too_old_at <= now:
        return ComplianceReason.FACT_TOO_OLD
    if fact.value is None:
        return ComplianceReason.FACT_NEVER_REPORTED
    verdicts = tuple(_comparisons(rule, fact.value))
    if not verdicts:
        return ComplianceReason.RULE_UNUSABLE
    return next((reason for reason in verdicts if reason is not ComplianceReason.MET), ComplianceReason.MET)


def _comparisons(rule: FactRule, value: str | float | bool) -> Iterator[ComplianceReason]:
    """Yield the verdict of every comparison that the rule asks for; the configuration allows exactly one."""
    if rule.equals is not None:
        if _kind(value) is not _kind(rule.equals):
            yield ComplianceReason.FACT_TYPE_DIFFERS
        else:
            yield ComplianceReason.MET if value == rule.equals else ComplianceReason.FACT_DIFFERS
    if rule.one_of is not None:
        if not isinstance(value, str):
            yield ComplianceReason.FACT_TYPE_DIFFERS
        else:
            yield ComplianceReason.MET if value in rule.one_of else ComplianceReason.FACT_NOT_ACCEPTED
    if rule.at_least is not None:
        yield _compare_version(value, rule.at_least)


def _compare_version(value: str | float | bool, lowest: str) -> ComplianceReason:
    # A float is refused: 14.10 arrives as 14.1, which is another version.
    if isinstance(value, bool | float):
        return ComplianceReason.FACT_TYPE_DIFFERS
    seen, wanted = parse_version(str(value)), parse_version(lowest)
    if seen is None or wanted is None:
        return ComplianceReason.VERSION_UNREADABLE
    match seen.is_at_least(wanted):
        case None:
            return ComplianceReason.VERSION_UNREADABLE
        case True:
            return ComplianceReason.MET
        case _:
            return ComplianceReason.VERSION_TOO_LOW


def _kind(value: str | float | bool) -> type:
    """Return the type in which a value is compared: truth values are no numbers."""
    if isinstance(value, bool):
        return bool
    return str if isinstance(value, str) else float


def _why_no_fact(name: str, evidence: _Evidence) -> tuple[ComplianceReason, str, Fact | None]:
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


def _judge_sensor(policy: str, rule: SensorRule, evidence: _Evidence) -> tuple[RuleResult, datetime | None]:
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


# --- shared --------------------------------------------------------------------------------------------


def _grace(since: datetime | None, grace: float, now: datetime) -> tuple[ComplianceState, datetime | None]:
    """Return the state of a failed rule and when its grace ends; no grace without evidence of its start."""
    if grace <= 0 or since is None:
        return ComplianceState.NONCOMPLIANT, None
    deadline = since + timedelta(seconds=grace)
    return (ComplianceState.IN_GRACE_PERIOD if now < deadline else ComplianceState.NONCOMPLIANT), deadline


def _after(moment: datetime, seconds: float | None) -> datetime | None:
    return None if seconds is None else moment + timedelta(seconds=seconds)


def _next(moments: Iterable[datetime | None], now: datetime) -> datetime | None:
    """Return the nearest moment after `now`, None without one."""
    return min((moment for moment in moments if moment is not None and moment > now), default=None)


def wanted_text(rule: FactRule) -> str:
    """Return what a fact rule asks for, as a short text for people."""
    parts = []
    if rule.equals is not None:
        parts.append(shown_value(rule.equals))
    if rule.at_least is not None:
        parts.append(f"{rule.at_least} or newer")
    if rule.one_of is not None:
        parts.append(" or ".join(rule.one_of))
    if rule.max_age is not None:
        parts.append(f"reported within {duration_text(rule.max_age)}")
    return ", ".join(parts)


def shown_value(value: str | float | bool | None) -> str:
    """Return a fact's value as people read it, cut to `MAX_SHOWN_CHARACTERS`."""
    match value:
        case None:
            return "nothing"
        case bool():
            return "yes" if value else "no"
        case _:
            return _shown(str(value))


def _shown(text: str) -> str:
    return text if len(text) <= MAX_SHOWN_CHARACTERS else text[: MAX_SHOWN_CHARACTERS - 1] + "…"


def _title(fact: str) -> str:
    """Return a fact's name as a heading: `disk-encrypted` becomes `Disk encrypted`."""
    words = fact.replace("-", " ").replace("_", " ").replace(".", " ").strip()
    return words[:1].upper() + words[1:]


_UNITS: tuple[tuple[float, str], ...] = ((86400.0, "d"), (3600.0, "h"), (60.0, "min"))


def duration_text(seconds: float) -> str:
    """Return a duration in its largest fitting unit, rounded down: `3 d`, `4 h`, `7 min`, `20 s`."""
    for size, unit in _UNITS:
        if seconds >= size:
            return f"{int(seconds // size)} {unit}"
    return f"{max(0, int(seconds))} s"
