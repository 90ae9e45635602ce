"""`compliance`: the compliance state of the device. `unknown` is a state of its own, matched like any other."""

import ast
from collections.abc import Iterator
from typing import Any

from compliance.analysis.inputs import Change, Here, Inputs, place
from compliance.analysis.solver import Clause
from compliance.conditions.kind import Input, Kind
from compliance.model import AccessContext, ComplianceState
from compliance.nodes import Builder, is_in
from compliance.reasons import AccessReason


def _holds(wanted: tuple[ComplianceState, ...], context: AccessContext) -> bool:
    return context.compliance.state in wanted


def _inline(wanted: tuple[ComplianceState, ...], builder: Builder, _limits: bool) -> ast.expr:
    state = builder.local("state", "context.compliance.state")
    return is_in(state, builder.constant(frozenset(wanted)))


def _clauses(wanted: tuple[ComplianceState, ...], inputs: Inputs, _limits: bool) -> Iterator[Clause]:
    yield (inputs.is_in("compliance", wanted),)


KIND = Kind(
    holds=_holds,
    clauses=_clauses,
    inline=_inline,
    reason=AccessReason.DEVICE_NOT_COMPLIANT,
    seen=lambda context: context.compliance.state,
)


def _add(inputs: Inputs) -> None:
    states = [(state, {"compliance": state}) for state in ComplianceState]
    inputs.add_of_device("compliance", states, [ComplianceState.UNKNOWN], keeps=True)


def _say(change: Change, _rest: str, here: Here) -> Iterator[str]:
    state: Any = change.then
    if state is not ComplianceState.COMPLIANT:
        yield f"the device is {state}"
        return
    unmet = [
        f"{result.title}: {result.seen}, wanted {result.wanted}"
        for result in here.context.compliance.results
        if result.state is not ComplianceState.COMPLIANT and result.is_required and result.rule
    ]
    why = f" ({'; '.join(unmet)})" if unmet else ""
    yield f"the device becomes compliant{why}"


INPUT = Input(
    word="compliance",
    add=_add,
    place=lambda here, variable, _rest: place(variable, here.context.compliance.state),
    say=_say,
)
