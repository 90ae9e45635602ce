"""`auth_older_than`: the sign-in is at least this old. Not known where the provider did not tell when it was."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from compliance.analysis.inputs import Change, Here, Inputs, Variable
from compliance.analysis.solver import Clause
from compliance.conditions.kind import Input, Kind
from compliance.model import AccessContext
from compliance.reasons import AccessReason
from compliance.texts import duration_text


def after(moment: datetime | None, seconds: float) -> datetime | None:
    """Return the instant so many seconds later, None for none."""
    return None if moment is None else moment + timedelta(seconds=seconds)


def signed_in(context: AccessContext) -> str:
    """Return when the sign-in was, for people."""
    at = context.user.auth_at
    return "time of sign-in not told" if at is None else f"signed in {at.isoformat()}"


def moments_of_age(seconds: float, context: AccessContext) -> list[datetime]:
    """Return when the sign-in reaches an age."""
    at = after(context.user.auth_at, seconds)
    return [] if at is None else [at]


def _holds(seconds: float, context: AccessContext) -> bool | None:
    reached_at = after(context.user.auth_at, seconds)
    return None if reached_at is None else reached_at <= context.now


def _clauses(least: float, inputs: Inputs, limits: bool) -> Iterator[Clause]:
    yield (inputs.literal("age", lambda age: limits if age is None else age >= least),)


KIND = Kind(
    holds=_holds,
    clauses=_clauses,
    reason=AccessReason.SIGN_IN_TOO_WEAK,
    seen=signed_in,
    moments=moments_of_age,
)


# --- the age of the sign-in, which `auth_within` and step-up ask about too ---------------------------------


def _ages(inputs: Inputs) -> list[float]:
    asked = [(policy.when.auth_older_than, policy.when.auth_within) for policy in inputs.policies]
    ages = {age for each in asked for age in each} | {step_up.max_age for step_up in inputs.step_ups()}
    return sorted({age for age in ages if age is not None} - {0.0})


def _add(inputs: Inputs) -> None:
    ages = [0.0, *_ages(inputs)]
    inputs.add("age", [*((age, {"signed_in": age}) for age in ages), (None, {"signed_in": None})])


def _place(here: Here, variable: Variable, _rest: str) -> int | None:
    keys = [value.key for value in variable.values]
    auth_at = here.context.user.auth_at
    if auth_at is None:
        return keys.index(None)
    seconds = max(0.0, (here.context.now - auth_at).total_seconds())
    return keys.index(max(key for key in keys if key is not None and key <= seconds))


def _say(change: Change, _rest: str, here: Here) -> Iterator[str]:
    least: Any = change.then
    if least is None:
        yield "the provider does not tell when the sign-in was"
        return
    above = [key for key in here.inputs.keys("age") if key is not None and key > least]
    if above:
        yield f"the sign-in is younger than {duration_text(min(above))}"
    else:
        yield f"the sign-in is at least {duration_text(least)} old"


INPUT = Input(word="age", add=_add, place=_place, say=_say)
