"""`worst_risk`: the worst risk level of device, person and session."""

from collections.abc import Iterator
from datetime import datetime

from compliance.analysis.inputs import Inputs, joined
from compliance.analysis.solver import Clause, Literal
from compliance.conditions.kind import Kind
from compliance.conditions.levels import levels_hold
from compliance.model import AccessContext
from compliance.reasons import AccessReason
from risk.model import RISK_ORDER, RiskAssessment, RiskLevel


def _all(context: AccessContext) -> tuple[RiskAssessment, ...]:
    return context.risk, context.user_risk, context.session_risk


def _levels(context: AccessContext) -> frozenset[RiskLevel]:
    """Return every level that the worst may be.

    Of most people and sessions no sensor ever tells: they count once one has. The device's risk has to be known.
    """
    told = [risk for risk in _all(context) if risk.level in RISK_ORDER]
    is_sure = context.risk.is_known and all(risk.is_known for risk in told)
    unsure = frozenset[RiskLevel]() if is_sure else frozenset({RiskLevel.UNKNOWN})
    worst = max((risk.level for risk in told), key=RISK_ORDER.__getitem__, default=RiskLevel.UNKNOWN)
    return unsure | {worst}


def _holds(wanted: tuple[RiskLevel, ...], context: AccessContext) -> bool | None:
    return levels_hold(_levels(context), wanted)


def _moments(_wanted: tuple[RiskLevel, ...], context: AccessContext) -> list[datetime]:
    return [risk.changes_at for risk in _all(context) if risk.changes_at is not None]


_RISKS = ("risk", "user_risk", "session_risk")


def _clauses(levels: tuple[RiskLevel, ...], inputs: Inputs, limits: bool) -> Iterator[Clause]:
    is_unknown_listed = RiskLevel.UNKNOWN in levels
    unsure = [
        inputs.literal("risk", lambda risk: not risk[1]),
        *(inputs.literal(name, lambda risk: risk[0] in RISK_ORDER and not risk[1]) for name in _RISKS[1:]),
    ]
    if not limits and not is_unknown_listed:
        yield from ((inputs.unlike(each),) for each in unsure)
    if limits and not is_unknown_listed:
        # What nobody has told of is `unknown`, which is not listed.
        yield tuple(inputs.literal(name, lambda risk: risk[0] in RISK_ORDER) for name in _RISKS)
    escape = unsure if limits and is_unknown_listed else []
    for level in RISK_ORDER:
        if level not in levels:
            yield from (joined([*clause, *escape]) for clause in _worst_is_not(level, inputs))


def _worst_is_not(level: RiskLevel, inputs: Inputs) -> Iterator[list[Literal]]:
    """Say for each risk that it is another one than this level, unless some risk is above it."""
    above = [
        inputs.literal(name, lambda risk: RISK_ORDER.get(risk[0], -1) > RISK_ORDER[level]) for name in _RISKS
    ]
    for name in _RISKS:
        yield [inputs.literal(name, lambda risk: risk[0] is not level), *above]


KIND = Kind(
    holds=_holds,
    clauses=_clauses,
    reason=AccessReason.DEVICE_AT_RISK,
    seen=lambda context: " or ".join(sorted(_levels(context))),
    moments=_moments,
    is_about_unknown=True,
)
