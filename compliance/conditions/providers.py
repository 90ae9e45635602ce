"""`providers`: the identity provider that the person signed in at."""

import ast
from collections.abc import Iterator

from compliance.analysis.inputs import Inputs, place, plain
from compliance.analysis.solver import Clause
from compliance.conditions.kind import Input, Kind, saying
from compliance.model import AccessContext
from compliance.nodes import Builder, is_in
from compliance.reasons import AccessReason


def _holds(wanted: tuple[str, ...], context: AccessContext) -> bool:
    return context.user.provider in wanted


def _inline(wanted: tuple[str, ...], builder: Builder, _limits: bool) -> ast.expr:
    provider = builder.local("provider", "context.user.provider")
    return is_in(provider, builder.constant(frozenset(wanted)))


def _clauses(wanted: tuple[str, ...], inputs: Inputs, _limits: bool) -> Iterator[Clause]:
    yield (inputs.is_in("provider", wanted),)


KIND = Kind(
    holds=_holds,
    clauses=_clauses,
    inline=_inline,
    reason=AccessReason.NOT_ASSIGNED,
    seen=lambda context: context.user.provider,
)


def _add(inputs: Inputs) -> None:
    inputs.add("provider", [(name, {"provider": name}) for name in inputs.around.providers])


INPUT = Input(
    word="provider",
    add=_add,
    place=lambda here, variable, _rest: place(variable, here.context.user.provider),
    say=saying(plain("the sign-in is at {value}")),
)
