"""`findings`, `not_findings`: open findings on the device. That there is none is known while no sensor is silent."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import product
from typing import Any

from compliance.analysis.inputs import Change, Here, Inputs, Variable, place, unique
from compliance.analysis.solver import Clause, Literal
from compliance.conditions.kind import Input, Kind, negated, saying
from compliance.model import AccessContext, FindingCondition, SensorState
from compliance.reasons import AccessReason
from compliance.texts import duration_text
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


def _clauses(wanted: tuple[FindingCondition, ...], inputs: Inputs, limits: bool) -> Iterator[Clause]:
    """Say that one is open: that there is none is known only of a known device whose sensors all speak."""
    is_unsure = (inputs.literal("risk", lambda risk: not risk[1]),)
    found = tuple(_is_open(name, wanted, inputs) for name in inputs.named("finding"))
    yield (*found, *is_unsure) if limits else found


def _not_clauses(wanted: tuple[FindingCondition, ...], inputs: Inputs, limits: bool) -> Iterator[Clause]:
    for name in inputs.named("finding"):
        yield (inputs.unlike(_is_open(name, wanted, inputs)),)
    if not limits:
        yield (inputs.literal("risk", lambda risk: risk[1]),)


def _is_open(name: str, asked: tuple[FindingCondition, ...], inputs: Inputs) -> Literal:
    """Return the literal that a finding of this sort is open, and is one of those asked for."""
    return inputs.literal(name, lambda key: key[1] and not key[0].isdisjoint(asked))


KIND = Kind(
    holds=_holds,
    clauses=_clauses,
    reason=AccessReason.DEVICE_AT_RISK,
    seen=_seen,
    moments=_moments,
    is_about_unknown=True,
)
NOT_KIND = negated(KIND, _not_clauses)


# --- for the analysis: every sort of finding that the conditions tell apart ---------------------------------


def _sorts(asked: Sequence[FindingCondition], sensors: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Yield findings as a `Given` describes them, so that every combination of answers occurs."""
    categories = unique(["", *(each.category.casefold() for each in asked)])
    named = unique(each.sensor for each in asked if each.sensor in sensors)
    others = [each for each in sensors if each not in named][:1] if named or sensors else [None]
    voices: list[str | None] = [*others, *named]
    ages = sorted({0.0, *(each.older_than for each in asked if each.older_than is not None)})
    for category, severity, sensor, age in product(categories, _ORDER, voices, ages):
        yield {"category": category, "severity": severity, "sensor": sensor, "age": age}


def _is_of_sort(asked: FindingCondition, sort: Mapping[str, Any]) -> bool:
    if asked.sensor and sort["sensor"] != asked.sensor:
        return False
    if asked.category and sort["category"] != asked.category.casefold():
        return False
    if asked.at_least is not None and _ORDER[sort["severity"]] < _ORDER.get(asked.at_least, 0):
        return False
    return asked.older_than is None or sort["age"] >= asked.older_than


def _add(inputs: Inputs) -> None:
    """Add a variable for each sort of finding that the conditions tell apart: whether one is open."""
    asked = inputs.asked("findings", "not_findings")
    seen: set[tuple[bool, ...]] = {(False,) * len(asked)}
    for sort in _sorts(asked, tuple(inputs.around.sensors)):
        matching = tuple(_is_of_sort(each, sort) for each in asked)
        if matching not in seen:
            seen.add(matching)
            key = frozenset(each for each, is_met in zip(asked, matching, strict=True) if is_met)
            values: list[tuple[Any, dict[str, Any]]] = [
                ((key, False), {}),
                ((key, True), {"findings": (sort,)}),
            ]
            inputs.add_of_device(f"finding {len(seen)}", values, [(key, False)], keeps=True)
            _tie_reporter(inputs, f"finding {len(seen)}", sort["sensor"])


def _tie_reporter(inputs: Inputs, name: str, sensor: str | None) -> None:
    """A finding that is open was reported by a sensor that spoke of the device."""
    if inputs.has(f"sensor {sensor}"):
        spoke = inputs.literal(f"sensor {sensor}", lambda state: state is not SensorState.NEVER)
        inputs.tie(inputs.literal(name, lambda key: not key[1]), spoke)


def _place(here: Here, variable: Variable, _rest: str) -> int | None:
    """Return whether a finding of just this sort is open; one of several categories counts as one of each."""
    sort = variable.values[0].key[0]
    sorts = {here.inputs.variable(name).values[0].key[0] for name in here.inputs.named("finding")}
    asked = frozenset().union(*sorts)
    for finding in open_findings(here.context):
        meant = frozenset(each for each in asked if finding_is_meant(each, finding, here.context))
        if meant == sort or (meant not in sorts and sort <= meant):
            return place(variable, (sort, True))
    return place(variable, (sort, False))


def _say(change: Change, _rest: str) -> Iterator[str]:
    asked, is_open = change.then
    meant = " and ".join(sorted(_meant(each) for each in asked))
    yield f"a finding ({meant}) is open" if is_open else f"no finding ({meant}) is open"


def _meant(asked: FindingCondition) -> str:
    parts = [asked.category, f"{asked.at_least} or worse" if asked.at_least else "", asked.sensor]
    parts.append(f"older than {duration_text(asked.older_than)}" if asked.older_than is not None else "")
    return " ".join(part for part in parts if part)


INPUT = Input(word="finding", add=_add, place=_place, say=saying(_say))
