"""`device`: whether we know which device this is. Never unknown itself."""

import ast
from collections.abc import Iterator

from compliance.analysis.inputs import Inputs, place, plain
from compliance.analysis.solver import Clause
from compliance.conditions.kind import Input, Kind, saying
from compliance.model import AccessContext
from compliance.nodes import Builder, is_in
from compliance.reasons import AccessReason


def _seen(context: AccessContext) -> str:
    return "unknown" if context.device_id is None else "known"


def _holds(wanted: tuple[str, ...], context: AccessContext) -> bool:
    return _seen(context) in wanted


def _inline(wanted: tuple[str, ...], builder: Builder, _limits: bool) -> ast.expr:
    device = builder.local("device", "'unknown' if context.device_id is None else 'known'")
    return is_in(device, builder.constant(frozenset(wanted)))


def _clauses(wanted: tuple[str, ...], inputs: Inputs, _limits: bool) -> Iterator[Clause]:
    yield (inputs.is_in("device", wanted),)


KIND = Kind(
    holds=_holds,
    clauses=_clauses,
    inline=_inline,
    reason=AccessReason.DEVICE_NOT_ACCEPTED,
    seen=_seen,
    is_about_unknown=True,
)


def _add(inputs: Inputs) -> None:
    inputs.add("device", [("known", {"device": "known"}), ("unknown", {"device": "unknown"})])


INPUT = Input(
    word="device",
    add=_add,
    place=lambda here, variable, _rest: place(variable, _seen(here.context)),
    say=saying(plain("the device is {value}")),
)
