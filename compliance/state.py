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
* A policy that *might* cover a device covers it. A rule that is only reported or notified changes no state.
* An exemption makes a failed rule count as met until it expires, never while the device's risk is above the
  ceiling; it is always shown.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from fnmatch import fnmatchcase
from functools import cached_property
from typing import NamedTuple

import msgspec

from compliance.comparison import parse_date
from compliance.device_facts import (
    OWNERSHIP_FACTS,
    PLATFORM_FACTS,
    fact_moments,
    ownership_of,
    platform_of,
    tag_facts,
    tags_of,
)
from compliance.evaluate import folded
from compliance.model import (
    CompliancePolicy,
    ComplianceResult,
    ComplianceRule,
    ComplianceState,
    Demand,
    DeviceAssignment,
    Exemption,
    RuleLevel,
    RuleResult,
)
from compliance.reasons import ComplianceReason
from compliance.rules import Evidence, failed_rule, judge_rule, nearest
from compliance.texts import cut
from risk.model import RISK_ORDER, Posture, RiskAssessment, RiskLevel, SensorRules, Severity

WORST_FIRST: tuple[ComplianceState, ...] = (
    ComplianceState.NONCOMPLIANT,
    ComplianceState.UNKNOWN,
    ComplianceState.IN_GRACE_PERIOD,
    ComplianceState.COMPLIANT,
)
"""The order in which the worst wins.

Noncompliant is worse than unknown because it is certain; neither satisfies.
"""

_USUAL = Severity.MEDIUM
"""The severity that a result has unless its rule says another one."""

_BADNESS = {state: len(WORST_FIRST) - rank for rank, state in enumerate(WORST_FIRST)}


def evaluate_compliance(
    posture: Posture | None,
    policies: Iterable[CompliancePolicy],
    *,
    risk: RiskAssessment,
    sensors: Mapping[str, SensorRules],
    now: datetime,
    uncovered: ComplianceState = ComplianceState.NONCOMPLIANT,
    exemptions: Sequence[Exemption] = (),
    exemption_ceiling: RiskLevel = RiskLevel.LOW,
) -> ComplianceResult:
    """Return the compliance of a device at `now`.

    `posture` None means that we do not know which device it is: `UNKNOWN`, whatever the policies say. A
    known device that no policy covers has the state `uncovered`. `results` are in the order of the policies.
    Never raises.
    """
    if posture is None:
        return _one(ComplianceState.UNKNOWN, ComplianceReason.DEVICE_UNKNOWN, "Known device")
    evidence = Evidence(posture, risk, sensors, now)
    about = DeviceFacts(evidence)
    rules = list(applicable(policies, about))
    if not rules:
        one = _one(uncovered, ComplianceReason.NOT_COVERED, "Covered by a compliance policy")
        return msgspec.structs.replace(one, changes_at=nearest([*about.moments, risk.changes_at], now))
    judged = [
        _judged(policy, rule, evidence, about=about, exemptions=exemptions, ceiling=exemption_ceiling)
        for policy, rule in rules
    ]
    results = tuple(each.result for each in judged)
    moments = [moment for each in judged for moment in each.moments]
    required = [result for result in results if result.is_required]
    return ComplianceResult(
        state=worst(result.state for result in required) if required else ComplianceState.COMPLIANT,
        results=results,
        changes_at=nearest([*moments, *about.moments, risk.changes_at], now),
        deadline=nearest(
            (result.deadline for result in required if result.state is ComplianceState.IN_GRACE_PERIOD), now
        ),
        demands=tuple(demand for each in judged for demand in each.demands),
    )


def applicable(
    policies: Iterable[CompliancePolicy], about: "DeviceFacts"
) -> Iterator[tuple[CompliancePolicy, ComplianceRule]]:
    """Yield the rules that a device is held to, each with its policy."""
    for policy in policies:
        if about.is_covered_by(policy):
            yield from ((policy, rule) for rule in policy.rules if about.is_on(rule.platforms))


def covered_state(
    about: "DeviceFacts",
    policies: Iterable[CompliancePolicy],
    *,
    exemptions: Sequence[Exemption] = (),
    exemption_ceiling: RiskLevel = RiskLevel.LOW,
) -> ComplianceState | None:
    """Return what `evaluate_compliance` says of a known device, the state alone; None when no rule covers it.

    Nothing is looked at any more once the device is noncompliant: it cannot get worse.
    """
    found: ComplianceState | None = None
    for policy, rule in applicable(policies, about):
        result = _judged(
            policy, rule, about.evidence, about=about, exemptions=exemptions, ceiling=exemption_ceiling
        ).result
        state = result.state if result.is_required else ComplianceState.COMPLIANT
        if state is ComplianceState.NONCOMPLIANT:
            return state
        found = state if found is None else worst((found, state))
    return found


class Judged(NamedTuple):
    """A rule's result with the instants at which time changes it, and what its escalation demands now."""

    result: RuleResult
    moments: tuple[datetime | None, ...]
    demands: tuple[Demand, ...]


def _judged(
    policy: CompliancePolicy,
    rule: ComplianceRule,
    evidence: Evidence,
    *,
    about: "DeviceFacts",
    exemptions: Sequence[Exemption],
    ceiling: RiskLevel,
) -> Judged:
    """Return what a rule makes of the device, after its level, the exemptions and the escalation of its policy."""
    now = evidence.now
    result, moment = judge_rule(policy.name, rule, evidence)
    required_from = parse_date(rule.warn_until) if rule.level is RuleLevel.WARN_UNTIL else None
    is_required = rule.level is RuleLevel.REQUIRE or (required_from is not None and required_from <= now)
    moments: list[datetime | None] = [moment, required_from]
    exemption = None
    if result.state is not ComplianceState.COMPLIANT:
        exemption = next(
            (each for each in exemptions if is_exempted(each, policy.name, rule.name, evidence.posture, now)),
            None,
        )
        if exemption is not None and _is_within(evidence.risk, ceiling):
            moments.append(parse_date(exemption.expires))
            result = msgspec.structs.replace(
                result,
                state=ComplianceState.COMPLIANT,
                reason=ComplianceReason.EXEMPTED,
                seen=f"{result.seen}; exempted until {exemption.expires}: {cut(exemption.reason)}",
                deadline=None,
            )
    if (
        not is_required
        or rule.level is not RuleLevel.REQUIRE
        or rule.link
        or rule.fixes
        or rule.severity != _USUAL
    ):
        result = msgspec.structs.replace(
            result,
            level=rule.level,
            is_required=is_required,
            severity=rule.severity,
            link=rule.link,
            fix=_fix(rule.fixes, about.platform or "", result.fix),
        )
    demands, steps = _escalated(policy, result, now) if is_required else ((), [])
    return Judged(result, (*moments, *steps), demands)


def _fix(fixes: Mapping[str, str], platform: str, common: str) -> str:
    r"""Return what to do on a platform; on one that nobody told, all of it under headings that name the platforms.

    >>> _fix({"macos": "Open it."}, "", "Look.")
    'Look.\n\n## macos\n\nOpen it.'
    """
    if platform or not fixes:
        return fixes.get(platform, common)
    return "\n\n".join([common, *(f"## {name}\n\n{text}" for name, text in fixes.items())]).strip()


def _is_within(risk: RiskAssessment, ceiling: RiskLevel) -> bool:
    """Return whether a device may be exempted from anything at its risk: an unknown one may not."""
    return (
        risk.is_known and risk.level in RISK_ORDER and RISK_ORDER[risk.level] <= RISK_ORDER.get(ceiling, -1)
    )


def is_exempted(exemption: Exemption, policy: str, rule: str, posture: Posture, now: datetime) -> bool:
    """Return whether an exemption covers this rule on this device now."""
    expires = parse_date(exemption.expires)
    if expires is None or expires <= now or exemption.rule not in {policy, f"{policy}/{rule}"}:
        return False
    if exemption.users:
        return False  # for some people only, and nobody is asking: see `exemptions_of`
    names = {posture.device_id, posture.name, *(identifier.value for identifier in posture.identifiers)}
    return not names.isdisjoint(exemption.devices)


def exemptions_of(
    exemptions: Sequence[Exemption], names: frozenset[str], posture: Posture | None
) -> tuple[Exemption, ...]:
    """Return the exemptions as they stand for a person with these names on a device."""
    folded_names = {folded(name) for name in names}
    found = []
    for each in exemptions:
        if not each.users:
            found.append(each)
        elif posture is not None and not folded_names.isdisjoint(map(folded, each.users)):
            devices = each.devices or (posture.device_id,)
            found.append(msgspec.structs.replace(each, users=(), devices=devices))
    return tuple(found)


def _escalated(
    policy: CompliancePolicy, result: RuleResult, now: datetime
) -> tuple[tuple[Demand, ...], list[datetime]]:
    """Return what the steps of the policy demand now for a rule that fails, and when further steps are due."""
    if result.since is None or result.state is ComplianceState.COMPLIANT:
        return (), []
    due = [(result.since + timedelta(seconds=step.after), step) for step in policy.escalation]
    reached = tuple(
        Demand(
            policy=policy.name,
            rule=result.rule,
            outcome=step.decision,
            reason=step.reason or f"{result.title}: {result.seen}",
            controls=frozenset(step.controls),
            since=at,
        )
        for at, step in due
        if at <= now
    )
    return reached, [at for at, _ in due if at > now]


def supposed_failing(
    result: ComplianceResult,
    policies: Iterable[CompliancePolicy],
    failing: Mapping[str, float],
    now: datetime,
) -> ComplianceResult:
    """Return the compliance of a device that fails some rules, named `policy/rule`, for so many seconds by now.

    What was found of these rules does not count, and neither do exemptions and the days of `warn-until`.
    """
    results = {(each.policy, each.rule): each for each in result.results if each.rule}
    demands = [each for each in result.demands if f"{each.policy}/{each.rule}" not in failing]
    for policy in policies:
        for rule in policy.rules:
            age = failing.get(f"{policy.name}/{rule.name}")
            if age is None:
                continue
            supposed = failed_rule(policy.name, rule, now - timedelta(seconds=age), now)
            is_required = rule.level in {RuleLevel.REQUIRE, RuleLevel.WARN_UNTIL}
            supposed = msgspec.structs.replace(supposed, level=rule.level, is_required=is_required)
            results[policy.name, rule.name] = supposed
            demands += _escalated(policy, supposed, now)[0] if is_required else ()
    required = [each for each in results.values() if each.is_required]
    return msgspec.structs.replace(
        result,
        state=worst(each.state for each in required) if required else result.state,
        results=tuple(results.values()),
        demands=tuple(demands),
    )


class DeviceFacts:
    """What assignments ask about a device. `moments`: when time alone changes the answers that were given."""

    def __init__(self, evidence: Evidence) -> None:
        self.evidence = evidence
        self._watched: set[tuple[str, ...]] = set()
        self.moments: list[datetime] = []

    @cached_property
    def platform(self) -> str | None:
        """The platform, looked up when a policy asks."""
        return platform_of(self.evidence.posture, self.evidence.sensors, self.evidence.now)

    @cached_property
    def ownership(self) -> str | None:
        """Whose it is, looked up when a policy asks."""
        return ownership_of(self.evidence.posture, self.evidence.sensors, self.evidence.now)

    def is_on(self, platforms: tuple[str, ...]) -> bool:
        """Return whether the device runs one of these platforms, or may do so."""
        if not platforms:
            return True
        self._watch(PLATFORM_FACTS)
        return self.platform is None or self.platform in platforms

    def is_covered_by(self, policy: CompliancePolicy) -> bool:
        """Return whether a policy covers the device. What is not known covers, and does not exclude."""
        if not self._is_in(policy.include, if_unknown=True):
            return False
        return policy.exclude is None or not self._is_in(policy.exclude, if_unknown=False)

    def _is_in(self, group: DeviceAssignment, *, if_unknown: bool) -> bool:
        posture, sensors, now = self.evidence.posture, self.evidence.sensors, self.evidence.now
        if group.platforms:
            self._watch(PLATFORM_FACTS)
            if not (if_unknown if self.platform is None else self.platform in group.platforms):
                return False
        if group.ownership:
            self._watch(OWNERSHIP_FACTS)
            if not (if_unknown if self.ownership is None else self.ownership in group.ownership):
                return False
        if group.tags:
            self._watch(tag_facts(posture))
            if tags_of(posture, sensors, now).isdisjoint(group.tags):
                return False
        if group.devices:
            names = {posture.name, *(identifier.value for identifier in posture.identifiers)}
            return any(fnmatchcase(name, pattern) for name in names for pattern in group.devices)
        return True

    def _watch(self, names: tuple[str, ...]) -> None:
        if names in self._watched:
            return
        self._watched.add(names)
        self.moments += fact_moments(self.evidence.posture, names, self.evidence.sensors, self.evidence.now)


def worst(states: Iterable[ComplianceState]) -> ComplianceState:
    """Return the worst of some states; `UNKNOWN` for none at all, since nothing was shown."""
    return max(states, key=_BADNESS.__getitem__, default=ComplianceState.UNKNOWN)


def _one(state: ComplianceState, reason: ComplianceReason, title: str) -> ComplianceResult:
    result = RuleResult(
        policy="", rule="", state=state, reason=reason, title=title, seen="none", wanted="yes"
    )
    return ComplianceResult(state=state, results=(result,))
