"""`amr`, `not_amr`: methods of the sign-in. Not known where the provider did not tell them."""

import ast
from collections.abc import Iterable

from compliance.analysis.inputs import Inputs, member, place_of_member
from compliance.analysis.solver import Clause
from compliance.conditions.kind import Input, Kind, negated, saying
from compliance.model import AccessContext
from compliance.nodes import Builder, if_known, meets, negate
from compliance.reasons import AccessReason


def _holds(wanted: tuple[str, ...], context: AccessContext) -> bool | None:
    amr = context.user.amr
    return None if amr is None else not frozenset(wanted).isdisjoint(amr)


def _local(builder: Builder) -> ast.expr:
    return builder.local("amr", "None if context.user.amr is None else frozenset(context.user.amr)")


def _inline(wanted: tuple[str, ...], builder: Builder, limits: bool) -> ast.expr:
    amr = _local(builder)
    return if_known(amr, meets(amr, builder.constant(frozenset(wanted))), limits)


def _not_inline(wanted: tuple[str, ...], builder: Builder, limits: bool) -> ast.expr:
    amr = _local(builder)
    return if_known(amr, negate(meets(amr, builder.constant(frozenset(wanted)))), limits)


def _clauses(wanted: tuple[str, ...], inputs: Inputs, limits: bool) -> Iterable[Clause]:
    yield tuple(inputs.members("amr", wanted, limits=limits))


def _not_clauses(wanted: tuple[str, ...], inputs: Inputs, limits: bool) -> Iterable[Clause]:
    return inputs.no_members("amr", wanted, limits=limits)


def _seen(context: AccessContext) -> str:
    amr = context.user.amr
    return "not told" if amr is None else ", ".join(sorted(amr)) or "none"


KIND = Kind(holds=_holds, clauses=_clauses, inline=_inline, reason=AccessReason.SIGN_IN_TOO_WEAK, seen=_seen)
NOT_KIND = negated(KIND, _not_clauses, _not_inline)


def _says(*names: str | None) -> dict[str, tuple[str, ...] | None]:
    return {"amr": None if None in names else tuple(name for name in names if name is not None)}


INPUT = Input(
    word="amr",
    add=lambda inputs: inputs.add_members("amr", inputs.asked("amr", "not_amr"), _says),
    place=lambda here, variable, rest: place_of_member(variable, rest, here.context.user.amr),
    say=saying(member("the sign-in was by", "the sign-in was not by")),
)
