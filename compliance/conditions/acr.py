"""`acr`, `not_acr`: the authentication context class of the sign-in. Not known where the provider did not tell it."""

import ast
from collections.abc import Iterator
from typing import Any

from compliance.analysis.inputs import OTHER, Inputs, place, plain, unique
from compliance.analysis.solver import Clause
from compliance.conditions.kind import Input, Kind, negated, saying
from compliance.model import AccessContext
from compliance.nodes import Builder, if_known, is_in, negate
from compliance.reasons import AccessReason


def _holds(wanted: tuple[str, ...], context: AccessContext) -> bool | None:
    acr = context.user.acr
    return None if acr is None else acr in wanted


def _is_in(wanted: tuple[str, ...], builder: Builder) -> ast.expr:
    return is_in(builder.local("acr", "context.user.acr"), builder.constant(frozenset(wanted)))


def _inline(wanted: tuple[str, ...], builder: Builder, limits: bool) -> ast.expr:
    return if_known(builder.local("acr", "context.user.acr"), _is_in(wanted, builder), limits)


def _not_inline(wanted: tuple[str, ...], builder: Builder, limits: bool) -> ast.expr:
    return if_known(builder.local("acr", "context.user.acr"), negate(_is_in(wanted, builder)), limits)


def _clauses(wanted: tuple[str, ...], inputs: Inputs, limits: bool) -> Iterator[Clause]:
    yield (inputs.is_in("acr", [*wanted, *([None] if limits else [])]),)


def _not_clauses(wanted: tuple[str, ...], inputs: Inputs, limits: bool) -> Iterator[Clause]:
    yield (inputs.literal("acr", lambda acr: limits if acr is None else acr not in wanted),)


KIND = Kind(
    holds=_holds,
    clauses=_clauses,
    inline=_inline,
    reason=AccessReason.SIGN_IN_TOO_WEAK,
    seen=lambda context: context.user.acr or "not told",
)
NOT_KIND = negated(KIND, _not_clauses, _not_inline)


def _add(inputs: Inputs) -> None:
    asked = (name for step_up in inputs.step_ups() for name in step_up.acr_values)
    classes = unique([*inputs.asked("acr", "not_acr"), *asked])
    values: list[tuple[Any, dict[str, Any]]] = [(OTHER, {"acr": "another-acr"})]
    inputs.add("acr", [*values, *((name, {"acr": name}) for name in classes), (None, {"acr": None})])


INPUT = Input(
    word="acr",
    add=_add,
    place=lambda here, variable, _rest: place(variable, here.context.user.acr),
    say=saying(plain("the sign-in has acr {value}")),
)
