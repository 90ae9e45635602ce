"""`risk`: the risk level of the device; while a sensor is silent it counts as `unknown` too."""

import ast

from compliance.analysis.inputs import Inputs
from compliance.conditions.kind import Input, Kind, saying
from compliance.conditions.levels import (
    changing,
    clauses_of,
    holding,
    levels_of,
    place_of,
    say_of,
    seeing,
    values_of,
)
from compliance.model import AccessContext
from compliance.nodes import Builder, attribute, call, meets
from compliance.reasons import AccessReason
from risk.model import RiskAssessment, RiskLevel


def _risk(context: AccessContext) -> RiskAssessment:
    return context.risk


def _inline(wanted: tuple[RiskLevel, ...], builder: Builder, limits: bool) -> ast.expr:
    levels = builder.local("levels", "levels_of(context.risk)", levels_of=levels_of)
    listed = builder.constant(frozenset(wanted))
    return meets(levels, listed) if limits else call(attribute(levels, "issubset"), listed)


KIND = Kind(
    holds=holding(_risk),
    clauses=clauses_of("risk"),
    inline=_inline,
    reason=AccessReason.DEVICE_AT_RISK,
    seen=seeing(_risk),
    moments=changing(_risk),
    is_about_unknown=True,
)


def _add(inputs: Inputs) -> None:
    values = values_of("risk", "silent")
    inputs.add_of_device("risk", values, [values[-1][0]], keeps=True)


INPUT = Input(
    word="risk",
    add=_add,
    place=lambda here, variable, _rest: place_of(variable, here.context.risk),
    say=saying(say_of("the device")),
)
