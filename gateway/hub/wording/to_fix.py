"""From compliance and risk to what has to be fixed. Pure."""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta

import msgspec

from compliance.device_facts import platform_of
from compliance.model import AccessContext, ComplianceState, RuleLevel, RuleResult
from compliance.reasons import ComplianceReason
from gateway.hub.texts import text
from gateway.hub.views import ProblemStatus, ProblemView, Words
from gateway.hub.wording.context import PageContext, device_inside, numbered, sentence
from gateway.hub.wording.instructing import why_of, with_fix
from gateway.hub.wording.measured import seen, wanted
from gateway.hub.wording.settings_links import settings_link
from gateway.hub.wording.untrusted import (
    NAME_MAX,
    SENTENCE_MAX,
    STEP_MAX,
    TITLE_MAX,
    clean,
    sensor_label,
)
from risk.model import RISK_ORDER, Finding, Posture, RiskContribution, RiskLevel

STEPS_MAX = 12
HELD_MAX = 40
DONE_MAX = 10
DONE_SHOWN_FOR = timedelta(hours=12)
"""How long after it was closed a finding is still shown as done."""


_SILENCE = frozenset(
    {
        ComplianceReason.SENSOR_SILENT,
        ComplianceReason.SENSOR_NEVER_HEARD,
        ComplianceReason.SENSOR_NOT_SEEN_LATELY,
        ComplianceReason.FACT_NEVER_REPORTED,
        ComplianceReason.FACT_EXPIRED,
        ComplianceReason.FACT_TOO_OLD,
        ComplianceReason.RISK_UNKNOWN,
    }
)
"""Reasons by which nothing is wrong as far as anybody knows: we only have not heard."""


_STEPS: dict[str, str] = {
    ComplianceReason.NOT_COVERED: "problem_uncovered_step",
    ComplianceReason.FINDING_OPEN: "problem_risk_step",
    ComplianceReason.RISK_TOO_HIGH: "problem_risk_step",
}
"""What helps where the rule says nothing, if not a setting of the device."""


def is_silence(result: RuleResult) -> bool:
    """Return whether a rule is unmet because nothing fresh is known, not because something is wrong."""
    return result.state is not ComplianceState.COMPLIANT and result.reason in _SILENCE


def _status(state: ComplianceState) -> ProblemStatus:
    match state:
        case ComplianceState.COMPLIANT:
            return ProblemStatus.DONE
        case ComplianceState.IN_GRACE_PERIOD:
            return ProblemStatus.DUE
        case ComplianceState.NONCOMPLIANT | ComplianceState.UNKNOWN:
            return ProblemStatus.TO_DO


def _rule_problem(result: RuleResult, context: PageContext) -> ProblemView:
    is_uncovered = result.reason == ComplianceReason.NOT_COVERED
    title = context.rule_title(result.policy, result.rule, result.title)
    if is_uncovered:
        title = Words(text("problem_uncovered_title"))
    why = why_of(result, context)
    is_in_grace = result.state is ComplianceState.IN_GRACE_PERIOD
    says_itself = is_uncovered or result.seen in {"yes", "no", "none"}
    configured = context.rules.get(f"{result.policy}/{result.rule}")
    problem = ProblemView(
        key=f"rule:{clean(result.policy, NAME_MAX)}/{clean(result.rule, NAME_MAX)}",
        title=title.text or text("problem_fact_title"),
        title_lang=title.lang,
        status=_status(result.state),
        seen="" if says_itself else seen(result, configured),
        wanted="" if says_itself else wanted(result, configured),
        sensor=sensor_label(result.source, context.sensor_labels) if result.source else "",
        observed=context.moment(result.observed_at) if result.observed_at else None,
        deadline=context.moment(result.deadline) if result.deadline and is_in_grace else None,
        why_md=why.text,
        why_lang=why.lang,
        why=text("problem_uncovered_why") if is_uncovered else "",
        steps=numbered(_STEPS.get(result.reason, "problem_fact_step")),
        severity="" if is_uncovered else text(f"severity_{result.severity}"),
        setting_url="" if is_uncovered else settings_link(context.system, result.rule, result.title),
        link_url=result.link,
    )
    return with_fix(problem, result, context)


def _silence_problem(
    sensor: str,
    results: list[RuleResult],
    access: AccessContext,
    posture: Posture | None,
    context: PageContext,
) -> ProblemView:
    """Return the one problem of a silent sensor, however many rules wait for it ("" is no one sensor)."""
    label = sensor_label(sensor, context.sensor_labels) if sensor else ""
    last = posture.heard.get(sensor) if posture else None
    deadlines = [result.deadline for result in results if result.state is ComplianceState.IN_GRACE_PERIOD]
    is_in_grace = bool(results) and len(deadlines) == len(results)
    deadline = min((at for at in deadlines if at), default=None) if is_in_grace else None
    told = next((result for result in results if result.fix.strip()), None)
    why = why_of(next((result for result in results if result.why.strip()), None), context)
    waits_for = _waited_for(results, context)
    problem = ProblemView(
        key=f"silent:{clean(sensor, NAME_MAX)}",
        title=text("problem_silent_title", sensor=label)
        if label
        else text("problem_silent_title_any", device=device_inside(access)),
        status=ProblemStatus.DUE if deadline else ProblemStatus.TO_DO,
        is_silence=True,
        text=text("problem_silent_text") if last else text("problem_silent_text_never"),
        wanted=text("list_comma").join(each.text for each in waits_for),
        waits_for=waits_for,
        sensor=label,
        observed=context.moment(last) if last else None,
        deadline=context.moment(deadline) if deadline else None,
        why_md=why.text,
        why_lang=why.lang,
        why="" if why.text else sentence("problem_silent_why", context),
        steps=numbered("problem_silent_step"),
    )
    return problem if told is None else with_fix(problem, told, context)


def _waited_for(results: list[RuleResult], context: PageContext) -> tuple[Words, ...]:
    """Return the titles of the rules that wait for a report, each once."""
    titles = (context.rule_title(each.policy, each.rule, each.title) for each in results if each.title)
    return tuple(dict.fromkeys(titles))[:HELD_MAX]


def _finding_problem(
    contribution: RiskContribution,
    finding: Finding | None,
    rule: RuleResult | None,
    context: PageContext,
) -> ProblemView:
    severity = str(finding.level if finding else contribution.level)
    steps = tuple(
        clean(step, STEP_MAX) for step in (finding.recommended_actions if finding else ())[:STEPS_MAX]
    )
    why = why_of(rule, context)
    rationale = clean(finding.rationale, SENTENCE_MAX) if finding else ""
    deadline = rule.deadline if rule and rule.state is ComplianceState.IN_GRACE_PERIOD else None
    problem = ProblemView(
        key=f"finding:{clean(contribution.sensor, NAME_MAX)}/{clean(contribution.external_id, NAME_MAX)}",
        title=clean(contribution.title, TITLE_MAX) or text("problem_finding_title"),
        status=ProblemStatus.DUE if deadline else ProblemStatus.TO_DO,
        text=clean(finding.description, SENTENCE_MAX) if finding else "",
        severity=text(f"severity_{severity}"),
        sensor=sensor_label(contribution.sensor, context.sensor_labels),
        observed=context.moment(contribution.observed_at),
        deadline=context.moment(deadline) if deadline else None,
        why=rationale or ("" if why.text else text("problem_risk_why")),
        why_md="" if rationale else why.text,
        why_lang="" if rationale else why.lang,
        steps=steps or numbered("problem_risk_step"),
    )
    if steps or rule is None or not rule.fix.strip():
        return problem
    return with_fix(problem, rule, context)


def _done_finding(finding: Finding, context: PageContext) -> ProblemView:
    return ProblemView(
        key=f"finding:{clean(finding.sensor, NAME_MAX)}/{clean(finding.external_id, NAME_MAX)}",
        title=clean(finding.title, TITLE_MAX) or text("problem_finding_title"),
        status=ProblemStatus.DONE,
        sensor=sensor_label(finding.sensor, context.sensor_labels),
        observed=context.moment(finding.observed_at),
    )


def _unknown_device() -> ProblemView:
    return ProblemView(
        key="unknown-device",
        title=text("problem_unknown_title"),
        status=ProblemStatus.TO_DO,
        is_silence=True,
        text=text("device_help_unknown"),
        why=text("problem_unknown_why"),
        steps=numbered("problem_unknown_step"),
    )


def _counted(
    contributions: Iterable[RiskContribution], risk_max: RiskLevel | None, *, nothing_else: bool
) -> list[RiskContribution]:
    """Return the contributions that have to go, worst first; see `problems` for `risk_max`."""
    if risk_max is not None:
        floor = RISK_ORDER.get(risk_max, -1) + 1
    else:
        floor = RISK_ORDER[RiskLevel.LOW] if nothing_else else RISK_ORDER[RiskLevel.MEDIUM]
    counted = [item for item in contributions if RISK_ORDER.get(item.level, floor) >= floor]
    return sorted(counted, key=lambda item: -RISK_ORDER.get(item.level, 0))


def problems(
    access: AccessContext,
    context: PageContext,
    *,
    posture: Posture | None = None,
    risk_max: RiskLevel | None = None,
    put_off: Mapping[str, datetime] | None = None,
) -> tuple[ProblemView, ...]:
    """Return what has to be fixed on this device, then what is done.

    `put_off` are the rules (`policy/rule`) that do not count until an instant: they have to be met by then.
    Findings above `risk_max` (the highest level that is accepted here; None when that is
    not known: then medium and above, and low ones only when nothing else explains the state), unmet rules,
    silent sensors. A finding speaks instead of the risk rule that it breaks.
    """
    if access.device_id is None:
        return (_unknown_device(),)
    results = [item for item in access.compliance.results if item.level is not RuleLevel.REPORT]
    known = posture or access.posture
    platform = None if known is None else platform_of(known, access.sensors, access.now)
    context = msgspec.structs.replace(context, platform=platform or "")
    risky = next((item for item in results if item.reason == ComplianceReason.RISK_TOO_HIGH), None)
    unmet = [
        item
        for item in results
        if item.state is not ComplianceState.COMPLIANT and item is not risky and not is_silence(item)
    ]
    silent = _silent(access, posture, context)
    findings = posture.findings if posture else {}
    counted = _counted(
        access.risk.contributions, risk_max, nothing_else=risky is not None or not (unmet or silent)
    )
    found = [
        _finding_problem(item, findings.get((item.sensor, item.external_id)), risky, context)
        for item in counted
    ]
    if risky is not None and not found:
        unmet = [risky, *unmet]
    done = [
        _rule_problem(item, context)
        for item in results
        if item.state is ComplianceState.COMPLIANT and item.title and item.reason != ComplianceReason.EXEMPTED
    ]
    fixed = [
        _done_finding(item, context)
        for item in sorted(findings.values(), key=lambda item: item.observed_at, reverse=True)
        if not item.is_open and item.title and context.now - item.received_at < DONE_SHOWN_FOR
    ]
    later = [
        msgspec.structs.replace(
            _rule_problem(item, context),
            status=ProblemStatus.DUE,
            seen="",
            deadline=context.moment(until),
        )
        for item in results
        if item.reason == ComplianceReason.EXEMPTED
        and (until := (put_off or {}).get(f"{item.policy}/{item.rule}")) is not None
    ]
    still_open = (*found, *(_rule_problem(item, context) for item in unmet), *silent, *later)
    return (*still_open, *[*fixed, *done][:DONE_MAX])


def _silent(access: AccessContext, posture: Posture | None, context: PageContext) -> list[ProblemView]:
    """Return one problem for each sensor that is waited for, and one for all that no sensor ever told of."""
    waits: dict[str, list[RuleResult]] = {name: [] for name in access.risk.silent_sensors}
    together = ", ".join(access.risk.silent_sensors)
    for result in access.compliance.results:
        if result.level is RuleLevel.REPORT:
            continue
        # A risk rule that several silent sensors leave open names them all; each has its own problem already.
        if is_silence(result) and (result.source != together or len(access.risk.silent_sensors) == 1):
            waits.setdefault(result.source, []).append(result)
    if not waits and access.risk.level is RiskLevel.UNKNOWN:
        waits[""] = []
    return [_silence_problem(sensor, results, access, posture, context) for sensor, results in waits.items()]
