"""`claims`, `not_claims`: claims of the sign-in that the provider's `keep_claims` names; all hold, or none.

A claim that the provider did not send is not known: it may hold it back.
"""

from collections.abc import Iterator
from functools import partial
from typing import Any

from compliance.analysis.inputs import Here, Inputs, Variable, member, place_of_member, unique
from compliance.analysis.solver import Clause
from compliance.conditions.kind import Input, Kind, all_of, any_of, opposite, saying
from compliance.model import AccessContext, ClaimCondition
from compliance.reasons import AccessReason


def _holds_one(asked: ClaimCondition, context: AccessContext) -> bool | None:
    values = context.user.claims.get(asked.claim)
    return None if values is None else not set(values).isdisjoint(asked.one_of)


def _holds(wanted: tuple[ClaimCondition, ...], context: AccessContext) -> bool | None:
    return all_of([_holds_one(asked, context) for asked in wanted])


def _one_holds(wanted: tuple[ClaimCondition, ...], context: AccessContext) -> bool | None:
    return any_of([_holds_one(asked, context) for asked in wanted])


def _seen(context: AccessContext) -> str:
    return ", ".join(sorted(context.user.claims)) or "none kept"


def _clauses(wanted: tuple[ClaimCondition, ...], inputs: Inputs, limits: bool) -> Iterator[Clause]:
    for asked in wanted:
        yield tuple(inputs.members(f"claim {asked.claim}", asked.one_of, limits=limits))


def _not_clauses(wanted: tuple[ClaimCondition, ...], inputs: Inputs, limits: bool) -> Iterator[Clause]:
    for asked in wanted:
        yield from inputs.no_members(f"claim {asked.claim}", asked.one_of, limits=limits)


KIND = Kind(holds=_holds, clauses=_clauses, reason=AccessReason.NOT_ASSIGNED, seen=_seen)
NOT_KIND = Kind(
    holds=opposite(_one_holds), clauses=_not_clauses, reason=AccessReason.NOT_ASSIGNED, seen=_seen
)


def _add(inputs: Inputs) -> None:
    for claim in _claims(inputs):
        values = (value for asked in _asked(inputs) if asked.claim == claim for value in asked.one_of)
        inputs.add_members(f"claim {claim}", unique(values), partial(_says, claim))


def _says(claim: str, *values: str | None) -> dict[str, Any]:
    return {} if None in values else {"claims": {claim: values}}


def _claims(inputs: Inputs) -> list[str]:
    return unique(asked.claim for asked in _asked(inputs))


def _asked(inputs: Inputs) -> list[ClaimCondition]:
    return inputs.asked("claims", "not_claims")


def _place(here: Here, variable: Variable, rest: str) -> int | None:
    for claim in _claims(here.inputs):
        if rest.startswith(f"{claim} "):
            held = here.context.user.claims.get(claim)
            return place_of_member(variable, rest.removeprefix(f"{claim} "), held)
    return None


INPUT = Input(
    word="claim",
    add=_add,
    place=_place,
    say=saying(member("the sign-in says", "the sign-in does not say")),
)
