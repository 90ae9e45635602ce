"""`auth_within`: the sign-in is younger than this. Not known where the provider did not tell when it was."""

from collections.abc import Iterator

from compliance.analysis.inputs import Inputs
from compliance.analysis.solver import Clause
from compliance.conditions.auth_older_than import after, moments_of_age, signed_in
from compliance.conditions.kind import Kind
from compliance.model import AccessContext
from compliance.reasons import AccessReason


def _holds(within: float, context: AccessContext) -> bool | None:
    over_at = after(context.user.auth_at, within)
    return None if over_at is None else context.now < over_at


def _clauses(most: float, inputs: Inputs, limits: bool) -> Iterator[Clause]:
    yield (inputs.literal("age", lambda age: limits if age is None else age < most),)


KIND = Kind(
    holds=_holds,
    clauses=_clauses,
    reason=AccessReason.SIGN_IN_TOO_WEAK,
    seen=signed_in,
    moments=moments_of_age,
)
