"""`findings`, `not_findings`: open findings on the device. That there is none is known while no sensor is silent."""

from datetime import datetime, timedelta

from compliance.conditions.kind import Kind, negated
from compliance.model import AccessContext, FindingCondition
from risk.model import Finding, Severity

_ORDER = {
    severity: rank
    for rank, severity in enumerate(
        (
            Severity.NONE,
            Severity.INFORMATIONAL,
            Severity.LOW,
            Severity.MEDIUM,
            Severity.HIGH,
            Severity.CRITICAL,
        )
    )
}


def open_findings(context: AccessContext) -> list[Finding]:
    """Return the findings that are open and have not expired."""
    if context.posture is None:
        return []
    return [
        finding
        for finding in context.posture.findings.values()
        if finding.is_open and (finding.expires_at is None or finding.expires_at > context.now)
    ]


def finding_is_meant(asked: FindingCondition, finding: Finding, context: AccessContext) -> bool:
    """Return whether a finding is of the kind that is asked for."""
    if asked.sensor and finding.sensor != asked.sensor:
        return False
    if asked.category:
        categories = {part.strip().casefold() for part in finding.category.split(",")}
        if asked.category.casefold() not in categories:
            return False
    if asked.at_least is not None and not _is_at_least(finding, asked.at_least, context):
        return False
    if asked.older_than is None:
        return True
    return finding.first_observed_at + timedelta(seconds=asked.older_than) <= context.now


def _is_at_least(finding: Finding, lowest: Severity, context: AccessContext) -> bool:
    level = finding.level
    if level is Severity.UNKNOWN:
        rules = context.sensors.get(finding.sensor)
        level = Severity.HIGH if rules is None else rules.unknown_level
    return _ORDER.get(level, len(_ORDER)) >= _ORDER.get(lowest, 0)


def _holds(wanted: tuple[FindingCondition, ...], context: AccessContext) -> bool | None:
    if context.posture is None:
        return None
    found = open_findings(context)
    if any(finding_is_meant(asked, finding, context) for asked in wanted for finding in found):
        return True
    return False if context.risk.is_known else None


def _moments(wanted: tuple[FindingCondition, ...], context: AccessContext) -> list[datetime]:
    found = open_findings(context)
    ages = [asked.older_than for asked in wanted if asked.older_than is not None]
    moments = [finding.first_observed_at + timedelta(seconds=age) for finding in found for age in ages]
    return moments + [finding.expires_at for finding in found if finding.expires_at is not None]


def _seen(context: AccessContext) -> str:
    if context.posture is None:
        return "device not known"
    return f"{len(open_findings(context))} open{'' if context.risk.is_known else ', a sensor is silent'}"


KIND = Kind(_holds, _seen, _moments)
NOT_KIND = negated(KIND)
