"""`claims`: claims of the sign-in that the provider's `keep_claims` names; all of them must hold."""

from compliance.conditions.kind import Kind, all_of
from compliance.model import AccessContext, ClaimCondition


def _holds_one(asked: ClaimCondition, context: AccessContext) -> bool | None:
    values = context.user.claims.get(asked.claim)
    # A claim that the provider did not send is not known: it may hold it back.
    return None if values is None else not set(values).isdisjoint(asked.one_of)


def _holds(wanted: tuple[ClaimCondition, ...], context: AccessContext) -> bool | None:
    return all_of([_holds_one(asked, context) for asked in wanted])


def _seen(context: AccessContext) -> str:
    return ", ".join(sorted(context.user.claims)) or "none kept"


KIND = Kind(_holds, _seen)
