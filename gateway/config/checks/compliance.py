"""Checks of compliance policies and their rules."""

from compliance.comparison import parse_date
from compliance.device_facts import PLATFORMS
from compliance.model import (
    STRICTNESS,
    CompliancePolicy,
    ComplianceRule,
    ComplianceState,
    DeviceAssignment,
    EscalationStep,
    FactRule,
    FindingRule,
    Outcome,
    RiskRule,
    RuleLevel,
    SensorRule,
)
from compliance.texts import duration_text
from gateway.config.checks.access import comparison_faults
from gateway.config.checks.shared import Checks
from gateway.config.errors import Code, KeyPath, did_you_mean, shown
from gateway.config.schema import Compliance
from risk.model import RiskLevel, Severity


def check_compliance(checks: Checks, path: KeyPath, compliance: Compliance) -> None:
    """Check what devices are held to when no policy covers them, and the exemptions."""
    if compliance.uncovered in {ComplianceState.COMPLIANT, ComplianceState.IN_GRACE_PERIOD}:
        message = f"`uncovered: {compliance.uncovered}` lets a device pass that nothing was asked of"
        checks.fault(Code.LENIENT, (*path, "uncovered"), message, "`noncompliant` is safe")
    if compliance.exemption_ceiling is RiskLevel.UNKNOWN:
        message = "nobody is exempted while the risk is unknown"
        checks.fault(Code.RANGE, (*path, "exemption_ceiling"), message, "none, low, medium, high")
    known = [f"{p.name}/{rule.name}" for _, p in checks.all(CompliancePolicy) for rule in p.rules]
    known += [policy.name for _, policy in checks.all(CompliancePolicy)]
    for at, exemption in enumerate(compliance.exemptions):
        where = (*path, "exemptions", at)
        if exemption.rule not in known:
            message = f"no rule or policy is named {shown(exemption.rule)}"
            checks.fault(Code.UNKNOWN_NAME, (*where, "rule"), message, did_you_mean(exemption.rule, known))
        if not exemption.devices and not exemption.users:
            message = "nobody is exempted"
            checks.fault(
                Code.COMPLIANCE_RULE, (*where, "devices"), message, "name `devices`, `users` or both"
            )
        _date(checks, (*where, "expires"), exemption.expires)
        message = f"the exemption from {shown(exemption.rule)} has not counted"
        hint = "remove it, or decide it again with a later date"
        checks.passed((*where, "expires"), parse_date(exemption.expires), message, hint)


def _date(checks: Checks, path: KeyPath, text: str) -> None:
    if parse_date(text) is None:
        checks.fault(Code.FORM, path, f"{shown(text)} is no date", "such as `2027-01-31`")


def check_compliance_policy(checks: Checks, path: KeyPath, policy: CompliancePolicy) -> None:
    """Check a compliance policy, the names of its rules, and its escalation."""
    if not policy.rules:
        message = f"compliance policy `{policy.name}` has no rule"
        checks.fault(Code.COMPLIANCE_RULE, (*path, "rules"), message)
    rules = [
        ((*rule_path, "name"), rule.name)
        for rule_path, rule in checks.decoder.sections
        if isinstance(rule, RiskRule | FactRule | SensorRule | FindingRule) and rule_path[:-2] == path
    ]
    checks.unique(sorted(rules, key=lambda entry: entry[0][len(path) + 1]), "rules")
    _steps(checks, path, policy)
    if policy.exclude == DeviceAssignment():
        message = "`exclude` names no device"
        checks.fault(Code.COMPLIANCE_RULE, (*path, "exclude"), message, "or leave it out")


def check_device_assignment(checks: Checks, path: KeyPath, devices: DeviceAssignment) -> None:
    """Check that no list is written without an entry."""
    hint = "name a value, or leave the list out to mean any"
    checks.not_empty(path, devices, Code.COMPLIANCE_RULE, hint)


def _steps(checks: Checks, path: KeyPath, policy: CompliancePolicy) -> None:
    """Point at steps of an escalation that change nothing: one before them is stricter already."""
    for at, step in enumerate(policy.escalation):
        stricter = [
            each
            for each in policy.escalation
            if each.after <= step.after and STRICTNESS[each.decision] > STRICTNESS[step.decision]
        ]
        if stricter:
            message = f"after {duration_text(step.after)} the device is at `{stricter[0].decision}` already"
            hint = "steps grow stricter with time"
            checks.fault(Code.WITHOUT_EFFECT, (*path, "escalation", at), message, hint)


def check_escalation_step(checks: Checks, path: KeyPath, step: EscalationStep) -> None:
    """Check that a step limits, and says how."""
    if step.decision in {Outcome.ALLOW, Outcome.STEP_UP}:
        message = f"`decision: {step.decision}` is no step of an escalation"
        checks.fault(Code.COMPLIANCE_RULE, (*path, "decision"), message, "`restrict`, `remediate` or `block`")
    if step.decision is Outcome.RESTRICT and not step.controls:
        message, hint = "the step restricts nothing", "name `controls`, such as `[no-downloads]`"
        checks.fault(Code.COMPLIANCE_RULE, (*path, "controls"), message, hint)
    elif step.controls and step.decision is not Outcome.RESTRICT:
        message = f"`controls` have no effect with `decision: {step.decision}`"
        checks.fault(Code.COMPLIANCE_RULE, (*path, "controls"), message, "they go with `decision: restrict`")


def _check_level(checks: Checks, path: KeyPath, rule: ComplianceRule) -> None:
    if rule.level is RuleLevel.WARN_UNTIL:
        _date(checks, (*path, "warn_until"), rule.warn_until)
        message = f"rule {shown(rule.name)} has been required"
        checks.passed((*path, "warn_until"), parse_date(rule.warn_until), message, "write `level: require`")
    elif rule.warn_until:
        message = f"`warn_until` has no effect with `level: {rule.level}`"
        checks.fault(Code.WITHOUT_EFFECT, (*path, "warn_until"), message, "`level: warn-until`")
    for platform in rule.fixes:
        if platform not in PLATFORMS:
            message, hint = f"{shown(platform)} is no platform", did_you_mean(platform, PLATFORMS)
            languages = checks.decoder.languages
            if languages is not None and languages.fault_of(platform) is None:
                message += " but a language"
                hint = f"`fix: {{{platform}: …}}`, or below a platform: `fixes: {{macos: {{{platform}: …}}}}`"
            checks.fault(Code.FORM, (*path, "fixes", platform), message, hint)


def check_risk_rule(checks: Checks, path: KeyPath, rule: RiskRule) -> None:
    """Check a risk rule."""
    _check_level(checks, path, rule)
    if rule.sensor:
        checks.reference((*path, "sensor"), rule.sensor, "sensors", "sensor")
    if rule.max is RiskLevel.UNKNOWN:
        message = "an unknown risk never meets a rule"
        checks.fault(Code.COMPLIANCE_RULE, (*path, "max"), message, "known: none, low, medium, high")


def check_fact_rule(checks: Checks, path: KeyPath, rule: FactRule) -> None:
    """Check that a fact rule compares in a way that can be met."""
    _check_level(checks, path, rule)
    comparison_faults(checks, path, rule, f"rule `{rule.name}`", Code.COMPLIANCE_RULE)
    if not rule.fact.strip():
        checks.fault(Code.COMPLIANCE_RULE, (*path, "fact"), "the name of the fact is empty")


def check_finding_rule(checks: Checks, path: KeyPath, rule: FindingRule) -> None:
    """Check a finding rule."""
    _check_level(checks, path, rule)
    if rule.sensor:
        checks.reference((*path, "sensor"), rule.sensor, "sensors", "sensor")
    if rule.at_least is Severity.UNKNOWN:
        message = "an unknown severity has no place in the order"
        checks.fault(Code.COMPLIANCE_RULE, (*path, "at_least"), message, "`low` counts unknown ones, too")
    given = checks.decoder.is_given
    if given((*path, "severity")) and not given((*path, "at_least")):
        message = f"`severity` is for people; every finding of `{rule.at_least}` or worse counts"
        hint = f"the lowest severity that counts is `at_least: {rule.severity}`"
        checks.fault(Code.LOOKS_OTHERWISE, (*path, "severity"), message, hint)
    if rule.max < 0:
        checks.fault(Code.RANGE, (*path, "max"), "`max` must not be negative")


def check_sensor_rule(checks: Checks, path: KeyPath, rule: SensorRule) -> None:
    """Check a sensor rule."""
    _check_level(checks, path, rule)
    checks.reference((*path, "sensor"), rule.sensor, "sensors", "sensor")
    checks.positive(path, rule, "seen_within")
